"""The split files of SIFT Flow, where its archive lacks them."""

from __future__ import annotations

import os
from typing import List

from fcn_common.files import write_text

#: The folder of the files below Images, SemanticLabels and GeoLabels.
SCENES = "spatial_envelope_256x256_static_8outdoorcategories"
TEST_IMAGES = 200
#: Images without annotations; they are in no split.
UNLABELLED = ("highway_bost181", "street_urb506")


def complete_lists(folder: str) -> None:
    """Write test.txt and trainval.txt of the set in `folder` where its archive has none.

    The test images are those of a text file at the top of the archive that names 200 of the images,
    one a line; all other annotated images are for training. Without such a file, nothing is
    written, and test.txt has to be put there by hand.
    """
    images = os.path.join(folder, "Images", SCENES)
    ids = sorted(os.path.splitext(name)[0] for name in os.listdir(images))
    test, trainval = (os.path.join(folder, name) for name in ("test.txt", "trainval.txt"))
    if not os.path.isfile(test):
        lists = [_named_images(os.path.join(folder, name), ids) for name in _text_files(folder)]
        lists = [names for names in lists if len(names) == TEST_IMAGES]
        if not lists:
            return
        write_text(test, "".join(idx + "\n" for idx in lists[0]))
    if not os.path.isfile(trainval):
        tested = {*_named_images(test, ids), *UNLABELLED}
        write_text(trainval, "".join(idx + "\n" for idx in ids if idx not in tested))


def _text_files(folder: str) -> List[str]:
    return sorted(name for name in os.listdir(folder) if name.endswith(".txt"))


def _named_images(path: str, ids: List[str]) -> List[str]:
    """Return the ids of the images that the lines of a text file name; [] if a line names none."""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        lines = [line.strip().replace("\\", "/") for line in file if line.strip()]
    names = [os.path.splitext(line.rsplit("/", 1)[-1])[0] for line in lines]
    return names if set(names) <= set(ids) else []
