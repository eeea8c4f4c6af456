from __future__ import annotations

import os

import caffe
import numpy as np
import pytest

import net_gen
from experiments import masking, report, training


def seen(demo, folder, part, split):
    """The first image and label that the data layer of a masked net gives."""
    net = masking.masked(training.fcn("voc-fcn32s", folder, demo)(split), part)
    del net.layer[1:]
    path = os.path.join(folder, f"{part}-{split}.prototxt")
    net_gen.write(net, path)
    from solvers.folders import working_folder

    with working_folder(folder):
        loaded = caffe.Net(path, caffe.TEST)
        loaded.forward()
        return loaded.blobs["data"].data[0].copy(), loaded.blobs["label"].data[0, 0].copy()


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_parts_are_the_image_without_the_rims(demo_run, tmp_path, split):
    demo = training.finished(demo_run)
    whole, label = seen(demo, str(tmp_path), "everything", split)
    objects, same = seen(demo, str(tmp_path), "foreground", split)
    ground, _ = seen(demo, str(tmp_path), "background", split)
    inside, rim = (label > 0) & (label < 255), label == 255
    assert inside.any() and rim.any() and (same == label).all()
    assert (objects[:, ~inside] == 0).all() and (ground[:, label > 0] == 0).all()
    assert (objects[:, inside] == whole[:, inside]).all()
    assert (ground[:, label == 0] == whole[:, label == 0]).all()


def test_a_class_that_is_absent_has_no_part_in_the_mean():
    assert masking._objects({"iu": [0.9, 0.5, None, 0.1]}) == pytest.approx(0.3)
    assert np.isnan(masking._objects({"iu": [0.9, None]}))


def test_every_net_is_tested_on_every_part(demo_run, tmp_path):
    result = report.make(masking.run, str(tmp_path), demo_run, "cpu")
    demo = training.finished(demo_run)
    rows = {row[0]: row[1:] for row in result.tables[0].rows}
    assert list(rows) == list(masking.SEEN)
    reference = 100 * demo.scores("voc-fcn32s")["mean_iu"]
    assert rows["everything"][0].value == pytest.approx(reference)
    folder = tmp_path / "masking"
    assert sorted(os.listdir(folder / "tests")) == sorted(
        f"{trained}-on-{part}" for trained in masking.SEEN for part in masking.SEEN
    )
    text = (folder / "foreground" / "train.prototxt").read_text()
    assert 'layer: "SBDDForeground"' in text and 'module: "experiments.masking"' in text
    assert os.path.getsize(folder / "masks.png") > 1000
