"""Layers of videos and volumes: other names of Convolution, Deconvolution and Pooling.

N x C x L x H x W is convolved and pooled by the layers that the engine has for images. C3D (Tran et
al. 2015) says kernel_depth, temporal_stride and temporal_pad for the axis L; C3D 1.1 and
video-caffe say kernel_shape, stride_shape and pad_shape for all three.
"""

from __future__ import annotations

from ..convolution import Convolution
from ..deconvolution import Deconvolution
from ..pooling import Pooling
from ..registry import register


@register
class Convolution3D(Convolution):
    """Convolution of N x C x L x H x W (facebook/C3D)."""


@register
class NdConvolution(Convolution):
    """Convolution over any number of axes (facebook/C3D 1.1, chuckcho/video-caffe)."""


@register
class Deconvolution3D(Deconvolution):
    """Deconvolution of N x C x L x H x W (facebook/C3D)."""


@register
class Pooling3D(Pooling):
    """Pooling of N x C x L x H x W (facebook/C3D)."""


@register
class NdPooling(Pooling):
    """Pooling over any number of axes (facebook/C3D 1.1, chuckcho/video-caffe)."""
