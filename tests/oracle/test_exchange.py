"""Files that the engine writes are read by BVLC Caffe, and the reverse, over drawn contents."""

from __future__ import annotations

import pytest

from oracle.exchange_cases import DRAWS, RIGHT, compare, make_cases

pytestmark = pytest.mark.oracle


def check(cases, folder):
    verdicts = compare(cases, str(folder))
    wrong = {words: [case["name"] for case in entries] for words, entries in verdicts.items()}
    wrong = {k: names for k, names in wrong.items() if not k.split(": ", 1)[1].startswith(RIGHT)}
    assert not wrong
    agreed = {kind: len(verdicts[f"{kind}: agree"]) for kind in DRAWS}
    return agreed, {words.split(": ", 1)[1] for words in verdicts}


def test_both_caffes_read_each_others_files(bvlc_caffe, tmp_path):
    agreed, _ = check(make_cases(0, 12), tmp_path)
    assert all(count >= 3 for count in agreed.values()), agreed


@pytest.mark.slow
def test_both_caffes_read_each_others_files_over_many_contents(bvlc_caffe, tmp_path):
    agreed, verdicts = check(make_cases(1, 120), tmp_path)
    assert all(count >= 40 for count in agreed.values()), agreed
    assert any("name with /" in words for words in verdicts)
    assert any("without values" in words for words in verdicts)
