"""The few layers that all the nets are made of, with the settings that they share."""

from __future__ import annotations

from typing import Any, Optional

from caffe.net_spec import NetSpec, Top
from caffe.net_spec import layers as L
from caffe.net_spec import params as P

LEARNED = [{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}]
FIXED = [{"lr_mult": 0}]


def _filled(filler: Optional[str]) -> Any:
    return {"weight_filler": {"type": filler}} if filler else {}


def relu(n: NetSpec, number: str, bottom: Top) -> Top:
    """Adds `relu<number>`, in place."""
    n[f"relu{number}"] = L.ReLU(bottom, in_place=True)
    return n[f"relu{number}"]


def conv_relu(
    n: NetSpec,
    name: str,
    bottom: Top,
    num_output: int,
    kernel_size: int = 3,
    stride: int = 1,
    pad: int = 1,
    filler: Optional[str] = None,
) -> Top:
    """Adds the convolution `name` and its ReLU, called `relu` and what follows the letters."""
    n[name] = L.Convolution(
        bottom,
        num_output=num_output,
        kernel_size=kernel_size,
        stride=stride,
        pad=pad,
        param=LEARNED,
        **_filled(filler),
    )
    return relu(n, name.lstrip("convf"), n[name])


def inner_product(
    n: NetSpec, name: str, bottom: Top, num_output: int, filler: Optional[str] = None
) -> Top:
    """Adds the fully connected layer `name`."""
    n[name] = L.InnerProduct(bottom, num_output=num_output, param=LEARNED, **_filled(filler))
    return n[name]


def max_pool(n: NetSpec, name: str, bottom: Top, kernel_size: int = 2, stride: int = 2) -> Top:
    """Adds the max pooling `name`."""
    n[name] = L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=kernel_size, stride=stride)
    return n[name]


def dropout(n: NetSpec, name: str, bottom: Top, ratio: float) -> Top:
    """Adds the Dropout `name`, in place; nothing where `ratio` is 0."""
    if not ratio:
        return bottom
    n[name] = L.Dropout(bottom, dropout_ratio=ratio, in_place=True)
    return n[name]


def score(n: NetSpec, name: str, bottom: Top, classes: int) -> Top:
    """Adds the 1 x 1 convolution `name`, without a filler: a fresh one scores zero everywhere."""
    n[name] = L.Convolution(bottom, num_output=classes, kernel_size=1, pad=0, param=LEARNED)
    return n[name]


def upsample(
    n: NetSpec, name: str, bottom: Top, classes: int, stride: int, kernel_size: Optional[int] = None
) -> Top:
    """Adds the fixed Deconvolution `name`; its kernel, 2 * stride wide, is filled by surgery."""
    n[name] = L.Deconvolution(
        bottom,
        convolution_param={
            "num_output": classes,
            "kernel_size": kernel_size or 2 * stride,
            "stride": stride,
            "bias_term": False,
        },
        param=FIXED,
    )
    return n[name]
