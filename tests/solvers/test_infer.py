from __future__ import annotations

import os

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from PIL import Image

import net_gen
from fcn_data import VOC, Input
from solvers import available, infer, stage
from solvers.folders import working_folder
from solvers.interface import Settings
from solvers.snapshots import RECORDS
from tests import tiny
from tests.solvers import test_snapshots, tiny_nets


@pytest.fixture(scope="module")
def trained(tiny_start, tmp_path_factory):
    """The prototxt and the weights of a small FCN-8s, trained for two iterations."""
    folder = str(tmp_path_factory.mktemp("infer") / "voc-fcn8s")
    tiny.nets(folder, str(tiny_start), "voc-fcn8s", max_iter=2)
    stage.run(folder, str(tiny_start / "start.caffemodel"), gpu="cpu", seed=1, score=False)
    return os.path.join(folder, "deploy.prototxt"), available.weights_of(folder)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Photographs that scikit-image ships: a cat (451 x 300), a woman, coins in grey."""
    data = pytest.importorskip("skimage.data")
    folder = tmp_path_factory.mktemp("photographs")
    for name in ("chelsea", "astronaut", "coins"):
        Image.fromarray(getattr(data, name)()).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize("name", ["chelsea", "astronaut", "coins"])
def test_a_photograph_becomes_a_label_map_an_overlay_and_shares(
    trained, photographs, tmp_path, name
):
    net, weights = trained
    photo = photographs / f"{name}.png"
    shares = infer.run(str(photo), net, weights, str(tmp_path), "cpu")
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    width, height = Image.open(photo).size
    labels = Image.open(tmp_path / f"{name}_labels.png")
    assert labels.mode == "P" and labels.size == (width, height)
    assert Image.open(tmp_path / f"{name}_overlay.png").size == (width, height)


def test_the_net_is_reshaped_to_each_photograph(trained):
    net = infer.load(*trained)
    for shape in ((40, 56, 3), (33, 20, 3)):
        label, scores = infer.predict(net, np.zeros(shape, np.uint8))
        assert label.shape == shape[:2] and scores.shape == (21, *shape[:2])


def test_the_net_reads_a_photograph_as_the_data_layer_does(trained, tiny_start):
    net, weights = trained
    with working_folder(os.path.dirname(net)):
        val = caffe.Net("val.prototxt", weights, caffe.TEST)
        val.forward()
    photo = infer.read(str(tiny_start / "voc" / "JPEGImages" / "val0.jpg"))
    _, scores = infer.predict(infer.load(net, weights), photo)
    expected = val.blobs["score"].data[0]
    assert np.abs(scores - expected).max() <= 1e-5 * np.abs(expected).max()


def test_the_mean_of_the_data_set_is_subtracted(trained):
    net = infer.load(*trained)
    data_set = VOC._replace(inputs=(Input("data", (1.0, 2.0, 3.0)),))
    infer.predict(net, np.full((33, 20, 3), (90, 80, 70), np.uint8), data_set)
    assert net.blobs["data"].data[0, :, 0, 0].tolist() == [69, 78, 87]


def segmenter(trained, long_side=None):
    return infer.open_segmenter(
        net=trained[0],
        weights=trained[1],
        gpu="cpu",
        settings=Settings(long_side=long_side),
        say=lambda line: None,
    )


def test_a_large_photograph_is_reduced_for_the_net_and_labelled_at_its_own_size(trained):
    photo = np.random.RandomState(0).randint(0, 255, (90, 160, 3)).astype(np.uint8)
    for long_side, shape in ((80, (45, 80)), (0, (90, 160)), (None, (90, 160))):
        opened = segmenter(trained, long_side)
        segmentation = opened.segment(photo)
        assert segmentation.labels[0].shape == (90, 160)
        assert tuple(opened.net.blobs["data"].shape)[2:] == shape
        reduced = [n for n in segmentation.notes if "reduced from 160 x 90 to 80 x 45" in n]
        assert len(reduced) == (long_side == 80)


def test_a_large_photograph_has_the_class_whose_enlarged_score_is_highest(tmp_path):
    net, weights = tiny_nets.write(tmp_path, tiny_nets.convolution("score", 5), seed=3)
    opened = segmenter((net, weights), 80)
    opened.net.params["score"][0].data[3] = opened.net.params["score"][0].data[1]  # a tie
    photo = np.random.RandomState(0).randint(0, 255, (90, 160, 3)).astype(np.uint8)
    label = opened.segment(photo).labels[0]
    scores = opened.net.blobs["score"].data[0].copy()
    assert scores.shape == (5, 45, 80)
    large = [np.asarray(Image.fromarray(s).resize((160, 90), Image.BILINEAR)) for s in scores]
    assert label.dtype == np.uint8 and np.array_equal(label, np.argmax(large, 0))
    assert len(set(label.ravel())) > 1


def test_a_rotated_photograph_is_read_upright(tmp_path):
    image = Image.fromarray(np.arange(18, dtype=np.uint8).reshape(2, 3, 3))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    assert infer.read(str(tmp_path / "turned.png")).shape == (3, 2, 3)


def test_weights_that_do_not_fill_the_net_are_refused(trained, tiny_start):
    with pytest.raises(ValueError, match=r"start\.caffemodel: lacks the layers score_fr, upscore2"):
        infer.load(trained[0], str(tiny_start / "start.caffemodel"))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """An empty repository."""
    monkeypatch.setattr(available, "ROOT", str(tmp_path))
    return tmp_path


def put(folder, iteration):
    """Put a small snapshot into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    test_snapshots.put(folder, iteration)


def test_published_weights_come_before_own_weights_and_those_before_the_demos(machine):
    with pytest.raises(ValueError, match="no weights for voc-fcn8s on this machine"):
        available.select_model("voc-fcn8s", None, None)
    put(machine / "runs" / "demo" / "voc-fcn8s" / "snapshot", 350)
    model = available.select_model("voc-fcn8s", None, None)
    assert model.origin == "trained on the demo set"
    assert model.net == str(machine / "runs" / "demo" / "voc-fcn8s" / "deploy.prototxt")
    put(machine / "voc-fcn8s" / "snapshot", 4000)
    put(machine / "voc-fcn8s" / "snapshot", 8000)
    scores = '{"iteration": 4000, "mean_iu": 0.6}\n{"iteration": 8000, "mean_iu": 0.5}\n'
    (machine / "voc-fcn8s" / "snapshot" / RECORDS).write_text(scores)
    model = available.select_model("voc-fcn8s", None, None)
    assert model.weights.endswith(
        os.path.join("voc-fcn8s", "snapshot", "train_iter_4000.caffemodel")
    )
    published = available.published("voc-fcn8s")
    os.makedirs(os.path.dirname(published))
    open(published, "w").close()
    model = available.select_model("voc-fcn8s", None, None)
    assert model.weights == published
    assert model.net == str(machine / "voc-fcn8s" / "deploy.prototxt")


def test_named_weights_go_with_the_nearest_prototxt(machine):
    folder = machine / "runs" / "mine"
    (folder / "snapshot").mkdir(parents=True)
    (folder / "deploy.prototxt").touch()
    weights = str(folder / "snapshot" / "train_iter_1.caffemodel")
    assert available.select_model("voc-fcn8s", None, weights).net == str(folder / "deploy.prototxt")
    variant = str(machine / "voc-fcn8s" / "deploy.prototxt")
    assert available.select_model("voc-fcn8s", None, "elsewhere.caffemodel").net == variant
    assert available.select_model("voc-fcn8s", "n.prototxt", weights).net == "n.prototxt"


def test_a_variant_that_does_not_exist_is_refused(machine):
    with pytest.raises(ValueError, match="variant is 'voc-fcn4s', needs one of voc-fcn32s"):
        available.select_model("voc-fcn4s")


def thousand_classes(folder, best):
    """A net of 1000 classes and no layers but one, whose scores are highest for class `best`."""
    net = caffe_pb2.NetParameter()
    data = net.layer.add(name="data", type="Input", top=["data"])
    data.input_param.shape.add().dim.extend([1, 3, 8, 8])
    layer = net.layer.add(name="score", type="Convolution", bottom=["data"], top=["score"])
    layer.convolution_param.num_output = 1000
    layer.convolution_param.kernel_size.append(1)
    prototxt, weights = str(folder / "net.prototxt"), str(folder / "net.caffemodel")
    net_gen.write(net, prototxt)
    pycaffe_net = caffe.Net(prototxt, caffe.TEST)
    pycaffe_net.params["score"][1].data[best] = 1
    pycaffe_net.save(weights)
    return prototxt, weights


@pytest.mark.parametrize("best", [299, 255, 999])
def test_a_net_of_a_thousand_classes_names_the_right_class(tmp_path, best):
    net, weights = thousand_classes(tmp_path, best)
    photo = tmp_path / "photo.png"
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(photo)
    shares = infer.run(str(photo), net, weights, str(tmp_path), "cpu", long_side=16)
    assert shares == {f"class {best}": 1.0}
    label = np.asarray(Image.open(tmp_path / "photo_labels.png"))
    assert label.shape == (20, 30) and (label == best).all()
    overlay = np.asarray(Image.open(tmp_path / "photo_overlay.png"))
    assert (overlay == overlay[0, 0]).all() and (overlay[0, 0] != 90).any()
