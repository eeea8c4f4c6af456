"""From a trunk to a score for every pixel (Long et al., arXiv 1411.4038, section 4.2)."""

from __future__ import annotations

from typing import List

from caffe.net_spec import NetSpec, Top
from caffe.net_spec import layers as L
from caffe.net_spec import params as P

from .coordinates import cropped, offset
from .layers import deconvolution, scale, score
from .trunks import Features

#: Trained at once, the blob of the first skip is scaled by 1 / 100, that of the next by 1 / 100^2:
#: about the factors that make blobs of different depth equally large (Long et al., arXiv
#: 1605.06211, section 4.3).
AT_ONCE = 100


def upsample(n: NetSpec, name: str, bottom: Top, classes: int, stride: int, target: Top) -> Top:
    """Add the Deconvolution `name`, whose values lie on those of `target`.

    A bilinear kernel is 2 * stride wide, and centred between two values, or 2 * stride - 1 wide,
    and centred on one. The windows of the trunk decide which of them lies on the target: the wider
    one for VGG16, the other one for CaffeNet and GoogLeNet.

    Raises ValueError if neither does.
    """
    for kernel_size in (2 * stride, 2 * stride - 1):
        n[name] = deconvolution(bottom, classes, stride, kernel_size)
        if offset(n[name], target).is_integer():
            return n[name]
    raise ValueError(f"layer {name}: no bilinear kernel of stride {stride} lies on its target")


class HeadBuilder:
    """Adds a head to a net: `add_branch` for each trunk, then `add_scores`.

    n: the net. image: the blob, N x C x H x W, that the scores are cropped to. classes: channels of
    the scores. at_once: scale the blobs of the skips by `AT_ONCE`. suffix: is put behind the names
    of the head's layers.
    """

    def __init__(
        self, n: NetSpec, image: Top, classes: int, at_once: bool = False, suffix: str = ""
    ) -> None:
        self.n, self.image, self.classes = n, image, classes
        self.at_once, self.suffix = at_once, suffix
        self.branches: List[Features] = []
        self._coarse: List[Top] = []

    def add_branch(self, features: Features) -> None:
        """Add the layer that scores the last blob of a trunk."""
        self.branches.append(features)
        name = f"score_fr{self.suffix}"
        self._coarse.append(score(features.n, name, features.top, self.classes))

    def add_scores(self, stride: int) -> Top:
        """Add all layers from the trunks' scores to `score`, and return it: N x classes x H x W.

        stride: of the last upsampling, in pixels. The scores of several trunks are averaged.

        Raises ValueError for a stride at which the trunk has no blob to score, for skips of several
        trunks, and for a padding with which the scores do not cover the image.
        """
        trunk = self.branches[0].trunk
        self._check_stride(stride)
        top, at, up = self._coarse_scores(), trunk.stride, "upscore2"
        while at > stride:
            at //= 2
            top = self._add_skip(top, f"{up}{self.suffix}", at)
            up = f"upscore_{trunk.skips[at].name}"
        up = "upscore" if at == trunk.stride else f"upscore{at}"
        top = upsample(self.n, f"{up}{self.suffix}", top, self.classes, at, self.image)
        self._check_padding(stride, int(offset(top, self.image)))
        self.n[f"score{self.suffix}"] = top = cropped(top, self.image)
        return top

    def _coarse_scores(self) -> Top:
        """Return the scores of the trunk; of several trunks, add and return the mean."""
        if len(self._coarse) == 1:
            return self._coarse[0]
        coefficients = [1 / len(self._coarse)] * len(self._coarse)
        fused = L.Eltwise(*self._coarse, operation=P.Eltwise.SUM, coeff=coefficients)
        self.n[f"score_fused{self.suffix}"] = fused
        return fused

    def _add_skip(self, top: Top, up: str, stride: int) -> Top:
        """Double the resolution of the scores `top` to `stride` and add those of a finer blob.

        up: name of the upsampling layer. The blob that reaches further is cropped to the other.
        """
        n, trunk = self.n, self.branches[0].trunk
        name, source = self.branches[0].skip(stride)
        coarse = upsample(n, up, top, self.classes, 2, source)
        if self.at_once:
            skips = trunk.strides.index(stride)
            source = scale(n, f"scale_{name}{self.suffix}", source, AT_ONCE**-skips)
        fine = score(n, f"score_{name}{self.suffix}", source, self.classes)
        if offset(fine, coarse) > 0:
            fine = n[f"score_{name}{self.suffix}c"] = cropped(fine, coarse)
        else:  # The upsampled scores reach as far as the finer ones, or a value further.
            coarse = n[f"{up}c"] = cropped(coarse, fine)
        fused = n[f"fuse_{name}{self.suffix}"] = L.Eltwise(coarse, fine, operation=P.Eltwise.SUM)
        return fused

    def _check_stride(self, stride: int) -> None:
        trunk, trunks = self.branches[0].trunk, len(self.branches)
        strides = trunk.strides if trunks == 1 else (trunk.stride,)
        if stride not in strides:
            names = trunk.name if trunks == 1 else f"{trunk.name} ({trunks} times)"
            needed = ", ".join(map(str, strides))
            raise ValueError(f"stride is {stride}, trunk {names} needs one of {needed}")

    def _check_padding(self, stride: int, start: int) -> None:
        """Raise ValueError if the first score lies inside the image, `start` < 0 pixels from it."""
        pad, trunk = self.branches[0].pad, self.branches[0].trunk.name
        if start < 0:
            raise ValueError(
                f"pad is {pad}: with trunk {trunk} and stride {stride} the first score lies "
                f"{-start} px inside the image, needs {pad - start} or more, and for images of "
                "every size the pad of net_gen.padding.least_padding"
            )
