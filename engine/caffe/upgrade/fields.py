"""Single fields that have moved: image transformations, inputs, BatchNorm's rates, solver_type."""

from __future__ import annotations

from typing import Any

from ..errors import NetError
from ..proto import caffe_pb2

#: V0 name of a field of TransformationParameter -> its present name.
TRANSFORMS = {
    "scale": "scale",
    "meanfile": "mean_file",
    "cropsize": "crop_size",
    "mirror": "mirror",
}

#: The messages that had these fields before TransformationParameter, by V1 type.
TRANSFORMED = {
    caffe_pb2.V1LayerParameter.DATA: "data_param",
    caffe_pb2.V1LayerParameter.IMAGE_DATA: "image_data_param",
    caffe_pb2.V1LayerParameter.WINDOW_DATA: "window_data_param",
}

#: Present types by the number of the old enum.
SOLVER_TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")


def set_field(message: Any, name: str, value: Any) -> None:
    """Set a field to `value`; a repeated field is extended."""
    target = getattr(message, name)
    if hasattr(target, "append"):
        target.extend(value if hasattr(value, "append") else [value])
    elif hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    else:
        setattr(message, name, value)


def _old_transforms(net: Any) -> list[tuple[Any, Any, str]]:
    """Return (layer, its data message, field) for each field that belongs to transform_param."""
    return [
        (layer, getattr(layer, TRANSFORMED[layer.type]), field)
        for layer in net.layers
        if layer.type in TRANSFORMED
        for field in TRANSFORMS.values()
        if getattr(layer, TRANSFORMED[layer.type]).HasField(field)
    ]


def has_old_transforms(net: Any) -> bool:
    """Return whether a V1 net has transformations among the parameters of its data layers."""
    return bool(_old_transforms(net))


def upgrade_transforms(net: Any) -> list[str]:
    """Move transformations to transform_param, in place; nothing is left out."""
    for layer, param, field in _old_transforms(net):
        setattr(layer.transform_param, field, getattr(param, field))
        param.ClearField(field)
    return []


def has_inputs(net: Any) -> bool:
    """Return whether a net has `input` fields in place of Input layers."""
    return bool(net.input)


def upgrade_inputs(net: Any) -> list[str]:
    """Turn `input` with `input_shape` or `input_dim` into an Input layer at the front, in place.

    As in BVLC Caffe, inputs are dropped if none has a shape. Raises NetError if only some do.
    A volume of facebook/C3D has five input_dim.
    """
    count = len(net.input_dim)
    axes = 5 if count % 4 and count == 5 * len(net.input) else 4
    if net.input_shape:
        shapes = [list(shape.dim) for shape in net.input_shape]
    else:
        shapes = [list(net.input_dim[i : i + axes]) for i in range(0, count, axes)]
    if shapes:
        if len(shapes) < len(net.input) or count % axes:
            raise NetError(
                f"{len(net.input)} inputs with {len(net.input_shape)} input_shape and "
                f"{len(net.input_dim)} input_dim; each input needs one input_shape, or four "
                "input_dim"
            )
        layer = caffe_pb2.LayerParameter(name="input", type="Input", top=net.input)
        for shape in shapes[: len(net.input)]:
            layer.input_param.shape.add().dim.extend(shape)
        layers = [layer, *net.layer]
        net.ClearField("layer")
        net.layer.extend(layers)
    for name in ("input", "input_shape", "input_dim"):
        net.ClearField(name)
    return []


def _learned_batch_norms(net: Any) -> list[Any]:
    return [layer for layer in net.layer if layer.type == "BatchNorm" and len(layer.param) == 3]


def has_learned_batch_norms(net: Any) -> bool:
    """Return whether a net has BatchNorm layers with rates for their statistics."""
    return bool(_learned_batch_norms(net))


def upgrade_batch_norms(net: Any) -> list[str]:
    """Keep the solver from learning the statistics of BatchNorm, in place; nothing is left out."""
    for layer in _learned_batch_norms(net):
        for spec in layer.param:
            spec.lr_mult = spec.decay_mult = 0
    return []


#: Layers that intel/caffe fuses with the ReLU behind them -> the messages that say so.
FUSED = {
    "BatchNorm": "batch_norm_param",
    "Convolution": "convolution_param",
    "InnerProduct": "inner_product_param",
}


def _has_fused_relu(layer: Any) -> bool:
    fused = layer.type in FUSED and getattr(layer, FUSED[layer.type]).relu
    return bool(fused and layer.top)


def has_fused_relus(net: Any) -> bool:
    """Return whether layers of a net contain the ReLU behind them, as in intel/caffe."""
    return any(map(_has_fused_relu, net.layer))


def upgrade_fused_relus(net: Any) -> list[str]:
    """Put ReLU layers behind the layers that contain one, in place; nothing is left out."""
    layers = list(net.layer)
    net.ClearField("layer")
    for layer in layers:
        net.layer.append(layer)
        if _has_fused_relu(layer):
            settings = getattr(net.layer[-1], FUSED[layer.type])
            slope = getattr(settings, "negative_slope", 0.0)
            settings.ClearField("relu")
            top = layer.top[0]
            relu = net.layer.add(name=f"{layer.name}_relu", type="ReLU", bottom=[top], top=[top])
            relu.include.extend(layer.include)
            relu.exclude.extend(layer.exclude)
            relu.relu_param.negative_slope = slope
    return []


#: P3D's fields -> those of C3D's nets, which have the same words and numbers.
VOLUME_SETTINGS = {
    "convolution3d_param": "convolution_param",
    "pooling3d_param": "pooling_param",
}


def _volume_settings(net: Any) -> list[tuple[Any, str]]:
    return [
        (layer, field) for layer in net.layer for field in VOLUME_SETTINGS if layer.HasField(field)
    ]


def has_volume_settings(net: Any) -> bool:
    """Return whether layers of a net have settings under P3D's names."""
    return bool(_volume_settings(net))


def upgrade_volume_settings(net: Any) -> list[str]:
    """Move P3D's settings to the fields of C3D's nets, in place; nothing is left out."""
    for layer, field in _volume_settings(net):
        settings = getattr(layer, field).SerializeToString()
        getattr(layer, VOLUME_SETTINGS[field]).MergeFromString(settings)
        layer.ClearField(field)
    return []


def has_solver_type(solver: Any) -> bool:
    """Return whether a SolverParameter names its type by the old enum."""
    return bool(solver.HasField("solver_type"))


def upgrade_solver_type(solver: Any) -> list[str]:
    """Turn `solver_type` into `type`, in place; nothing is left out.

    Raises NetError if the solver has both.
    """
    if solver.HasField("type"):
        raise NetError("solver_type is the old form of type; give one of them")
    solver.type = SOLVER_TYPES[solver.solver_type]
    solver.ClearField("solver_type")
    return []
