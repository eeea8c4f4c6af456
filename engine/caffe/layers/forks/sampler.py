"""SpatialTransformer: a net that places its own samples (Jaderberg et al. 2015)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...blob import Blob
from ..function import Function
from ..registry import register
from .regions import bilinear_samples

#: The names of the six numbers of the map, in the order of the second bottom.
THETAS = ("theta_1_1", "theta_1_2", "theta_1_3", "theta_2_1", "theta_2_2", "theta_2_3")


@register
class SpatialTransformer(Function):
    """y[i, j] = x at the place theta (r, c, 1), bilinear, 0 beyond the map (Jaderberg et al. 2015).

    r = 2 i / H' - 1 and c = 2 j / W' - 1 for position (i, j) of the top, N x C x output_H x
    output_W; the place is (row, column), of which -1 .. 1 are 0 .. H and 0 .. W of the bottom
    (daerduoCarey/SpatialTransformerLayer, in xialuxi/arcface-caffe). The second bottom has the
    numbers of theta for each image that st_param does not fix, row by row.
    """

    bottoms, tops = (2, 2), (1, 1)
    in_place = False

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p = self.layer_param.st_param
        if p.transform_type != "affine" or p.sampler_type != "bilinear":
            raise self.error(
                f"transform_type {p.transform_type!r}, sampler_type {p.sampler_type!r}; they need "
                "'affine' and 'bilinear'"
            )
        self.open = [i for i, name in enumerate(THETAS) if not p.HasField(name)]

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        p, (x, theta) = self.layer_param.st_param, bottoms
        if len(x) != 4 or theta[0] != x[0] or torch.Size(theta).numel() != x[0] * len(self.open):
            raise self.shape_error(
                f"bottoms of shapes {x} and {theta}; N x C x H x W and N x {len(self.open)} are "
                "needed"
            )
        return [(*x[:2], p.output_H or x[2], p.output_W or x[3])]

    def compute(self, x: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        p = self.layer_param.st_param
        height, width = p.output_H or x.shape[2], p.output_W or x.shape[3]
        rows = 2 * torch.arange(height).to(x) / height - 1
        columns = 2 * torch.arange(width).to(x) / width - 1
        r, c = torch.meshgrid(rows, columns, indexing="ij")
        grid = torch.stack([r, c, torch.ones_like(r)], -1)
        values = theta.reshape(len(x), -1)
        maps = []
        for image, numbers in zip(x, values):
            entries = [torch.tensor(getattr(p, name)).to(x) for name in THETAS]
            for place, number in zip(self.open, numbers):
                entries[place] = number
            places = grid @ torch.stack(entries).reshape(2, 3).T
            y = (places[..., 0] + 1) / 2 * x.shape[2]
            z = (places[..., 1] + 1) / 2 * x.shape[3]
            maps.append(bilinear_samples(image, y, z))
        return torch.stack(maps)
