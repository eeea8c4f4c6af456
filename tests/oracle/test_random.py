"""Random nets in both engines; what they once found is kept in oracle/cases/found.py."""

from __future__ import annotations

import numpy as np
import pytest

from oracle.cases.found import AGREED, REFUSED
from oracle.random_nets import Tally, compare, make, ours, valid

COUNT, SEED = 300, 0


def entry(name):
    return {
        "name": name,
        "text": REFUSED[name],
        "inputs": {b: "label 2" for b in ("label", "i")},
        "phase": 1,
        "rounds": [{}],
        "backward": True,
    }


@pytest.mark.oracle
def test_random_nets_agree_or_are_refused_by_both(bvlc_caffe):
    tally = Tally()
    compare([make(SEED, i) for i in range(COUNT)], tally)
    assert not tally.disagreements, str(tally)
    assert tally.counts["agree"] > COUNT / 2 and tally.counts["both refuse"] > COUNT / 10


@pytest.mark.oracle
def test_nets_that_once_differed_agree(bvlc_caffe):
    tally = Tally()
    compare(list(AGREED.values()), tally)
    assert not tally.disagreements, str(tally)
    assert tally.counts == {"agree": len(AGREED)}


@pytest.mark.oracle
def test_bvlc_caffe_refuses_what_it_once_refused(bvlc_caffe):
    tally = Tally()
    compare([entry(name) for name in REFUSED], tally)
    assert tally.counts == {"both refuse": len(REFUSED)}


@pytest.mark.parametrize("name", REFUSED)
def test_a_net_that_bvlc_caffe_refuses_is_refused_in_one_line(name, tmp_path):
    numbers, refusal = ours(entry(name), str(tmp_path))
    assert numbers is None and "layer" in refusal and len(refusal.splitlines()) == 1


def test_a_random_net_is_the_same_every_time():
    assert valid("7.1") == valid("7.1") and valid("7.1") != valid("7.2")


def test_a_wrong_number_is_counted_as_a_disagreement(tmp_path):
    net = {
        **entry("embed_gradient"),
        "text": "layer { name: 'x' type: 'Input' top: 'x'"
        " input_param { shape { dim: 3 } } } layer { name: 'y' type: 'TanH' bottom: 'x' top: 'y' }",
    }
    mine = ours(net, str(tmp_path))
    wrong = {k: v if k == "meta" else np.array(v) for k, v in mine[0].items()}
    wrong["0/data/y"] *= 1.001
    tally = Tally()
    tally.judge(net, mine, (wrong, None), str(tmp_path))
    tally.judge(net, mine, mine, str(tmp_path))
    assert tally.counts == {"disagree": 1, "agree": 1}
