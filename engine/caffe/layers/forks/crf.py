"""MultiStageMeanfield: a conditional random field as a recurrent net (CRF-RNN)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ...blob import Blob
from ...ops.permutohedral import Lattice
from ...proto import caffe_pb2
from ..function import Function
from ..registry import register


@register
class MultiStageMeanfield(Function):
    """Mean-field iterations of a dense CRF (Zheng et al. 2015, algorithm 1; torrvision/crfasrnn).

    Q <- U - M (S F_s(softmax Q) + B F_b(softmax Q)), num_iterations times, from Q = the second
    bottom. The bottoms are the unary scores U and the first Q, N x C x H x W each, and the image,
    N x 3 x H x W. F_s is a Gaussian filter of standard deviation theta_gamma over positions; F_b is
    one of theta_alpha over positions and theta_beta over colours. Both use the permutohedral
    lattice and are divided by the filter's response to ones.

    The parameters, 1 x 1 x C x C each, are S, with spatial_filter_weight on its diagonal, B, with
    bilateral_filter_weight, and M, with -1 (compatibility_mode POTTS).
    """

    bottoms, tops = (3, 3), (1, 1)
    in_place = False
    replayable = False

    def allow_force_backward(self, bottom_index: int) -> bool:
        return bottom_index != 2

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        p, shape = self.layer_param.multi_stage_meanfield_param, bottom[0].shape
        thetas = (p.theta_alpha, p.theta_beta, p.theta_gamma)
        if p.num_iterations < 1 or min(thetas) <= 0:
            raise self.error(
                f"num_iterations is {p.num_iterations}, theta_alpha, theta_beta, theta_gamma are "
                f"{thetas}; all need to be above 0"
            )
        if p.compatibility_mode != p.POTTS:
            raise self.error("compatibility_mode is DATA_DRIVEN; it needs POTTS")
        self._check(bottom[0].shape, bottom[1].shape, bottom[2].shape)
        for weight in (p.spatial_filter_weight, p.bilateral_filter_weight, -1.0):
            self.add_parameter((1, 1, shape[1], shape[1]), caffe_pb2.FillerParameter())
            self.blobs[-1].data[0, 0] = weight * np.eye(shape[1])
        #: The spatial lattice, its response to ones, and the size of the maps that they are for.
        self.spatial: tuple[tuple[int, ...], Lattice, torch.Tensor] | None = None

    def _check(self, *shapes: Sequence[int]) -> None:
        """Raise ShapeError for bottoms that do not fit each other."""
        unary, first, image = (tuple(shape) for shape in shapes)
        fits = len(unary) == 4 and first == unary and len(image) == 4
        if not fits or (image[0], image[2:]) != (unary[0], unary[2:]):
            raise self.shape_error(
                f"bottoms of shapes {unary}, {first} and {image}; they need twice N x C x H x W, "
                "and N x 3 x H x W"
            )

    def shapes(self, bottoms: Sequence[tuple[int, ...]]) -> Sequence[Sequence[int]]:
        self._check(*bottoms)
        return bottoms[:1]

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        # The image has no gradient.
        super().backward(top, [*propagate_down[:2], False], bottom)

    def compute(
        self, unary: torch.Tensor, first: torch.Tensor, image: torch.Tensor
    ) -> torch.Tensor:
        maps = [self._iterate(u, q, i) for u, q, i in zip(unary, first, image.detach())]
        return torch.stack(maps)

    def _iterate(self, unary: torch.Tensor, q: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Return the map of one image, C x H x W."""
        p = self.layer_param.multi_stage_meanfield_param
        size, on = tuple(image.shape[1:]), image.device
        rows, columns = np.indices(size).reshape(2, -1)
        places = np.stack([columns, rows], 1)
        if self.spatial is None or self.spatial[0] != size or self.spatial[2].device != on:
            lattice = Lattice(places / p.theta_gamma, on)
            self.spatial = size, lattice, _response(lattice)
        _, spatial, spatial_response = self.spatial
        colours = image.flatten(1).T.cpu().numpy()
        bilateral = Lattice(np.hstack([places / p.theta_alpha, colours / p.theta_beta]), on)
        bilateral_response = _response(bilateral)
        s, b, m = (w[0, 0] for w in self.weights)
        flat, q = unary.flatten(1), q.flatten(1)
        for _ in range(p.num_iterations):
            probabilities = torch.softmax(q, 0)
            messages = s @ (spatial.filter(probabilities) / spatial_response)
            messages = messages + b @ (bilateral.filter(probabilities) / bilateral_response)
            q = flat - m @ messages
        return q.reshape(unary.shape)


def _response(lattice: Lattice) -> torch.Tensor:
    """Return the filter's response to ones, N values."""
    ones = torch.ones(1, lattice.weights.shape[0], device=lattice.weights.device)
    return lattice.filter(ones)[0] + 1e-20
