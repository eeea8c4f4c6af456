"""The files that DetectionOutput writes: VOC, COCO and ILSVRC, in pixels of the pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from caffe.errors import LayerError, LayerFileError

from tests.engine.nets import build

#: Two priors, which are the detections: codes are 0, and each has one class.
PRIORS = [[0.25, 0.25, 0.5, 0.75], [0.5, 0.0, 1.0, 0.5]]
NET = """
layer { name: "loc" type: "Input" top: "loc" input_param { shape { dim: 1 dim: 8 } } }
layer { name: "conf" type: "Input" top: "conf" input_param { shape { dim: 1 dim: 6 } } }
layer { name: "priors" type: "Input" top: "priors"
  input_param { shape { dim: 1 dim: 2 dim: 8 } } }
layer { name: "out" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "priors"
  top: "out" detection_output_param { num_classes: 3 confidence_threshold: 0.3
    save_output_param { %s } } }
"""


@pytest.fixture
def settings(tmp_path):
    """Settings of two pictures, of 100 x 200 and 60 x 60 pixels, and of two classes."""
    items = "".join(
        f'item {{ name: "{name}" label: {label} display_name: "{name}s" }}\n'
        for label, name in enumerate(("none", "cat", "dog"))
    )
    (tmp_path / "map").write_text(items)
    (tmp_path / "sizes").write_text("000012 100 200\nb 60 60\n")
    return (
        f"output_directory: '{tmp_path}/out' output_name_prefix: 'det_' "
        f"label_map_file: '{tmp_path}/map' name_size_file: '{tmp_path}/sizes' "
    )


def run(folder, settings, passes=2):
    net = build(folder, NET % settings)
    net.blobs["conf"].data[...] = [0, 0.9, 0.1, 0, 0.2, 0.8]
    net.blobs["priors"].data[0, 0] = np.ravel(PRIORS)
    net.blobs["priors"].data[0, 1] = 0.1
    for _ in range(passes):
        net.forward()
    return folder / "out"


def test_voc_has_a_file_for_each_class_with_corners_in_whole_pixels(tmp_path, settings):
    out = run(tmp_path, settings + "output_format: 'VOC'")
    assert sorted(path.name for path in out.iterdir()) == ["det_cat.txt", "det_dog.txt"]
    assert (out / "det_cat.txt").read_text() == "000012 0.9 50 25 100 75\nb 0.9 15 15 30 45\n"
    assert (out / "det_dog.txt").read_text() == "000012 0.8 100 0 200 50\nb 0.8 30 0 60 30\n"


def test_coco_is_one_list_with_sides_and_numbers_of_pictures(tmp_path, settings):
    out = run(tmp_path, settings + "output_format: 'COCO'")
    rows = json.loads((out / "det_.json").read_text())
    assert rows[0] == {
        "image_id": "000012",
        "category_id": "cat",
        "bbox": [50.0, 25.0, 50.0, 50.0],
        "score": pytest.approx(0.9),
    }
    assert [row["bbox"] for row in rows[2:]] == [[15, 15, 15, 30], [30, 0, 30, 30]]


def test_ilsvrc_has_the_numbers_of_the_labels(tmp_path, settings):
    out = run(tmp_path, settings + "output_format: 'ILSVRC'")
    assert (out / "det_.txt").read_text().splitlines()[1] == "000012 2 0.8 100 0 200 50"


def test_files_wait_for_the_last_picture_and_begin_again_after_it(tmp_path, settings):
    few = settings + "output_format: 'ILSVRC' num_test_image: 1"
    assert not run(tmp_path, settings + "output_format: 'VOC'", passes=1).exists()
    assert len((run(tmp_path, few, passes=3) / "det_.txt").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "resize, first",
    [
        # 100 x 200 lies in the rows 30 .. 90 of 120 x 120.
        ("resize_mode: FIT_LARGE_SIZE_AND_PAD height: 120 width: 120", "50 0 100 100"),
        ("resize_mode: FIT_SMALL_SIZE height: 9 width: 9", "50 25 100 75"),
        (
            "resize_mode: FIT_SMALL_SIZE height: 9 width: 9 height_scale: 80 width_scale: 90",
            "22 20 44 60",
        ),
    ],
)
def test_boxes_lie_where_the_picture_was_in_the_input(tmp_path, settings, resize, first):
    more = f"output_format: 'VOC' num_test_image: 1 resize_param {{ {resize} }}"
    out = run(tmp_path, settings + more, passes=1)
    assert (out / "det_cat.txt").read_text() == f"000012 0.9 {first}\n"


def test_a_published_net_runs_without_the_lists_of_its_author(
    tmp_path, settings, capfd, monkeypatch
):
    monkeypatch.setenv("GLOG_minloglevel", "1")
    (tmp_path / "sizes").unlink()
    assert not run(tmp_path, settings + "output_format: 'VOC'").exists()
    assert "out writes no detections to files" in capfd.readouterr().err


def test_wrong_settings_of_files_are_refused(tmp_path, settings):
    with pytest.raises(LayerError, match="output_format is 'XML'"):
        run(tmp_path, settings + "output_format: 'XML'")
    with pytest.raises(LayerError, match="num_test_image is 3; .*sizes lists 2"):
        run(tmp_path, settings + "output_format: 'VOC' num_test_image: 3")
    (tmp_path / "map").write_text('item { name: "none" label: 0 }')
    with pytest.raises(LayerFileError, match="has no label 1, which is detected"):
        run(tmp_path, settings + "output_format: 'VOC'")
