"""The Python data layer that the published prototxts of PASCAL-Context name.

Tops: `data` (1 x 3 x H x W, float32, BGR, mean subtracted) and `label` (1 x 1 x H x W, 0 for the
background, 1 to 59), at the image's own size. `param_str` has the keys

    context_dir   trainval/ID.mat with `LabelMap` (1 to 459), labels.txt, 59_labels.txt
    voc_dir       the folder of VOC2010
    split         the name of a split of VOC 2010: train or val
    seed          of the order of a train split (default: a new order every run)

and the further keys of `fcn_data.layers.SegmentationDataLayer`.
"""

from __future__ import annotations

import os
from typing import Optional

import numpy as np

from fcn_data import PASCAL_CONTEXT
from fcn_data.layers import SegmentationDataLayer
from fcn_data.readers import read_class_list, read_mat_array

#: Names of the 59 classes -> names of the same classes among the 459.
RENAMED = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}


class PASCALContextSegDataLayer(SegmentationDataLayer):
    """PASCAL-Context: VOC2010/JPEGImages/ID.jpg and trainval/ID.mat."""

    data_set = PASCAL_CONTEXT
    folder_keys = ("context_dir", "voc_dir")
    #: Label of the 459 (index) -> class.
    _classes: Optional[np.ndarray] = None

    def split_path(self, split: str) -> str:
        return os.path.join(self.folders["voc_dir"], "VOC2010", "ImageSets", "Main", split + ".txt")

    def input_path(self, top: str, idx: str) -> str:
        return os.path.join(self.folders["voc_dir"], "VOC2010", "JPEGImages", idx + ".jpg")

    def label_path(self, top: str, idx: str) -> str:
        return os.path.join(self.folders["context_dir"], "trainval", idx + ".mat")

    def read_label(self, top: str, path: str) -> np.ndarray:
        if self._classes is None:
            self._classes = self._read_classes()
        label = read_mat_array(path, "LabelMap")
        last = len(self._classes) - 1
        if label.size and not 0 <= label.min() <= label.max() <= last:
            wrong = label[(label < 0) | (label > last)][0]
            raise ValueError(f"{path}: has label {wrong}, needs 1..{last}, the lines of labels.txt")
        return self._classes[label]

    def _read_classes(self) -> np.ndarray:
        """Return the class of each of the 459 labels, 0 for those that are not of the 59.

        Raises ValueError if the two lists of the data set do not have the published names.
        """
        folder, names = self.folders["context_dir"], self.data_set.classes
        every = read_class_list(os.path.join(folder, "labels.txt"))
        frequent = read_class_list(os.path.join(folder, "59_labels.txt"))
        if tuple(name for number, name in frequent.items() if number) != names[1:]:
            raise ValueError(
                f"{os.path.join(folder, '59_labels.txt')}: has {len(frequent)} names, needs the "
                f"{len(names) - 1} published ones from {names[1]} to {names[-1]}"
            )
        numbers = {name: number for number, name in every.items()}
        classes = np.zeros(max(every) + 1, np.uint8)
        for index, name in enumerate(names[1:], 1):
            name = RENAMED.get(name, name)
            if name not in numbers:
                raise ValueError(f"{os.path.join(folder, 'labels.txt')}: lacks the class {name}")
            classes[numbers[name]] = index
        return classes
