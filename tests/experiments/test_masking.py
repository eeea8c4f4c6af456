from __future__ import annotations

import os

import caffe
import numpy as np
import pytest

import net_gen
from experiments import demo_run, masking, running, training
from solvers.folders import working_folder


def first_image(demo, folder, part, split):
    """Return the first image and label of a masked net's data layer."""
    net = masking.masked(training.fcn("voc-fcn32s", folder, demo)(split), part)
    del net.layer[1:]
    path = os.path.join(folder, f"{part}-{split}.prototxt")
    net_gen.write(net, path)
    with working_folder(folder):
        net = caffe.Net(path, caffe.TEST)
        net.forward()
        return net.blobs["data"].data[0].copy(), net.blobs["label"].data[0, 0].copy()


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_two_parts_are_the_image_without_ignored_pixels(demo_folder, tmp_path, split):
    demo = demo_run.open_demo(demo_folder)
    image, label = first_image(demo, str(tmp_path), "everything", split)
    objects, same_label = first_image(demo, str(tmp_path), "foreground", split)
    ground, _ = first_image(demo, str(tmp_path), "background", split)
    inside, rim = (label > 0) & (label < 255), label == 255
    assert inside.any() and rim.any() and (same_label == label).all()
    assert (objects[:, ~inside] == 0).all() and (ground[:, label > 0] == 0).all()
    assert (objects[:, inside] == image[:, inside]).all()
    assert (ground[:, label == 0] == image[:, label == 0]).all()


def test_the_mean_iu_of_objects_leaves_out_absent_classes():
    assert masking.object_iu({"iu": [0.9, 0.5, None, 0.1]}) == pytest.approx(0.3)
    assert np.isnan(masking.object_iu({"iu": [0.9, None]}))


@pytest.mark.long
def test_every_net_is_tested_on_every_part(demo_folder, tmp_path):
    result = running.make("masking", masking.run, str(tmp_path), demo_folder, "cpu")
    demo = demo_run.open_demo(demo_folder)
    rows = {row[0]: row[1:] for row in result.tables[0].rows}
    assert list(rows) == list(masking.PARTS)
    reference = 100 * demo.scores("voc-fcn32s")["mean_iu"]
    assert rows["everything"][0].value == pytest.approx(reference)
    folder = tmp_path / "masking"
    assert sorted(os.listdir(folder / "tests")) == sorted(
        f"{trained}-on-{part}" for trained in masking.PARTS for part in masking.PARTS
    )
    text = (folder / "foreground" / "train.prototxt").read_text()
    assert 'layer: "SBDDForeground"' in text and 'module: "experiments.masking"' in text
    assert os.path.getsize(folder / "masks.png") > 1000
