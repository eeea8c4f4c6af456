from __future__ import annotations

import functools
import json
import os
import re

import numpy as np
import pytest

import net_gen
import surgery
from fcn_data import published
from solvers import chain, snapshots, stage
from solvers.folders import ROOT
from tests import tiny


def test_the_stages_up_to_a_variant_come_in_order():
    assert chain.stages("voc-fcn32s") == ["voc-fcn32s"]
    assert chain.stages("voc-fcn8s") == ["voc-fcn32s", "voc-fcn16s", "voc-fcn8s"]
    assert chain.stages("voc-fcn8s-atonce") == ["voc-fcn8s-atonce"]
    assert chain.stages("nyud-fcn32s-color-hha") == [
        *("nyud-fcn32s-color", "nyud-fcn32s-hha", "nyud-fcn32s-color-hha")
    ]
    assert chain.stages("voc-fcn-googlenet16s") == ["voc-fcn-googlenet", "voc-fcn-googlenet16s"]


@pytest.fixture
def house(tmp_path, monkeypatch):
    """The chain in another folder, with thin nets and small pictures."""
    for name in ("NETS", "DEMO_DATA", "DEMO_RUNS"):
        inside = os.path.relpath(getattr(chain, name), chain.ROOT)
        monkeypatch.setattr(chain, name, str(tmp_path / inside))
    for name, value in (("DEMO_SCALE", 0.2), ("WIDTH", tiny.WIDTH), ("DEMO_TRAIN", 3)):
        monkeypatch.setattr(chain, name, value)
    monkeypatch.setattr(chain, "ROOT", str(tmp_path))
    return tmp_path


def test_the_demo_chain_trains_a_net_in_an_empty_folder(house, capsys, monkeypatch):
    chain.run("voc-fcn16s", "demo", iters=1, gpu="cpu")
    out, err = capsys.readouterr()
    assert "start from RANDOM weights" in err
    assert "voc-fcn16s is trained" in out and "peak memory" in out
    for name in ("voc-fcn32s", "voc-fcn16s"):
        folder = os.path.join(chain.DEMO_RUNS, name, "snapshot")
        assert [s.iteration for s in snapshots.complete(os.path.join(folder, "train"))] == [1]
        assert snapshots.read_records(folder)[1]["images"] == chain.DEMO_VAL
    assert sorted(os.listdir(house)) == ["data", "runs"], (
        "nothing is written to the folders of the published nets"
    )

    monkeypatch.setattr(stage, "make_solver", None)
    chain.run("voc-fcn16s", "demo", iters=1, gpu="cpu")
    assert "done already" in capsys.readouterr().out


@pytest.mark.parametrize(
    "variant, base",
    [
        ("voc-fcn8s-atonce", "vgg16-fcn"),
        ("voc-fcn-alexnet", "caffenet-fcn"),
        pytest.param("voc-fcn-googlenet16s", "googlenet-fcn", marks=pytest.mark.long),
    ],
)
def test_the_demo_chain_runs_with_every_trunk(house, capsys, variant, base):
    chain.run(variant, "demo", iters=1, images=1, gpu="cpu")
    out, err = capsys.readouterr()
    weights = surgery.BASES[net_gen.VARIANTS[variant].trunk].weights
    assert f"{weights} is not there, so the nets start from RANDOM weights" in err
    assert f"{variant} is trained" in out
    assert sorted(os.listdir(chain.DEMO_RUNS)) == sorted(
        {f"{base}.caffemodel", f"{base[:-4]}.prototxt", *chain.stages(variant)}
        | {surgery.BASES[net_gen.VARIANTS[variant].trunk].variant}
    )


def test_both_heads_of_sift_flow_are_scored(house, capsys):
    chain.run("siftflow-fcn32s", "demo", iters=1, gpu="cpu")
    out = capsys.readouterr().out
    assert "4 images (sem): loss" in out and "4 images (geo): loss" in out
    folder = os.path.join(chain.DEMO_RUNS, "siftflow-fcn32s", "snapshot")
    (record,) = snapshots.read_records(folder).values()
    assert (len(record["iu"]), len(record["geo"]["iu"])) == (33, 3)
    assert record["loss"] != record["geo"]["loss"] and record["geo"]["images"] == 4


@pytest.mark.long
def test_late_fusion_starts_from_both_trained_parents(house):
    chain.run("nyud-fcn32s-color-hha", "demo", iters=1, images=1, gpu="cpu")
    blobs = {}
    for name in ("nyud-fcn32s-color", "nyud-fcn32s-hha", "nyud-fcn32s-color-hha"):
        blobs[name] = os.path.join(chain.DEMO_RUNS, name, "snapshot", "train_iter_1.caffemodel")
    for suffix in ("color", "hha"):
        parent = surgery.read_blobs(blobs[f"nyud-fcn32s-{suffix}"], "conv3_2")[0]
        child = surgery.read_blobs(blobs["nyud-fcn32s-color-hha"], f"conv3_2{suffix}")[0]
        np.testing.assert_allclose(child, parent, rtol=1e-3, atol=1e-6)
        assert np.abs(parent).max() > 0.01


def test_early_fusion_reads_depth_with_the_mean_of_the_colours_weights(house):
    chain.run("nyud-fcn32s-color-d", "demo", iters=1, images=1, gpu="cpu")
    trained = os.path.join(chain.DEMO_RUNS, "nyud-fcn32s-color-d/snapshot/train_iter_1.caffemodel")
    weights, _ = surgery.read_blobs(trained, "conv1_1_bgrd")
    base = os.path.join(chain.DEMO_RUNS, "vgg16-fcn.caffemodel")
    old, _ = surgery.read_blobs(base, "conv1_1")
    assert weights.shape[1] == 4
    np.testing.assert_allclose(weights[:, :3], old, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(weights[:, 3], old.mean(1), rtol=1e-3, atol=1e-6)


@pytest.mark.long
def test_pascal_context_trains_through_its_stages(house, capsys):
    chain.run("pascalcontext-fcn16s", "demo", iters=1, images=1, gpu="cpu")
    assert "pascalcontext-fcn16s is trained" in capsys.readouterr().out
    assert "score_fr" not in surgery.contents(os.path.join(chain.DEMO_RUNS, "vgg16-fcn.caffemodel"))


@pytest.mark.parametrize("trunk", surgery.BASES)
def test_the_demo_chain_starts_from_a_cast_classifier_if_there_is_one(house, capsys, trunk):
    cast = chain.paths(trunk)[1]
    os.makedirs(os.path.dirname(cast))
    open(cast, "w").close()
    assert chain.demo_base(trunk) == cast
    assert "RANDOM" not in capsys.readouterr().err


def test_a_fetched_classifier_is_cast(house, monkeypatch):
    thin = functools.partial(net_gen.googlenet, width=tiny.WIDTH)
    monkeypatch.setitem(net_gen.CLASSIFIERS, "googlenet", thin)
    weights, out = chain.paths("googlenet")
    os.makedirs(chain.NETS)
    prototxt = str(house / "made.prototxt")
    net_gen.write(chain.with_fillers(thin("deploy"), "msra"), prototxt)
    chain.random_weights(prototxt, weights)
    deploy = house / "voc-fcn-googlenet" / "deploy.prototxt"
    net_gen.write(net_gen.fcn("voc-fcn-googlenet", "deploy", width=tiny.WIDTH), deploy)
    assert chain.cast_base("googlenet") == out
    cast, original = surgery.contents(out), surgery.contents(weights)
    assert cast["inception_5b/3x3"] == original["inception_5b/3x3"]


@pytest.mark.parametrize("variant", net_gen.VARIANTS)
def test_solve_py_starts_from_the_stage_before_or_the_cast_classifier(variant):
    with open(os.path.join(ROOT, variant, "solve.py")) as file:
        text = file.read()
    if net_gen.VARIANTS[variant].branches[0].init:
        parents = {"color": "../nyud-fcn32s-color", "hha": "../nyud-fcn32s-hha"}
        assert f"stage.start_from_each({json.dumps(parents)})" in text
        return
    weights = re.search(r'stage\.start_from\("(.*?)"(, {.*})?\)$', text, re.M).group(1)
    init = net_gen.VARIANTS[variant].init
    cast = os.path.relpath(chain.paths(net_gen.VARIANTS[variant].trunk)[1], chain.ROOT)
    assert weights == f"../{init or cast}"


@pytest.mark.parametrize(
    "variant, base",
    [
        ("voc-fcn8s", "vgg16"),
        ("voc-fcn8s-atonce", "vgg16"),
        ("voc-fcn-alexnet", "caffenet"),
        ("voc-fcn-googlenet8s", "googlenet"),
    ],
)
def test_all_missing_files_are_fetched_together(house, monkeypatch, variant, base):
    requests = []

    def fetch(*names):
        requests.append(names)
        raise OSError("4 files are missing")

    monkeypatch.setattr(published, "fetch", fetch)
    with pytest.raises(OSError, match="4 files are missing"):
        chain.run(variant, gpu="cpu")
    assert requests == [("sbd", "voc2011", "seg11valid", base)]


def test_an_unknown_data_set_is_refused():
    with pytest.raises(ValueError, match="data coco: needed voc or demo for voc-fcn8s"):
        chain.run("voc-fcn8s", "coco")
