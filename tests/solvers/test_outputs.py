"""Nets that end otherwise than in scores of the picture's size: what infer makes of their blobs."""

import json
import os

import caffe
import numpy as np
import pytest
from PIL import Image

from solvers import infer, outputs
from solvers.interface import Settings
from solvers.outputs import Head
from solvers.run_record import Output
from tests.solvers import tiny_nets
from tests.solvers.tiny_nets import colour_picture, colour_scores, convolution, layer


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(colour_picture()[0]).save(tmp_path / "a.png")
    return str(tmp_path / "a.png")


def segment(photo, net, **options):
    """The label maps that infer writes for a photograph, by the name of the file."""
    out = os.path.join(os.path.dirname(photo), "out")
    shares = infer.run(photo, *net, out=out, gpu="cpu", **options)
    names = [name for name in sorted(os.listdir(out)) if name.endswith("_labels.png")]
    return {name: np.asarray(Image.open(os.path.join(out, name))) for name in names}, shares


ARGMAX = layer("ArgMax", "raw", "argmax", "argmax_param { axis: 1 }")
SOFTMAX = layer("Softmax", "raw", "prob")


@pytest.mark.parametrize("end", ["", ARGMAX, SOFTMAX], ids=["scores", "ArgMax", "Softmax"])
def test_scores_indices_and_probabilities_give_the_same_label_map(tmp_path, photo, end):
    net = tiny_nets.write(tmp_path, convolution("raw", 3) + end, {"raw": colour_scores()})
    maps, shares = segment(photo, net)
    assert np.array_equal(maps["a_labels.png"], colour_picture()[1])
    assert list(shares) == ["class 0", "class 1", "class 2"]


@pytest.mark.parametrize("end", ["", layer("Sigmoid", "edge", "prob")], ids=["logit", "sigmoid"])
def test_one_channel_gives_two_classes(tmp_path, photo, capsys, end):
    kernel = np.zeros((1, 3, 1, 1), np.float32)
    kernel[0, 2] = 1
    net = tiny_nets.write(tmp_path, convolution("edge", 1) + end, {"edge": [kernel, [-30.0]]})
    maps, shares = segment(photo, net)
    assert np.array_equal(maps["a_labels.png"], colour_picture()[1] == 1)
    assert list(shares) == ["class 0", "class 1"]
    assert ("edge above 0 is class 1" in capsys.readouterr().out) == (not end)


def test_every_head_of_a_net_has_a_label_map_an_overlay_and_a_table(tmp_path, photo, capsys):
    heads = convolution("score_sem", 3) + convolution("score_geo", 3)
    net = tiny_nets.write(tmp_path, heads, {"score_sem": colour_scores()})
    maps, _ = segment(photo, net)
    assert np.array_equal(maps["a_sem_labels.png"], colour_picture()[1])
    assert not maps["a_geo_labels.png"].any()
    assert sorted(os.listdir(tmp_path / "out")) == [
        f"a_{head}_{kind}.png" for head in ("geo", "sem") for kind in ("labels", "overlay")
    ]
    lines = capsys.readouterr().out.splitlines()
    assert lines.index("sem:") < lines.index("geo:")


def test_a_small_map_is_enlarged_to_the_places_of_its_positions(tmp_path, photo, capsys):
    pooling = layer(
        "Pooling", "raw", "score", "pooling_param { pool: AVE kernel_size: 8 stride: 8 }"
    )
    net = tiny_nets.write(tmp_path, convolution("raw", 3) + pooling, {"raw": colour_scores()})
    maps, _ = segment(photo, net)
    assert maps["a_labels.png"].shape == (60, 90)
    assert (maps["a_labels.png"] == colour_picture()[1]).mean() > 0.9
    assert "score is 12 x 8 for 90 x 60 pixels: resized bilinearly" in capsys.readouterr().out


def test_a_linear_score_is_unchanged_by_a_stride(tmp_path):
    """A ramp that is averaged over 4 pixels and interpolated is the ramp again."""
    pooling = layer(
        "Pooling", "raw", "score", "pooling_param { pool: AVE kernel_size: 4 stride: 4 }"
    )
    kernel = np.zeros((2, 3, 1, 1), np.float32)
    kernel[1, 0] = 1
    net = tiny_nets.write(tmp_path, convolution("raw", 2) + pooling, {"raw": [kernel]})
    opened = infer.open_segmenter(
        net=net[0],
        weights=net[1],
        gpu="cpu",
        values="scores",
        say=str,
        settings=Settings((0, 0, 0)),
    )
    ramp = np.repeat(np.arange(40, dtype=np.uint8)[None, :, None], 3, 2).repeat(8, 0)
    stored = np.empty((2, 8, 40), np.float32)
    opened.segment(ramp, lambda head, shape: stored)
    assert np.allclose(stored[1, :, 2:38], np.arange(2, 38), atol=1e-4)


def test_a_net_of_300_classes_gives_a_label_map_of_16_bits(tmp_path, photo):
    net = tiny_nets.write(tmp_path, convolution("score", 300), {"score": [0, np.arange(300.0)]})
    maps, shares = segment(photo, net)
    assert maps["a_labels.png"].dtype.itemsize > 1 and (maps["a_labels.png"] == 299).all()
    assert shares == {"class 299": 1.0}


def test_a_net_of_more_classes_than_16_bits_hold_is_refused(tmp_path, photo):
    net = tiny_nets.write(tmp_path, convolution("score", 65537))
    with pytest.raises(ValueError, match="score: has 65537 classes, label maps hold up to 65536"):
        segment(photo, net)


def test_a_net_without_a_map_is_refused(tmp_path, photo):
    flat = 'layer { name: "f" type: "Flatten" bottom: "raw" top: "flat" }'
    net = tiny_nets.write(tmp_path, convolution("raw", 3) + flat)
    with pytest.raises(ValueError, match=r"outputs are flat \(1, 192\): needed a map"):
        segment(photo, net)


def test_an_argmax_layer_without_an_axis_is_refused(tmp_path, photo):
    loose = layer("ArgMax", "raw", "m", "argmax_param { axis: 1 out_max_val: true }")
    net = tiny_nets.write(tmp_path, convolution("raw", 3) + loose)
    with pytest.raises(ValueError, match=r"layer m \(ArgMax\): gives no map of class indices"):
        segment(photo, net)


def test_values_that_are_not_finite_are_reported(tmp_path, photo, capsys):
    net = tiny_nets.write(tmp_path, convolution("score", 3), {"score": [0, [np.nan, 0, 0]]})
    segment(photo, net)
    assert "warning: score is not finite at 100.0 % of the pixels" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["scores", "probabilities"])
def test_the_values_of_every_class_are_written_on_request(tmp_path, photo, kind):
    net = tiny_nets.write(tmp_path, convolution("score", 3), {"score": colour_scores()})
    maps, _ = segment(photo, net, values=kind)
    values = np.load(tmp_path / "out" / f"a_{kind}.npy")
    assert values.shape == (3, 60, 90) and values.dtype == np.float32
    assert np.array_equal(values.argmax(0), maps["a_labels.png"])
    if kind == "probabilities":
        assert np.allclose(values.sum(0), 1) and values.min() >= 0
    else:
        loaded = caffe.Net(*net, caffe.TEST)
        pixels = np.asarray(Image.open(photo))[:, :, ::-1] - np.array(infer.MEAN)
        loaded.blobs["data"].reshape(1, 3, 60, 90)
        loaded.blobs["data"].data[0] = pixels.transpose(2, 0, 1)
        loaded.forward()
        assert np.array_equal(values, loaded.blobs["score"].data[0])


def test_one_channel_has_the_probabilities_of_two_classes():
    output = Output("edge", "logit", ("no", "yes"), ((0, 0, 0), (1, 1, 1)))
    values = outputs.probabilities(output, np.array([[[0.0, np.log(3)]]], np.float32))
    assert np.allclose(values, [[[0.5, 0.25]], [[0.5, 0.75]]])
    sigmoid = output._replace(meaning="sigmoid")
    assert np.allclose(outputs.probabilities(sigmoid, np.array([[[0.2]]]))[:, 0, 0], [0.8, 0.2])


def test_probabilities_of_class_indices_are_refused(tmp_path, photo):
    net = tiny_nets.write(tmp_path, convolution("raw", 3) + ARGMAX, {"raw": colour_scores()})
    with pytest.raises(ValueError, match="blob argmax: has class indices, which have no probabil"):
        segment(photo, net, values="probabilities")


def test_an_index_that_is_not_a_class_is_refused():
    output = Output("argmax", "labels", ("no", "yes"), ((0, 0, 0), (1, 1, 1)))
    with pytest.raises(ValueError, match=r"blob argmax: has the index 7, needs 0\.\.1"):
        outputs.label_map(output, iter([np.array([[0.0, 7.0]])]))


def test_a_map_without_places_is_stretched_over_the_picture():
    head = Head(Output("score", "scores", ("a", "b"), ((0, 0, 0), (1, 1, 1))), None)
    (plane,) = outputs.planes(head, np.array([[[0.0, 4.0]]], np.float32), 1, 8)
    assert np.allclose(plane[0], [0, 0, 0.5, 1.5, 2.5, 3.5, 4, 4])


def test_a_line_of_json_says_what_a_photograph_became(tmp_path, photo, capsys):
    net = tiny_nets.write(tmp_path, convolution("score", 3), {"score": colour_scores()})
    arguments = ["--net", net[0], "--weights", net[1], "--gpu", "cpu", "--json"]
    infer.main([photo, *arguments, "--out", str(tmp_path / "out"), "--classes", "dark,red,blue"])
    (line,) = capsys.readouterr().out.splitlines()
    values = json.loads(line)
    assert (values["file"], values["width"], values["height"]) == (photo, 90, 60)
    (output,) = values["outputs"]
    assert output["name"] == "score"
    labels = colour_picture()[1]
    shares = {row["name"]: row["share"] for row in output["classes"]}
    assert shares == {
        n: pytest.approx((labels == k).mean()) for k, n in enumerate(["dark", "red", "blue"])
    }
    assert values["seconds"] > 0 and all(os.path.isfile(path) for path in values["files"])
    assert {os.path.basename(path) for path in values["files"]} == {
        "a_labels.png",
        "a_overlay.png",
    }
