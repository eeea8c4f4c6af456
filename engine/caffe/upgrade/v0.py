"""V0 nets, `layers { layer { type: "conv" ... } }`, turned into V1 nets."""

from __future__ import annotations

from typing import Any

from ..errors import NetError
from ..proto import caffe_pb2
from .fields import TRANSFORMS, set_field

#: V0 type -> (V1 type, the message that has the layer's parameters).
TYPES = {
    "accuracy": ("ACCURACY", ""),
    "bnll": ("BNLL", ""),
    "concat": ("CONCAT", "concat_param"),
    "conv": ("CONVOLUTION", "convolution_param"),
    "data": ("DATA", "data_param"),
    "dropout": ("DROPOUT", "dropout_param"),
    "euclidean_loss": ("EUCLIDEAN_LOSS", ""),
    "flatten": ("FLATTEN", ""),
    "hdf5_data": ("HDF5_DATA", "hdf5_data_param"),
    "hdf5_output": ("HDF5_OUTPUT", "hdf5_output_param"),
    "im2col": ("IM2COL", ""),
    "images": ("IMAGE_DATA", "image_data_param"),
    "infogain_loss": ("INFOGAIN_LOSS", "infogain_loss_param"),
    "innerproduct": ("INNER_PRODUCT", "inner_product_param"),
    "lrn": ("LRN", "lrn_param"),
    "multinomial_logistic_loss": ("MULTINOMIAL_LOGISTIC_LOSS", ""),
    "pool": ("POOLING", "pooling_param"),
    "relu": ("RELU", ""),
    "sigmoid": ("SIGMOID", ""),
    "softmax": ("SOFTMAX", ""),
    "softmax_loss": ("SOFTMAX_LOSS", ""),
    "split": ("SPLIT", ""),
    "tanh": ("TANH", ""),
    "window_data": ("WINDOW_DATA", "window_data_param"),
}

#: V0 parameter -> (its name in the message of `TYPES`, the V0 types that have the parameter).
PARAMETERS = {
    "num_output": ("num_output", "conv innerproduct"),
    "biasterm": ("bias_term", "conv innerproduct"),
    "weight_filler": ("weight_filler", "conv innerproduct"),
    "bias_filler": ("bias_filler", "conv innerproduct"),
    "pad": ("pad", "conv pool"),
    "kernelsize": ("kernel_size", "conv pool"),
    "group": ("group", "conv"),
    "stride": ("stride", "conv pool"),
    "pool": ("pool", "pool"),
    "dropout_ratio": ("dropout_ratio", "dropout"),
    "local_size": ("local_size", "lrn"),
    "alpha": ("alpha", "lrn"),
    "beta": ("beta", "lrn"),
    "k": ("k", "lrn"),
    "source": ("source", "data hdf5_data images window_data infogain_loss"),
    "batchsize": ("batch_size", "data hdf5_data images window_data"),
    "rand_skip": ("rand_skip", "data images"),
    "shuffle_images": ("shuffle", "images"),
    "new_height": ("new_height", "images"),
    "new_width": ("new_width", "images"),
    "concat_dim": ("concat_dim", "concat"),
    "det_fg_threshold": ("fg_threshold", "window_data"),
    "det_bg_threshold": ("bg_threshold", "window_data"),
    "det_fg_fraction": ("fg_fraction", "window_data"),
    "det_context_pad": ("context_pad", "window_data"),
    "det_crop_mode": ("crop_mode", "window_data"),
}

#: Fields that every present layer has, too.
COMMON = {"name", "blobs", "blobs_lr", "weight_decay"}


def is_v0(net: Any) -> bool:
    """Return whether a NetParameter has layers in the V0 form."""
    return any(connection.HasField("layer") for connection in net.layers)


def upgrade_v0(net: Any) -> list[str]:
    """Turn a V0 net into a V1 net, in place.

    Return one line for each parameter that the V1 layer does not have; such parameters are left
    out. Raises NetError for an unknown type, and for padding layers that cannot be folded.
    """
    old = caffe_pb2.NetParameter()
    old.CopyFrom(net)
    net.Clear()
    for field, value in old.ListFields():
        if field.name in ("name", "input", "input_dim", "force_backward"):
            set_field(net, field.name, value)
    problems: list[str] = []
    for connection in _fold_padding(old):
        layer = net.layers.add(bottom=connection.bottom, top=connection.top)
        problems += _upgrade_layer(connection.layer, layer)
    return problems


def _fold_padding(net: Any) -> list[Any]:
    """Return the layers without the padding layers, whose `pad` moves to the layers behind them."""
    producers: dict[str, Any] = dict.fromkeys(net.input)
    connections = []
    for connection in net.layers:
        layer = connection.layer
        for j, name in enumerate(connection.bottom):
            if name not in producers:
                raise NetError(f"layer {layer.name!r}: no layer before it makes bottom {name!r}")
            producer = producers[name]
            if producer is not None and producer.layer.type == "padding":
                _check_padding(producer, connection)
                layer.pad = producer.layer.pad
                connection.bottom[j] = producer.bottom[0]
        producers.update(dict.fromkeys(connection.top, connection))
        if layer.type != "padding":
            connections.append(connection)
    return connections


def _check_padding(padding: Any, reader: Any) -> None:
    """Raise NetError unless `reader` can do what the layer `padding` before it does."""
    layer = reader.layer
    if layer.type not in ("conv", "pool"):
        raise NetError(
            f"layer {layer.name!r} of type {layer.type!r} reads the padding layer "
            f"{padding.layer.name!r}; conv or pool is needed"
        )
    if not len(reader.bottom) == len(padding.bottom) == len(padding.top) == 1:
        raise NetError(
            f"layers {padding.layer.name!r} and {layer.name!r}: padding needs one bottom "
            "and one top, and its reader one bottom"
        )


def _upgrade_layer(old: Any, layer: Any) -> list[str]:
    """Fill the V1LayerParameter `layer` from a V0LayerParameter; return what was left out."""
    message = ""
    if old.HasField("type"):
        if old.type not in TYPES:
            raise NetError(
                f"layer {old.name!r} has the unknown V0 type {old.type!r}; known types: "
                + ", ".join(TYPES)
            )
        type_name, message = TYPES[old.type]
        layer.type = getattr(caffe_pb2.V1LayerParameter, type_name)
    problems = []
    for field, value in old.ListFields():
        if field.name in COMMON:
            set_field(layer, field.name, value)
        elif field.name in TRANSFORMS:
            set_field(layer.transform_param, TRANSFORMS[field.name], value)
        elif field.name == "hdf5_output_param" and old.type == "hdf5_output":
            layer.hdf5_output_param.CopyFrom(value)
        elif field.name != "type":
            name, types = PARAMETERS.get(field.name, ("", ""))
            if old.type in types.split():
                set_field(getattr(layer, message), name, value)
            else:
                problems.append(f"Unknown parameter {field.name} for layer type {old.type}")
    return problems
