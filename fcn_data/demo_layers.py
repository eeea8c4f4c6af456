"""The Python data layer over the demo set's crops, for training a base classifier.

`param_str` is a Python literal, a dict with the keys

    file     an .npz with data (N x S x S x 3, uint8, RGB) and label (N class indices)
    batch    crops in a batch
    mean     three values to subtract, in B, G, R order
    seed     of the order, which draws with replacement (default: a new order every run)
    shuffle  False: in order, over and over (default True)
"""

from __future__ import annotations

import ast
import os
from typing import Any, Dict

import caffe
import numpy as np


class ObjectsDataLayer(caffe.Layer):
    """Tops `data` (batch x 3 x S x S, float32, BGR, mean subtracted) and `label` (batch).

    Raises ValueError for a bad `param_str`, OSError for a file that is missing or unreadable.
    """

    def setup(self, bottom, top) -> None:
        if len(top) != 2 or len(bottom) != 0:
            raise ValueError(
                f"ObjectsDataLayer: has {len(bottom)} bottoms and {len(top)} tops, "
                "needs none and two: data and label"
            )
        params = self._params()
        self.batch: int = params["batch"]
        self.random: bool = params.get("shuffle", True)
        pixels, self.labels = _read(params["file"])
        # BGR planes once for all; the mean goes when a batch is drawn, so a crop stays in bytes.
        self.pixels = np.ascontiguousarray(pixels[..., ::-1].transpose(0, 3, 1, 2))
        self.mean = np.array(params["mean"], np.float32)[:, None, None]
        self._rng = np.random.RandomState(params.get("seed"))
        self._at = 0
        top[0].reshape(self.batch, *self.pixels.shape[1:])
        top[1].reshape(self.batch)

    def reshape(self, bottom, top) -> None:
        pass

    def forward(self, bottom, top) -> None:
        chosen = self._draw()
        top[0].data[...] = self.pixels[chosen] - self.mean
        top[1].data[...] = self.labels[chosen]

    def backward(self, top, propagate_down, bottom) -> None:
        pass

    def skip(self, n: int) -> None:
        """Passes over `n` batches, as `n` forward passes do."""
        for _ in range(n):
            self._draw()

    def _draw(self) -> np.ndarray:
        count = len(self.labels)
        if self.random:
            return self._rng.randint(0, count, self.batch)
        chosen = (self._at + np.arange(self.batch)) % count
        self._at = (self._at + self.batch) % count
        return chosen

    def _params(self) -> Dict:
        try:
            params = ast.literal_eval(self.param_str)
        except (SyntaxError, ValueError, TypeError):
            params = None
        if not isinstance(params, dict):
            raise ValueError(
                f"ObjectsDataLayer: param_str is {self.param_str!r}, needs a dict of literals "
                "with file, batch and mean"
            )
        kinds: Dict[str, Any] = {
            "file": str,
            "batch": int,
            "mean": (tuple, list),
            "seed": (int, type(None)),
            "shuffle": (bool, int),
        }
        for key in ("file", "batch", "mean"):
            if key not in params:
                raise ValueError(f"ObjectsDataLayer: param_str lacks {key!r}")
        for key, value in params.items():
            if key not in kinds:
                raise ValueError(f"ObjectsDataLayer: param_str has {key!r}, knows {sorted(kinds)}")
            if not isinstance(value, kinds[key]):
                raise ValueError(f"ObjectsDataLayer: {key} is {value!r}, a wrong type")
        if params["batch"] < 1 or len(params["mean"]) != 3:
            raise ValueError(
                f"ObjectsDataLayer: batch is {params['batch']} and mean {params['mean']}, "
                "needs a batch of 1 or more and three means: B, G, R"
            )
        return params


def _read(path: str):
    if not os.path.isfile(path):
        raise OSError(f"{path}: no such file of crops; fcn_data.demo.make draws it")
    try:
        with np.load(path) as file:
            data, label = file["data"], file["label"]
    except Exception as error:  # numpy and zipfile raise many types for a damaged file
        raise OSError(f"{path}: is not a readable file of crops ({error})") from None
    fits = data.ndim == 4 and data.shape[3] == 3 and data.dtype == np.uint8
    if not fits or label.shape != data.shape[:1] or not len(label):
        raise ValueError(
            f"{path}: has data {data.dtype} {data.shape} and label {label.shape}, "
            "needs uint8 N x S x S x 3 and N"
        )
    return data, label
