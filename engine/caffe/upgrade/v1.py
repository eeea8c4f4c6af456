"""V1 nets, `layers { type: CONVOLUTION ... }`, turned into present nets, `layer { ... }`."""

from __future__ import annotations

from typing import Any

from ..errors import NetError
from ..proto import caffe_pb2
from .fields import set_field

#: Present names of the V1 types whose words are not simply capitalised and joined.
TYPES = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BN": "BN",
    "BNLL": "BNLL",
    "CONVOLUTION3D": "Convolution3D",
    "DECONVOLUTION3D": "Deconvolution3D",
    "DENSE_CRF": "DenseCRF",
    "CTC_LOSS": "CTCLoss",
    "ELTWISE_ACCURACY": "Accuracy",
    "ELU": "ELU",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "LSTM": "LSTM",
    "LSTM_UNIT": "LSTMUnit",
    "MVN": "MVN",
    "POOLING3D": "Pooling3D",
    "PRELU": "PReLU",
    "RELU": "ReLU",
    "RNN": "RNN",
    "ROI_POOLING": "ROIPooling",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
    "SMOOTH_L1_LOSS": "SmoothL1Loss",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "SPP": "SPP",
    "TANH": "TanH",
}

#: Fields that present layers have under the same name. Those that end in _param are others.
COMMON = {"bottom", "top", "name", "include", "exclude", "loss_weight", "blobs"}

#: Fields with one value for each parameter -> fields of ParamSpec.
SPECS = {
    "param": "name",
    "blob_share_mode": "share_mode",
    "blobs_lr": "lr_mult",
    "weight_decay": "decay_mult",
}


def is_v1(net: Any) -> bool:
    """Return whether a NetParameter has layers in the V1 form."""
    return bool(net.layers)


def upgrade_v1(net: Any) -> list[str]:
    """Turn a V1 net into a present net, in place; nothing is left out.

    Raises NetError if the net has present layers as well.
    """
    if net.layer:
        raise NetError("the net has both `layer` and `layers`; use `layer` alone")
    for old in net.layers:
        _upgrade_layer(old, net.layer.add())
    net.ClearField("layers")
    return []


def _upgrade_layer(old: Any, layer: Any) -> None:
    for field, value in old.ListFields():
        if field.name in COMMON or field.name.endswith("_param"):
            set_field(layer, field.name, value)
    if old.HasField("type"):
        name = caffe_pb2.V1LayerParameter.LayerType.Name(old.type)
        capitalised = "".join(word.capitalize() for word in name.split("_"))
        layer.type = TYPES.get(name, capitalised)
        if name == "CROP":
            # No V1 net of BVLC Caffe has a Crop; aligned_crops.py computes the offset.
            layer.crop_param.align = True
    if layer.HasField("softmaxloss_param"):
        layer.loss_param.ignore_label = layer.softmaxloss_param.ignore_label
        layer.ClearField("softmaxloss_param")
    if layer.HasField("eltwise_accuracy_param"):
        if layer.eltwise_accuracy_param.HasField("ignore_label"):
            layer.accuracy_param.ignore_label = layer.eltwise_accuracy_param.ignore_label
        layer.ClearField("eltwise_accuracy_param")
    for field_name, spec_field in SPECS.items():
        for i, value in enumerate(getattr(old, field_name)):
            spec = layer.param[i] if i < len(layer.param) else layer.param.add()
            setattr(spec, spec_field, value)
