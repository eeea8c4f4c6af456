"""Pictures whose channels lie in several files are read like any other picture."""

import os

import numpy as np
import pytest
from PIL import Image

from fcn_data.__main__ import main
from fcn_data.channel_lists import write_channel_lists
from fcn_data.checking import check
from fcn_data.folders import open_folder
from fcn_data.label_coding import LabelCoding
from fcn_data.readers import as_rgb, count_channels, read_channels, read_image
from tests.fcn_data import own_folders


@pytest.fixture
def joined(tmp_path):
    """A set whose pictures are colours and a depth of 16 bits, and the files of one picture."""
    own_folders.write(tmp_path, "folders", 3)
    os.rename(tmp_path / "images", tmp_path / "colours")
    (tmp_path / "depth").mkdir()
    for k in range(3):
        depth = own_folders.picture(k)[0][..., 1].astype(np.uint16) * 257
        Image.fromarray(depth).save(tmp_path / "depth" / f"scene {k}.png")
    main(["join", f"{tmp_path}/colours", f"{tmp_path}/depth", "--out", f"{tmp_path}/images"])
    return tmp_path


def test_colours_and_depth_are_a_picture_of_four_channels(joined):
    path = str(joined / "images" / "scene 1.channels")
    text = (joined / "images" / "scene 1.channels").read_text()
    assert text == "../colours/scene 1.jpg\n../depth/scene 1.png\n"
    assert count_channels(path) == 4
    pixels = read_channels(path, 4)
    colours = read_channels(str(joined / "colours" / "scene 1.jpg"))[..., ::-1]
    assert np.array_equal(pixels[..., :3], colours)
    assert np.allclose(pixels[..., 3], own_folders.picture(1)[0][..., 1])
    assert np.array_equal(as_rgb(pixels), colours) and np.array_equal(read_image(path), colours)


def test_a_set_of_channel_lists_is_checked_with_its_channels(joined):
    folder = open_folder(str(joined)).with_splits(1)
    assert folder.layout == "folders" and len(folder.files) == 3
    report = check(folder, LabelCoding())
    assert not report.errors and report.channels == 4 and len(report.mean) == 4


def test_files_that_do_not_belong_together_are_refused(joined):
    path = joined / "images" / "scene 1.channels"
    Image.new("L", (8, 8)).save(joined / "depth" / "scene 1.png")
    with pytest.raises(ValueError, match=r"has 4 channels of 2 sizes, needs 4 of one size"):
        read_channels(str(path), 4)
    path.write_text("scene 2.channels\n")
    with pytest.raises(ValueError, match=r"scene 2.channels, needs pictures, not another list"):
        read_channels(str(path), 4)
    os.remove(joined / "depth" / "scene 2.png")
    folders = [str(joined / "colours"), str(joined / "depth")]
    with pytest.raises(ValueError, match=r"scene 2.jpg: has no file of this name in .*depth"):
        write_channel_lists(folders, str(joined / "images"), (".jpg", ".png"))
