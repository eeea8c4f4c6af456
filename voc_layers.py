"""The Python data layers that the segmentation prototxts name: VOC and SBD, an image at a time.

Both give `data` (1 x 3 x H x W, float32, BGR, mean subtracted) and `label` (1 x 1 x H x W, class
indices, 255 where the truth is ignored), at the image's own size. `param_str` is a Python literal,
a dict with the keys

    voc_dir or sbdd_dir   the folder of the data set
    split                 the name of a split file; without "train" in it, images come in its order
    mean                  three values to subtract, in B, G, R order
    seed                  of the order of a train split (default: a new order every run)
    randomize             False: a train split in order, too (default True)
    classes               number of classes, the background included (default 21)

Of n solvers that train together, solver r takes the draws r, r + n, ... of the one order: together
they see what one solver sees. Without a seed each draws an order of its own.
"""

from __future__ import annotations

import ast
import os
import random
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Dict, List, Optional, Tuple

import caffe
import numpy as np
from PIL import Image

IGNORE = 255


def _draw(rng: random.Random, n: int) -> int:
    """Python 2's `rng.randint(0, n - 1)`, which is the published order of training images."""
    return int(rng.random() * n)


def _find(folder: str) -> str:
    """The folder itself, or from `data/` on beside this file if it is not there.

    The published FCN-16s prototxts say ../../data where the folders of the others say ../data.
    """
    parts = folder.replace(os.sep, "/").split("/")
    if os.path.isdir(folder) or "data" not in parts:
        return folder
    here = os.path.dirname(os.path.abspath(__file__))
    beside = os.path.join(here, *parts[parts.index("data") :])
    return beside if os.path.isdir(beside) else folder


class SegDataLayer(caffe.Layer):
    """What the two layers share; a data set says where an id's image and label lie, and reads them.

    Raises ValueError, in one line, for a bad `param_str` or a bad label, OSError for a file that is
    missing or unreadable.
    """

    dir_key = ""
    image_folder = ""
    label_folder = ""
    label_suffix = ""
    split_folder = ""

    def setup(self, bottom, top) -> None:
        name = type(self).__name__
        if len(top) != 2:
            raise ValueError(f"{name}: has {len(top)} tops, needs two: data and label")
        if len(bottom) != 0:
            raise ValueError(f"{name}: has {len(bottom)} bottoms, needs none: it reads files")
        params = self._params()
        self.dir = _find(params[self.dir_key])
        self.split: str = params["split"]
        self.mean = np.array(params["mean"], np.float64)
        self.random: bool = params.get("randomize", True) and "train" in self.split
        self.seed: Optional[int] = params.get("seed")
        self.classes: int = params.get("classes", 21)
        self.indices = self._read_split()

        self._rng = random.Random(self.seed)
        self._reader = ThreadPoolExecutor(max_workers=1)
        self._next: Optional[Future] = None
        self.idx = _draw(self._rng, len(self.indices)) if self.random else 0
        rank, self._solvers = 0, 1
        if self.phase == caffe.TRAIN:
            rank, self._solvers = caffe.solver_rank(), caffe.solver_count()
        self._pass(rank)

    def reshape(self, bottom, top) -> None:
        coming, self._next = self._next or self._request(), None
        self.data, self.label = coming.result()
        top[0].reshape(1, *self.data.shape)
        top[1].reshape(1, *self.label.shape)

    def forward(self, bottom, top) -> None:
        top[0].data[...] = self.data
        top[1].data[...] = self.label
        self.skip(1)
        # The next image is read while the net works on this one.
        self._next = self._request()

    def backward(self, top, propagate_down, bottom) -> None:
        pass

    def skip(self, n: int) -> None:
        """Passes over `n` images, as `n` forward passes do."""
        self._pass(n * self._solvers)

    def _pass(self, n: int) -> None:
        self._next = None
        if not self.random:
            self.idx = (self.idx + n) % len(self.indices)
            return
        for _ in range(n):
            self.idx = _draw(self._rng, len(self.indices))

    def load_image(self, idx: str) -> np.ndarray:
        """The image of id `idx`: 3 x H x W, float32, BGR, mean subtracted."""
        return self._centre(self._photograph(idx))

    def load_label(self, idx: str) -> np.ndarray:
        """The label of id `idx`: 1 x H x W, uint8."""
        path = self.label_path(idx)
        if not os.path.isfile(path):
            raise OSError(f"{path}: no such label, for {idx} of split {self.split}")
        label = self.read_label(path)
        if label.ndim != 2 or label.dtype.kind not in "ui":
            raise ValueError(
                f"{path}: has shape {label.shape} and type {label.dtype}, "
                "needs one class index a pixel (H x W, integers)"
            )
        wrong = label[((label >= self.classes) & (label != IGNORE)) | (label < 0)]
        if wrong.size:
            raise ValueError(
                f"{path}: has label {wrong[0]}, needs 0..{self.classes - 1} or {IGNORE} (ignored)"
            )
        return label[np.newaxis].astype(np.uint8, copy=False)

    def read_label(self, path: str) -> np.ndarray:
        """The H x W class indices in the file at `path`."""
        raise NotImplementedError

    def image_path(self, idx: str) -> str:
        return os.path.join(self.dir, self.image_folder, idx + ".jpg")

    def label_path(self, idx: str) -> str:
        return os.path.join(self.dir, self.label_folder, idx + self.label_suffix)

    def _params(self) -> Dict:
        """`param_str`, read and checked."""
        name = type(self).__name__
        try:
            params = ast.literal_eval(self.param_str)
        except (SyntaxError, ValueError, TypeError):
            params = None
        if not isinstance(params, dict):
            raise ValueError(
                f"{name}: param_str is {self.param_str!r}, "
                f"needs a dict of literals such as {{'{self.dir_key}': 'DIR', 'split': 'train'}}"
            )
        needed = {self.dir_key: str, "split": str, "mean": (tuple, list)}
        kinds: Dict[str, Any] = dict(
            needed, seed=(int, type(None)), randomize=(bool, int), classes=int
        )
        for key in needed:
            if key not in params:
                raise ValueError(f"{name}: param_str lacks {key!r}, needs {sorted(needed)}")
        for key, value in params.items():
            if key not in kinds:
                raise ValueError(f"{name}: param_str has {key!r}, knows {sorted(kinds)}")
            if not isinstance(value, kinds[key]):
                raise ValueError(f"{name}: param_str has {value!r} for {key!r}, a wrong type")
        numbers = [m for m in params["mean"] if isinstance(m, (int, float))]
        if len(numbers) != 3 or len(params["mean"]) != 3:
            raise ValueError(f"{name}: mean is {params['mean']}, needs three numbers: B, G, R")
        if not 2 <= params.get("classes", 21) <= IGNORE:
            raise ValueError(f"{name}: classes is {params['classes']}, needs 2..{IGNORE}")
        return params

    def _read_split(self) -> List[str]:
        path = os.path.join(self.dir, self.split_folder, self.split + ".txt")
        if not os.path.isdir(self.dir):
            raise OSError(f"{type(self).__name__}: {self.dir_key} {self.dir} is not a folder")
        if not os.path.isfile(path):
            raise OSError(f"{path}: no such split file, needs one image id a line")
        with open(path, encoding="utf-8") as file:
            ids = file.read().split()
        if not ids:
            raise ValueError(f"{path}: is empty, needs one image id a line")
        return ids

    def _request(self) -> Future:
        return self._reader.submit(self._load, self.indices[self.idx])

    def _load(self, idx: str) -> Tuple[np.ndarray, np.ndarray]:
        image, label = self._photograph(idx), self.load_label(idx)
        if image.shape[:2] != label.shape[1:]:
            raise ValueError(
                f"{self.label_path(idx)}: is {label.shape[1]} x {label.shape[2]} (height x width), "
                f"needs its image's {image.shape[0]} x {image.shape[1]}"
            )
        return self._centre(image), label

    def _photograph(self, idx: str) -> np.ndarray:
        path = self.image_path(idx)
        try:
            with Image.open(path) as image:
                return np.asarray(image.convert("RGB"))
        except FileNotFoundError:
            raise OSError(f"{path}: no such image, for {idx} of split {self.split}") from None
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise OSError(f"{path}: is not a readable image ({error})") from None

    def _centre(self, image: np.ndarray) -> np.ndarray:
        planes = image[:, :, ::-1].transpose(2, 0, 1)
        data = np.empty(planes.shape, np.float32)
        # In float64, rounded once: what float32 pixels minus a float64 mean give in place.
        return np.subtract(planes, self.mean[:, None, None], out=data, casting="same_kind")


class VOCSegDataLayer(SegDataLayer):
    """PASCAL VOC: JPEGImages/ID.jpg, SegmentationClass/ID.png, ImageSets/Segmentation/SPLIT.txt."""

    dir_key = "voc_dir"
    image_folder = "JPEGImages"
    label_folder = "SegmentationClass"
    label_suffix = ".png"
    split_folder = os.path.join("ImageSets", "Segmentation")

    def read_label(self, path: str) -> np.ndarray:
        try:
            with Image.open(path) as image:
                return np.asarray(image)
        except (OSError, SyntaxError) as error:
            raise OSError(f"{path}: is not a readable label image ({error})") from None


class SBDDSegDataLayer(SegDataLayer):
    """SBD (Semantic Boundaries Dataset): img/ID.jpg, cls/ID.mat, SPLIT.txt."""

    dir_key = "sbdd_dir"
    image_folder = "img"
    label_folder = "cls"
    label_suffix = ".mat"

    def read_label(self, path: str) -> np.ndarray:
        from scipy.io import loadmat

        try:
            return loadmat(path)["GTcls"][0]["Segmentation"][0]
        except KeyError:
            raise OSError(f"{path}: has no GTcls Segmentation, needs SBD's cls layout") from None
        except Exception as error:  # loadmat's own: a truncated file raises any of a dozen types
            raise OSError(f"{path}: is not a readable .mat file ({error})") from None
