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


def relu(n: NetSpec, name: str, bottom: Top) -> Top:
    """Adds the ReLU `name`, in place."""
    n[name] = L.ReLU(bottom, in_place=True)
    return n[name]


def conv_relu(
    n: NetSpec,
    name: str,
    bottom: Top,
    num_output: int,
    kernel_size: int = 3,
    stride: int = 1,
    pad: int = 1,
    filler: Optional[str] = None,
    relu_name: Optional[str] = None,
    **fields: Any,
) -> Top:
    """Adds the convolution `name` and its ReLU, called `relu` and what follows the letters.

    fields: more of the Convolution, such as group; `param=None` leaves the rates to the solver's.
    """
    settings = {"param": LEARNED, **_filled(filler), **fields}
    settings = {name: value for name, value in settings.items() if value is not None}
    n[name] = L.Convolution(
        bottom,
        num_output=num_output,
        kernel_size=kernel_size,
        stride=stride,
        pad=pad,
        **settings,
    )
    return relu(n, relu_name or "relu" + name.lstrip("convf"), n[name])


def inner_product(
    n: NetSpec, name: str, bottom: Top, num_output: int, filler: Optional[str] = None
) -> Top:
    """Adds the fully connected layer `name`."""
    n[name] = L.InnerProduct(bottom, num_output=num_output, param=LEARNED, **_filled(filler))
    return n[name]


def max_pool(
    n: NetSpec, name: str, bottom: Top, kernel_size: int = 2, stride: int = 2, **fields: Any
) -> Top:
    """Adds the max pooling `name`; fields: more of the Pooling, such as pad."""
    n[name] = L.Pooling(
        bottom, pool=P.Pooling.MAX, kernel_size=kernel_size, stride=stride, **fields
    )
    return n[name]


def lrn(n: NetSpec, name: str, bottom: Top) -> Top:
    """Adds the local response normalization `name`, as in Krizhevsky et al. 2012, section 3.3."""
    n[name] = L.LRN(bottom, local_size=5, alpha=1e-4, beta=0.75)
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


def upsampled(bottom: Top, classes: int, stride: int, kernel_size: int) -> Top:
    """A fixed Deconvolution; surgery fills its kernel."""
    return L.Deconvolution(
        bottom,
        convolution_param={
            "num_output": classes,
            "kernel_size": kernel_size,
            "stride": stride,
            "bias_term": False,
        },
        param=FIXED,
    )


def scale(n: NetSpec, name: str, bottom: Top, value: float) -> Top:
    """Adds the layer `name` that multiplies by a fixed `value`."""
    n[name] = L.Scale(bottom, filler={"type": "constant", "value": value}, param=FIXED)
    return n[name]
