"""The base of the Python data layers: an image and its labels in each pass, at their own size."""

from __future__ import annotations

import contextlib
import os
import random
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Dict, List, Optional, Set, Tuple

import caffe
import numpy as np

from fcn_common.command import message, one_line

from .augmentation import Augmentation, join
from .parameters import numbers, read_parameters
from .readers import COLOURS, read_channels
from .records import ON_ERROR, DataSet, Labels
from .split_files import read_ids

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
UINT8_MAX = 255
#: Images in a row that cannot be read, after which a layer no longer skips them.
MOST_SKIPPED = 1000


class SegmentationDataLayer(caffe.Layer):
    """Base of the data layers that prototxts name. A data set has a record and one subclass:

        class SketchDataLayer(SegmentationDataLayer):
            data_set = SKETCHES
            folder_keys = ("sketch_dir",)

            def split_path(self, split):
                return os.path.join(self.folders["sketch_dir"], split + ".txt")

            def input_path(self, top, idx):
                return os.path.join(self.folders["sketch_dir"], "images", idx + ".jpg")

            def label_path(self, top, idx):
                return os.path.join(self.folders["sketch_dir"], "labels", idx + ".png")

            def read_label(self, top, path):
                return read_label_image(path)

    Tops: the inputs of the record, N x C x H x W, float32, mean subtracted, then its labels,
    N x 1 x H x W, class indices. N is 1, or `batch`. `param_str` is a dict of Python literals with
    the keys

        folder_keys  the folders of the data set
        split        the name of a split; without "train" in it, images come in its order
        mean         the mean of each channel of the first input in `tops` (the record's)
        seed         of the order of a train split (default: a new order every run)
        randomize    False: a train split comes in its order, too (default True)
        classes      number of classes of the first labels (default: the record's)
        tops         names of the record's inputs and labels, one for each top (default: all)
        on_error     "skip": an image that cannot be read, or whose labels do not fit, is reported
                     on stderr, and the next one of the split takes its place; "stop" (default)
                     raises its error

    and, for a split with "train" in its name, what `Augmentation` describes and batches:

        mirror       True: half of the images are mirrored
        crop         side of a random window in pixels
        scale        the least and the greatest factor of the size
        batch        images in a pass; smaller ones are filled up with the mean and ignored labels
                     at the right and at the bottom

    Of n solvers that train together, solver r takes the draws r, r + n, ... of one order, so they
    see what one solver sees. Without a seed each solver draws an order of its own.

    Raises ValueError, in one line, for a bad `param_str` or a bad label, OSError for a file that is
    missing or unreadable. With on_error "skip" the last two are raised after `MOST_SKIPPED` images
    in a row, or all of the split.
    """

    data_set: DataSet
    folder_keys: Tuple[str, ...] = ()
    #: Keys that `param_str` needs beside the folders.
    required_keys: Tuple[str, ...] = ("split",)
    #: The next image, which is being read.
    _request: Optional[Future] = None

    def open_data_set(self) -> None:
        """Set `data_set` from files in `self.folders`, for classes that read their record."""

    def split_path(self, split: str) -> str:
        """Return the path of the file with the ids of a split."""
        raise NotImplementedError

    def input_path(self, top: str, idx: str) -> str:
        """Return the path of the image of id `idx` for the input `top`."""
        raise NotImplementedError

    def label_path(self, top: str, idx: str) -> str:
        """Return the path of the file with the labels `top` of id `idx`."""
        raise NotImplementedError

    def read_input(self, top: str, path: str) -> np.ndarray:
        """Return the image at `path` as H x W x C, channels in the order of the mean (B, G, R)."""
        return read_channels(path, len(self.means[top]))

    def read_label(self, top: str, path: str) -> np.ndarray:
        """Return the class indices at `path`, H x W, integers; ignored pixels have ignore_label.

        A file that counts its classes from 1 is shifted here.
        """
        raise NotImplementedError

    def setup(self, bottom, top) -> None:
        name = type(self).__name__
        params = self._read_param_str()
        self.folders = {key: _locate(params[key]) for key in self.folder_keys}
        for key, folder in self.folders.items():
            if not os.path.isdir(folder):
                raise OSError(
                    f"{name}: {key} {folder} is not a folder (the working folder is "
                    f"{os.getcwd()}); `make data` fetches data sets, and param_str names the folder"
                )
        self.open_data_set()
        self.tops: Tuple[str, ...] = tuple(params.get("tops", self.data_set.tops))
        for name_of_top in self.tops:
            if name_of_top not in self.data_set.tops:
                raise ValueError(
                    f"{name}: tops has {name_of_top!r}, needs {', '.join(self.data_set.tops)}"
                )
        if len(top) != len(self.tops):
            raise ValueError(
                f"{name}: has {len(top)} tops, needs {len(self.tops)}: {', '.join(self.tops)}"
            )
        if len(bottom) != 0:
            raise ValueError(f"{name}: has {len(bottom)} bottoms, needs none: it reads files")
        self._set_means(params)
        self._set_labels(params)
        self.split: str = params["split"]
        self.random: bool = params.get("randomize", True) and "train" in self.split
        self.seed: Optional[int] = params.get("seed")
        self._set_changes(params)
        self._skips: bool = self._on_error(params) == "skip"
        #: The images that were reported as skipped.
        self._skipped: Set[str] = set()
        self.indices = read_ids(self.split_path(self.split))
        self._start_reading()

    def reshape(self, bottom, top) -> None:
        request = self._request or self._submit()
        self._request = None
        self.arrays: List[np.ndarray] = request.result()
        # BVLC Caffe's list of tops has an index, but no iterator.
        for i, array in enumerate(self.arrays):
            top[i].reshape(*array.shape)

    def forward(self, bottom, top) -> None:
        for i, array in enumerate(self.arrays):
            top[i].data[...] = array
        self.skip(1)
        # The next image is read while the net works on this one.
        self._request = self._submit()

    def backward(self, top, propagate_down, bottom) -> None:
        pass

    def skip(self, n: int) -> None:
        """Advance without reading images, as `n` forward passes do."""
        self._advance(n * self._solvers * self.batch)

    def resume_state(self) -> Dict[str, Any]:
        """Return the position in the split, as values for a JSON file (`set_resume_state`)."""
        state = self._rng.getstate() if self.random else None
        # Without augmentation the number of draws has no effect, and a scoring changes it.
        changes = [self._draws, self._changes_seed] if self.augmentation != Augmentation() else None
        images = len(self.indices)
        return {"idx": self.idx, "images": images, "random": state, "changes": changes}

    def set_resume_state(self, values: Dict[str, Any]) -> None:
        """Continue where `resume_state` was called. Raises ValueError for another split."""
        if values["images"] != len(self.indices) or bool(values["random"]) != self.random:
            raise ValueError(
                f"a position in {values['images']} images; split {self.split} has "
                f"{len(self.indices)}"
            )
        self._request, self.idx = None, int(values["idx"])
        if values["changes"]:
            self._draws, self._changes_seed = values["changes"]
        if self.random:
            version, words, gauss = values["random"]
            self._rng.setstate((version, tuple(words), gauss))

    def load_image(self, idx: str, top: Optional[str] = None) -> np.ndarray:
        """Return an input of id `idx` (default: the first): C x H x W, float32, mean subtracted."""
        top = top or self.data_set.inputs[0].name
        path = self.input_path(top, idx)
        try:
            image = self.read_input(top, path)
        except FileNotFoundError:
            raise OSError(f"{path}: no such image, for {idx} of split {self.split}") from None
        mean = self.means[top]
        if image.ndim != 3 or image.shape[2] != len(mean):
            raise ValueError(f"{path}: has shape {image.shape}, needs H x W x {len(mean)}")
        planes = image.transpose(2, 0, 1)
        data = np.empty(planes.shape, np.float32)
        # In float64, rounded once: what float32 pixels minus a float64 mean give in place.
        return np.subtract(planes, mean[:, None, None], out=data, casting="same_kind")

    def load_label(self, idx: str, top: Optional[str] = None) -> np.ndarray:
        """Return labels of id `idx` (default: the first): 1 x H x W, integers.

        The type is uint8, or int32 if a class or the ignored label is over 255.
        """
        top = top or self.data_set.labels[0].name
        path = self.label_path(top, idx)
        if not os.path.isfile(path):
            raise OSError(f"{path}: no such label, for {idx} of split {self.split}")
        label = self.read_label(top, path)
        if label.ndim != 2 or label.dtype.kind not in "ui":
            raise ValueError(
                f"{path}: has shape {label.shape} and type {label.dtype}, "
                "needs one class index a pixel (H x W, integers)"
            )
        classes, ignored = self.label_classes[top], self._labels[top].ignore_label
        outside = label[((label >= classes) | (label < 0)) & (label != ignored)]
        if outside.size:
            raise ValueError(
                f"{path}: has label {outside[0]}, needs 0..{classes - 1} or {ignored} (ignored)"
            )
        small = 0 <= ignored <= UINT8_MAX and classes <= UINT8_MAX + 1
        return label[np.newaxis].astype(np.uint8 if small else np.int32, copy=False)

    def _read_param_str(self) -> Dict[str, Any]:
        types: Dict[str, Any] = {
            **{key: str for key in self.folder_keys},
            "split": str,
            "mean": (tuple, list),
            "seed": (int, type(None)),
            "randomize": (bool, int),
            "classes": int,
            "tops": (tuple, list),
            "on_error": str,
            "mirror": (bool, int),
            "crop": int,
            "scale": (tuple, list),
            "batch": int,
        }
        required = {key: types[key] for key in (*self.folder_keys, *self.required_keys)}
        name = type(self).__name__
        return read_parameters(name, self.param_str, required, types)

    def _on_error(self, params: Dict[str, Any]) -> str:
        value: str = params.get("on_error", ON_ERROR[0])
        if value not in ON_ERROR:
            raise ValueError(
                f"{type(self).__name__}: on_error is {value!r}, needs {' or '.join(ON_ERROR)}"
            )
        return value

    def _set_means(self, params: Dict[str, Any]) -> None:
        means = {source.name: source.mean for source in self.data_set.inputs}
        first = next((top for top in self.tops if top in means), None)
        if "mean" in params and first is not None:
            count, values = len(means[first]), len(params["mean"])
            # A net on grey images, or on more channels than colours, has a mean of its length.
            if count == COLOURS and (values == 1 or values > COLOURS):
                count = values
            means[first] = numbers(type(self).__name__, "mean", params["mean"], count)
        self.means = {top: np.array(mean, np.float64) for top, mean in means.items()}

    def _set_labels(self, params: Dict[str, Any]) -> None:
        self._labels: Dict[str, Labels] = {labels.name: labels for labels in self.data_set.labels}
        self.label_classes = {top: len(labels.classes) for top, labels in self._labels.items()}
        first = self.data_set.labels[0].name
        self.label_classes[first] = params.get("classes", self.label_classes[first])
        for top, count in self.label_classes.items():
            ignored = self._labels[top].ignore_label
            if count < 2 or 0 <= ignored < count:
                limit = f"2 to {ignored}, because label {ignored} is ignored"
                raise ValueError(
                    f"{type(self).__name__}: classes is {count}, needs "
                    + (limit if ignored >= 0 else "2 or more")
                )

    def _set_changes(self, params: Dict[str, Any]) -> None:
        """Set how the images of a train split are changed, and the number of images in a pass."""
        name, training = type(self).__name__, "train" in self.split
        augmentation = Augmentation(
            bool(params.get("mirror")), params.get("crop", 0), tuple(params.get("scale", (1, 1)))
        )
        augmentation.check(name)
        self.augmentation = augmentation if training else Augmentation()
        self.batch: int = params.get("batch", 1) if training else 1
        if self.batch < 1:
            raise ValueError(f"{name}: batch is {self.batch}, needs 1 or more images")

    def _start_reading(self) -> None:
        self._rng = random.Random(self.seed)
        #: The images drawn so far, from which, with the seed, the change of each one follows.
        self._draws = 0
        self._changes_seed = random.random() if self.seed is None else self.seed
        self._reader = ThreadPoolExecutor(max_workers=1)
        self.idx = _draw(self._rng, len(self.indices)) if self.random else 0
        rank, self._solvers = 0, 1
        if self.phase == caffe.TRAIN:
            rank, self._solvers = caffe.solver_rank(), caffe.solver_count()
        self._advance(rank)

    def _advance(self, n: int) -> None:
        self._request = None
        self._draws += n
        if not self.random:
            self.idx = (self.idx + n) % len(self.indices)
            return
        for _ in range(n):
            self.idx = _draw(self._rng, len(self.indices))

    def _submit(self) -> Future:
        """Start to read the images of the next pass."""
        before = self._draws, self.idx, self._rng.getstate()
        images = []
        for _ in range(self.batch):
            images.append((self.idx, self._draws))
            if self.batch > 1:
                self._advance(self._solvers)
        self._draws, self.idx = before[:2]
        self._rng.setstate(before[2])
        return self._reader.submit(self._load_batch, images)

    def _load_batch(self, images: List[Tuple[int, int]]) -> List[np.ndarray]:
        """Return an array for each top, N x C x H x W. images: a place in the split and a draw."""
        load = self._load_readable if self._skips else self._load_at
        parts = [self._changed(load(place), draw) for place, draw in images]
        return [
            join(arrays, self._labels[top].ignore_label if top in self._labels else 0)
            for top, arrays in zip(self.tops, zip(*parts))
        ]

    def _changed(self, arrays: List[np.ndarray], draw: int) -> List[np.ndarray]:
        """Return the arrays of an image, scaled, mirrored and cropped as the draw has it."""
        if self.augmentation == Augmentation():
            return arrays
        truths = [top in self._labels for top in self.tops]
        ignored = [self._labels[top].ignore_label for top in self.tops if top in self._labels]
        images, labels = self.augmentation.apply(
            [array for array, truth in zip(arrays, truths) if not truth],
            [array for array, truth in zip(arrays, truths) if truth],
            ignored,
            f"{self._changes_seed} {draw}",
        )
        return [labels.pop(0) if truth else images.pop(0) for truth in truths]

    def _load_at(self, place: int) -> List[np.ndarray]:
        """Return the arrays of the image at a place in the split."""
        return self._load(self.indices[place])

    def _load_readable(self, place: int) -> List[np.ndarray]:
        """Return the arrays of the first readable image at or after a place.

        The order of the draws stays as it is, so that a continued run has the same images.
        """
        most = min(len(self.indices), MOST_SKIPPED)
        for further in range(most):
            idx = self.indices[(place + further) % len(self.indices)]
            try:
                return self._load(idx)
            except (OSError, ValueError) as error:
                reason = message(error)
                self._report_skipped(idx, reason)
        raise OSError(f"{reason}; it is the last of {most} images in a row that cannot be read")

    def _report_skipped(self, idx: str, reason: str) -> None:
        """Print once that an image is skipped."""
        if idx in self._skipped:
            return
        self._skipped.add(idx)
        with contextlib.suppress(OSError):  # A terminal that is gone does not end the training.
            line = f"warning: {type(self).__name__}: skipped {idx} of split {self.split}: {reason}"
            print(one_line(line), file=sys.stderr, flush=True)

    def _load(self, idx: str) -> List[np.ndarray]:
        arrays = [
            self.load_label(idx, top) if top in self._labels else self.load_image(idx, top)
            for top in self.tops
        ]
        for top, array in zip(self.tops, arrays):
            if array.shape[1:] != arrays[0].shape[1:]:
                path = (self.label_path if top in self._labels else self.input_path)(top, idx)
                (height, width), (rows, columns) = array.shape[1:], arrays[0].shape[1:]
                raise ValueError(
                    f"{path}: is {height} x {width} (height x width), "
                    f"needs its image's {rows} x {columns}"
                )
        return arrays


def _draw(rng: random.Random, n: int) -> int:
    """Return Python 2's `rng.randint(0, n - 1)`: the published order of training images."""
    return int(rng.random() * n)


def _locate(folder: str) -> str:
    """Return the folder, or the one of the same name in this repository's `data`.

    The published FCN-16s prototxts say ../../data where the folders of the others say ../data.
    """
    parts = folder.replace(os.sep, "/").split("/")
    if os.path.isdir(folder) or "data" not in parts:
        return folder
    inside = os.path.join(ROOT, *parts[parts.index("data") :])
    return inside if os.path.isdir(inside) else folder
