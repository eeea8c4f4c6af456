"""The data layers of PASCAL-Context, SIFT Flow and NYUDv2, over small sets in their layouts."""

import json
import subprocess
import sys
from pathlib import Path

import caffe
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

import net_gen
from fcn_data import DATA_SETS, NYUD, PASCAL_CONTEXT, SIFT_FLOW
from net_gen.data import PythonData
from tests import layouts

ROOT = Path(__file__).resolve().parents[1]
#: The `param_str` in the published prototxts.
PUBLISHED = {
    ("pascalcontext", "train"): (
        "{'context_dir': '../../data/pascal-context', 'seed': 1337, 'split': 'train', "
        "'voc_dir': '../../data/pascal'}"
    ),
    ("pascalcontext", "val"): (
        "{'context_dir': '../../data/pascal-context', 'seed': 1337, 'split': 'val', "
        "'voc_dir': '../../data/pascal'}"
    ),
    ("siftflow", "train"): (
        "{'siftflow_dir': '../data/sift-flow', 'seed': 1337, 'split': 'trainval'}"
    ),
    ("siftflow", "val"): "{'siftflow_dir': '../data/sift-flow', 'seed': 1337, 'split': 'test'}",
    ("nyud", "train"): (
        "{'tops': ['color', 'label'], 'seed': 1337, 'nyud_dir': '../data/nyud', "
        "'split': 'trainval'}"
    ),
}
PHOTOGRAPH = "VOC2010/JPEGImages/b2.jpg"
NYUD_TOPS = ("color", "depth", "hha", "label")


@pytest.fixture
def folders(tmp_path):
    """Name of a data set -> the folders in its param_str."""
    return {
        "pascalcontext": layouts.pascal_context(tmp_path, PASCAL_CONTEXT.classes[1:]),
        "siftflow": layouts.sift_flow(tmp_path),
        "nyud": layouts.nyud(tmp_path),
    }


def prototxt(folders, name, split="val", **settings):
    """Write a net of one data layer over the small set, and return its path."""
    data_set = DATA_SETS[name]
    param = data_set.parameters(split, **folders[name], **settings)
    record = data_set.splits[split]
    n = caffe.NetSpec()
    PythonData(record.module, record.layer, param, tuple(param.get("tops", data_set.tops))).add(n)
    path = Path(next(iter(folders[name].values()))).parent / f"{name}-{split}.prototxt"
    net_gen.write(n.to_proto(), path)
    return str(path)


def read(folders, name, split="val", passes=1, **settings):
    """The blobs after some passes of a net over the small set."""
    net = caffe.Net(prototxt(folders, name, split, **settings), caffe.TRAIN)
    for _ in range(passes):
        net.forward()
    return {blob: net.blobs[blob].data[0].copy() for blob in net.blobs}


@pytest.mark.parametrize("name, split", PUBLISHED)
def test_the_param_str_is_the_published_one(name, split):
    root = "../../data" if name == "pascalcontext" else "../data"
    tops = {"tops": ["color", "label"]} if name == "nyud" else {}
    assert repr(DATA_SETS[name].parameters(split, root, **tops)) == PUBLISHED[name, split]


def test_the_counts_of_classes_are_the_published_ones():
    counts = {name: [len(top.classes) for top in DATA_SETS[name].labels] for name in DATA_SETS}
    voc = {"voc": [21], "demo": [21]}
    assert counts == {**voc, "pascalcontext": [60], "siftflow": [33, 3], "nyud": [40]}
    for data_set in (PASCAL_CONTEXT, SIFT_FLOW, NYUD):
        for labels in data_set.labels:
            assert len(set(labels.classes)) == len(labels.classes) <= len(labels.palette)


def test_a_label_of_pascal_context_becomes_the_class_of_its_name(folders):
    blobs = read(folders, "pascalcontext", passes=2)
    label = layouts.label_map(4, 1, 459, np.uint16)
    expected = np.where((label - 3) % 7 == 0, (label.astype(int) - 3) // 7 + 1, 0)
    expected[expected > 59] = 0
    assert (blobs["label"][0] == expected).all()
    assert len(np.unique(expected)) > 20
    image = np.asarray(Image.open(Path(folders["pascalcontext"]["voc_dir"]) / PHOTOGRAPH))
    mean = np.array([104.007, 116.669, 122.679])[:, None, None]
    np.testing.assert_allclose(
        blobs["data"], image[:, :, ::-1].transpose(2, 0, 1) - mean, rtol=1e-6
    )


@pytest.mark.parametrize("name, among_459", [("diningtable", "table"), ("clothes", "cloth")])
def test_three_classes_have_another_name_among_the_459(folders, name, among_459):
    context = Path(folders["pascalcontext"]["context_dir"])
    lines = (context / "labels.txt").read_text().splitlines()
    (number,) = (line.split(": ")[0] for line in lines if line.split(": ")[1] == among_459)
    label = np.full((layouts.HEIGHT, layouts.WIDTH), int(number), np.uint16)
    savemat(context / "trainval" / "b1.mat", {"LabelMap": label})
    blobs = read(folders, "pascalcontext")
    assert (blobs["label"] == PASCAL_CONTEXT.classes.index(name)).all()


def test_void_of_sift_flow_is_255_in_both_labels(folders):
    blobs = read(folders, "siftflow")
    sem, geo = layouts.label_map(3, 0, 33), layouts.label_map(3, 1, 3, np.int16)
    assert (blobs["sem"][0] == np.where(sem == 0, 255, sem.astype(int) - 1)).all()
    assert (blobs["geo"][0] == np.where(sem == 5, 255, geo - 1)).all()
    assert (sem == 5).any() and (sem == 0).any()


def test_nyud_has_a_logarithm_of_depth_and_hha_in_the_order_of_the_file(folders):
    blobs = read(folders, "nyud", tops=list(NYUD_TOPS))
    assert list(blobs) == list(NYUD_TOPS)
    depth = np.log(layouts.label_map(203, 600, 9000, np.uint16).astype(float)) - 7.844
    np.testing.assert_allclose(blobs["depth"][0], depth, rtol=1e-5, atol=1e-6)
    hha = layouts.photograph(103).transpose(2, 0, 1)
    mean = np.array([132.431, 94.076, 118.477])[:, None, None]
    np.testing.assert_allclose(blobs["hha"], hha - mean, rtol=1e-6)
    color = layouts.photograph(3)[:, :, ::-1].transpose(2, 0, 1)
    mean = np.array([116.190, 97.203, 92.318])[:, None, None]
    np.testing.assert_allclose(blobs["color"], color - mean, rtol=1e-6)
    label = layouts.label_map(3, 0, 40).astype(int)
    assert (blobs["label"][0] == np.where(label == 0, 255, label - 1)).all()


def test_a_mean_in_param_str_is_that_of_the_first_top(folders):
    blobs = read(folders, "nyud", tops=["hha", "label"], mean=(1.0, 2.0, 3.0))
    hha = layouts.photograph(103).transpose(2, 0, 1)
    np.testing.assert_allclose(blobs["hha"], hha - np.array([1, 2, 3.0])[:, None, None])


def test_param_str_is_read_as_a_literal(folders):
    path = Path(prototxt(folders, "nyud", tops=["color", "label"]))
    path.write_text(path.read_text().replace("1337", "__import__(\\'os\\').getpid()"))
    with pytest.raises(Exception, match="needs a dict of literals"):
        caffe.Net(str(path), caffe.TRAIN)


def refused(error, folders, name, message, **settings):
    with pytest.raises(error, match=message):
        read(folders, name, **settings)


def test_bad_files_are_refused_with_their_name(folders):
    nyud, context = (Path(next(iter(folders[name].values()))) for name in ("nyud", "pascalcontext"))
    save = layouts.save
    save(nyud / "data/depth/img_b1.png", np.zeros((20, 28), np.uint16))
    refused(ValueError, folders, "nyud", "img_b1.png: .* least value 0", tops=["depth", "label"])
    (nyud / "data/depth/img_b1.png").unlink()
    refused(OSError, folders, "nyud", "img_b1.png: no such image", tops=["depth", "label"])
    savemat(nyud / "segmentation/img_b1.mat", {"other": 1})
    tops = ["color", "label"]
    refused(OSError, folders, "nyud", "has other, needs the array segmentation", tops=tops)
    layouts.save_mat(context / "trainval/b1.mat", LabelMap=np.full((20, 28), 460))
    refused(ValueError, folders, "pascalcontext", r"has label 460, needs 1\.\.459")
    lines = (context / "labels.txt").read_text()
    (context / "labels.txt").write_text(lines.replace("bedclothes", "bed clothing"))
    refused(ValueError, folders, "pascalcontext", "labels.txt: lacks the class bedclothes")
    (context / "labels.txt").write_text("<html>")
    refused(ValueError, folders, "pascalcontext", "labels.txt: has the line '<html>'")
    (context / "59_labels.txt").write_text("1: cat\n")
    (context / "labels.txt").write_text(lines)
    refused(ValueError, folders, "pascalcontext", "has 1 names, needs the 59 published ones")


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["pascalcontext", "siftflow", "nyud"])
def test_bvlc_caffe_reads_the_same_images_and_labels(folders, name, tmp_path):
    tops = {"tops": list(NYUD_TOPS)} if name == "nyud" else {}
    for split in ("train", "val"):
        path = prototxt(folders, name, split, **tops)
        outputs = []
        for python in (sys.executable, str(ROOT / "oracle/caffe-python")):
            command = [python, str(ROOT / "tests/read_images.py"), path, "6"]
            result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
            if result.returncode == 127:
                pytest.skip(result.stderr.strip())
            assert result.returncode == 0, result.stderr
            outputs.append(json.loads(result.stdout.splitlines()[-1]))
        assert outputs[0] == outputs[1]
        assert len({str(blobs) for blobs in outputs[0]}) > 1
