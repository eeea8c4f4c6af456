"""The published files on this machine: what is missing, fetching and checking.

python -m fcn_data fetch sbd voc2011 seg11valid vgg16
"""

from __future__ import annotations

import hashlib
import os
from typing import Dict, List, Mapping, Optional, Sequence

from fcn_common.files import write_text
from fcn_common.places import writable

from . import registry, sift_flow
from .archives import folder_of, unpack
from .downloads import download, verify
from .readers import read_class_list
from .registry import NAMES, PUBLISHED, ROOT
from .split_files import read_ids
from .weights import check_fit

__all__ = [
    "NAMES",
    "PUBLISHED",
    "ROOT",
    "check",
    "check_content",
    "fetch",
    "missing",
    "missing_message",
    "require",
    "unusable",
    "write_seg11valid",
]

#: Environment variable: a folder to fetch from instead of the published addresses.
URL_VARIABLE = "FCN_DATASETS_URL"


def missing(name: str, root: str = ROOT) -> List[str]:
    """Return the paths of `name` that are not in place, relative to `root`.

    A weights file or a list of classes without a published checksum is in place only if its content
    is what the nets need: an HTML page in its place counts as missing.
    """
    paths = (registry.SEG11VALID,) if name == "seg11valid" else registry.entry(name).parts
    absent = [path for path in paths if not os.path.exists(os.path.join(root, path))]
    return absent or ([paths[0]] if unusable(name, root) else [])


def unusable(name: str, root: str = ROOT) -> str:
    """Return why the file at the place of `name` is not the published one; "" if it may be."""
    if name == "seg11valid":
        return ""
    entry = registry.entry(name)
    path = os.path.join(root, entry.target)
    if not os.path.isfile(path):
        return ""
    try:
        check_content(entry, path)
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def check_content(entry: registry.Published, path: str) -> None:
    """Check a file that has no published checksum by what is in it.

    Raises ValueError for weights that are truncated or do not fit the net, and for a list of
    another number of classes.
    """
    if entry.variant is not None:
        check_fit(path, os.path.join(ROOT, entry.variant, "deploy.prototxt"))
    if entry.classes is not None:
        count = sum(number > 0 for number in read_class_list(path))
        if count != entry.classes:
            raise ValueError(f"{path}: has {count} classes, needs {entry.classes}")


def require(*names: str, root: str = ROOT) -> None:
    """Raise an OSError unless the published files `names` are in place under `root`.

    The message lists each missing file with its address, its checksum and its place.
    """
    absent = [name for name in names if missing(name, root)]
    if absent:
        raise OSError(missing_message(absent, root))


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
        raise OSError(missing_message(list(reasons), root, reasons))


def check(name: str, root: str = ROOT) -> str:
    """Read the files of `name` and return what they are, in a line.

    Raises OSError if a file is missing or damaged.
    """
    require(name, root=root)
    if name == "seg11valid":
        path = os.path.join(root, registry.SEG11VALID)
        verify(path, "sha256:" + registry.SEG11VALID_SHA256, registry.SEG11VALID)
        return f"{len(read_ids(path))} images, as published"
    entry = registry.entry(name)
    target = os.path.join(root, entry.target)
    if entry.inside is None:
        verify(target, entry.checksum)
        content = "fits its net" if entry.variant else "has the classes"
        return entry.checksum or f"{content}; no checksum is published"
    if not entry.lists:
        return f"{len(os.listdir(target))} files"
    count = 0
    for split in entry.lists:
        for idx in _read_list(os.path.join(target, split)):
            count += 1
            for folder, suffix in entry.folders.items():
                file = suffix.format(idx) if "{}" in suffix else idx + suffix
                path = os.path.join(target, folder, file)
                if not os.path.isfile(path):
                    raise OSError(f"{path}: no such file, though {split} lists {idx}")
    return f"{count} images with labels in {', '.join(entry.lists)}"


def write_seg11valid(root: str = ROOT) -> None:
    """Write the seg11valid split: the images of VOC2011's val that are not in SBD's train.

    Raises OSError if one of the two is missing or the result is not the published split.
    """
    sbd = os.path.join(root, PUBLISHED["sbd"].target, "train.txt")
    val = os.path.join(root, os.path.dirname(registry.SEG11VALID), "val.txt")
    for path in (val, sbd):
        if not os.path.isfile(path):
            raise OSError(f"{path}: no such file; fetch voc2011 and sbd first")
    trained = set(read_ids(sbd))
    ids = [idx for idx in read_ids(val) if idx not in trained]
    text = "".join(idx + "\n" for idx in ids)
    if hashlib.sha256(text.encode()).hexdigest() != registry.SEG11VALID_SHA256:
        raise OSError(
            f"{val} without {sbd}: {len(ids)} images that are not the published "
            f"{registry.SEG11VALID_IMAGES}; one of the two files is of another release"
        )
    write_text(os.path.join(root, registry.SEG11VALID), text)


def missing_message(
    names: Sequence[str], root: str, reasons: Optional[Mapping[str, str]] = None
) -> str:
    """Return one message: what is missing, its address and checksum, where to put it, and why.

    reasons: why each name could not be fetched.
    """
    one = len(names) == 1
    count = "1 published file is" if one else f"{len(names)} published files are"
    lines = [f"{count} not in place:"]  # Programs print the lines as one, so each ends with a mark.
    for name in names:
        lines.append(f"  {name}: lacks {', '.join(missing(name, root))};")
        reason = (reasons or {}).get(name) or unusable(name, root)
        if reason:
            lines.append(f"    {reason};")
        if name == "seg11valid":
            lines.append("    it is computed from voc2011 and sbd;")
        else:
            entry = registry.entry(name)
            lines.append(f"    address: {' or '.join(entry.urls)};")
            lines.append(f"    checksum: {entry.checksum or 'not published'};")
            lines.append(f"    put the file at {os.path.join(root, entry.download)};")
    lines.append(f"then run: python -m fcn_data fetch {' '.join(names)};")
    lines.append(
        "or name a folder on a mirror that has these files: "
        f"{URL_VARIABLE}=https://host/folder python -m fcn_data fetch {' '.join(names)}"
    )
    return "\n".join(lines)


def _fetch_file(name: str, root: str, base_url: Optional[str]) -> None:
    entry = registry.entry(name)
    path = os.path.join(root, entry.download)
    if unusable(name, root):
        aside = path + ".unusable"
        os.replace(writable(path), writable(aside))
        print(f"{path}: is not the published file; moved to {aside}")
    if not os.path.exists(path):
        urls = (base_url.rstrip("/") + "/" + entry.file,) if base_url else entry.urls
        download(urls, path, entry.checksum, lambda part: check_content(entry, part))
    elif entry.inside is not None:
        verify(path, entry.checksum)
    if entry.inside is not None:
        target = os.path.join(root, entry.target)
        inside = entry.inside
        if inside == "*":
            inside = folder_of(path, next(iter(entry.folders)))
        unpack(path, inside, target)
        if name == "siftflow":
            sift_flow.complete_lists(target)
    absent = missing(name, root)
    if absent:
        raise OSError(f"{entry.file}: lacks {', '.join(absent)}")


def _read_list(path: str) -> List[str]:
    """Return the ids in a list of an archive, which may be empty."""
    return read_ids(path) if os.path.getsize(path) else []
