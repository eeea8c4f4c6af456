"""The Python data layer that the published prototxts of SIFT Flow name.

Tops: `data` (1 x 3 x H x W, float32, BGR, mean subtracted), `sem` and `geo` (1 x 1 x H x W, class
indices, 255 for void), at the image's own size. `param_str` has the keys

    siftflow_dir   Images, SemanticLabels, GeoLabels, trainval.txt, test.txt
    split          trainval or test
    seed           of the order of a train split (default: a new order every run)

and the further keys of `fcn_data.layers.SegmentationDataLayer`.
"""

from __future__ import annotations

import os

import numpy as np

from fcn_data import SIFT_FLOW
from fcn_data.layers import SegmentationDataLayer
from fcn_data.readers import read_mat_array
from fcn_data.sift_flow import SCENES

LABEL_FOLDERS = {"sem": "SemanticLabels", "geo": "GeoLabels"}


class SIFTFlowSegDataLayer(SegmentationDataLayer):
    """SIFT Flow: Images/../ID.jpg, SemanticLabels/../ID.mat, GeoLabels/../ID.mat."""

    data_set = SIFT_FLOW
    folder_keys = ("siftflow_dir",)

    def split_path(self, split: str) -> str:
        return os.path.join(self.folders["siftflow_dir"], split + ".txt")

    def input_path(self, top: str, idx: str) -> str:
        return os.path.join(self.folders["siftflow_dir"], "Images", SCENES, idx + ".jpg")

    def label_path(self, top: str, idx: str) -> str:
        folder = LABEL_FOLDERS[top]
        return os.path.join(self.folders["siftflow_dir"], folder, SCENES, idx + ".mat")

    def read_label(self, top: str, path: str) -> np.ndarray:
        # Classes are 1 and up. Void is 0 in the semantic labels and -1 in the geometric ones.
        label = read_mat_array(path, "S")
        return np.where(label < 1, self.data_set.ignore_label, label - 1)
