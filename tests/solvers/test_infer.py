from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from solvers import available, infer, stage
from solvers.snapshots import RECORDS
from tests import tiny


@pytest.fixture(scope="module")
def trained(tiny_start, tmp_path_factory):
    """A small FCN-8s of two iterations: the paths of its prototxt and weights."""
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
    found = infer.run(str(photo), net, weights, str(tmp_path), "cpu")
    assert sum(found.values()) == pytest.approx(1)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    width, height = Image.open(photo).size
    labels = Image.open(tmp_path / f"{name}_labels.png")
    assert labels.mode == "P" and labels.size == (width, height)
    assert Image.open(tmp_path / f"{name}_overlay.png").size == (width, height)


def test_the_colours_of_a_label_map_are_vocs(tmp_path):
    label = np.array([[0, 1, 15], [20, 255, 0]], np.uint8)
    infer.save_labels(str(tmp_path / "labels.png"), label)
    image = Image.open(tmp_path / "labels.png")
    assert np.array_equal(np.asarray(image), label)
    colours = np.asarray(image.convert("RGB"))
    assert colours[0].tolist() == [[0, 0, 0], [128, 0, 0], [192, 128, 128]]
    assert colours[1, :2].tolist() == [[0, 64, 128], [224, 224, 192]]


def test_an_overlay_leaves_the_background_and_the_ignored_as_they_are():
    photo = np.full((1, 3, 3), 100, np.uint8)
    found = infer.overlay(photo, np.array([[0, 15, 255]]), 0.5)
    assert found.tolist() == [[[100] * 3, [146, 114, 114], [100] * 3]]


def test_the_net_takes_each_photograph_at_its_own_size(trained):
    net = infer.load(*trained)
    for shape in ((40, 56, 3), (33, 20, 3)):
        label, scores = infer.predict(net, np.zeros(shape, np.uint8))
        assert label.shape == shape[:2] and scores.shape == (21, *shape[:2])


def test_a_prediction_is_the_data_layers(trained, tiny_start):
    """infer feeds the net what VOCSegDataLayer feeds it."""
    import caffe

    net, weights = trained
    with stage.inside(os.path.dirname(net)):
        val = caffe.Net("val.prototxt", weights, caffe.TEST)
        val.forward()
    photo = infer.read(str(tiny_start / "voc" / "JPEGImages" / "val0.jpg"))
    _, scores = infer.predict(infer.load(net, weights), photo)
    expected = val.blobs["score"].data[0]
    assert np.abs(scores - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_large_photograph_is_seen_reduced_and_labelled_at_its_own_size(trained, monkeypatch):
    seen = []
    real = infer.predict

    def predict(net, image):
        seen.append(image.shape)
        return real(net, image)

    monkeypatch.setattr(infer, "predict", predict)
    photo = np.random.RandomState(0).randint(0, 255, (90, 160, 3)).astype(np.uint8)
    net = infer.load(*trained)
    assert infer.segment(net, photo, 80).shape == (90, 160)
    assert infer.segment(net, photo, 0).shape == (90, 160)
    assert seen == [(45, 80, 3), (90, 160, 3)]


def test_a_large_photograph_has_the_class_whose_enlarged_score_is_highest(monkeypatch):
    scores = np.random.RandomState(0).randn(21, 45, 80).astype(np.float32)
    scores[7] = scores[3]
    monkeypatch.setattr(infer, "predict", lambda net, image: (None, scores))
    label = infer.segment(None, np.zeros((90, 160, 3), np.uint8), 80)
    large = [np.asarray(Image.fromarray(s).resize((160, 90), Image.BILINEAR)) for s in scores]
    assert label.dtype == np.uint8 and np.array_equal(label, np.argmax(large, 0))


def test_a_photograph_is_turned_upright(tmp_path):
    image = Image.fromarray(np.arange(18, dtype=np.uint8).reshape(2, 3, 3))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    assert infer.read(str(tmp_path / "turned.png")).shape == (3, 2, 3)


def test_weights_that_do_not_fill_the_net_are_refused(trained, tiny_start):
    with pytest.raises(ValueError, match=r"start\.caffemodel: lacks layer upscore2, score_pool4"):
        infer.load(trained[0], str(tiny_start / "start.caffemodel"))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A repository with nothing in it."""
    monkeypatch.setattr(available, "ROOT", str(tmp_path))
    return tmp_path


def put(folder, iteration):
    from tests.solvers.test_snapshots import put

    folder.mkdir(parents=True, exist_ok=True)
    put(folder, iteration)


def test_the_published_weights_come_first_then_ones_own_then_the_demos(machine):
    with pytest.raises(ValueError, match="no weights for voc-fcn8s here: `make weights`"):
        available.pick("voc-fcn8s", None, None)
    put(machine / "runs" / "demo" / "voc-fcn8s" / "snapshot", 350)
    found = available.pick("voc-fcn8s", None, None)
    assert found.what == "trained on the demo set"
    assert found.net == str(machine / "runs" / "demo" / "voc-fcn8s" / "deploy.prototxt")
    put(machine / "voc-fcn8s" / "snapshot", 4000)
    put(machine / "voc-fcn8s" / "snapshot", 8000)
    scores = '{"iteration": 4000, "mean_iu": 0.6}\n{"iteration": 8000, "mean_iu": 0.5}\n'
    (machine / "voc-fcn8s" / "snapshot" / RECORDS).write_text(scores)
    found = available.pick("voc-fcn8s", None, None)
    assert found.weights.endswith(
        os.path.join("voc-fcn8s", "snapshot", "train_iter_4000.caffemodel")
    )
    published = available.published("voc-fcn8s")
    os.makedirs(os.path.dirname(published))
    open(published, "w").close()
    found = available.pick("voc-fcn8s", None, None)
    assert found.weights == published
    assert found.net == str(machine / "voc-fcn8s" / "deploy.prototxt")


def test_weights_that_are_named_go_with_the_prototxt_near_them(machine):
    folder = machine / "runs" / "mine"
    (folder / "snapshot").mkdir(parents=True)
    (folder / "deploy.prototxt").touch()
    weights = str(folder / "snapshot" / "train_iter_1.caffemodel")
    assert available.pick("voc-fcn8s", None, weights).net == str(folder / "deploy.prototxt")
    own = str(machine / "voc-fcn8s" / "deploy.prototxt")
    assert available.pick("voc-fcn8s", None, "elsewhere.caffemodel").net == own
    assert available.pick("voc-fcn8s", "n.prototxt", weights).net == "n.prototxt"
