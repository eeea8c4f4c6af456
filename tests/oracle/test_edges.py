"""Odd fields of layers and solvers, and bottoms without values, under both Caffes."""

from __future__ import annotations

import re

import pytest

from oracle.edge_cases import empty_nets, field_nets, solver_cases
from oracle.edges import LISTED, compare, is_listed

pytestmark = pytest.mark.oracle


def check(cases, folder):
    verdicts = compare(cases, str(folder))
    wrong = [
        (words, *entry)
        for words, entries in verdicts.items()
        for entry in entries
        if not is_listed(words, entry[0])
    ]
    assert not wrong
    return {words: len(entries) for words, entries in verdicts.items()}


def test_odd_fields_of_solvers_train_as_in_bvlc_caffe_or_are_refused(bvlc_caffe, tmp_path):
    counts = check([*solver_cases()], tmp_path)
    assert counts["agree"] > 40 and counts["both refuse"] > 10


def test_odd_fields_of_layers_give_bvlc_caffes_numbers_or_are_refused(bvlc_caffe, tmp_path):
    counts = check([*field_nets()], tmp_path)
    assert counts["agree"] > 30 and counts["both refuse"] > 80


@pytest.mark.slow
def test_bottoms_without_values_give_bvlc_caffes_results_or_one_line(bvlc_caffe, tmp_path):
    counts = check([*empty_nets()], tmp_path)
    assert counts["agree"] > 50


def test_each_listed_difference_has_a_case():
    names = [case["name"] for case in [*field_nets(), *solver_cases(), *empty_nets()]]
    assert all(any(re.match(entry.pattern, name) for name in names) for entry in LISTED)
