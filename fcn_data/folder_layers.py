"""The data layer over a folder of a user's own pictures, and the files that it reads.

A run's folder has `data.json`, which says what the pictures and labels are (`PictureSet`), and the
splits `train.txt` and `val.txt` with an id in each line.
"""

from __future__ import annotations

import json
import os
from typing import Any, Dict, Mapping, NamedTuple, Sequence, Tuple

import numpy as np

from fcn_common.files import write_json, write_text

from .label_coding import Colour, LabelCoding
from .layers import SegmentationDataLayer
from .records import DataSet, Input, Labels, Split

DATA_FILE = "data.json"
VERSION = 1
SPLITS = ("train", "val")


class PictureSet(NamedTuple):
    """What a user's own data set is.

    name: of the folder. folder: its absolute path. files: id -> paths of the picture and the
    label, relative to the folder. classes: names by index. palette: a colour for each class.
    coding: how labels are read. mean: one value for each channel, in the order of
    `fcn_data.readers.read_channels`.
    """

    name: str
    folder: str
    files: Mapping[str, Tuple[str, str]]
    classes: Tuple[str, ...]
    palette: Tuple[Colour, ...]
    coding: LabelCoding
    mean: Tuple[float, ...]

    def data_set(self, splits: Mapping[str, Sequence[str]]) -> DataSet:
        """Return the record of the set; the nets read it from the folder of `write_set`."""
        palette = np.array(self.palette, np.uint8).reshape(-1, 3)
        labels = Labels("label", self.classes, palette, self.coding.ignore_label)
        records = {
            name: Split(
                name=name,
                prototxt=name,
                module=__name__,
                layer=FolderDataLayer.__name__,
                folders={"set_dir": ""},
                keys=("set_dir", "seed", "split", "mean"),
                images=len(splits[name]) if name == "val" else None,
            )
            for name in SPLITS
        }
        return DataSet(self.name, "", (Input("data", self.mean),), (labels,), records)


def write_set(folder: str, pictures: PictureSet, splits: Mapping[str, Sequence[str]]) -> None:
    """Write a set and its splits into the folder of a run."""
    values = pictures._asdict()
    values["coding"] = pictures.coding._asdict()
    write_json(os.path.join(folder, DATA_FILE), {"version": VERSION, **values})
    for split in SPLITS:
        text = "".join(idx + "\n" for idx in splits[split])
        write_text(os.path.join(folder, split + ".txt"), text)


def read_set(folder: str) -> PictureSet:
    """Return the set that `write_set` wrote.

    Raises OSError if there is none, ValueError if the file is damaged or of a later version.
    """
    path = os.path.join(folder, DATA_FILE)
    if not os.path.isfile(path):
        remedy = "python -m solvers.train writes it"
        if not os.path.isabs(path):  # The nets of a run name the file relative to their own folder.
            remedy += f"; the working folder is {os.getcwd()}, needs to be that of the prototxt"
        raise FileNotFoundError(f"{path}: no such file; {remedy}")
    try:
        with open(path, encoding="utf-8") as file:
            values: Dict[str, Any] = json.load(file)
        version = values.pop("version")
        coding = values["coding"]
        if coding["colours"] is not None:
            coding["colours"] = tuple(tuple(colour) for colour in coding["colours"])
        if coding.get("values") is not None:
            coding["values"] = tuple(coding["values"])
        values.update(
            files={idx: tuple(pair) for idx, pair in values["files"].items()},
            classes=tuple(values["classes"]),
            palette=tuple(tuple(colour) for colour in values["palette"]),
            coding=LabelCoding(**coding),
            mean=tuple(values["mean"]),
        )
        pictures = PictureSet(**values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: is damaged ({error!r}); remove it to write it again") from None
    if version != VERSION:
        raise ValueError(f"{path}: is of version {version}, this program reads {VERSION}")
    return pictures


class FolderDataLayer(SegmentationDataLayer):
    """A user's own pictures: `set_dir` is the folder that `write_set` filled."""

    folder_keys = ("set_dir",)

    def open_data_set(self) -> None:
        self.pictures = read_set(self.folders["set_dir"])
        self.data_set = self.pictures.data_set({name: () for name in SPLITS})

    def split_path(self, split: str) -> str:
        return os.path.join(self.folders["set_dir"], split + ".txt")

    def input_path(self, top: str, idx: str) -> str:
        return self._path(idx, 0)

    def label_path(self, top: str, idx: str) -> str:
        return self._path(idx, 1)

    def read_label(self, top: str, path: str) -> np.ndarray:
        return self.pictures.coding.read(path)

    def _path(self, idx: str, index: int) -> str:
        if idx not in self.pictures.files:
            path = self.split_path(self.split)
            raise ValueError(f"{path}: names {idx!r}, which {DATA_FILE} beside it lacks")
        return os.path.join(self.pictures.folder, self.pictures.files[idx][index])
