from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image

import net_gen
from experiments import demo_run, report
from experiments.casting import experiment, heat_maps, pairs, settings, timing
from fcn_common.voc import CLASSES
from fcn_data import demo
from surgery import save

WIDTH = 1 / 16
SIDE = 96


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The files of a finished demo run that the experiment reads: two scenes, a random net."""
    folder = tmp_path_factory.mktemp("finished")
    demo.make(str(folder / "data"), train=1, val=1, test=2, crops=21, crops_val=21)
    voc = folder / "data" / "pascal" / "VOC2011"
    for name in ("classifier/snapshot", "voc-fcn32s"):
        (folder / name).mkdir(parents=True)
    (folder / "settings.json").write_text(json.dumps({"seed": 1, "scale": 1.0, "width": "1/16"}))
    (folder / "scores.json").write_text("{}")
    test = net_gen.fcn("voc-fcn32s", "val", width=WIDTH, voc_dir=str(voc), val_split="test")
    net_gen.write(test, str(folder / "voc-fcn32s" / "test.prototxt"))
    classifier = net_gen.vgg16("deploy", len(CLASSES), WIDTH, size=SIDE)
    net_gen.write(classifier, str(folder / "classifier" / "deploy.prototxt"))
    pair = pairs.cast_pair("any", classifier)
    stem = str(folder / "classifier" / "snapshot" / "train_iter_1")
    save(pair.net, stem + ".caffemodel")
    # A SolverState with iter and current_step, the fields that are read.
    state = b"\x08\x01\x20\x00"
    with open(stem + ".solverstate", "wb") as file:
        file.write(state)
    return str(folder)


@pytest.fixture(scope="module")
def demo_net(finished):
    return experiment.demo_pair(demo_run.open_demo(finished))


@pytest.mark.long
def test_a_heat_map_lies_around_the_centres_of_its_outputs(demo_net):
    """A bright patch changes only the scores of outputs around the patch."""
    image = np.full((SIDE * 3, SIDE * 4, 3), 120, np.uint8)
    before = heat_maps.heat_map(demo_net, image, 1.0)
    y, x = before.centres
    assert (len(y), len(x)) == before.scores.shape[1:]
    row, column = 3, 5
    image[round(y[row]) - 3 : round(y[row]) + 4, round(x[column]) - 3 : round(x[column]) + 4] = 255
    change = np.abs(heat_maps.heat_map(demo_net, image, 1.0).scores - before.scores).max(0)
    rows, columns = np.nonzero(change > 1e-4 * change.max())
    reach = demo_net.view.field / 2
    assert change[row, column] > 0
    assert (
        np.abs(y[rows] - y[row]).max() <= reach + 3
        and np.abs(x[columns] - x[column]).max() <= reach + 3
    )
    left, right, bottom, top = before.extent()
    assert right - left == pytest.approx(32 * len(x)) and bottom - top == pytest.approx(32 * len(y))
    assert left == x[0] - 16 and top == y[0] - 16


@pytest.mark.parametrize("factor", [1.0, 1.5, 2.0])
def test_outputs_of_a_resized_image_have_centres_on_the_original_image(demo_net, factor):
    image = np.zeros((2 * SIDE, 2 * SIDE, 3), np.uint8)
    y, _ = heat_maps.heat_map(demo_net, image, factor).centres
    assert np.allclose(np.diff(y), 32 / factor)
    assert (y[0] + 0.5) * factor - 0.5 == pytest.approx(demo_net.view.centre)


def test_the_truth_of_an_output_is_the_label_at_its_centre():
    label = np.arange(20, dtype=np.uint8).reshape(4, 5)
    centres = np.array([0.9, 3.4]), np.array([0.2, 2.0, 6.0])
    heat = heat_maps.HeatMap(np.zeros((1, 2, 3)), centres, 1.0)
    assert heat.truth(label).tolist() == [[5, 7, 255], [15, 17, 255]]


def test_the_share_of_larger_scores_counts_pairs():
    assert heat_maps.share_above(np.array([1.0, 3.0]), np.array([0.0, 2.0])) == 0.75
    assert np.isnan(heat_maps.share_above(np.array([]), np.array([1.0])))


def test_a_net_that_scores_the_truth_is_accurate(monkeypatch):
    """With scores from the label, the numbers of the table follow from the label."""
    label = np.zeros((8, 8), np.uint8)
    label[:4, :4], label[4:, 4:] = 3, 255
    image = np.stack([label] * 3, 2)
    centres = np.arange(8.0)

    def heat_map(pair, image, factor):
        scores = np.stack([(image[:, :, 0] == k).astype(float) for k in range(5)])
        return heat_maps.HeatMap(scores, (centres, centres), 0.5)

    monkeypatch.setattr(heat_maps, "heat_map", heat_map)
    accuracies = heat_maps.measure_accuracy(None, [(image, label)])
    assert [a.factor for a in accuracies] == list(settings.SIZES)
    assert accuracies[0][1:] == (64, 1.0, 0.25, 1.0, 1.0)


@pytest.mark.long
def test_passes_are_timed_with_their_work_in_a_process_with_one_thread(monkeypatch):
    (time,) = timing.time_nets(["caffenet"], "cpu", WIDTH)
    assert (time.net, time.extent) == ("CaffeNet", 227 + 9 * 32)
    assert 0 < time.grid < time.crops and time.crops == pytest.approx(10 * time.batch)
    assert 5 < time.crops_work / time.grid_work < 20
    monkeypatch.setattr(timing.sys, "executable", "false")
    with pytest.raises(ValueError, match="timing caffenet: the process ended with 1"):
        timing.time_nets(["caffenet"], "cpu", WIDTH)


@pytest.mark.long
def test_the_experiment_proves_draws_and_times(finished, tmp_path, monkeypatch):
    time = timing.Time("AlexNet", 515, 0.5, 0.2, 10, 80)
    monkeypatch.setattr(settings, "WIDTH", WIDTH)
    monkeypatch.setattr(settings, "NETS", ("caffenet",))
    monkeypatch.setattr(settings, "SIZES", (1.0, 1.5))
    monkeypatch.setattr(experiment, "time_nets", lambda names, gpu: [time])
    result = experiment.run(str(tmp_path), finished, "cpu")
    report.save(result, str(tmp_path))
    equal, padded, accuracy, times = result.tables
    assert [row[:2] for row in equal.rows] == [
        ["CaffeNet", "random"],
        ["the demo's VGG16", "trained"],
    ]
    for row in equal.rows:
        assert all(row[i].value <= 1e-5 for i in (3, 5, 6, 7))
    assert all(row[5].value > 0.1 for row in padded.rows)
    assert [row[0].value for row in accuracy.rows] == [1.0, 1.5]
    assert [str(cell) for cell in times.rows[0]] == [
        "AlexNet",
        "515",
        "500",
        "20.0",
        "2,000",
        "4.0",
        "8.0",
    ]
    assert [str(cell) for cell in times.rows[1]][5] == "5.5"
    for figure in result.figures:
        with Image.open(os.path.join(tmp_path, "casting", figure.file)) as image:
            assert image.width > 400 and image.height > 100
            assert len(image.convert("RGB").getcolors(1 << 24)) > 100
    assert "these weights are not on this machine" in " ".join(result.text).lower()


@pytest.mark.long
def test_published_nets_on_this_machine_see_the_photograph(finished, tmp_path, monkeypatch):
    pair = pairs.published_pair("caffenet", WIDTH, classes=30)
    path = tmp_path / "bvlc_reference_caffenet.caffemodel"
    save(pair.net, str(path))
    monkeypatch.setattr(pairs, "published_weights", lambda name: str(path))
    monkeypatch.setitem(net_gen.CLASSIFIERS, "caffenet", lambda split, width: pair.classifier)
    monkeypatch.setattr(settings, "NETS", ("caffenet",))
    monkeypatch.setattr(settings, "SIZES", (1.0,))
    monkeypatch.setattr(experiment, "time_nets", lambda names, gpu: [])
    figures = []
    monkeypatch.setattr(experiment, "draw_heat_maps", lambda rows, path: figures.append(rows))
    result = experiment.run(str(tmp_path), finished, "cpu")
    scenes, photos = figures
    assert len(scenes) == 2 and [row.mask is None for row in photos] == [True, True]
    scores = heat_maps.heat_map(pair, experiment.photograph(), 1.0).scores
    middle = scores[:, scores.shape[1] // 2, scores.shape[2] // 2].argmax()
    assert photos[1].name == f"class {middle}, CaffeNet"
    assert result.tables[0].rows[0][1] == "published"
    assert "published nets see a photograph" in " ".join(result.text)


def test_scikit_image_contains_the_photograph():
    assert experiment.photograph().shape == (300, 451, 3)
