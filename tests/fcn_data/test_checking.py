"""The check of a data set names each fault with its file and its likely reason."""

import numpy as np
import pytest
from PIL import Image

from fcn_data.checking import check
from fcn_data.folders import open_folder
from fcn_data.label_coding import LabelCoding
from tests.fcn_data import own_folders

NAMES = own_folders.NAMES


def report(root, names=NAMES, **coding):
    folder = open_folder(str(root), names).with_splits(1)
    return check(folder, LabelCoding(colours=folder.colours, **coding))


def texts(result, level):
    return [str(finding) for finding in result.findings if finding.level == level]


def label_path(root, k=0):
    return root / "masks" / f"scene {k}.png"


@pytest.fixture
def root(tmp_path):
    own_folders.write(tmp_path, "folders")
    return tmp_path


def test_a_correct_set_has_no_errors_and_its_mean_and_counts(root):
    result = report(root)
    assert not result.errors and not texts(result, "warning")
    assert result.largest == (32, 40) and result.pixels == 32 * 40 and result.labels == 3
    labels = np.stack([own_folders.picture(k)[1] for k in range(6)])
    assert result.counts == dict(
        zip(*map(np.ndarray.tolist, np.unique(labels, return_counts=True)))
    )
    assert len(result.mean) == 3 and all(20 < value < 60 for value in result.mean)


def test_an_unreadable_file_is_named(root):
    path = root / "images" / "scene 1.jpg"
    path.write_bytes(path.read_bytes()[:100])
    (error,) = report(root).errors
    assert "scene 1.jpg: is not a readable image" in error.text


def test_sizes_that_differ_are_named(root):
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(label_path(root))
    (error,) = report(root).errors
    assert "scene 0.png: is 30 x 40 (height x width), needs its picture's 32 x 40" in error.text


def test_a_label_drawn_before_the_exif_orientation_has_that_reason(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(own_folders.picture(0)[0]).save(root / "images" / "scene 0.jpg", exif=exif)
    result = report(root)
    assert "before its EXIF orientation was applied" in result.errors[0].text
    assert "note: the EXIF orientation of 1 picture is applied" in "\n".join(texts(result, "note"))


@pytest.mark.parametrize(
    "change, reason",
    [
        (
            lambda label: label + 1,
            "count from 1: subtract 1, or use --label-values 1,2,3",
        ),
        (lambda label: label * 3 // 2, "label 0 is a class, too: name 4 classes, the background"),
        (lambda label: label * 50, "divide them by 50, or use --label-values 0,50,100"),
        (
            lambda label: np.where(label == 2, 7, label),
            "the labels have the values 7, need 0 to 2 or 255 (ignored); correct",
        ),
    ],
)
def test_labels_out_of_range_have_their_likely_reason(root, change, reason):
    for k in range(6):
        label = own_folders.picture(k)[1]
        Image.fromarray(change(label).astype(np.uint8)).save(label_path(root, k))
    assert reason in "\n".join(texts(report(root), "error"))


def test_masks_of_0_and_255_are_recognized(root):
    for k in range(6):
        label = (own_folders.picture(k)[1] > 0) * 255
        Image.fromarray(label.astype(np.uint8)).save(label_path(root, k))
    assert "use --masks" in report(root, names=()).errors[0].text
    assert not report(root, names=("background", "block"), masks=True).errors


def test_colours_without_a_palette_get_a_proposal(root):
    for k in range(6):
        colours = np.array(own_folders.COLOURS, np.uint8)[own_folders.picture(k)[1]]
        Image.fromarray(colours).save(label_path(root, k))
    result = report(root)
    (error,) = result.errors
    assert error.text.startswith("6 files: each has colours, and no list says")
    assert len(error.files) == 6
    assert set(result.palette) == set(own_folders.COLOURS) and result.palette[0] == (0, 0, 0)
    assert "proposed labelmap.txt" in "\n".join(texts(result, "note"))


def test_colours_of_smoothed_labels_have_that_reason(root):
    for k in range(6):
        colours = np.array(own_folders.COLOURS, np.uint8)[own_folders.picture(k)[1]]
        smooth = Image.fromarray(colours).rotate(5, Image.Resampling.BILINEAR)
        smooth = smooth.resize((80, 64), Image.Resampling.BICUBIC).resize((40, 32))
        smooth.save(label_path(root, k))
    result = report(root)
    assert not result.palette
    assert "colours, as smoothed or resized ones" in "\n".join(texts(result, "note"))


def test_classes_that_never_occur_are_named(root):
    result = report(root, names=(*NAMES, "blue"))
    assert texts(result, "warning") == ["warning: classes that never occur: blue"]


def test_a_single_class_is_refused(root):
    for k in range(6):
        Image.fromarray(np.zeros((32, 40), np.uint8)).save(label_path(root, k))
    assert "there is 1 class, needs 2 or more" in report(root, names=("all",)).errors[0].text


def test_more_than_255_classes_need_another_ignored_label(root):
    names = tuple(f"class {k}" for k in range(300))
    assert "300 classes, but label 255 is ignored" in report(root, names=names).errors[0].text
    assert not report(root, names=names, ignore_label=65535).errors


def test_duplicates_between_train_and_val_are_named(root):
    folder = open_folder(str(root)).with_splits(1)
    source, target = folder.splits["train"][0], folder.splits["val"][0]
    for kind, suffix in (("images", ".jpg"), ("masks", ".png")):
        data = (root / kind / (source + suffix)).read_bytes()
        (root / kind / (target + suffix)).write_bytes(data)
    assert "val has 1 picture whose pixels equal those of a picture of train" in str(
        report(root).findings
    )


def test_pictures_of_16_bits_are_noted(root):
    grey = own_folders.picture(0)[0][..., 0].astype(np.uint16) * 257
    (root / "images" / "scene 0.jpg").unlink()
    Image.fromarray(grey).save(root / "images" / "scene 0.png")
    assert "values of 16 bits or floats of 1 picture are" in "\n".join(texts(report(root), "note"))


def test_pictures_of_six_pages_are_read_with_six_channels(root):
    for k in range(6):
        (root / "images" / f"scene {k}.jpg").unlink()
        pages = [Image.fromarray(own_folders.picture(k)[0][..., c % 3]) for c in range(6)]
        path = root / "images" / f"scene {k}.tif"
        pages[0].save(path, save_all=True, append_images=pages[1:])
    result = report(root)
    assert not result.errors and result.channels == 6 and len(result.mean) == 6


def test_class_frequencies_are_those_of_the_training_pictures(root):
    folder = open_folder(str(root)).with_splits(1)
    result = check(folder, LabelCoding())
    labels = [own_folders.picture(int(idx.split()[1]))[1] for idx in folder.splits["train"]]
    counts = {k: int(sum((label == k).sum() for label in labels)) for k in range(3)}
    assert result.train_counts == counts
    assert result.extent == {k: sum(a.size for a in labels if k in a) for k in range(3)}


def test_palette_files_that_agree_give_the_classes_their_colours(root):
    assert report(root).colours[:3] == own_folders.COLOURS
    Image.fromarray(own_folders.picture(0)[1]).save(label_path(root))
    assert report(root).colours == ()


def test_another_number_of_names_than_of_colours_is_refused(tmp_path):
    own_folders.write(tmp_path, "cvat")
    result = report(tmp_path, names=("a", "b", "c", "d"))
    assert "4 classes are named, but the labelmap has 3 colours" in "\n".join(
        texts(result, "error")
    )


def test_a_message_names_an_unreadable_file_once(root):
    label_path(root).write_text("no picture")
    (error,) = report(root).errors
    assert error.text.count("scene 0.png") == 1 and "cannot identify image file" in error.text
