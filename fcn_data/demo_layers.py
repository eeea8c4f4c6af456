"""The Python data layer over the demo set's crops, for training a base classifier.

`param_str` is a Python literal, a dict with the keys

    file     an .npz with data (N x S x S x 3, uint8, RGB) and label (N class indices)
    batch    crops in a batch
    mean     three values to subtract, in B, G, R order
    seed     of the order, which draws with replacement (default: a new order every run)
    shuffle  False: all crops in their order, again and again (default True)
"""

from __future__ import annotations

import os
from typing import Any, Dict, Tuple

import caffe
import numpy as np

from .parameters import numbers, read_parameters


class ObjectsDataLayer(caffe.Layer):
    """Tops: `data` (batch x 3 x S x S, float32, BGR, mean subtracted) and `label` (batch).

    Raises ValueError for a bad `param_str`, OSError for a file that is missing or unreadable.
    """

    def setup(self, bottom, top) -> None:
        if len(top) != 2 or len(bottom) != 0:
            raise ValueError(
                f"ObjectsDataLayer: has {len(bottom)} bottoms and {len(top)} tops, "
                "needs none and two: data and label"
            )
        params = self._read_param_str()
        self.batch: int = params["batch"]
        self.random: bool = params.get("shuffle", True)
        pixels, self.labels = _read(params["file"])
        # The mean is subtracted when a batch is drawn, so that crops stay in bytes.
        self.pixels = np.ascontiguousarray(pixels[..., ::-1].transpose(0, 3, 1, 2))
        self.mean = np.array(params["mean"], np.float32)[:, None, None]
        self._rng = np.random.RandomState(params.get("seed"))
        self._position = 0
        top[0].reshape(self.batch, *self.pixels.shape[1:])
        top[1].reshape(self.batch)

    def reshape(self, bottom, top) -> None:
        pass

    def forward(self, bottom, top) -> None:
        batch = self._draw()
        top[0].data[...] = self.pixels[batch] - self.mean
        top[1].data[...] = self.labels[batch]

    def backward(self, top, propagate_down, bottom) -> None:
        pass

    def skip(self, n: int) -> None:
        """Advance by `n` batches, as `n` forward passes do."""
        for _ in range(n):
            self._draw()

    def resume_state(self) -> Dict[str, Any]:
        """Return the position among the crops, as values for a JSON file."""
        name, words, *rest = self._rng.get_state()
        return {"position": self._position, "random": [name, np.asarray(words).tolist(), *rest]}

    def set_resume_state(self, values: Dict[str, Any]) -> None:
        """Continue where `resume_state` was called."""
        self._position = int(values["position"])
        self._rng.set_state(tuple(values["random"]))

    def _draw(self) -> np.ndarray:
        """Return the indices of the next batch."""
        count = len(self.labels)
        if self.random:
            return self._rng.randint(0, count, self.batch)
        batch = (self._position + np.arange(self.batch)) % count
        self._position = (self._position + self.batch) % count
        return batch

    def _read_param_str(self) -> Dict[str, Any]:
        required: Dict[str, Any] = {"file": str, "batch": int, "mean": (tuple, list)}
        optional: Dict[str, Any] = {"seed": (int, type(None)), "shuffle": (bool, int)}
        params = read_parameters("ObjectsDataLayer", self.param_str, required, optional)
        if params["batch"] < 1:
            raise ValueError(f"ObjectsDataLayer: batch is {params['batch']}, needs 1 or more")
        numbers("ObjectsDataLayer", "mean", params["mean"], 3)
        return params


def _read(path: str) -> Tuple[np.ndarray, np.ndarray]:
    """Return the crops and the labels in an .npz file, checked."""
    if not os.path.isfile(path):
        raise OSError(f"{path}: no such file of crops; fcn_data.demo.make draws it")
    try:
        with np.load(path) as file:
            data, label = file["data"], file["label"]
    except Exception as error:  # numpy and zipfile raise many types for a damaged file
        raise OSError(f"{path}: is not a readable file of crops ({error})") from None
    are_crops = data.ndim == 4 and data.shape[3] == 3 and data.dtype == np.uint8
    if not are_crops or label.shape != data.shape[:1] or not len(label):
        raise ValueError(
            f"{path}: has data {data.dtype} {data.shape} and label {label.shape}, "
            "needs uint8 N x S x S x 3 and N"
        )
    return data, label
