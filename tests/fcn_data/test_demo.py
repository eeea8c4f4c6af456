"""The demo set: layouts, truth, and the same set from the same arguments."""

import hashlib
import os
import subprocess
import sys

import caffe
import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

import net_gen
from fcn_common import command
from fcn_common.voc import CLASSES, PALETTE
from fcn_data import DATA_SETS, demo
from fcn_data.demo import build, drawing
from fcn_data.demo.__main__ import main
from fcn_data.split_files import read_ids

SMALL = {"train": 4, "val": 2, "test": 3, "crops": 22, "crops_val": 21}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "set"
    demo.make(str(path), seed=3, **SMALL)
    return path


def digest(root):
    """One digest of all files of a folder; of arrays' contents, as an .npz carries its time."""
    total = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.suffix == ".npz":
            with np.load(path) as file:
                total.update(file["data"].tobytes() + file["label"].tobytes())
        elif path.suffix == ".mat":
            total.update(loadmat(path)["GTcls"][0]["Segmentation"][0].tobytes())
        elif path.is_file():
            total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


def test_every_class_of_voc_has_a_shape_and_a_look_in_its_order():
    assert list(demo.SHAPES) == list(demo.LOOKS) == list(CLASSES[1:])


def test_the_palette_is_that_of_voc():
    assert PALETTE.shape == (256, 3)
    for index, rgb in {0: (0, 0, 0), 1: (128, 0, 0), 15: (192, 128, 128)}.items():
        assert tuple(PALETTE[index]) == rgb
    assert tuple(PALETTE[20]) == (0, 64, 128)
    assert tuple(PALETTE[255]) == (224, 224, 192)


def test_splits_are_written_in_the_layouts_of_sbd_and_voc(root):
    sbd, voc = root / "sbdd/dataset", root / "pascal/VOC2011"
    sets = voc / "ImageSets/Segmentation"
    splits = {name: read_ids(str(sets / f"{name}.txt")) for name in ("train", "val", "test")}
    assert {name: len(ids) for name, ids in splits.items()} == {"train": 4, "val": 2, "test": 3}
    assert (sets / "seg11valid.txt").read_text() == (sets / "val.txt").read_text()
    assert (sbd / "train.txt").read_text().split() == splits["train"]
    assert len({idx for ids in splits.values() for idx in ids}) == 9
    for idx in splits["train"]:
        label = loadmat(sbd / "cls" / f"{idx}.mat")["GTcls"][0]["Segmentation"][0]
        assert np.array_equal(label, np.asarray(Image.open(voc / f"SegmentationClass/{idx}.png")))
        assert Image.open(sbd / f"img/{idx}.jpg").size == label.shape[::-1]


def test_labels_are_palette_images_with_objects_and_ignored_borders(root):
    voc = root / "pascal/VOC2011"
    for path in sorted((voc / "SegmentationClass").iterdir()):
        with Image.open(path) as image:
            assert image.mode == "P"
            assert image.getpalette()[:63] == PALETTE[:21].ravel().tolist()
            label = np.asarray(image)
        assert label.shape in demo.SIZES
        values = set(np.unique(label))
        assert values <= {*range(21), 255}
        assert {0, 255} < values


def test_an_ignored_border_separates_every_object_from_its_surroundings():
    for k in range(6):
        _, label = demo.draw_scene(np.random.RandomState([1, k]))
        for a, b in ((label[1:], label[:-1]), (label[:, 1:], label[:, :-1])):
            assert not np.any((a != b) & (a != 255) & (b != 255))


def test_crops_go_through_the_classes_in_turn_with_the_ground(root):
    with np.load(root / "objects/train.npz") as file:
        assert file["data"].shape == (22, 96, 96, 3)
        assert file["data"].dtype == np.uint8
        assert file["label"].tolist() == [*range(21), 0]


@pytest.mark.long
def test_the_same_seed_draws_the_same_set_in_another_process(root, tmp_path):
    code = f"import sys; from fcn_data import demo\ndemo.make(sys.argv[1], seed=3, **{SMALL!r})"
    env = dict(os.environ, PYTHONHASHSEED="7")
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "again")], check=True, env=env)
    assert digest(tmp_path / "again") == digest(root)


def test_another_seed_draws_another_set():
    first, second = (demo.draw_scene(np.random.RandomState([seed, 0, 0])) for seed in (1, 2))
    assert first[0].shape != second[0].shape or not np.array_equal(first[0], second[0])


def test_a_complete_set_is_not_drawn_again(root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    demo.make(str(root), seed=3, **SMALL)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_set_with_other_arguments_is_refused_with_both_values(root):
    with pytest.raises(ValueError, match="train 4, needs 5"):
        demo.make(str(root), seed=3, **dict(SMALL, train=5))
    with pytest.raises(ValueError, match="seed 3, needs 4"):
        demo.make(str(root), seed=4, **SMALL)


def test_a_folder_with_other_files_is_refused_and_not_changed(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="name another folder"):
        demo.make(str(tmp_path), **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_after_a_killed_run_the_set_is_drawn_from_the_start(root, tmp_path, monkeypatch):
    draw_scene, calls = build.draw_scene, []

    def killed(*args):
        calls.append(args)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return draw_scene(*args)

    monkeypatch.setattr(build, "draw_scene", killed)
    with pytest.raises(KeyboardInterrupt):
        demo.make(str(tmp_path / "set"), seed=3, **SMALL)
    assert not (tmp_path / "set").exists()
    monkeypatch.undo()
    demo.make(str(tmp_path / "set"), seed=3, **SMALL)
    assert digest(tmp_path / "set") == digest(root)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_scale_2_1_makes_images_of_the_size_of_voc():
    image, label = demo.draw_scene(np.random.RandomState(1), scale=2.1)
    assert image.shape[:2] == label.shape
    assert label.shape in [tuple(round(2.1 * side) for side in size) for size in demo.SIZES]
    assert max(label.shape) > 450
    border = np.mean(label == 255)
    assert 0.005 < border < 0.15


def test_the_command_line_draws_a_set_and_refuses_another_seed(tmp_path, capsys):
    args = ["--train", "1", "--val", "1", "--test", "1", "--crops", "1", "--crops-val", "1"]
    main([str(tmp_path / "set"), *args])
    with pytest.raises(SystemExit) as end:
        command.run(lambda: main([str(tmp_path / "set"), *args, "--seed", "2"]))
    assert end.value.code == 1
    assert "seed 1, needs 2" in capsys.readouterr().err


@pytest.mark.parametrize("name", demo.layouts.LAYOUTS)
def test_the_scenes_in_another_layout_are_read_by_the_data_layer_of_that_set(name, tmp_path):
    root, data_set = str(tmp_path / "set"), DATA_SETS[name]
    demo.layouts.make(name, root, train=2, val=1, scale=0.2)
    for split, count in (("train", 2), ("val", 1)):
        record = data_set.splits[split]
        param = data_set.parameters(split, root)
        tops = tuple(param.get("tops", data_set.tops))
        n = caffe.NetSpec()
        net_gen.PythonData(record.module, record.layer, param, tops).add(n)
        net_gen.write(n.to_proto(), tmp_path / "net.prototxt")
        net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
        assert len(net.layers[0].indices) == count
        net.forward()
        for labels in data_set.labels:
            assert len(np.unique(net.blobs[labels.name].data)) > 1
    with pytest.raises(ValueError, match="train 2, needs 3"):
        demo.layouts.make(name, root, train=3, val=1, scale=0.2)


class Killed(BaseException):
    """Stands for the end of a process."""


@pytest.mark.parametrize("draw", ["draw_scene", "draw_crop"])
def test_a_drawing_that_was_killed_goes_on_where_it_was(root, tmp_path, monkeypatch, draw):
    monkeypatch.setattr(drawing, "INTERVAL", 2)
    real, counts = getattr(build, draw), {"draws": 0, "until": 7}

    def counted(*args):
        counts["draws"] += 1
        if counts["draws"] == counts["until"]:
            raise Killed
        return real(*args)

    monkeypatch.setattr(build, draw, counted)
    path = tmp_path / "set"
    with pytest.raises(Killed):
        demo.make(str(path), seed=3, **SMALL)
    assert not path.exists()
    counts.update(draws=0, until=None)
    demo.make(str(path), seed=3, **SMALL)
    total = {"draw_scene": 9, "draw_crop": 43}[draw]
    assert total - counts["draws"] == 6, "six pictures were drawn before and are not drawn again"
    assert digest(path) == digest(root)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"]


@pytest.mark.parametrize("change", ["boot", "seed", "damage"])
def test_a_drawing_starts_anew_where_it_cannot_go_on(root, tmp_path, monkeypatch, change):
    """After a start of the machine, files may be lost that were written before."""
    monkeypatch.setattr(drawing, "INTERVAL", 1)
    real, seed = build.draw_crop, 4 if change == "seed" else 3
    monkeypatch.setattr(build, "draw_crop", lambda *args: (_ for _ in ()).throw(Killed))
    path = tmp_path / "set"
    with pytest.raises(Killed):
        demo.make(str(path), seed=seed, **SMALL)
    for scene in (tmp_path / "set.part").rglob("*.jpg"):
        scene.write_bytes(b"lost")
    monkeypatch.setattr(build, "draw_crop", real)
    if change == "boot":
        monkeypatch.setattr(drawing, "BOOT", str(tmp_path / "other"))
    elif change == "damage":
        (tmp_path / "set.part" / "drawing.json").write_text("{")
    demo.make(str(path), seed=3, **SMALL)
    assert digest(path) == digest(root)
