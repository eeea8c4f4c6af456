"""Random nets in both engines; what they once found is kept in oracle/cases/found.py."""

from __future__ import annotations

import caffe
import numpy as np
import pytest

from oracle.cases.found import AGREED, DIFFERENT, REFUSED, ROUNDED
from oracle.deliberate import DELIBERATE, deliberate
from oracle.random_nets import MAKERS, Tally, compare, make, ours, valid

COUNT, SEED = 300, 0


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
def test_nets_that_lose_digits_agree_within_what_they_lose(bvlc_caffe):
    tally = Tally()
    compare(list(ROUNDED.values()), tally)
    assert tally.counts == {"agree within their own rounding": len(ROUNDED)}


@pytest.mark.oracle
def test_bvlc_caffe_refuses_what_it_once_refused(bvlc_caffe):
    tally = Tally()
    compare(list(REFUSED.values()), tally)
    assert tally.counts == {"both refuse": len(REFUSED)}


@pytest.mark.oracle
def test_each_deliberate_difference_is_one(bvlc_caffe):
    tally = Tally()
    compare(list(DIFFERENT.values()), tally)
    assert tally.counts == {f"deliberately different ({name})": 1 for name in DIFFERENT}


def test_each_deliberate_refusal_has_a_net():
    assert {one.name for one in DELIBERATE if one.ours or one.theirs} == set(DIFFERENT)


@pytest.mark.parametrize("one", DELIBERATE, ids=lambda one: one.name)
def test_a_deliberate_difference_is_recognised_by_the_net_and_the_refusal(one, tmp_path):
    if one.ours is None:
        return
    net = DIFFERENT[one.name]
    refusal = ours(net, str(tmp_path))[1]
    assert deliberate(net["text"], refusal, None) is one
    assert deliberate(net["text"], refusal, refusal) is None
    assert deliberate(net["text"], "another refusal", None) is None
    assert deliberate(REFUSED["parameter_of_negative_size"]["text"], refusal, None) is None


@pytest.mark.parametrize("name", REFUSED)
def test_a_net_that_bvlc_caffe_refuses_is_refused_in_one_line(name, tmp_path):
    numbers, refusal = ours(REFUSED[name], str(tmp_path))
    assert numbers is None and "layer" in refusal and len(refusal.splitlines()) == 1


LIMITED = """layer { name: 'y' type: 'Python' top: 'y'
python_param { module: 'oracle.python_layers' layer: 'Endless' param_str: '%s' } }"""


def endless(what):
    net = REFUSED["prelu_of_five_axes"]
    return {**net, "name": what, "text": LIMITED % what, "limits": [2, 1 << 28]}


@pytest.mark.parametrize("what", ["time", "memory"])
def test_a_net_that_takes_too_much_ends(what, tmp_path):
    numbers, refusal = ours(endless(what), str(tmp_path))
    assert (numbers, refusal) == (None, "ran out of " + what)


@pytest.mark.oracle
def test_bvlc_caffe_takes_no_more_than_the_limits(bvlc_caffe):
    tally = Tally()
    compare([endless("time"), endless("memory")], tally)
    assert tally.counts == {"not compared": 2} and len(tally.uncompared) == 2


@pytest.mark.parametrize(
    "refusal, theirs, counted",
    [
        ("layer 'a': no", "F ended by signal 6", "both refuse"),
        ("layer 'a': no", "ended by signal 11", "BVLC Caffe crashes"),
        (None, "ended by signal 8", "BVLC Caffe crashes"),
        (None, "F ended by signal 6", "disagree"),
        (None, "RuntimeError: no", "disagree"),
        ("layer 'a': no", None, "disagree"),
        ("IndexError: no", "F ended by signal 6", "disagree"),
        ("IndexError: no", "log\nIndexError: other words", "both refuse"),
        ("IndexError: no", "KeyError: no", "disagree"),
        ("ended by signal 11", "F ended by signal 6", "disagree"),
        ("ran out of time", "F ended by signal 6", "disagree"),
        ("ran out of time", None, "disagree"),
        ("ran out of time", "ran out of time", "not compared"),
        (None, "ran out of memory", "not compared"),
        ("IndexError: no", "ran out of memory", "disagree"),
    ],
)
def test_every_pair_of_refusals_is_counted(refusal, theirs, counted, tmp_path):
    tally, net = Tally(), REFUSED["prelu_of_five_axes"]
    tally.judge(net, (None, refusal), (None, theirs), str(tmp_path))
    assert tally.counts == {counted: 1}
    assert len(tally.disagreements) == (counted == "disagree")
    assert len(tally.uncompared) == (counted == "not compared")


def test_every_layer_type_but_those_that_read_files_is_drawn():
    made = {line.split("type: '")[1].split("'")[0] for i in range(400) for line in lines(i)}
    files = {"Data", "HDF5Data", "HDF5Output", "ImageData", "MemoryData", "WindowData"}
    assert set(caffe.layer_type_list()) - made == files
    assert set(MAKERS) - made == {"Block", "LeftOut"}


def lines(i):
    return [line for line in valid(f"types.{i}")["text"].splitlines() if line.startswith("layer {")]


def test_a_random_net_is_the_same_every_time():
    assert valid("7.1") == valid("7.1") and valid("7.1") != valid("7.2")


def test_a_wrong_number_is_counted_as_a_disagreement(tmp_path):
    net = {
        **REFUSED["embed_gradient"],
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
