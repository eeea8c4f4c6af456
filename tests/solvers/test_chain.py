from __future__ import annotations

import os

import pytest

from solvers import chain, snapshots, stage
from tests import tiny


def test_the_stages_up_to_a_variant_come_in_order():
    assert chain.stages("voc-fcn32s") == ["voc-fcn32s"]
    assert chain.stages("voc-fcn8s") == ["voc-fcn32s", "voc-fcn16s", "voc-fcn8s"]


@pytest.fixture
def house(tmp_path, monkeypatch):
    """The chain with its folders elsewhere, thin nets and small pictures."""
    for name in ("CAST", "VGG", "DEMO_DATA", "DEMO_RUNS"):
        inside = os.path.relpath(getattr(chain, name), chain.ROOT)
        monkeypatch.setattr(chain, name, str(tmp_path / inside))
    for name, value in (("DEMO_SCALE", 0.2), ("WIDTH", tiny.WIDTH), ("DEMO_TRAIN", 3)):
        monkeypatch.setattr(chain, name, value)
    monkeypatch.setattr(chain, "ROOT", str(tmp_path))
    return tmp_path


def test_the_demo_chain_runs_from_nothing_to_a_trained_net(house, capsys, monkeypatch):
    chain.run("voc-fcn16s", "demo", iters=1, gpu="cpu")
    out, err = capsys.readouterr()
    assert "start from RANDOM weights" in err
    assert "voc-fcn16s is trained" in out and "peak memory" in out
    for name in ("voc-fcn32s", "voc-fcn16s"):
        folder = os.path.join(chain.DEMO_RUNS, name, "snapshot")
        assert [s.iteration for s in snapshots.complete(os.path.join(folder, "train"))] == [1]
        assert snapshots.read_records(folder)[1]["images"] == chain.DEMO_VAL
    assert sorted(os.listdir(house)) == ["data", "runs"], "nothing in the published folders"

    monkeypatch.setattr(stage, "_build", None)
    chain.run("voc-fcn16s", "demo", iters=1, gpu="cpu")
    assert "done already" in capsys.readouterr().out


def test_a_classifier_that_is_there_is_cast_for_the_demo_too(house, capsys):
    os.makedirs(os.path.dirname(chain.CAST))
    open(chain.CAST, "w").close()
    assert chain.demo_base() == chain.CAST
    assert "RANDOM" not in capsys.readouterr().err


def test_what_is_missing_is_asked_for_in_one_message(house, monkeypatch):
    from datasets import published

    asked = []

    def fetch(*names):
        asked.append(names)
        raise OSError("4 files are missing")

    monkeypatch.setattr(published, "fetch", fetch)
    with pytest.raises(OSError, match="4 files are missing"):
        chain.run("voc-fcn8s", gpu="cpu")
    assert asked == [("sbd", "voc2011", "seg11valid", "vgg16")]


def test_an_unknown_data_set_is_refused():
    with pytest.raises(ValueError, match="data coco: needed voc or demo"):
        chain.run("voc-fcn8s", "coco")
