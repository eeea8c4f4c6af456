"""Texts of layers and nets that several golden cases share."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

from oracle.cases.case import layer

#: A data layer; `%s` is a dict literal (see oracle.python_layers.SeededData).
SEEDED = "python_param { module: 'oracle.python_layers' layer: 'SeededData' param_str: \"%s\" }"
TWO_PARAMS = "param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 } "


def conv(
    bottom: str, top: str, outputs: int, kernel: int = 3, pad: int = 1, fields: str = ""
) -> str:
    """Return a Convolution's text."""
    fields = "num_output: %d kernel_size: %d pad: %d %s" % (outputs, kernel, pad, fields)
    return layer("Convolution", bottom, top, TWO_PARAMS + "convolution_param { %s }" % fields)


def conv_relu(bottom: str, top: str, outputs: int, kernel: int = 3, pad: int = 1) -> str:
    """Return the text of a Convolution with a ReLU in place."""
    relu = layer("ReLU", top, top, name="relu_" + top)
    return conv(bottom, top, outputs, kernel, pad) + relu


def pool(bottom: str, top: str) -> str:
    """Return a max pooling's text, 2 x 2 with stride 2."""
    return layer("Pooling", bottom, top, "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")


def up(bottom: str, top: str, outputs: int, kernel: int, stride: int) -> str:
    """Return a Deconvolution's text, without a bias and with a learning rate of 0."""
    return layer(
        "Deconvolution",
        bottom,
        top,
        "param { lr_mult: 0 } convolution_param { num_output: %d bias_term: false kernel_size: %d"
        " stride: %d }" % (outputs, kernel, stride),
    )


def crop(bottom: str, like: str, top: str, offset: int) -> str:
    """Return a Crop's text, with the same offset on both spatial axes."""
    return layer("Crop", bottom + " " + like, top, "crop_param { axis: 2 offset: %d }" % offset)


def fc(bottom: str, top: str, outputs: int, fields: str = "") -> str:
    """Return an InnerProduct's text."""
    fields += " inner_product_param { num_output: %d }" % outputs
    return layer("InnerProduct", bottom, top, fields)


#: A fully convolutional net with two skips, of strides 8, 4 and 2.
FCN = (
    conv_relu("data", "conv1", 3, pad=4)
    + pool("conv1", "pool1")
    + conv_relu("pool1", "conv2", 4)
    + pool("conv2", "pool2")
    + conv_relu("pool2", "conv3", 5)
    + pool("conv3", "pool3")
    + conv_relu("pool3", "fc6", 8, pad=0)
    + layer("Dropout", "fc6", "fc6", name="drop6")
    + conv("fc6", "score_fr", 3, 1, 0)
    + up("score_fr", "upscore2", 3, 4, 2)
    + conv("pool2", "score_pool2", 3, 1, 0)
    + crop("score_pool2", "upscore2", "score_pool2c", 1)
    + layer("Eltwise", "upscore2 score_pool2c", "fuse_pool2", "eltwise_param { operation: SUM }")
    + up("fuse_pool2", "upscore_pool2", 3, 4, 2)
    + layer("Scale", "pool1", "scale_pool1", "param { lr_mult: 0 }")
    + conv("scale_pool1", "score_pool1", 3, 1, 0)
    + crop("score_pool1", "upscore_pool2", "score_pool1c", 1)
    + layer(
        "Eltwise", "upscore_pool2 score_pool1c", "fuse_pool1", "eltwise_param { operation: SUM }"
    )
    + up("fuse_pool1", "upscore", 3, 4, 2)
    + crop("upscore", "data", "score", 3)
)
FCN_LOSS = layer(
    "SoftmaxWithLoss", "score label", "loss", "loss_param { ignore_label: 255 normalize: false }"
)
