"""A folder of pictures and labels as a data set, in the layouts that tools write.

    VOC       JPEGImages/ID.jpg, SegmentationClass[PNG]/ID.png, ImageSets/Segmentation/SPLIT.txt;
              class_names.txt (labelme), labelmap.txt with colours (CVAT)
    SBD       img/ID.jpg, cls/ID.mat, SPLIT.txt
    folders   images/ID.jpg and labels/ID.png, or any two folders with files of the same stems
    flat      ID.jpg and ID.png side by side, or ID.png and ID_mask.png
    splits    train/ and val/, each in one of these layouts

`open_folder(path)` finds the layout. A picture has an id: its path in the folder of the pictures,
without the suffix.
"""

from __future__ import annotations

import os
import random
import re
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from fcn_common.files import read_text

from .channel_lists import SUFFIX as CHANNEL_LIST
from .label_coding import LABEL_SUFFIXES, Colour
from .split_files import read_ids

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".ppm", ".pgm"),
    CHANNEL_LIST,
)
#: Names of folders, from the most specific to the least.
IMAGE_FOLDERS = (
    *("JPEGImages", "images", "image", "img", "imgs", "photos", "photographs", "pictures"),
    *("photo", "rgb", "leftImg8bit"),
)
LABEL_FOLDERS = (
    *("SegmentationClassPNG", "SegmentationClass", "cls", "labels", "label", "masks", "mask"),
    *("annotations", "annotation", "segmentation", "gt", "truth", "gtFine", "SegmentationClassNpy"),
)
#: Ends of the stems of label files that lie beside their pictures.
LABEL_ENDS = re.compile(r"[_\-. ](labels?|masks?|gt|seg|segmentation|truth|annotation)$", re.I)
#: Folders that hold split files.
SPLIT_FOLDERS = ("ImageSets/Segmentation", "ImageSets", "splits", "lists", "")
SPLIT_NAMES: Mapping[str, Tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("seg11valid", "val", "valid", "validation", "test", "testing"),
}
NAME_FILES = ("class_names.txt", "classes.txt", "labels.txt", "obj.names")
#: The share of the pictures that is drawn for scoring where there is no split.
VAL_SHARE = 0.2
#: Files of annotation programs that describe labels as polygons, not as images.
POLYGON_SUFFIXES = (".json", ".xml")
IGNORED_NAMES = ("__ignore__", "ignore", "__ignored__")


class Folder(NamedTuple):
    """A folder as a data set.

    path: the folder. layout: its name, for messages. files: id -> paths of the picture and the
    label. splits: name -> ids, from split files or from folders called train and val; {} if there
    are none. classes: names by index; () if no file names them. colours: of the classes in
    colour-coded labels, or None. unlabelled: the pictures without a label.
    """

    path: str
    layout: str
    files: Mapping[str, Tuple[str, str]]
    splits: Mapping[str, Tuple[str, ...]]
    classes: Tuple[str, ...] = ()
    colours: Optional[Tuple[Colour, ...]] = None
    unlabelled: Tuple[str, ...] = ()

    def with_splits(self, seed: int) -> Folder:
        """Return the folder with the splits train and val; what is missing is drawn.

        One of `VAL_SHARE` of the pictures is drawn for val. A train split without val leaves the
        other pictures to val. A single picture is in both.
        """
        splits, ids = dict(self.splits), sorted(self.files)
        rest = [idx for idx in ids if idx not in {i for s in splits.values() for i in s}]
        if "train" not in splits and "val" in splits and rest:
            splits["train"] = tuple(rest)
        elif "val" not in splits and "train" in splits and rest:
            splits["val"] = tuple(rest)
        if "train" not in splits or "val" not in splits:
            pool = list(splits.get("train") or splits.get("val") or ids)
            random.Random(seed).shuffle(pool)
            count = max(1, round(VAL_SHARE * len(pool)))
            splits["val"] = tuple(sorted(pool[:count]))
            splits["train"] = tuple(sorted(pool[count:] or pool))
        return self._replace(splits=splits)


def open_folder(path: str, names: Sequence[str] = (), labelmap: Optional[str] = None) -> Folder:
    """Return the data set in a folder.

    names: class names in place of those in the folder. labelmap: a file with lines of
    name:red,green,blue in place of the folder's labelmap.txt.

    Raises OSError if there is no such folder, ValueError if no layout fits or a split names a
    picture that is not there.
    """
    if not os.path.isdir(path):
        raise OSError(f"{path}: is not a folder, needs one with pictures and label files")
    path = os.path.abspath(path)
    layout, images, labels = _pictures(path)
    files = {idx: (images[idx], labels[idx]) for idx in sorted(images) if idx in labels}
    if not files:
        raise ValueError(
            f"{path}: has {len(images)} pictures and {len(labels)} label files, needs pictures "
            "and labels with the same stems, in one folder or in two (images, labels)"
            + _likely_reason(path, images)
        )
    _check_ids(path, files)
    classes, colours = _classes(path, labelmap)
    check_names(tuple(names) or classes, path)
    unlabelled = tuple(images[idx] for idx in sorted(images) if idx not in labels)
    splits = _splits(path, files)
    return Folder(path, layout, files, splits, tuple(names) or classes, colours, unlabelled)


def check_names(names: Sequence[str], source: str) -> None:
    """Raise ValueError for a class name that cannot be shown, or that two classes have."""
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ValueError(
                f"{source}: class {names.index(name)} and class {number} are both called "
                f"{name!r}; rename one of them"
            )
        if not name.isprintable():
            raise ValueError(
                f"{source}: names the class {name!r}, which has characters that cannot be shown; "
                "rename the class"
            )


def _check_ids(path: str, files: Iterable[str]) -> None:
    """Raise ValueError for an id that no line of a split file can hold."""
    for idx in files:
        if idx != idx.strip() or "\n" in idx or "\r" in idx:
            raise ValueError(
                f"{path}: the name of the picture {idx!r} has a line break or a space at its end, "
                "which split files cannot hold; rename its files"
            )
        if idx.encode("utf-8", "ignore").decode() != idx:
            raise ValueError(
                f"{path}: the name of the picture {idx!r} is not UTF-8, which split files need; "
                "rename its files"
            )


def read_labelmap(path: str) -> Tuple[Tuple[str, ...], Tuple[Colour, ...]]:
    """Return the class names and colours of a labelmap.txt: lines of name:red,green,blue[:...].

    Lines that begin with # are comments. Raises ValueError for another line.
    """
    names: List[str] = []
    colours: List[Colour] = []
    for number, line in enumerate(_lines(path), 1):
        if line.startswith("#"):
            continue
        fields = line.split(":")
        values = fields[1].split(",") if len(fields) > 1 else []
        if len(values) != 3 or not all(v.strip().isdigit() and int(v) < 256 for v in values):
            raise ValueError(f"{path}: line {number} is {line!r}, needs name:red,green,blue")
        colour = (int(values[0]), int(values[1]), int(values[2]))
        if colour in colours:
            raise ValueError(
                f"{path}: line {number} gives {fields[0].strip()} the colour of "
                f"{names[colours.index(colour)]}, needs another colour for each class"
            )
        names.append(fields[0].strip())
        colours.append(colour)
    if not names:
        raise ValueError(f"{path}: names no class, needs lines of name:red,green,blue")
    return tuple(names), tuple(colours)


def read_names(path: str) -> Tuple[str, ...]:
    """Return class names, one a line. Names of the ignored label are left out."""
    names = [line for line in _lines(path) if not line.startswith("#")]
    return tuple(name for name in names if name.lower() not in IGNORED_NAMES)


def _lines(path: str) -> List[str]:
    return [line.strip() for line in read_text(path).split("\n") if line.strip()]


def _classes(
    path: str, labelmap: Optional[str]
) -> Tuple[Tuple[str, ...], Optional[Tuple[Colour, ...]]]:
    names: Tuple[str, ...] = ()
    for file in NAME_FILES:
        if os.path.isfile(os.path.join(path, file)):
            names = read_names(os.path.join(path, file))
            break
    inside = os.path.join(path, "labelmap.txt")
    labelmap = labelmap or (inside if os.path.isfile(inside) else None)
    if labelmap is None:
        return names, None
    mapped, colours = read_labelmap(labelmap)
    kept = [k for k, name in enumerate(mapped) if name.lower() not in IGNORED_NAMES]
    return tuple(mapped[k] for k in kept), tuple(colours[k] for k in kept)


def _pictures(path: str) -> Tuple[str, Dict[str, str], Dict[str, str]]:
    """Return the layout of a folder, and its pictures and labels by id."""
    pair = _two_folders(path)
    if pair is not None:
        images, labels = _stems(pair[0], IMAGE_SUFFIXES), _stems(pair[1], LABEL_SUFFIXES)
        labels = {**{LABEL_ENDS.sub("", idx): file for idx, file in labels.items()}, **labels}
        return _layout(path, pair), images, labels
    parts = [name for names in SPLIT_NAMES.values() for name in names]
    parts = [p for p in sorted(os.listdir(path)) if p.lower() in parts]
    parts = [p for p in parts if _two_folders(os.path.join(path, p))]
    if not parts:
        return ("flat", *_side_by_side(path))
    images, labels = {}, {}
    for part in parts:
        _, more_images, more_labels = _pictures(os.path.join(path, part))
        images.update({f"{part}/{idx}": file for idx, file in more_images.items()})
        labels.update({f"{part}/{idx}": file for idx, file in more_labels.items()})
    return "splits", images, labels


def _likely_reason(path: str, images: Mapping[str, str]) -> str:
    """Return why a folder may have no pair of a picture and a label, for a message."""
    folders = {name.lower() for name in os.listdir(path)}
    named = sorted(name for name in LABEL_FOLDERS if name.lower() in folders)
    jpegs = [name for name in named if _stems(os.path.join(path, name), (".jpg", ".jpeg"))]
    ends = [idx for idx, file in images.items() if LABEL_ENDS.search(idx)]
    if jpegs or any(not images[idx].lower().endswith(LABEL_SUFFIXES) for idx in ends):
        place = os.path.join(path, jpegs[0]) if jpegs else images[ends[0]]
        return f"; {place} has JPEG labels, whose compression changes labels: export PNG files"
    polygons = sorted(name for name in os.listdir(path) if name.lower().endswith(POLYGON_SUFFIXES))
    if polygons:
        return (
            f"; {polygons[0]} seems to hold polygons: export label images (labelme2voc.py of "
            "labelme, Segmentation mask of CVAT)"
        )
    named = [name for name in named if _stems(os.path.join(path, name), LABEL_SUFFIXES)]
    if named and not images:
        return f"; {named[0]} has labels: export the pictures, too, into images"
    return ""


def _two_folders(path: str) -> Optional[Tuple[str, str]]:
    """Return the folder of the pictures and that of the labels, or None if there are no two."""
    if not os.path.isdir(path):
        return None
    folders = {f.lower(): os.path.join(path, f) for f in sorted(os.listdir(path))}
    folders = {name: f for name, f in folders.items() if os.path.isdir(f)}

    def first(names: Sequence[str], suffixes: Sequence[str]) -> Optional[str]:
        paths = [folders[name.lower()] for name in names if name.lower() in folders]
        return next((p for p in paths if _stems(p, suffixes)), None)

    images, labels = first(IMAGE_FOLDERS, IMAGE_SUFFIXES), first(LABEL_FOLDERS, LABEL_SUFFIXES)
    others = [f for f in folders.values() if f not in (images, labels)]
    if images and labels:
        return images, labels
    if labels:
        images = next((f for f in others if _stems(f, IMAGE_SUFFIXES)), None)
        return (images, labels) if images else None
    if images:
        labels = next((f for f in others if _stems(f, LABEL_SUFFIXES)), None)
        return (images, labels) if labels else None
    photos = [f for f in others if _stems(f, (".jpg", ".jpeg"))]
    pngs = [f for f in others if f not in photos and _stems(f, LABEL_SUFFIXES)]
    return (photos[0], pngs[0]) if len(photos) == 1 and len(pngs) == 1 else None


def _layout(path: str, pair: Tuple[str, str]) -> str:
    names = tuple(os.path.basename(folder) for folder in pair)
    if names[0] == "JPEGImages":
        return "VOC"
    return "SBD" if names == ("img", "cls") else "folders"


def _stems(folder: str, suffixes: Sequence[str]) -> Dict[str, str]:
    """Return id -> path of the files below a folder; the id is the path without the suffix."""
    stems: Dict[str, str] = {}
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in suffixes and not name.startswith("."):
                relative = os.path.relpath(os.path.join(parent, stem), folder)
                stems.setdefault(relative.replace(os.sep, "/"), os.path.join(parent, name))
    return stems


def _side_by_side(path: str) -> Tuple[Dict[str, str], Dict[str, str]]:
    """Return the pictures and the labels, by id, of files that lie side by side."""
    images: Dict[str, str] = {}
    labels: Dict[str, str] = {}
    for parent, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)
            file = os.path.join(parent, name)
            idx = os.path.relpath(os.path.join(parent, stem), path).replace(os.sep, "/")
            suffix = suffix.lower()
            if name.startswith(".") or suffix not in {*IMAGE_SUFFIXES, *LABEL_SUFFIXES}:
                continue
            if LABEL_ENDS.search(idx) and suffix in LABEL_SUFFIXES:
                labels[LABEL_ENDS.sub("", idx)] = file
            elif suffix not in IMAGE_SUFFIXES:
                labels.setdefault(idx, file)
            elif idx not in images:
                images[idx] = file
            elif suffix == ".png":  # a.jpg, then a.png: the PNG is the label
                labels.setdefault(idx, file)
            elif images[idx].lower().endswith(".png"):
                labels.setdefault(idx, images[idx])
                images[idx] = file
    return images, labels


def _splits(path: str, files: Mapping[str, Tuple[str, str]]) -> Dict[str, Tuple[str, ...]]:
    """Return the splits that split files or folders name."""
    splits: Dict[str, Tuple[str, ...]] = {}
    for folder in SPLIT_FOLDERS:
        for split, names in SPLIT_NAMES.items():
            for name in names:
                file = os.path.join(path, folder, name + ".txt")
                if split not in splits and os.path.isfile(file) and os.path.getsize(file):
                    splits[split] = tuple(_resolve(file, idx, files) for idx in read_ids(file))
    if splits:
        return splits
    for split, names in SPLIT_NAMES.items():
        for name in names:
            ids = [idx for idx in files if idx.lower().startswith(name + "/")]
            if ids and split not in splits:
                splits[split] = tuple(ids)
    return splits


def _resolve(file: str, line: str, files: Mapping[str, Tuple[str, str]]) -> str:
    """Return the id that a line of a split file names: an id, a file name or a path."""
    stem = line
    if os.path.splitext(line)[1].lower() in IMAGE_SUFFIXES:
        stem = os.path.splitext(line)[0]
    parts = stem.replace("\\", "/").strip("/").split("/")
    for first in range(len(parts)):
        idx = "/".join(parts[first:])
        if idx in files:
            return idx
    raise ValueError(
        f"{file}: names {line!r}, needs a picture with a label; the folder has {len(files)}, "
        f"such as {next(iter(files))!r}"
    )
