"""The Python data layers that the published prototxts name: VOC and SBD.

Tops: `data` (1 x 3 x H x W, float32, BGR, mean subtracted) and `label` (1 x 1 x H x W, class
indices, 255 where the truth is ignored), at the image's own size. `param_str` has the keys

    voc_dir or sbdd_dir   the folder of the data set
    split                 the name of a split file; without "train" in it, images come in its order
    mean                  three values to subtract, in B, G, R order
    seed                  of the order of a train split (default: a new order every run)
    randomize             False: a train split comes in its order, too (default True)
    classes               number of classes, the background included (default 21)
"""

from __future__ import annotations

import os

import numpy as np

from fcn_data import VOC
from fcn_data.layers import SegmentationDataLayer
from fcn_data.readers import read_label_image, read_segmentation


class VOCSegDataLayer(SegmentationDataLayer):
    """PASCAL VOC: JPEGImages/ID.jpg, SegmentationClass/ID.png, ImageSets/Segmentation/SPLIT.txt."""

    data_set = VOC
    folder_keys = ("voc_dir",)
    required_keys = ("split", "mean")

    def split_path(self, split: str) -> str:
        return os.path.join(self.folders["voc_dir"], "ImageSets", "Segmentation", split + ".txt")

    def input_path(self, top: str, idx: str) -> str:
        return os.path.join(self.folders["voc_dir"], "JPEGImages", idx + ".jpg")

    def label_path(self, top: str, idx: str) -> str:
        return os.path.join(self.folders["voc_dir"], "SegmentationClass", idx + ".png")

    def read_label(self, top: str, path: str) -> np.ndarray:
        return read_label_image(path)


class SBDDSegDataLayer(SegmentationDataLayer):
    """SBD (Semantic Boundaries Dataset): img/ID.jpg, cls/ID.mat, SPLIT.txt."""

    data_set = VOC
    folder_keys = ("sbdd_dir",)
    required_keys = ("split", "mean")

    def split_path(self, split: str) -> str:
        return os.path.join(self.folders["sbdd_dir"], split + ".txt")

    def input_path(self, top: str, idx: str) -> str:
        return os.path.join(self.folders["sbdd_dir"], "img", idx + ".jpg")

    def label_path(self, top: str, idx: str) -> str:
        return os.path.join(self.folders["sbdd_dir"], "cls", idx + ".mat")

    def read_label(self, top: str, path: str) -> np.ndarray:
        return read_segmentation(path)
