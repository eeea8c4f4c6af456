"""The layers that all nets share, with the settings that the published nets give them."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from caffe.net_spec import NetSpec, Top
from caffe.net_spec import layers as L
from caffe.net_spec import params as P

#: Learning rate and weight decay of a layer's weights and of its biases, as multiples of the
#: solver's.
LEARNED = [{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}]
FIXED = [{"lr_mult": 0}]


class Names:
    """A NetSpec under other layer names, so that one net can hold a trunk twice.

    suffix: is put behind every name, as `color` in `conv1_1color`.
    renamed: name -> the name to use for this layer, before the suffix.
    """

    def __init__(
        self, spec: NetSpec, suffix: str = "", renamed: Optional[Mapping[str, str]] = None
    ) -> None:
        self._spec, self._suffix, self._renamed = spec, suffix, dict(renamed or {})

    def __getitem__(self, name: str) -> Top:
        return self._spec[self.full_name(name)]

    def __setitem__(self, name: str, top: Top) -> None:
        self._spec[self.full_name(name)] = top

    def full_name(self, name: str) -> str:
        """Return the name in the net of the layer that a trunk calls `name`."""
        return self._renamed.get(name, name) + self._suffix


def weight_filler(filler: Optional[str]) -> Any:
    """Return the settings for weights that are filled by `filler`; None leaves them at zero."""
    return {"weight_filler": {"type": filler}} if filler else {}


def relu(n: Any, name: str, bottom: Top) -> Top:
    """Add the ReLU `name`, in place."""
    n[name] = L.ReLU(bottom, in_place=True)
    return n[name]


def conv_relu(
    n: Any,
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
    """Add the convolution `name` and its ReLU, and return the ReLU's top.

    n: a NetSpec or Names.
    relu_name: by default `relu` and the number in `name`: relu1_1 for conv1_1, relu6 for fc6.
    fields: more fields of the Convolution, such as group; `param=None` leaves the learning rates
        to the solver.
    """
    settings = {"param": LEARNED, **weight_filler(filler), **fields}
    settings = {field: value for field, value in settings.items() if value is not None}
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
    n: Any, name: str, bottom: Top, num_output: int, filler: Optional[str] = None
) -> Top:
    """Add the fully connected layer `name`."""
    n[name] = L.InnerProduct(bottom, num_output=num_output, param=LEARNED, **weight_filler(filler))
    return n[name]


def max_pool(
    n: Any, name: str, bottom: Top, kernel_size: int = 2, stride: int = 2, **fields: Any
) -> Top:
    """Add the max pooling `name`; `fields` are more fields of the Pooling, such as pad."""
    n[name] = L.Pooling(
        bottom, pool=P.Pooling.MAX, kernel_size=kernel_size, stride=stride, **fields
    )
    return n[name]


def lrn(n: Any, name: str, bottom: Top) -> Top:
    """Add the local response normalization `name` of Krizhevsky et al. 2012, section 3.3."""
    n[name] = L.LRN(bottom, local_size=5, alpha=1e-4, beta=0.75)
    return n[name]


def dropout(n: Any, name: str, bottom: Top, ratio: float) -> Top:
    """Add the Dropout `name`, in place; add no layer if `ratio` is 0."""
    if not ratio:
        return bottom
    n[name] = L.Dropout(bottom, dropout_ratio=ratio, in_place=True)
    return n[name]


def score(n: Any, name: str, bottom: Top, classes: int) -> Top:
    """Add the 1 x 1 convolution `name`. It has no filler, so an untrained one scores zero."""
    n[name] = L.Convolution(bottom, num_output=classes, kernel_size=1, pad=0, param=LEARNED)
    return n[name]


def deconvolution(bottom: Top, classes: int, stride: int, kernel_size: int) -> Top:
    """Return a Deconvolution that does not learn. `surgery.interp` fills its kernels."""
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


def scale(n: Any, name: str, bottom: Top, value: float) -> Top:
    """Add the layer `name`, which multiplies by a fixed `value`."""
    n[name] = L.Scale(bottom, filler={"type": "constant", "value": value}, param=FIXED)
    return n[name]
