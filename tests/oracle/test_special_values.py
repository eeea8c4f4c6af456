"""NaN, infinity, denormal and very large numbers through layers, in both Caffes."""

from __future__ import annotations

import pytest

from oracle.special_layers import LAYERS
from oracle.special_values import EXPLAINED, compare, make_nets

pytestmark = pytest.mark.oracle


def unexplained(results):
    return {result.net["name"]: result.lines for result in results if result.entry is None}


def test_nan_and_infinity_reach_what_they_reach_in_bvlc_caffe(bvlc_caffe):
    nets = list(make_nets(0, values=("nan", "infinity")))
    assert len(nets) > 450 and {net["layer"] for net in nets} == set(LAYERS)
    results = compare(nets)
    assert not unexplained(results)
    assert len(results) < len(nets) / 5


@pytest.mark.slow
def test_all_special_values_agree_and_each_explanation_is_needed(bvlc_caffe):
    nets = [net for seed in (1, 2) for net in make_nets(seed)]
    results = compare(nets)
    assert not unexplained(results)
    assert {result.entry.name for result in results} == {entry.name for entry in EXPLAINED}
