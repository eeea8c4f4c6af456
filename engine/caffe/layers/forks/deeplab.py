"""Layers of DeepLab beside Interp: DenseCRF, DomainTransform, SegAccuracy, MatWrite, MatRead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ... import files
from ...blob import Blob
from ...data import mat_arrays
from ...ops.permutohedral import Lattice
from ..base import EngineLayer
from ..function import Function
from ..labels import integer_labels
from ..registry import register
from ..source import Source
from ..text_files import read_lines


def _sizes(layer: EngineLayer, dims: torch.Tensor, shape: Sequence[int]) -> list[tuple[int, int]]:
    """Return height and width of each photograph from a bottom of N x 2 values. Raises ShapeError.

    shape: of the maps that the photographs lie in.
    """
    rows = dims.detach().reshape(-1, 2).long().tolist()
    if len(rows) != shape[0] or any(
        not (1 <= h <= shape[2] and 1 <= w <= shape[3]) for h, w in rows
    ):
        raise layer.shape_error(
            f"sizes {rows} of photographs for maps of shape {tuple(shape)}; "
            "one for each map is needed, inside the map"
        )
    return [(h, w) for h, w in rows]


@register
class DenseCRF(EngineLayer):
    """Mean field in a fully connected CRF (Krähenbühl & Koltun 2011; Chen et al. 2014, DeepLab).

    Q <- softmax(s + sum of w (F Q) / (F 1)), max_iter times from Q = softmax(s). The bottoms are
    the scores s, N x C x H x W, which count as log-probabilities; optionally the photographs'
    sizes, N x 1 x 1 x 2; and the photographs, N x 3 x H x W. F are Gaussian filters: over
    positions, of standard deviation pos_xy_std and weight pos_w each, and over positions and
    colours, of bi_xy_std, bi_rgb_std and bi_w. The top is Q, or without output_probability the
    best label of each position, N x 1 x H x W. No gradient passes the layer.
    """

    bottoms, tops = (2, 3), (1, 1)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.dense_crf_param
        if len(p.pos_xy_std) != len(p.pos_w) or not (
            len(p.bi_xy_std) == len(p.bi_rgb_std) == len(p.bi_w)
        ):
            raise self.error("each filter needs its standard deviations and its weight")

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        shape, image = bottom[0].shape, bottom[-1].shape
        if len(shape) != 4 or len(image) != 4 or (image[0], image[2:]) != (shape[0], shape[2:]):
            raise self.shape_error(
                f"scores of shape {shape} and photographs of shape {image}; their batch, height "
                "and width need to be equal"
            )
        probability = self.layer_param.dense_crf_param.output_probability
        top[0].resize(shape if probability else (shape[0], 1, *shape[2:]))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        scores, images = bottom[0].values.tensor(), bottom[-1].values.tensor()
        shape = tuple(scores.shape)
        sizes = [(shape[2], shape[3])] * shape[0]
        if len(bottom) == 3:
            sizes = _sizes(self, bottom[1].values.tensor(), shape)
        y = scores.new_zeros(top[0].shape)
        for i, (height, width) in enumerate(sizes):
            part = scores[i, :, :height, :width]
            q = self._mean_field(part, images[i, :, :height, :width])
            if not self.layer_param.dense_crf_param.output_probability:
                q = q.argmax(0, keepdim=True).to(y)
            y[i, :, :height, :width] = q
        top[0].values.set(y)

    def _mean_field(self, scores: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Return the probabilities of one photograph, C x H x W."""
        p = self.layer_param.dense_crf_param
        filters = self._filters(image)
        flat = scores.flatten(1)
        q = torch.softmax(flat, 0)
        for _ in range(p.max_iter):
            messages = flat
            for weight, lattice, response in filters:
                messages = messages + weight * lattice.filter(q) / response
            q = torch.softmax(messages, 0)
        return q.reshape(scores.shape)

    def _filters(self, image: torch.Tensor) -> list[tuple[float, Lattice, torch.Tensor]]:
        """Return each filter: its weight, its lattice, and its response to ones."""
        p, on = self.layer_param.dense_crf_param, image.device
        rows, columns = np.indices(image.shape[1:]).reshape(2, -1)
        places = np.stack([columns, rows], 1)
        colours = image.flatten(1).T.cpu().numpy()
        features = [places / std for std in p.pos_xy_std]
        for xy, rgb in zip(p.bi_xy_std, p.bi_rgb_std):
            features.append(np.hstack([places / xy, colours / rgb]))
        filters = []
        for weight, values in zip([*p.pos_w, *p.bi_w], features):
            lattice = Lattice(values, on)
            ones = torch.ones(1, len(values), device=on)
            filters.append((weight, lattice, lattice.filter(ones)[0] + 1e-20))
        return filters

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        if any(propagate_down):
            raise self.error("has no gradient; set propagate_down: false on its bottoms")


@register
class DomainTransform(Function):
    """An edge-preserving filter that learns its edges (Chen et al. 2016, section 3.2 and 3.3).

    y_i = (1 - w_i) x_i + w_i y_(i-1) along the rows in both directions, then along the columns,
    num_iter (K) times. In iteration k, w_i = exp(-sqrt(2) d_i / sigma_k), at least min_weight, with
    sigma_k = spatial_sigma sqrt(3) 2^(K - k) / sqrt(4^K - 1) and d_i = 1 + spatial_sigma /
    range_sigma g_i. The bottoms are x, N x C x H x W; the edges g, N x 1 x H x W; and optionally
    the photographs' sizes, which the engine does not need.
    """

    bottoms, tops = (2, 3), (1, 1)
    in_place = False

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index < 2

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        x, edges = bottoms[:2]
        if len(x) != 4 or tuple(edges) != (x[0], 1, *x[2:]):
            raise self.shape_error(f"bottoms of shapes {x} and {edges}; N x 1 x H x W is needed")
        return [x]

    def compute(self, x: torch.Tensor, edges: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.domain_transform_param
        distance = 1 + p.spatial_sigma / p.range_sigma * edges
        for k in range(1, p.num_iter + 1):
            sigma = p.spatial_sigma * math.sqrt(3) * 2 ** (p.num_iter - k)
            sigma /= math.sqrt(4**p.num_iter - 1)
            weight = torch.exp(-math.sqrt(2) / sigma * distance).clamp(min=p.min_weight)
            for axis in (3, 2):
                x = _filtered(x, weight, axis)
        return x


def _filtered(x: torch.Tensor, weight: torch.Tensor, axis: int) -> torch.Tensor:
    """Filter along an axis, forward and back. weight: between a position and the one before."""
    lines, weights = list(x.unbind(axis)), weight.unbind(axis)
    for i in range(1, len(lines)):
        lines[i] = lines[i] + weights[i] * (lines[i - 1] - lines[i])
    for i in range(len(lines) - 2, -1, -1):
        lines[i] = lines[i] + weights[i + 1] * (lines[i + 1] - lines[i])
    return torch.stack(lines, axis)


@register
class SegAccuracy(EngineLayer):
    """Pixel accuracy, mean accuracy of classes, mean IU (seg_accuracy_layer.cpp of DeepLab).

    Bottoms: scores N x C x H x W and labels N x 1 x H x W, of which those in ignore_label do not
    count. With `reset` false, the counts of all batches add up. Classes that no label and no
    prediction has are left out of the means. The top is 1 x 1 x 1 x 3.
    """

    bottoms, tops = (2, 2), (1, 1)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        #: Pixels by label and prediction.
        self.counts = np.zeros((bottom[0].shape[1],) * 2, np.int64)

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        top[0].resize((1, 1, 1, 3))

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, classes = self.layer_param.seg_accuracy_param, len(self.counts)
        scores = bottom[0].values.tensor()
        labels = integer_labels(self, scores, bottom[1].values.tensor(), 1)  # type: ignore[arg-type]
        counted = torch.ones_like(labels, dtype=torch.bool)
        for ignore in p.ignore_label:
            counted &= labels != ignore
        pairs = labels[counted] * classes + scores.argmax(1)[counted]
        if pairs.numel() and not 0 <= int(labels[counted].min()) <= labels[counted].max() < classes:
            raise self.error(
                f"labels {int(labels[counted].min())} .. {int(labels[counted].max())}; they need "
                f"to be 0 .. {classes - 1}, or ignored"
            )
        if p.reset:
            self.counts[:] = 0
        self.counts += np.bincount(pairs.numpy(), minlength=classes**2).reshape(classes, classes)
        right, of_label = self.counts.diagonal(), self.counts.sum(1)
        union = of_label + self.counts.sum(0) - right
        top[0].data[...] = np.reshape(
            [
                right.sum() / max(of_label.sum(), 1),
                _mean_ratio(right, of_label),
                _mean_ratio(right, union),
            ],
            (1, 1, 1, 3),
        )


def _mean_ratio(values: np.ndarray, of: np.ndarray) -> float:
    """Return the mean ratio over the positions whose divisor is above 0; 0 if there are none."""
    valid = of > 0
    return float((values[valid] / of[valid]).mean()) if valid.any() else 0.0


def _names(layer: EngineLayer, p: Any) -> list[str]:
    """Return the names in `source` of a MatWriteParameter or a MatReadParameter. Raises."""
    if not p.prefix:
        raise layer.error("prefix is missing; it is the start of the names of the files")
    lines = read_lines(layer, p.source) if p.source else []
    names = [Path(line.split()[0]).name for line in lines if line.split()]
    return [name[: len(name) - p.strip] for name in names]


@register
class MatWrite(EngineLayer):
    """Writes each bottom of each pass to a MATLAB file, with the variable `data` (DeepLab).

    The file of bottom i is PREFIX + name + _blob_i.mat, where the names are the first words of
    the lines of `source`, without directory and without the last `strip` letters, or else the
    number of the pass. The data has the axes W x H x C x N, as MATLAB's arrays are. One in `period`
    passes is written.
    """

    tops = (0, 0)

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.names = _names(self, self.layer_param.mat_write_param)
        self.passes = 0

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        pass

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, number = self.layer_param.mat_write_param, self.passes
        self.passes += 1
        if number % max(1, p.period):
            return
        name = self.names[number % len(self.names)] if self.names else str(number)
        for i, blob in enumerate(bottom):
            self._write(f"{p.prefix}{name}_blob_{i}.mat", np.array(blob.data))

    def _write(self, path: str, values: np.ndarray) -> None:
        from scipy.io import savemat  # imported here because scipy.io is slow to import

        with self.using_files(), files.atomic(path) as file:
            savemat(file, {"data": values.T})

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        pass


@register
class MatRead(Source):
    """The blobs that MatWrite has written, batch_size files for each pass (DeepLab).

    The file of top i is PREFIX + name + _blob_i.mat, with the names of MatWrite in turn. Sources:
    MatWrite, whose files these are, and the settings of DeepLab's nets.
    """

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.mat_read_param
        self.batch_size = self.positive(p.batch_size, "batch_size")
        self.names = _names(self, p)
        #: How many files of each top were read.
        self.number = 0
        self._read(top, 0)

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        pass

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self._read(top, self.number)
        self.number += self.batch_size

    def _read(self, top: Sequence[Blob], first: int) -> None:
        """Fill the tops with the files from number `first` on."""
        for i, blob in enumerate(top):
            numbers = range(first, first + self.batch_size)
            parts = [self._values(number, i) for number in numbers]
            if len({part.shape[1:] for part in parts}) > 1:
                shapes = [part.shape for part in parts]
                raise self.shape_error(f"files of shapes {shapes} in one batch; set batch_size 1")
            values = np.concatenate(parts).astype(np.float32)
            blob.resize(values.shape)
            blob.data[...] = values

    def _values(self, number: int, top: int) -> np.ndarray:
        """Return the array of a file, N x C x H x W."""
        name = self.names[number % len(self.names)] if self.names else str(number)
        path = f"{self.layer_param.mat_read_param.prefix}{name}_blob_{top}.mat"
        if not Path(path).is_file():
            raise self.file_error(f"{path}: no such file; MatWrite writes it")
        with self.using_files():
            values = mat_arrays.read_array(path, "data")
        # MATLAB leaves out axes of size 1 at the end.
        return values.reshape(*values.shape, *[1] * (4 - values.ndim)).T

    def resume_state(self) -> Any:
        return {"number": self.number}

    def set_resume_state(self, values: Any) -> None:
        self.number = int(values["number"])
