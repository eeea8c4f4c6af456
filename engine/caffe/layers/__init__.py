"""Caffe's layer catalogue: one family of layer types a file, all in one registry.

`base` has the `Layer` that users extend and the `EngineLayer` of the catalogue, `function` the
`Function` whose gradient comes from autograd, and `windows` the reader of kernels, strides and
pads.
"""

from . import (
    accuracy,
    activation,
    convolution,
    crop,
    data,
    deconvolution,
    dropout,
    forks,
    hdf5,
    im2col,
    image_data,
    inner_product,
    join,
    loss,
    normalization,
    pooling,
    python,
    recurrent,
    reduction,
    scale,
    selection,
    softmax_loss,
    source,
    views,
    window_data,
)
from .activation import ReLU
from .base import EngineLayer, Layer
from .convolution import Convolution
from .function import Function, Tensors
from .join import Split
from .registry import (
    check_types,
    create,
    import_users_types,
    layer_class,
    layer_type_list,
    pointwise_types,
    register,
    register_layer,
    users_types,
)
from .views import Silence
from .windows import POINT, Window, read_window

__all__ = [
    "POINT",
    "Convolution",
    "EngineLayer",
    "Function",
    "Layer",
    "ReLU",
    "Silence",
    "Split",
    "Tensors",
    "Window",
    "accuracy",
    "activation",
    "check_types",
    "convolution",
    "create",
    "crop",
    "data",
    "deconvolution",
    "dropout",
    "forks",
    "hdf5",
    "im2col",
    "image_data",
    "import_users_types",
    "inner_product",
    "join",
    "layer_class",
    "layer_type_list",
    "loss",
    "normalization",
    "pointwise_types",
    "pooling",
    "python",
    "read_window",
    "recurrent",
    "reduction",
    "register",
    "register_layer",
    "scale",
    "selection",
    "softmax_loss",
    "source",
    "users_types",
    "views",
    "window_data",
]
