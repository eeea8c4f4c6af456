"""Fetching and checking of the published files.

python -m fcn_data fetch sbd voc2011 seg11valid vgg16
"""

from __future__ import annotations

import hashlib
import os
from typing import Dict, List, Optional

from fcn_common.files import write_text

from . import published
from .archives import unpack
from .downloads import download, verify
from .published import ROOT, missing
from .split_files import read_ids

#: Environment variable: a folder to fetch from instead of the published addresses.
URL_VARIABLE = "FCN_DATASETS_URL"


def fetch(*names: str, root: str = ROOT, base_url: Optional[str] = None) -> None:
    """Download, check and lay out the files of `names` that are missing under `root`.

    An interrupted download continues where it stopped. `base_url` (or the environment variable
    FCN_DATASETS_URL) is a folder to fetch from instead of the published addresses. Raises one
    OSError that lists every file that could not be fetched, and why.
    """
    base_url = base_url or os.environ.get(URL_VARIABLE)
    reasons: Dict[str, str] = {}
    # seg11valid is computed from other files, so they come first.
    for name in sorted(names, key=lambda name: name == "seg11valid"):
        if not missing(name, root):
            continue
        try:
            if name == "seg11valid":
                write_seg11valid(root)
            else:
                _fetch_file(name, root, base_url)
        except (OSError, ValueError) as error:
            reasons[name] = str(error)
    if reasons:
        raise OSError(published.missing_message(list(reasons), root, reasons))


def check(name: str, root: str = ROOT) -> str:
    """Read the files of `name` and return what they are, in a line.

    Raises OSError if a file is missing or damaged.
    """
    published.require(name, root=root)
    if name == "seg11valid":
        path = os.path.join(root, published.SEG11VALID)
        verify(path, "sha256:" + published.SEG11VALID_SHA256, published.SEG11VALID)
        return f"{len(read_ids(path))} images, as published"
    entry = published.entry(name)
    target = os.path.join(root, entry.target)
    if entry.inside is None:
        verify(target, entry.checksum)
        return entry.checksum or "no checksum is published"
    count = 0
    for split in entry.lists:
        for idx in _read_list(os.path.join(target, split)):
            count += 1
            for folder, suffix in entry.folders.items():
                path = os.path.join(target, folder, idx + suffix)
                if not os.path.isfile(path):
                    raise OSError(f"{path}: no such file, though {split} lists {idx}")
    return f"{count} images with labels in {', '.join(entry.lists)}"


def write_seg11valid(root: str = ROOT) -> None:
    """Write the seg11valid split: the images of VOC2011's val that are not in SBD's train.

    Raises OSError if one of the two is missing or the result is not the published split.
    """
    sbd = os.path.join(root, published.PUBLISHED["sbd"].target, "train.txt")
    val = os.path.join(root, os.path.dirname(published.SEG11VALID), "val.txt")
    for path in (val, sbd):
        if not os.path.isfile(path):
            raise OSError(f"{path}: no such file; fetch voc2011 and sbd first")
    trained = set(read_ids(sbd))
    ids = [idx for idx in read_ids(val) if idx not in trained]
    text = "".join(idx + "\n" for idx in ids)
    if hashlib.sha256(text.encode()).hexdigest() != published.SEG11VALID_SHA256:
        raise OSError(
            f"{val} without {sbd}: {len(ids)} images that are not the published "
            f"{published.SEG11VALID_IMAGES}; one of the two files is of another release"
        )
    write_text(os.path.join(root, published.SEG11VALID), text)


def _fetch_file(name: str, root: str, base_url: Optional[str]) -> None:
    entry = published.entry(name)
    path = os.path.join(root, entry.download)
    if not os.path.exists(path):
        urls = (base_url.rstrip("/") + "/" + entry.file,) if base_url else entry.urls
        download(urls, path, entry.checksum)
    elif entry.inside is not None:
        verify(path, entry.checksum)
    if entry.inside is not None:
        unpack(path, entry.inside, os.path.join(root, entry.target))
    absent = missing(name, root)
    if absent:
        raise OSError(f"{entry.file}: lacks {', '.join(absent)}")


def _read_list(path: str) -> List[str]:
    """Return the ids in a list of an archive, which may be empty."""
    return read_ids(path) if os.path.getsize(path) else []
