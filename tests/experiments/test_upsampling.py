from __future__ import annotations

import json
import os

import numpy as np
import pytest
from caffe import layers as L
from caffe.coord_map import coord_map_from_to
from caffe.net_spec import NetSpec
from PIL import Image

import surgery
from experiments import demo_run, report
from experiments.upsampling import experiment, measurement, methods
from fcn_data import demo
from net_gen.trunks import TRUNKS
from solvers import demo as recipe
from solvers import shift_stitch
from tests import rarefied_nets as nets

WIDTH = 1 / 32


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The files of a finished demo run that the experiment reads: tiny scenes, a random net."""
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
        # A SolverState with iter and current_step, the fields that are read.
        file.write(b"\x08\x01\x20\x00")
    yield str(folder)
    patch.undo()


@pytest.fixture
def case(tmp_path):
    return nets.Case("small", str(tmp_path))


def test_learned_kernels_change_only_the_deconvolution():
    net = nets.named("voc-fcn32s")
    learned = methods.with_learned_kernels(nets.named("voc-fcn32s"))
    rates = [[spec.lr_mult for spec in layer.param] for layer in learned.layer]
    changed = [layer.name for layer, old in zip(learned.layer, net.layer) if layer != old]
    assert changed == ["upscore"]
    assert rates[[layer.name for layer in learned.layer].index("upscore")] == [1]


def test_interpolation_keeps_the_scores_at_their_pixels():
    """The positions are 8 pixels apart, from pixel 3 on; between them the scores are linear."""
    scores = np.random.RandomState(0).rand(2, 4, 3).astype(np.float32)
    line = shift_stitch.Line(8, 3)
    pixels = shift_stitch.interpolate(shift_stitch.Map(scores, line, line), 32, 24)
    assert pixels.shape == (2, 32, 24)
    assert np.allclose(pixels[:, 3::8, 3::8], scores, atol=1e-6)
    assert np.allclose(pixels[:, 7, 3], (scores[:, 0, 0] + scores[:, 1, 0]) / 2, atol=1e-6)
    assert np.allclose(pixels[:, :3, 3], scores[:, :1, 0], atol=1e-6)
    assert np.allclose(pixels[:, 28:, 3], scores[:, 3:, 0], atol=1e-6)


def test_a_fixed_deconvolution_interpolates(tmp_path):
    """Away from the border: the crop offset and `places` put the scores at the same pixels."""
    case = nets.Case("voc-fcn32s", str(tmp_path), size=(80, 90))
    net = case.net(case.param)
    surgery.interp(net, ["upscore"])
    up = shift_stitch.forward(net, case.image, "score")
    coarse = surgery.rarefy(case.param, "score_fr", 32)
    positions = shift_stitch.one_pass(
        case.net(coarse), shift_stitch.places(coarse, "score_fr"), case.image, "score_fr"
    )
    pixels = shift_stitch.interpolate(positions, 80, 90)
    inside = np.s_[:, 13 : 13 + 32 * (positions.scores.shape[1] - 1), 13:76]
    assert np.abs(pixels[inside] - up[inside]).max() < 1e-5 * np.abs(up).max()


def test_places_are_those_of_the_coordinate_maps():
    """The map comes from caffe.coord_map; FCN-32s's crop offset is 19 = 31.5 - 12.5."""
    n = NetSpec()
    n.data = L.Input(shape=[{"dim": [1, 3, 64, 64]}])
    trunk = TRUNKS["vgg16"](n, n.data, WIDTH)
    n.score_fr = L.Convolution(trunk.top, num_output=21, kernel_size=1)
    _, scale, shift = coord_map_from_to(n.score_fr, n.data)
    rows, columns = shift_stitch.places(n.to_proto(), "score_fr")
    assert rows == columns == (float(np.ravel(scale)[0]), float(np.ravel(shift)[0])) == (32, 12.5)


def test_a_shifted_image_has_shifted_scores(case):
    """Each score of the stitched map belongs to the pixel at which the map puts the score."""
    padded = shift_stitch.reaching(case.param, case.top)
    net, lines = case.net(padded), shift_stitch.places(padded, case.top)
    stitched = shift_stitch.shift_and_stitch(net, lines, case.image, case.top)
    assert stitched.rows.stride == 1
    before = shift_stitch.to_pixels(stitched, 37, 44)
    shifted = np.pad(case.image, ((0, 0), (3, 0), (5, 0)))
    after = shift_stitch.to_pixels(
        shift_stitch.shift_and_stitch(net, lines, shifted, case.top), 40, 49
    )
    assert np.abs(after[:, 3:, 5:] - before).max() < 1e-5 * np.abs(before).max()


def test_a_map_that_does_not_cover_the_image_is_refused():
    line = shift_stitch.Line(1, 0)
    small = shift_stitch.Map(np.zeros((2, 9, 12), np.float32), line, line)
    with pytest.raises(ValueError, match="9 positions from pixel 0 on .* pixels 0 to 9"):
        shift_stitch.to_pixels(small, 10, 10)
    with pytest.raises(ValueError, match="stride 8"):
        shift_stitch.to_pixels(small._replace(rows=shift_stitch.Line(8, 0)), 5, 5)


@pytest.mark.parametrize("stride", [0, 3, 5])
def test_a_stride_that_does_not_divide_the_nets_stride_is_refused(case, stride):
    with pytest.raises(ValueError, match=f"stride {stride}: a divisor"):
        lines = shift_stitch.places(case.param, case.top)
        shift_stitch.shift_and_stitch(None, lines, case.image, case.top, stride)


def test_a_net_whose_scores_begin_inside_the_image_is_refused(case):
    bare = case.param
    bare.layer[1].convolution_param.pad[:] = [0]
    with pytest.raises(ValueError, match="pixels inside the image; pad the first layer"):
        shift_stitch.dense_net(bare, case.top)


@pytest.mark.long
def test_a_method_is_measured_once_in_a_new_process(finished, tmp_path, capsys):
    demo_net = demo_run.open_demo(finished)
    weights = demo_net.weights("voc-fcn32s")
    prototxt = os.path.join(finished, "voc-fcn32s", "deploy.prototxt")
    method = methods.Method("a way", "score", 2, 32)
    files = methods.Files(prototxt, weights, [[32, 12.5], [32, 12.5]])
    first = measurement.measure(str(tmp_path), "way", method, files, demo_net, "cpu")
    assert len(first["seconds"]) == 2 and min(first["seconds"]) > 0
    assert 50 < first["megabytes"] < 4000
    with np.load(str(tmp_path / "way.npz")) as arrays:
        assert arrays["hists"].shape == (2, 21, 21)
        assert arrays["label0"].shape == arrays["first"].shape[1:]
    capsys.readouterr()
    assert measurement.measure(str(tmp_path), "way", method, files, demo_net, "cpu") == first
    assert not capsys.readouterr().out


@pytest.mark.long
def test_the_error_of_a_failed_process_names_the_method(finished, tmp_path):
    demo_net = demo_run.open_demo(finished)
    method = methods.Method("a way", "score", 1, 32)
    with pytest.raises(RuntimeError, match="a way: its process ended with .*nowhere.prototxt"):
        files = methods.Files("nowhere.prototxt", "w", [[32, 12.5], [32, 12.5]])
        measurement.measure(str(tmp_path), "way", method, files, demo_net, "cpu")


@pytest.mark.slow
def test_the_experiment_measures_all_methods(finished, tmp_path):
    result = experiment.run(str(tmp_path), finished, "cpu", scenes=1, dense_scenes=1, iters=2)
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
