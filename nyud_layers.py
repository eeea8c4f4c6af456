"""The Python data layer that the published prototxts of NYUDv2 name.

Tops, each at the image's own size, in the order of `tops`: `color` (1 x 3 x H x W, float32, BGR),
`depth` (1 x 1 x H x W, natural logarithm), `hha` (1 x 3 x H x W), all with the mean subtracted;
`label` (1 x 1 x H x W, class indices, 255 for void). `param_str` has the keys

    nyud_dir   data/images, data/depth, data/hha, segmentation, trainval.txt, test.txt
    split      trainval or test
    tops       the names of the tops, such as ['color', 'label']
    seed       of the order of a train split (default: a new order every run)

and the further keys of `fcn_data.layers.SegmentationDataLayer`.
"""

from __future__ import annotations

import os

import numpy as np

from fcn_data import NYUD
from fcn_data.layers import SegmentationDataLayer
from fcn_data.readers import read_image, read_label_image, read_mat_array

INPUT_FOLDERS = {"color": "images", "depth": "depth", "hha": "hha"}


class NYUDSegDataLayer(SegmentationDataLayer):
    """NYUDv2: data/{images,depth,hha}/img_ID.png and segmentation/img_ID.mat."""

    data_set = NYUD
    folder_keys = ("nyud_dir",)

    def split_path(self, split: str) -> str:
        return os.path.join(self.folders["nyud_dir"], split + ".txt")

    def input_path(self, top: str, idx: str) -> str:
        folder = INPUT_FOLDERS[top]
        return os.path.join(self.folders["nyud_dir"], "data", folder, f"img_{idx}.png")

    def label_path(self, top: str, idx: str) -> str:
        return os.path.join(self.folders["nyud_dir"], "segmentation", f"img_{idx}.mat")

    def read_input(self, top: str, path: str) -> np.ndarray:
        if top == "depth":
            return _read_log_depth(path)
        # The channels of HHA are disparity, height and angle, in the order of the mean.
        return read_image(path) if top == "hha" else super().read_input(top, path)

    def read_label(self, top: str, path: str) -> np.ndarray:
        label = read_mat_array(path, "segmentation")
        return np.where(label == 0, self.data_set.ignore_label, label - 1)


def _read_log_depth(path: str) -> np.ndarray:
    """Return the natural logarithm of a depth image, H x W x 1."""
    if not os.path.isfile(path):
        raise FileNotFoundError(path)
    depth = read_label_image(path)
    if depth.ndim != 2 or depth.min() <= 0:
        raise ValueError(
            f"{path}: has shape {depth.shape} and least value {depth.min()}, needs H x W depths "
            "above 0, whose logarithm is taken"
        )
    return np.log(depth.astype(np.float64))[:, :, np.newaxis]
