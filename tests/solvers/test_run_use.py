"""Inference, scoring and comparison obey the run: mean, channels, scale, size, classes, outputs."""

import json
import os

import numpy as np
import pytest
from PIL import Image

import net_gen
from fcn_common import voc
from fcn_common.files import write_text
from solvers import available, chain, compare, infer, score, snapshots, train
from solvers.interface import Settings, interface_of
from solvers.run_record import Output, RunRecord, write_run
from tests.fcn_data import own_folders
from tests.solvers import test_snapshots, tiny_nets
from tests.solvers.tiny_nets import colour_picture, convolution, layer

BLACK, RED = (0, 0, 0), (200, 40, 40)
RECORD = RunRecord(
    variant="voc-fcn32s",
    stages=("fcn32s",),
    stride=32,
    width="1",
    channels=3,
    order="BGR",
    mean=(0.0, 0.0, 0.0),
    scale=1.0,
    outputs=(Output("score", "scores", ("dark", "bright"), (BLACK, RED)),),
)


def write_net(folder, record, layers, weights, channels=3):
    """Write a run with one stage, whose snapshot has `weights`."""
    stage = os.path.join(str(folder), record.stages[0])
    _, model = tiny_nets.write(stage, layers, weights, channels)
    snapshot = os.path.join(stage, "snapshot", "train_iter_1")
    os.makedirs(os.path.dirname(snapshot))
    os.rename(model, snapshot + ".caffemodel")
    with open(snapshot + ".solverstate", "wb") as file:
        file.write(test_snapshots.STATE)
    write_run(str(folder), record)
    return str(folder)


def bright(channel=2, threshold=150.0):
    """Weights of two scores: class 1 where a channel is over a threshold."""
    kernel = np.zeros((2, 3, 1, 1), np.float32)
    kernel[1, channel] = 1
    return {"score": [kernel, [0.0, -threshold]]}


@pytest.fixture
def photo(tmp_path):
    path = str(tmp_path / "a.png")
    Image.fromarray(colour_picture()[0]).save(path)
    return path


def label_of(photo, **options):
    out = os.path.join(os.path.dirname(photo), "out")
    shares = infer.run(photo, out=out, gpu="cpu", **options)
    return np.asarray(Image.open(os.path.join(out, "a_labels.png"))), shares


def test_the_mean_and_the_classes_are_those_of_the_run(tmp_path, photo, capsys):
    run = write_net(tmp_path / "run", RECORD, convolution("score", 2), bright())
    label, shares = label_of(photo, run=run)
    assert np.array_equal(label, colour_picture()[1] == 1)
    assert set(shares) == {"dark", "bright"}
    image = Image.open(tmp_path / "out" / "a_labels.png")
    assert image.getpalette()[:6] == [*BLACK, *RED]
    assert "warning" not in capsys.readouterr().out


def test_the_scale_of_the_run_is_applied(tmp_path, photo):
    weights = bright(threshold=150 / 255)
    record = RECORD._replace(scale=1 / 255)
    run = write_net(tmp_path / "run", record, convolution("score", 2), weights)
    assert np.array_equal(label_of(photo, run=run)[0], colour_picture()[1] == 1)


@pytest.mark.parametrize("long_side, shape", [(0, (60, 90)), (45, (30, 45))])
def test_a_picture_is_reduced_only_if_the_run_says_so(tmp_path, photo, long_side, shape):
    record = RECORD._replace(long_side=long_side)
    run = write_net(tmp_path / "run", record, convolution("score", 2), bright())
    opened = infer.open_segmenter(run=run, gpu="cpu", say=str)
    assert opened.segment(opened.read(photo)).labels[0].shape == (60, 90)
    assert tuple(opened.net.blobs["score"].shape)[2:] == shape


def test_a_large_picture_of_a_run_is_segmented_at_its_own_size(tmp_path):
    """A texture of single pixels, which is gone at 500 pixels."""
    rows, columns = np.mgrid[:400, :600]
    pixels = np.full((400, 600), 120, np.uint8)
    labels = np.zeros((400, 600), bool)
    labels[100:300, 200:400] = True
    pixels[labels] = np.where((rows + columns) % 2, 190, 50)[labels]
    path = str(tmp_path / "a.png")
    Image.fromarray(np.repeat(pixels[..., None], 3, 2)).save(path)
    edges = np.zeros((2, 3, 3, 3), np.float32)
    edges[0, 0, 1], edges[1, 0, 1] = (1, -2, 1), (-1, 2, -1)
    layers = convolution("edge", 2, size=3) + layer("ReLU", "edge", "positive")
    both = np.zeros((2, 2, 1, 1), np.float32)
    both[1] = 1
    weights = {"edge": [edges], "score": [both, [0.0, -100.0]]}
    run = write_net(tmp_path / "run", RECORD, layers + convolution("score", 2, "positive"), weights)
    label, _ = label_of(path, run=run)
    assert (label == labels).mean() > 0.99


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_nets_and_nets_of_four_channels_read_their_pictures(tmp_path, channels):
    pixels, labels = colour_picture()
    planes = pixels[..., 0] if channels == 1 else np.dstack([pixels, 255 - pixels[..., 2]])
    path = str(tmp_path / "a.png")
    Image.fromarray(planes).save(path)
    kernel = np.zeros((2, channels, 1, 1), np.float32)
    kernel[1, -1] = 1
    weights = {"score": [kernel, [0.0, 150.0 if channels == 4 else -150.0]]}
    kernel[1, -1] *= -1 if channels == 4 else 1
    record = RECORD._replace(channels=channels, mean=(0.0,) * channels, order="stored")
    run = write_net(tmp_path / "run", record, convolution("score", 2), weights, channels)
    label, _ = label_of(path, run=run)
    assert np.array_equal(label, labels == (1 if channels == 1 else 2))


def test_a_channel_list_is_one_picture_of_a_folder(tmp_path):
    pixels, labels = colour_picture()
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(pixels).save(folder / "a_colours.png")
    Image.fromarray(pixels[..., 0]).save(folder / "a_depth.png")
    write_text(folder / "a.channels", "a_colours.png\na_depth.png\n")
    kernel = np.zeros((2, 4, 1, 1), np.float32)
    kernel[1, 3] = 1
    record = RECORD._replace(channels=4, mean=(0.0,) * 4, order="stored")
    weights = {"score": [kernel, [0.0, -150.0]]}
    run = write_net(tmp_path / "run", record, convolution("score", 2), weights, 4)
    out = str(tmp_path / "out")
    assert infer.run_collection([str(folder)], run=run, gpu="cpu", out=out) == [
        str(folder / "a.channels")
    ]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "a_labels.png")), labels == 1)


def test_a_picture_with_other_channels_than_the_net_is_named_and_skipped(tmp_path, capsys):
    record = RECORD._replace(channels=4, mean=(0.0,) * 4, order="stored")
    kernel = np.zeros((2, 4, 1, 1), np.float32)
    layers = convolution("score", 2)
    run = write_net(tmp_path / "run", record, layers, {"score": [kernel]}, 4)
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (8, 6)).save(folder / "three.png")
    Image.new("RGBA", (8, 6)).save(folder / "four.png")
    with pytest.raises(OSError, match="three.png: cannot be segmented"):
        infer.run_collection([str(folder)], run=run, gpu="cpu", out=str(tmp_path / "out"))
    assert "three.png: has 3 channels of 1 sizes, needs 4 of one size" in capsys.readouterr().err
    assert (tmp_path / "out" / "four_labels.png").is_file()


def test_sixteen_bits_floats_and_turned_pictures_are_read_as_in_training(tmp_path):
    pixels, labels = colour_picture()
    grey = pixels[..., 0]
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "grey.png": Image.fromarray(grey),
        "wide.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "float.tif": Image.fromarray(grey.astype(np.float32) / 255),
    }
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, image in files.items():
        image.save(folder / name)
    turned = Image.fromarray(grey).transpose(Image.Transpose.ROTATE_90)
    turned.save(folder / "turned.png", exif=exif)
    kernel = np.zeros((2, 1, 1, 1), np.float32)
    kernel[1] = 1
    record = RECORD._replace(channels=1, mean=(0.0,), order="stored")
    weights = {"score": [kernel, [0.0, -150.0]]}
    run = write_net(tmp_path / "run", record, convolution("score", 2), weights, 1)
    infer.run_collection([str(folder)], run=run, gpu="cpu", out=str(tmp_path / "out"))
    for name in ("grey", "wide", "float", "turned"):
        label = np.asarray(Image.open(tmp_path / "out" / f"{name}_labels.png"))
        assert np.array_equal(label, labels == 1), name


def test_the_output_blob_and_its_meaning_are_those_of_the_run(tmp_path, photo):
    output = Output("edge", "sigmoid", ("no edge", "edge"), (BLACK, RED))
    kernel = np.zeros((1, 3, 1, 1), np.float32)
    kernel[0, 2] = 1
    layers = convolution("raw", 1) + layer("Sigmoid", "raw", "edge")
    record = RECORD._replace(outputs=(output,))
    run = write_net(tmp_path / "run", record, layers, {"raw": [kernel, [-150.0]]})
    label, shares = label_of(photo, run=run)
    assert np.array_equal(label, colour_picture()[1] == 1)
    assert list(shares) == ["no edge", "edge"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"channels": 4, "mean": (0.0,) * 4}, "reads 3 channels, its run .* says 4"),
        (
            {"outputs": (Output("score", "scores", ("a", "b", "c"), (BLACK, RED, RED)),)},
            "score has 2 classes, its run .* says 3",
        ),
        (
            {"outputs": (Output("prob", "probabilities", ("a", "b"), (BLACK, RED)),)},
            "lacks the blob prob that its run .* names; has data, score",
        ),
    ],
)
def test_a_net_that_contradicts_its_run_is_refused(tmp_path, photo, change, message):
    record = RECORD._replace(**change)
    run = write_net(tmp_path / "run", record, convolution("score", 2), bright())
    with pytest.raises(ValueError, match=message):
        label_of(photo, run=run)


def test_a_run_a_stage_a_snapshot_and_its_folder_name_the_same_weights(tmp_path, monkeypatch):
    run = write_net(tmp_path / "run", RECORD, convolution("score", 2), bright())
    stage = os.path.join(run, "fcn32s")
    snapshot = os.path.join(stage, "snapshot", "train_iter_1.caffemodel")
    for path in (run, stage, os.path.dirname(snapshot), snapshot):
        model = available.select_model(weights=path)
        assert os.path.samefile(model.weights, snapshot) and model.run == run
        assert model.net == os.path.join(stage, "deploy.prototxt")
    for path in (run, os.path.join(run, "run.json")):
        assert available.select_model(run=path).run == run
    with pytest.raises(ValueError, match="run .* and weights .* are named: name one of them"):
        available.select_model(run=run, weights=snapshot)
    with pytest.raises(OSError, match="nowhere: no such file or folder"):
        available.trained_weights(str(tmp_path / "nowhere"))


def test_a_stage_of_a_run_is_named_by_its_variant(tmp_path):
    record = RECORD._replace(stages=("fcn32s", "fcn16s"))
    run = write_net(tmp_path / "run", record, convolution("score", 2), bright())
    for name in ("fcn32s", "voc-fcn32s"):
        model = available.select_model(run=run, variant=name)
        assert model.net == os.path.join(run, "fcn32s", "deploy.prototxt")
    with pytest.raises(ValueError, match="has the stages fcn32s, fcn16s, not fcn8s"):
        available.select_model(run=run, variant="fcn8s")


def test_a_run_whose_last_stage_is_not_trained_uses_the_stage_before(tmp_path):
    record = RECORD._replace(stages=("fcn32s", "fcn16s"))
    run = write_net(tmp_path / "run", record, convolution("score", 2), bright())
    model = available.select_model(run=run)
    assert os.path.join(run, "fcn32s") in model.net
    assert "last stage fcn16s has no snapshot yet" in model.origin
    os.remove(os.path.join(run, "fcn32s", "snapshot", "train_iter_1.solverstate"))
    with pytest.raises(OSError, match="no stage of fcn32s, fcn16s has a complete snapshot"):
        available.select_model(run=run)


def test_without_names_the_latest_run_counts_and_then_what_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(available, "ROOT", str(tmp_path))
    with pytest.raises(ValueError, match="no weights for voc-fcn8s on this machine"):
        available.select_model()
    for folder in ("runs/demo-full/siftflow-fcn8s", "runs/demo/voc-fcn16s", "voc-fcn32s"):
        name = os.path.basename(folder)
        stage = write_net(tmp_path / "x" / name, RECORD, convolution("score", 2), bright())
        os.makedirs(tmp_path / os.path.dirname(folder), exist_ok=True)
        os.rename(os.path.join(stage, "fcn32s"), tmp_path / folder)
        assert available.select_model().variant == name
    run = write_net(tmp_path / "runs" / "mine", RECORD, convolution("score", 2), bright())
    model = available.select_model()
    assert model.run == run and "--variant and --weights name others" in model.origin
    assert available.select_model("fcn32s").net == str(tmp_path / "voc-fcn32s" / "deploy.prototxt")


def test_the_data_layer_of_a_prototxt_beside_the_net_names_the_mean(tmp_path, photo, capsys):
    net, weights = tiny_nets.write(tmp_path / "net", convolution("score", 2), bright())
    layer_text = 'layer { name: "data" type: "Python" top: "data" python_param { module: "m" '
    layer_text += "layer: \"L\" param_str: \"{'mean': (0, 0, 0), 'split': 'val'}\" } }"
    write_text(tmp_path / "net" / "val.prototxt", layer_text)
    label, _ = label_of(photo, net=net, weights=weights)
    assert np.array_equal(label, colour_picture()[1] == 1)
    out = capsys.readouterr().out
    assert "belongs to no run. Mean: 0, 0, 0 (that of val.prototxt); classes: 2, without" in out
    transform = 'layer { name: "d" type: "ImageData" top: "data" transform_param '
    write_text(tmp_path / "net" / "train.prototxt", transform + "{ mean_value: 7 scale: 0.5 } }")
    model = available.select_model(net=net, weights=weights)
    interface = interface_of(model, infer.load(net, weights))
    assert interface.mean == (7, 7, 7) and interface.scale == 0.5


def test_weights_without_a_run_are_used_with_a_line_about_what_is_assumed(tmp_path, photo, capsys):
    net, weights = tiny_nets.write(tmp_path / "net", convolution("score", 21), seed=1)
    _, shares = label_of(photo, net=net, weights=weights)
    assert set(shares) <= set(voc.CLASSES)
    out = capsys.readouterr().out
    assert "warning: " in out and "(ILSVRC's, assumed); classes: VOC's, assumed" in out
    settings = Settings(mean=(0, 0, 0), classes=tuple(f"k{k}" for k in range(21)))
    _, shares = label_of(photo, net=net, weights=weights, settings=settings)
    assert all(name.startswith("k") for name in shares)
    assert "warning" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="score has 21 classes, --classes has 2 names"):
        label_of(photo, net=net, weights=weights, settings=Settings(classes=("a", "b")))


def test_a_net_of_other_channels_without_a_run_needs_their_mean(tmp_path):
    net = tiny_nets.write(tmp_path / "net", convolution("score", 2), channels=4)
    path = str(tmp_path / "a.png")
    Image.new("RGBA", (9, 7)).save(path)
    with pytest.raises(ValueError, match="reads 4 channels .*name the mean of its channels"):
        label_of(path, net=net[0], weights=net[1])
    arguments = ["--net", net[0], "--weights", net[1], "--gpu", "cpu", "--out", str(tmp_path)]
    infer.main([path, *arguments, "--mean", "1,2,3,4"])
    with pytest.raises(ValueError, match="mean has 2 values, the net reads 4 channels"):
        infer.main([path, *arguments, "--mean", "1,2"])


def test_both_heads_of_sift_flow_have_their_names_and_colours(tmp_path, photo):
    folder = tmp_path / "siftflow-fcn32s"
    net = net_gen.fcn("siftflow-fcn32s", "deploy", width=1 / 32)
    prototxt, weights = str(folder / "deploy.prototxt"), str(folder / "w.caffemodel")
    net_gen.write(chain.with_fillers(net, "msra"), prototxt)
    chain.random_weights(prototxt, weights, 1)
    infer.run(photo, weights=weights, gpu="cpu", out=str(tmp_path / "out"))
    assert sorted(n for n in os.listdir(tmp_path / "out") if n.endswith(".png")) == [
        f"a_{head}_{kind}.png" for head in ("geo", "sem") for kind in ("labels", "overlay")
    ]
    model = available.select_model(weights=weights)
    heads = interface_of(model, infer.load(model.net, weights)).heads
    assert [head.name for head in heads] == ["sem", "geo"]
    assert heads[1].output.classes == ("sky", "horizontal", "vertical")


def test_scores_of_training_of_scoring_and_of_comparison_are_one_number(tmp_path, capsys):
    data = own_folders.write(tmp_path / "set", "voc", 5)
    out = str(tmp_path / "run")
    options = train.Options(variant="fcn16s", width="1/32", single=True)
    names = ",".join(own_folders.NAMES)
    trained = train.run(data, out, options, iters=2, gpu="cpu", classes=names)
    scored = score.run(run=out, gpu="cpu", out=str(tmp_path / "scored"))
    predicted = str(tmp_path / "predicted")
    photos = os.path.join(data, "JPEGImages")
    infer.run_collection([photos], run=out, gpu="cpu", out=predicted)
    truth = tmp_path / "truth"
    truth.mkdir()
    with open(os.path.join(out, "val.txt"), encoding="utf-8") as file:
        for name in file.read().splitlines():
            source = os.path.join(data, "SegmentationClass", name + ".png")
            os.link(source, truth / f"{name}.png")
    meaning = compare.meaning_of(run=out)
    for folder in (predicted, str(tmp_path / "scored")):
        compared = compare.compare(str(truth), folder, meaning).scores
        for metric in ("pixel_accuracy", "mean_accuracy", "mean_iu", "fwavacc"):
            assert trained[metric] == scored[metric] == compared[metric], metric
        assert np.array_equal(compared["confusion"], scored["confusion"])
    assert np.array_equal(trained["confusion"], scored["confusion"].tolist())
    assert "confusion matrix" in capsys.readouterr().out
    with open(tmp_path / "scored" / "scores.json") as file:
        assert json.load(file)["confusion"] == scored["confusion"].tolist()
    assert snapshots.best(os.path.join(out, "fcn16s")).endswith("iter_2.caffemodel")
