from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image

from experiments import report, training, upsampling
from fcn_data import demo
from solvers import demo as recipe
from solvers import shift_stitch
from tests import rarefied_nets as nets

WIDTH = 1 / 32


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished demo run as far as this experiment reads it: tiny scenes, a random net."""
    patch = pytest.MonkeyPatch()
    patch.setattr(recipe, "WIDTH", WIDTH)
    folder = tmp_path_factory.mktemp("finished")
    data, stage = str(folder / "data"), folder / "voc-fcn32s"
    counts = {"train": 2, "val": 1, "test": 2}
    demo.make(data, sizes=[(48, 56)], crops=21, crops_val=21, **counts)
    (folder / "settings.json").write_text(
        json.dumps({"seed": 1, "scale": 1.0, "width": str(WIDTH)})
    )
    (folder / "scores.json").write_text("{}")
    recipe.write_variant(str(stage), "voc-fcn32s", data, 1, 1.0, counts)
    case = nets.Case("voc-fcn32s", str(folder), width=WIDTH)
    (stage / "snapshot").mkdir()
    stem = str(stage / "snapshot" / "train_iter_1")
    os.replace(case.weights, stem + ".caffemodel")
    with open(stem + ".solverstate", "wb") as file:
        file.write(b"\x08\x01\x20\x00")  # iter and current_step, as far as anybody looks
    yield str(folder)
    patch.undo()


@pytest.fixture
def case(tmp_path):
    return nets.Case("small", str(tmp_path))


def test_only_the_deconvolution_of_the_learned_net_changes():
    net = nets.named("voc-fcn32s")
    learned = upsampling.with_learned(nets.named("voc-fcn32s"))
    rates = [[spec.lr_mult for spec in layer.param] for layer in learned.layer]
    changed = [layer.name for layer, old in zip(learned.layer, net.layer) if layer != old]
    assert changed == ["upscore"]
    assert rates[[layer.name for layer in learned.layer].index("upscore")] == [1]


def test_interpolation_goes_through_the_scores_at_their_places():
    """Positions 8 pixels apart from pixel 3 on: there the scores stand, between them lines."""
    scores = np.random.RandomState(0).rand(2, 4, 3).astype(np.float32)
    line = shift_stitch.Line(8, 3)
    found = shift_stitch.interpolate(shift_stitch.Map(scores, line, line), 32, 24)
    assert found.shape == (2, 32, 24)
    assert np.allclose(found[:, 3::8, 3::8], scores, atol=1e-6)
    assert np.allclose(found[:, 7, 3], (scores[:, 0, 0] + scores[:, 1, 0]) / 2, atol=1e-6)
    assert np.allclose(found[:, :3, 3], scores[:, :1, 0], atol=1e-6)
    assert np.allclose(found[:, 28:, 3], scores[:, 3:, 0], atol=1e-6)


def test_a_fixed_deconvolution_is_that_interpolation(tmp_path):
    """Away from the border: the crop offset and `places` put the scores at the same pixels."""
    import surgery

    case = nets.Case("voc-fcn32s", str(tmp_path), size=(80, 90))
    net = case.net(case.param)
    surgery.interp(net, ["upscore"])
    up = shift_stitch.forward(net, case.image, "score")
    coarse = surgery.rarefy(case.param, "score_fr", 32)
    found = shift_stitch.one_pass(
        case.net(coarse), shift_stitch.places(coarse, "score_fr"), case.image, "score_fr"
    )
    lines = shift_stitch.interpolate(found, 80, 90)
    inside = np.s_[:, 13 : 13 + 32 * (found.scores.shape[1] - 1), 13:76]
    assert np.abs(lines[inside] - up[inside]).max() < 1e-5 * np.abs(up).max()


def test_places_are_those_of_the_coordinate_maps():
    """caffe.coord_map on the net as it is written in Python, FCN-32s: 19 = 31.5 - 12.5."""
    from caffe import layers as L
    from caffe.coord_map import coord_map_from_to
    from caffe.net_spec import NetSpec

    from net_gen.trunks import TRUNKS

    n = NetSpec()
    n.data = L.Input(shape=[{"dim": [1, 3, 64, 64]}])
    trunk = TRUNKS["vgg16"](n, n.data, WIDTH)
    n.score_fr = L.Convolution(trunk.top, num_output=21, kernel_size=1)
    _, scale, shift = coord_map_from_to(n.score_fr, n.data)
    rows, columns = shift_stitch.places(n.to_proto(), "score_fr")
    assert rows == columns == (float(np.ravel(scale)[0]), float(np.ravel(shift)[0])) == (32, 12.5)


def test_shifts_by_whole_strides_move_the_scores_by_positions(case):
    """A position of the stitched map scores what lies at the pixel that it is said to lie at."""
    padded = shift_stitch.reaching(case.param, case.top)
    net, lines = case.net(padded), shift_stitch.places(padded, case.top)
    found = shift_stitch.shift_and_stitch(net, lines, case.image, case.top)
    assert found.rows.stride == 1
    before = shift_stitch.to_pixels(found, 37, 44)
    moved = np.pad(case.image, ((0, 0), (3, 0), (5, 0)))
    after = shift_stitch.to_pixels(
        shift_stitch.shift_and_stitch(net, lines, moved, case.top), 40, 49
    )
    assert np.abs(after[:, 3:, 5:] - before).max() < 1e-5 * np.abs(before).max()


def test_a_map_that_does_not_reach_over_the_image_is_refused():
    line = shift_stitch.Line(1, 0)
    small = shift_stitch.Map(np.zeros((2, 9, 12), np.float32), line, line)
    with pytest.raises(ValueError, match="9 positions from pixel 0 on .* pixels 0 to 9"):
        shift_stitch.to_pixels(small, 10, 10)
    with pytest.raises(ValueError, match="stride 8"):
        shift_stitch.to_pixels(small._replace(rows=shift_stitch.Line(8, 0)), 5, 5)


@pytest.mark.parametrize("stride", [0, 3, 5])
def test_strides_that_do_not_divide_the_nets_are_refused(case, stride):
    with pytest.raises(ValueError, match=f"stride {stride}: a divisor"):
        lines = shift_stitch.places(case.param, case.top)
        shift_stitch.shift_and_stitch(None, lines, case.image, case.top, stride)


def test_a_net_that_begins_inside_the_image_is_refused(case):
    bare = case.param
    bare.layer[1].convolution_param.pad[:] = [0]
    with pytest.raises(ValueError, match="pixels inside the image; pad the first layer"):
        shift_stitch.dense_net(bare, case.top)


def test_a_way_is_measured_in_its_own_process_and_once(finished, tmp_path, capsys):
    found = training.finished(finished)
    weights = found.weights("voc-fcn32s")
    prototxt = os.path.join(finished, "voc-fcn32s", "deploy.prototxt")
    way = upsampling.Way("a way", "score", 2, 32)
    files = upsampling.Files(prototxt, weights, [[32, 12.5], [32, 12.5]])
    first = upsampling.measure(str(tmp_path), "way", way, files, found, "cpu")
    assert len(first["seconds"]) == 2 and min(first["seconds"]) > 0
    assert 50 < first["megabytes"] < 4000
    with np.load(str(tmp_path / "way.npz")) as arrays:
        assert arrays["hists"].shape == (2, 21, 21)
        assert arrays["label0"].shape == arrays["first"].shape[1:]
    capsys.readouterr()
    assert upsampling.measure(str(tmp_path), "way", way, files, found, "cpu") == first
    assert not capsys.readouterr().out


def test_a_process_that_fails_is_named(finished, tmp_path):
    found = training.finished(finished)
    way = upsampling.Way("a way", "score", 1, 32)
    with pytest.raises(RuntimeError, match="a way: its process ended with .*nowhere.prototxt"):
        files = upsampling.Files("nowhere.prototxt", "w", [[32, 12.5], [32, 12.5]])
        upsampling.measure(str(tmp_path), "way", way, files, found, "cpu")


@pytest.mark.slow
def test_the_experiment_measures_all_ways(finished, tmp_path):
    result = upsampling.run(str(tmp_path), finished, "cpu", scenes=1, dense_scenes=1, iters=2)
    report.save(result, str(tmp_path))
    table, trained = result.tables
    rows = {row[0]: row[1:] for row in table.rows}
    assert len(rows) == 8 and len(trained.rows) == 3
    assert str(rows["shift-and-stitch"][1]) == "1,024"
    assert [str(c) for c in rows["shift-and-stitch"][4:6]] == [
        str(c) for c in rows["filter rarefaction"][4:6]
    ]
    assert rows["filter rarefaction"][2].value < rows["shift-and-stitch"][2].value
    assert "in 0 labels" in result.text[1]
    with Image.open(tmp_path / "upsampling" / "upsampling.png") as image:
        assert len(image.convert("RGB").getcolors(1 << 24)) > 100
