"""Two data sets of other shapes than VOC: a record and a reader class for each.

`rooms` has two inputs of different depth, one of them optional, and .mat labels from 1 with 0 for
void. `streets` has two labels, one with -1 for void, and more classes than a byte can count.
"""

import os

import numpy as np
from scipy.io import loadmat

from fcn_data.layers import SegmentationDataLayer
from fcn_data.readers import read_mat_array
from fcn_data.records import DataSet, Input, Labels, Split

PALETTE = np.zeros((1000, 3), np.uint8)


def names(count):
    return tuple(f"class {k}" for k in range(count))


def split(name, prototxt, layer, folders, keys, images=None):
    return Split(name, prototxt, __name__, layer, folders, keys, images)


_ROOMS = ("RoomsDataLayer", {"rooms_dir": "rooms"}, ("tops", "seed", "rooms_dir", "split"))
ROOMS = DataSet(
    name="rooms",
    root="data",
    inputs=(Input("color", (116.0, 97.0, 92.0)), Input("depth", (7.5,))),
    labels=(Labels("label", names(4), PALETTE),),
    splits={
        "train": split("trainval", "trainval", *_ROOMS),
        "val": split("test", "test", *_ROOMS, images=654),
    },
)
_STREETS = ("StreetsDataLayer", {"streets_dir": "streets"}, ("streets_dir", "seed", "split"))
STREETS = DataSet(
    name="streets",
    root="data",
    inputs=(Input("data", (1.0, 2.0, 3.0)),),
    labels=(
        Labels("sem", names(300), PALETTE, ignore_label=-1),
        Labels("geo", names(3), PALETTE),
    ),
    splits={
        "train": split("trainval", "trainval", *_STREETS),
        "val": split("test", "test", *_STREETS, images=200),
    },
)


class RoomsDataLayer(SegmentationDataLayer):
    data_set = ROOMS
    folder_keys = ("rooms_dir",)

    def split_path(self, split):
        return os.path.join(self.folders["rooms_dir"], "lists", split + ".txt")

    def input_path(self, top, idx):
        suffix = ".jpg" if top == "color" else ".npy"
        return os.path.join(self.folders["rooms_dir"], top, idx + suffix)

    def label_path(self, top, idx):
        return os.path.join(self.folders["rooms_dir"], "segmentation", idx + ".mat")

    def read_input(self, top, path):
        if top == "depth":
            return np.log(np.load(path))[:, :, None]
        return super().read_input(top, path)

    def read_label(self, top, path):
        label = read_mat_array(path, "segmentation")
        return np.where(label == 0, 255, label - 1).astype(np.uint8)


class StreetsDataLayer(SegmentationDataLayer):
    data_set = STREETS
    folder_keys = ("streets_dir",)

    def split_path(self, split):
        return os.path.join(self.folders["streets_dir"], split + ".txt")

    def input_path(self, top, idx):
        return os.path.join(self.folders["streets_dir"], "Images", idx + ".jpg")

    def label_path(self, top, idx):
        folder = {"sem": "SemanticLabels", "geo": "GeoLabels"}[top]
        return os.path.join(self.folders["streets_dir"], folder, idx + ".mat")

    def read_label(self, top, path):
        label = loadmat(path)["S"].astype(np.int64) - 1
        return label if top == "sem" else np.where(label < 0, 255, label)
