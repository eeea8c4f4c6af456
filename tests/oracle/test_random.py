"""Random nets in both engines, and the nets that once differed (oracle/cases/regressions.py)."""

from __future__ import annotations

import numpy as np
import pytest

from oracle.cases.bvlc import LAYER_TYPES
from oracle.cases.regressions import AGREED, DIFFERENT, REFUSED, ROUNDED
from oracle.deliberate import DELIBERATE, deliberate
from oracle.random_nets.comparison import compare_nets
from oracle.random_nets.engine import Outcome, run_engine
from oracle.random_nets.nets import MAKERS, make_net, valid_net
from oracle.random_nets.tally import Tally

COUNT, SEED = 300, 0


@pytest.mark.oracle
def test_random_nets_agree_or_are_refused_by_both(bvlc_caffe):
    tally = Tally()
    compare_nets([make_net(SEED, i) for i in range(COUNT)], tally)
    assert not tally.disagreements, str(tally)
    assert tally.counts["agree"] > COUNT / 2 and tally.counts["both refuse"] > COUNT / 10


@pytest.mark.oracle
def test_nets_that_once_differed_agree(bvlc_caffe):
    tally = Tally()
    compare_nets(list(AGREED.values()), tally)
    assert not tally.disagreements, str(tally)
    assert tally.counts == {"agree": len(AGREED)}


@pytest.mark.oracle
def test_nets_that_lose_digits_agree_within_their_own_rounding(bvlc_caffe):
    tally = Tally()
    compare_nets(list(ROUNDED.values()), tally)
    assert tally.counts == {"agree within their own rounding": len(ROUNDED)}


@pytest.mark.oracle
def test_both_engines_refuse_the_nets_that_once_only_bvlc_caffe_refused(bvlc_caffe):
    tally = Tally()
    compare_nets(list(REFUSED.values()), tally)
    assert tally.counts == {"both refuse": len(REFUSED)}


@pytest.mark.oracle
def test_each_deliberate_difference_is_recognised(bvlc_caffe):
    tally = Tally()
    compare_nets(list(DIFFERENT.values()), tally)
    assert tally.counts == {f"deliberately different ({name})": 1 for name in DIFFERENT}


def test_each_deliberate_refusal_has_a_net():
    assert {entry.name for entry in DELIBERATE if entry.engine or entry.bvlc} == set(DIFFERENT)


ENGINE_REFUSALS = [entry for entry in DELIBERATE if entry.engine]


@pytest.mark.parametrize("entry", ENGINE_REFUSALS, ids=lambda entry: entry.name)
def test_a_deliberate_difference_depends_on_the_net_and_the_refusal(entry, tmp_path):
    net = DIFFERENT[entry.name]
    refusal = run_engine(net, str(tmp_path)).refusal
    assert deliberate(net["text"], refusal, None) is entry
    assert deliberate(net["text"], refusal, refusal) is None
    assert deliberate(net["text"], "another refusal", None) is None
    assert deliberate(REFUSED["parameter_of_negative_size"]["text"], refusal, None) is None


@pytest.mark.parametrize("name", REFUSED)
def test_a_net_that_bvlc_caffe_refuses_is_refused_in_one_line(name, tmp_path):
    numbers, refusal = run_engine(REFUSED[name], str(tmp_path))
    assert numbers is None and "layer" in refusal and len(refusal.splitlines()) == 1


LIMITED = """layer { name: 'y' type: 'Python' top: 'y'
python_param { module: 'oracle.python_layers' layer: 'Endless' param_str: '%s' } }"""


def endless(resource):
    net, seconds = REFUSED["parameter_of_negative_size"], 1 if resource == "time" else 2
    return {**net, "name": resource, "text": LIMITED % resource, "limits": [seconds, 1 << 28]}


@pytest.mark.parametrize("resource", [pytest.param("time", marks=pytest.mark.long), "memory"])
def test_a_net_that_exceeds_a_limit_ends(resource, tmp_path):
    numbers, refusal = run_engine(endless(resource), str(tmp_path))
    assert (numbers, refusal) == (None, "ran out of " + resource)


@pytest.mark.oracle
def test_a_net_that_exceeds_a_limit_in_bvlc_caffe_is_not_compared(bvlc_caffe):
    tally = Tally()
    compare_nets([endless("time"), endless("memory")], tally)
    assert tally.counts == {"not compared": 2} and len(tally.uncompared) == 2


@pytest.mark.parametrize(
    "engine, bvlc, verdict",
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
def test_every_pair_of_refusals_has_a_verdict(engine, bvlc, verdict, tmp_path):
    tally, net = Tally(), REFUSED["parameter_of_negative_size"]
    tally.judge(net, Outcome(None, engine), Outcome(None, bvlc), str(tmp_path))
    assert tally.counts == {verdict: 1}
    assert len(tally.disagreements) == (verdict == "disagree")
    assert len(tally.uncompared) == (verdict == "not compared")


def test_random_nets_have_every_layer_type_that_reads_no_files():
    types = {line.split("type: '")[1].split("'")[0] for i in range(400) for line in lines(i)}
    files = {"Data", "HDF5Data", "HDF5Output", "ImageData", "MemoryData", "WindowData"}
    assert set(LAYER_TYPES) - types == files
    assert set(MAKERS) - types == {"Block", "Excluded"}


def lines(i):
    return [
        line for line in valid_net(f"types.{i}")["text"].splitlines() if line.startswith("layer {")
    ]


def test_a_random_net_is_the_same_every_time():
    assert valid_net("7.1") == valid_net("7.1") and valid_net("7.1") != valid_net("7.2")


def test_a_wrong_number_is_counted_as_a_disagreement(tmp_path):
    net = {
        **REFUSED["embed_gradient"],
        "text": "layer { name: 'x' type: 'Input' top: 'x'"
        " input_param { shape { dim: 3 } } } layer { name: 'y' type: 'TanH' bottom: 'x' top: 'y' }",
    }
    right = run_engine(net, str(tmp_path))
    wrong = {k: v if k == "meta" else np.array(v) for k, v in right.numbers.items()}
    wrong["0/data/y"] *= 1.001
    tally = Tally()
    tally.judge(net, right, Outcome(wrong, None), str(tmp_path))
    tally.judge(net, right, right, str(tmp_path))
    assert tally.counts == {"disagree": 1, "agree": 1}
