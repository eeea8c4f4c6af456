"""A folder of a user's own pictures, in every layout, is one data set."""

import os

import numpy as np
import pytest
from PIL import Image

from fcn_data.folders import check_names, open_folder, read_labelmap, read_names
from fcn_data.label_coding import LabelCoding
from tests.fcn_data import own_folders


@pytest.mark.parametrize("layout", own_folders.LAYOUTS)
def test_every_layout_has_the_same_pictures_and_labels(tmp_path, layout):
    folder = open_folder(own_folders.write(tmp_path / "set", layout))
    assert sorted(folder.files) == [f"scene {k}" for k in range(6)]
    coding = LabelCoding(colours=folder.colours)
    for k in range(6):
        image, label = folder.files[f"scene {k}"]
        assert image.lower().endswith(".jpg")
        assert np.array_equal(coding.read(label), own_folders.picture(k)[1])


@pytest.mark.parametrize("layout", ["voc", "labelme", "cvat", "sbd"])
def test_split_files_with_spaces_and_a_byte_order_mark_are_used(tmp_path, layout):
    folder = open_folder(own_folders.write(tmp_path, layout)).with_splits(1)
    assert folder.splits["train"] == tuple(f"scene {k}" for k in range(4))
    assert folder.splits["val"] == ("scene 4", "scene 5")


def test_a_split_is_drawn_from_a_seed_where_there_is_none(tmp_path):
    folder = open_folder(own_folders.write(tmp_path, "flat", 10))
    assert folder.splits == {}
    splits = folder.with_splits(1).splits
    assert splits == folder.with_splits(1).splits != folder.with_splits(2).splits
    assert len(splits["val"]) == 2 and len(splits["train"]) == 8
    assert not set(splits["val"]) & set(splits["train"])


def test_a_single_picture_is_trained_and_scored(tmp_path):
    splits = open_folder(own_folders.write(tmp_path, "flat", 1)).with_splits(1).splits
    assert splits == {"train": ("scene 0",), "val": ("scene 0",)}


def test_folders_called_train_and_val_are_splits(tmp_path):
    names = ["train/a", "train/b", "val/a"]
    for folder in ("images", "masks"):
        for split in ("train", "val"):
            (tmp_path / folder / split).mkdir(parents=True)
    folder = open_folder(own_folders.write(tmp_path, "folders", names=names))
    assert folder.splits == {"train": ("train/a", "train/b"), "val": ("val/a",)}


def test_folders_of_splits_with_pictures_and_labels_in_each_are_one_set(tmp_path):
    own_folders.write(tmp_path / "train", "folders", 3)
    own_folders.write(tmp_path / "valid", "flat", 2)
    for name in ("images", "masks"):
        (tmp_path / "valid" / name).mkdir()
    own_folders.write(tmp_path / "valid", "folders", 2)
    folder = open_folder(str(tmp_path))
    assert folder.layout == "splits"
    assert folder.splits["train"] == tuple(f"train/scene {k}" for k in range(3))
    assert folder.splits["val"] == ("valid/scene 0", "valid/scene 1")


def test_pictures_of_a_test_split_are_not_scored_beside_those_of_val(tmp_path):
    names = ["train/a", "val/a", "test/a"]
    for folder in ("images", "masks"):
        for split in ("train", "val", "test"):
            (tmp_path / folder / split).mkdir(parents=True)
    folder = open_folder(own_folders.write(tmp_path, "folders", names=names))
    assert folder.splits == {"train": ("train/a",), "val": ("val/a",)}
    assert folder.with_splits(1).splits == folder.splits


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".png", ".tif", ".bmp"])
def test_pictures_of_every_suffix_have_their_labels(tmp_path, suffix):
    pixels, label = own_folders.picture(0)
    Image.fromarray(pixels).save(tmp_path / f"a{suffix}")
    name = "a_mask.png" if suffix == ".png" else "a.png"
    Image.fromarray(label).save(tmp_path / name)
    folder = open_folder(str(tmp_path))
    assert [os.path.basename(f) for f in folder.files["a"]] == [f"a{suffix}", name]


def test_class_names_come_from_the_files_of_the_tools(tmp_path):
    labelme = open_folder(own_folders.write(tmp_path / "labelme", "labelme"))
    assert labelme.classes == ("_background_", "red", "green")
    cvat = open_folder(own_folders.write(tmp_path / "cvat", "cvat"))
    assert cvat.classes == own_folders.NAMES and cvat.colours == own_folders.COLOURS
    named = open_folder(str(tmp_path / "cvat"), names=("a", "b", "c"))
    assert named.classes == ("a", "b", "c")


def test_names_of_ignored_labels_are_no_classes(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("\ufeff__ignore__\n_background_\ncat\n", encoding="utf-8")
    assert read_names(str(path)) == ("_background_", "cat")


def test_a_label_png_beside_a_png_picture_is_known_by_its_end(tmp_path):
    pixels, label = own_folders.picture(0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(label).save(tmp_path / "a_mask.png")
    folder = open_folder(str(tmp_path))
    assert [os.path.basename(f) for f in folder.files["a"]] == ["a.png", "a_mask.png"]


def test_pictures_without_a_label_are_listed(tmp_path):
    own_folders.write(tmp_path, "folders")
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "extra.bmp")
    folder = open_folder(str(tmp_path))
    assert [os.path.basename(f) for f in folder.unlabelled] == ["extra.bmp"]


def test_a_split_with_an_unknown_id_is_refused(tmp_path):
    own_folders.write(tmp_path, "sbd")
    (tmp_path / "train.txt").write_text("scene 0.jpg\nimg/scene 1.jpg\nscene 9\n")
    with pytest.raises(ValueError, match=r"train.txt: names 'scene 9', needs a picture with a"):
        open_folder(str(tmp_path))


def test_a_folder_without_labels_is_refused(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="has 1 pictures and 0 label files"):
        open_folder(str(tmp_path))
    Image.new("L", (4, 4)).save(tmp_path / "a_mask.jpg")
    with pytest.raises(ValueError, match="a_mask.jpg has JPEG labels, whose compression changes"):
        open_folder(str(tmp_path))
    with pytest.raises(OSError, match="is not a folder"):
        open_folder(str(tmp_path / "missing"))


def test_a_wrong_line_of_a_labelmap_is_refused(tmp_path):
    path = tmp_path / "labelmap.txt"
    path.write_text("cat:1,2,3::\ndog:1,2\n")
    with pytest.raises(ValueError, match="line 2 is 'dog:1,2', needs name:red,green,blue"):
        read_labelmap(str(path))
    path.write_text("cat:1,2,3::\ndog:1,2,3\n")
    with pytest.raises(ValueError, match="line 2 gives dog the colour of cat, needs another"):
        read_labelmap(str(path))


def test_polygons_of_annotation_programs_are_no_labels(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ValueError, match=r"; a.json seems to hold polygons: export label images"):
        open_folder(str(tmp_path))


def test_a_palette_png_whose_colours_are_in_another_order_is_read_by_colour(tmp_path):
    path = str(tmp_path / "label.png")
    label = own_folders.picture(0)[1]
    image = Image.fromarray((label + 1) % 3)
    image.putpalette(np.roll(np.array(own_folders.COLOURS, np.uint8), 1, axis=0).tobytes())
    image.save(path)
    assert np.array_equal(LabelCoding(colours=own_folders.COLOURS).read(path), label)
    assert np.array_equal(LabelCoding().read(path), (label + 1) % 3)


def test_colours_outside_the_palette_are_refused_and_borders_are_ignored(tmp_path):
    path = str(tmp_path / "label.png")
    Image.fromarray(np.array([[(0, 0, 0), (224, 224, 192)]], np.uint8)).save(path)
    coding = LabelCoding(colours=own_folders.COLOURS)
    assert coding.read(path).tolist() == [[0, 255]]
    Image.fromarray(np.array([[(0, 0, 0), (1, 2, 3)]], np.uint8)).save(path)
    with pytest.raises(ValueError, match=r"has the colour 1,2,3 in 1 pixels"):
        coding.read(path)
    with pytest.raises(ValueError, match=r"label.png: has colours, and no list says which class"):
        LabelCoding().read(path)


def test_masks_of_0_and_255_are_two_classes_on_request(tmp_path):
    path = str(tmp_path / "mask.png")
    Image.fromarray(np.array([[0, 255, 255]], np.uint8)).save(path)
    assert LabelCoding(masks=True).read(path).tolist() == [[0, 1, 1]]
    assert LabelCoding().read(path).tolist() == [[0, 255, 255]]


def test_stored_values_are_the_classes_that_the_user_names(tmp_path):
    path = str(tmp_path / "label.png")
    Image.fromarray(np.array([[0, 60, 120, 255]], np.uint8)).save(path)
    assert LabelCoding(values=(60, 0, 120)).read(path).tolist() == [[1, 0, 2, 255]]
    assert LabelCoding(values=(0, 255, 60, 120)).read(path).tolist() == [[0, 2, 3, 1]]
    with pytest.raises(ValueError, match=r"has the value 120 in 1 pixels, needs one of 0, 60, or"):
        LabelCoding(values=(0, 60)).read(path)


@pytest.mark.parametrize("stem", ["a\nb", " a", "a\r"])
def test_a_picture_that_no_split_file_can_name_is_refused(tmp_path, stem):
    for folder, suffix in (("images", "jpg"), ("labels", "png")):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / folder / f"{stem}.{suffix}")
    with pytest.raises(ValueError, match="has a line break or a space at its end") as caught:
        open_folder(str(tmp_path))
    assert len(str(caught.value).splitlines()) == 1


def test_a_picture_whose_name_is_not_utf8_is_refused(tmp_path):
    for suffix in ("jpg", "png"):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / f"a.{suffix}")
        os.rename(tmp_path / f"a.{suffix}", os.fsencode(tmp_path) + b"/a\xe4." + suffix.encode())
    with pytest.raises(ValueError, match=r"the picture 'a\\udce4' is not UTF-8, which split files"):
        open_folder(str(tmp_path))


def test_two_classes_of_one_name_are_refused():
    with pytest.raises(ValueError, match="a: class 0 and class 2 are both called 'sky'; rename"):
        check_names(["sky", "road", "sky"], "a")


@pytest.mark.parametrize("name", ["a\x1b[31m", "a\x07", "\x9b1m", "a\u2028b"])
def test_a_class_name_with_control_characters_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="which has characters that cannot be shown"):
        check_names(["sky", name], "classes.txt")
    folder = own_folders.write(tmp_path / "set", "flat")
    with pytest.raises(ValueError, match="which has characters that cannot be shown"):
        open_folder(folder, names=[name])
