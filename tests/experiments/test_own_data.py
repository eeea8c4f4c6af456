"""The sets of the own-data experiment have the same values, and the experiment notices others."""

import os

import numpy as np
import pytest

from experiments.own_data import comparison
from experiments.own_data.__main__ import run
from experiments.own_data.comparison import Outcome, differences
from experiments.own_data.scenes import NAMES, draw_scene
from experiments.own_data.sets import SETS, SetForm, flat
from fcn_data.folders import Folder, open_folder
from fcn_data.readers import read_channels
from solvers.check import check_set

CHANNELS = {"colour pictures": 3, "grey pictures": 1, "four channels": 4}
IDS = [f"scene {k}" for k in range(3)]


@pytest.mark.parametrize("group", SETS)
def test_every_set_of_a_group_has_the_same_pixels_labels_and_split(tmp_path, group):
    scenes = {idx: draw_scene(k, 0.2) for k, idx in enumerate(IDS)}
    splits = Folder("", "", dict.fromkeys(IDS, ("", "")), {}).with_splits(1).splits
    first = None
    for name, form in SETS[group].items():
        root = str(tmp_path / name)
        form.write(root, scenes, splits)
        labels = ",".join(NAMES)
        checked = check_set(root, labels, channels=CHANNELS[group])
        assert not checked.report.errors
        folder = open_folder(root).with_splits(1)
        values = {}
        for split, ids in folder.splits.items():
            for idx in ids:
                picture, label = folder.files[idx]
                stem = os.path.basename(idx)
                assert stem in splits[split]
                values[stem] = read_channels(picture, CHANNELS[group])
                assert np.array_equal(checked.coding.read(label), scenes[stem].labels)
        first = first or values
        for stem in IDS:
            assert np.allclose(values[stem], first[stem], atol=0 if form.exact else 1e-3), name


METRICS = dict.fromkeys(comparison.METRICS, 0.5)
OTHER = {**METRICS, "mean_iu": 0.25}


@pytest.mark.parametrize(
    "second, line",
    [
        (Outcome("two folders", METRICS, METRICS, METRICS, 1.0), None),
        (Outcome("two folders", METRICS, METRICS, METRICS, 0.999), "differs from side by side"),
        (Outcome("two folders", OTHER, OTHER, OTHER, 1.0), "differs from side by side"),
        (Outcome("two folders", METRICS, METRICS, OTHER, 1.0), "training, score and compare"),
    ],
)
def test_a_set_that_differs_is_named(second, line):
    first = Outcome("side by side", METRICS, METRICS, METRICS, 1.0)
    lines = differences("colour pictures", [first, second])
    assert len(lines) == (line is not None)
    assert all(line in text for text in lines)


@pytest.mark.slow
def test_two_layouts_give_the_same_maps_and_scores(tmp_path, monkeypatch, capsys):
    group = {"side by side": SetForm(flat), "VOC": SETS["colour pictures"]["VOC"]}
    monkeypatch.setitem(SETS, "colour pictures", group)
    run(str(tmp_path), iters=3, only="colour pictures", gpu="cpu")
    assert "every set of a group gives the same scores" in capsys.readouterr().out
