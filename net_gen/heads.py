"""From a trunk to a score for every pixel (Long et al., arXiv 1411.4038, section 4.2)."""

from __future__ import annotations

from caffe.net_spec import NetSpec, Top
from caffe.net_spec import layers as L
from caffe.net_spec import params as P

from .coordinates import cropped, offset
from .layers import scale, score, upsampled
from .trunks import Trunk

# At once, the first skip's blob is scaled by 0.01, the next by 0.0001: about what makes blobs of
# different depth equally large (Long et al., arXiv 1605.06211, section 4.3).
AT_ONCE = 100


def upsample(n: NetSpec, name: str, bottom: Top, classes: int, stride: int, target: Top) -> Top:
    """Adds the fixed Deconvolution `name`, whose pixels lie on those of `target`.

    A bilinear kernel is 2 * stride wide, centred between pixels, or one less, centred on one; which
    of them it is, the windows of the trunk decide: 2 * stride for VGG16, one less for the others.
    """
    for kernel_size in (2 * stride, 2 * stride - 1):
        n[name] = upsampled(bottom, classes, stride, kernel_size)
        if offset(n[name], target).is_integer():
            return n[name]
    raise ValueError(f"{name}: no bilinear kernel of stride {stride} lies on its target's pixels")


def skip(
    n: NetSpec, top: Top, up: str, trunk: Trunk, stride: int, classes: int, at_once: bool
) -> Top:
    """Doubles the resolution of the scores `top` to `stride` and adds those of a finer blob.

    Of the two, the one that reaches further is cropped to the other.
    """
    name, source = trunk.skips[stride]
    coarse = upsample(n, up, top, classes, 2, source)
    if at_once:
        skips = sorted(trunk.skips, reverse=True).index(stride) + 1
        source = scale(n, f"scale_{name}", source, AT_ONCE**-skips)
    fine = score(n, f"score_{name}", source, classes)
    if offset(fine, coarse) > 0:
        fine = n[f"score_{name}c"] = cropped(fine, coarse)
    else:  # no window between the two: the upsampled scores reach as far, or a pixel further
        coarse = n[f"{up}c"] = cropped(coarse, fine)
    n[f"fuse_{name}"] = L.Eltwise(coarse, fine, operation=P.Eltwise.SUM)
    return n[f"fuse_{name}"]


def pixelwise(
    n: NetSpec, trunk: Trunk, data: Top, stride: int, classes: int, at_once: bool = False
) -> Top:
    """Adds everything from `score_fr` to `score`, the scores of every pixel of `data`.

    Raises ValueError for a stride at which the trunk has no blob to skip from, or a padding with
    which the scores do not reach over the image.
    """
    strides = [trunk.stride, *sorted(trunk.skips, reverse=True)]
    if stride not in strides:
        has = ", ".join(map(str, strides))
        raise ValueError(f"stride {stride}: trunk {trunk.name} has feature maps of stride {has}")
    top, at, up = score(n, "score_fr", trunk.top, classes), trunk.stride, "upscore2"
    while at > stride:
        at //= 2
        top = skip(n, top, up, trunk, at, classes, at_once)
        up = f"upscore_{trunk.skips[at].name}"
    name = "upscore" if at == trunk.stride else f"upscore{at}"
    top = upsample(n, name, top, classes, at, data)
    start = int(offset(top, data))
    if start < 0:
        raise ValueError(
            f"pad {trunk.pad}: with trunk {trunk.name} and stride {stride} the first score lies "
            f"{-start} px inside the image; pad {trunk.pad - start} or more is needed, and for "
            "images of every size what net_gen.padding.least_padding gives"
        )
    n.score = cropped(top, data)
    return n.score
