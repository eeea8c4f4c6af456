"""The same pictures in every layout, and in every format, are trained to the same net."""

import os

import caffe
import numpy as np
import pytest
from PIL import Image

from solvers import snapshots, train
from solvers.check import check_set
from solvers.run_record import read_run
from tests.fcn_data import own_folders

OPTIONS = train.Options(variant="fcn16s", width="1/32")
CLASSES = ",".join(own_folders.NAMES)


def run(root, data, options=OPTIONS, **kind):
    out = os.path.join(str(root), "run")
    kind.setdefault("classes", CLASSES)
    scores = train.run(data, out, options, iters=2, gpu="cpu", **kind)
    model = snapshots.latest(os.path.join(out, "fcn16s", snapshots.PREFIX)).model
    net = caffe.Net(os.path.join(out, "fcn16s", "deploy.prototxt"), model, caffe.TEST)
    return scores, {name: np.array(blobs[0].data) for name, blobs in net.params.items()}, out


@pytest.mark.slow
def test_every_layout_is_trained_to_the_same_net(tmp_path):
    results = []
    for layout in own_folders.LAYOUTS:
        data = own_folders.write(tmp_path / layout / "set", layout, 4)
        for split, ids in (("train", (0, 1)), ("val", (2, 3))):
            with open(os.path.join(data, split + ".txt"), "w") as file:
                file.write("".join(f"scene {k}\n" for k in ids))
        results.append(run(tmp_path / layout, data))
    (scores, weights, _), *others = results
    for other_scores, other_weights, _ in others:
        assert other_scores == scores
        assert all(np.array_equal(other_weights[name], weights[name]) for name in weights)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["16 bits", "turned", "floats"])
def test_pictures_of_every_format_are_trained_to_the_same_net(tmp_path, kind):
    """Lossless files of the same grey pictures."""
    trained = []
    for name in ("plain", kind):
        data = own_folders.write(tmp_path / name / "set", "folders", 3)
        for k in range(3):
            grey = own_folders.picture(k)[0][..., 0]
            os.remove(os.path.join(data, "images", f"scene {k}.jpg"))
            path = os.path.join(data, "images", f"scene {k}.png")
            if name == "16 bits":
                Image.fromarray(grey.astype(np.uint16) * 257).save(path)
            elif name == "floats":
                Image.fromarray(grey.astype(np.float32) / 255).save(path[:-3] + "tif")
            elif name == "turned":
                exif = Image.Exif()
                exif[0x0112] = 6
                turned = Image.fromarray(grey).transpose(Image.Transpose.ROTATE_90)
                turned.save(path, exif=exif)
            else:
                Image.fromarray(grey).save(path)
        trained.append(run(tmp_path / name, data, channels=1))
    assert read_run(trained[0][2]).channels == 1
    for name, weights in trained[0][1].items():
        assert np.allclose(trained[1][1][name], weights, rtol=1e-3, atol=1e-5), name


@pytest.mark.slow
def test_four_channels_are_trained_and_another_class_count_starts_from_the_run(tmp_path):
    data = own_folders.write(tmp_path / "set", "folders", 3)
    for k in range(3):
        os.remove(os.path.join(data, "images", f"scene {k}.jpg"))
        pixels = own_folders.picture(k)[0]
        four = np.concatenate([pixels, pixels[..., :1]], axis=2)
        Image.fromarray(four).save(os.path.join(data, "images", f"scene {k}.png"))
    scores, weights, out = run(tmp_path, data, channels=4)
    record = read_run(out)
    assert record.channels == 4 and record.order == "stored" and len(record.mean) == 4
    assert weights["conv1_1"].shape[1] == 4 and scores["images"] == 1
    options = OPTIONS._replace(weights=out)
    again = run(tmp_path / "more", data, options, channels=4, classes=CLASSES + ",blue,grey")
    assert again[1]["score_fr"].shape[0] == 5
    with open(os.path.join(again[2], "base.txt"), encoding="utf-8") as file:
        text = file.read()
    assert "copied: conv1_1, conv1_2" in text and "new: score_fr (3 x " in text


@pytest.mark.parametrize(
    "option, message",
    [
        ({"channels": 0}, "channels is 0, needs an integer of at least 1"),
        ({"label_values": "1,x"}, "label values are '1,x', need different whole numbers"),
        ({"classes": "none.txt"}, "none.txt: no such file with class names"),
    ],
)
def test_an_impossible_option_of_the_check_is_refused(tmp_path, option, message):
    folder = own_folders.write(tmp_path / "set", "flat")
    with pytest.raises((ValueError, OSError), match=message):
        check_set(str(folder), **option)
