"""Old forms of nets and solvers brought to the present one, as BVLC Caffe does when it reads them.

V0 is `layers { layer { type: "conv" ... } }`, V1 is `layers { type: CONVOLUTION ... }`; besides
these there are data parameters that moved, input fields, and rates of BatchNorm's statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from . import glog
from .errors import CaffeError
from .proto import caffe_pb2


class _Form(NamedTuple):
    """One old form: how it is known, how it is left behind, what BVLC Caffe's log says of it."""

    found_in: Callable[[Any], bool]
    upgrade: Callable[[Any], list[str]]
    attempt: tuple[int, str]
    success: tuple[int, str]
    note: tuple[int, str] | None = None


def _log(line: tuple[int, str], message: str, level: int = 0) -> None:
    glog.write(f"upgrade_proto.cpp:{line[0]}", message + line[1], level)


def needs_upgrade(net: Any) -> bool:
    """Whether a NetParameter has anything of an older form."""
    return any(form.found_in(net) for form in _FORMS)


def upgrade_net(net: Any, path: str = "") -> list[str]:
    """Bring a NetParameter of an older form to the present one, in place.

    `path` is the file that the log names. Returns what could not be taken over, a line each: BVLC
    Caffe leaves these out and goes on. Raises CaffeError where it would end.
    """
    problems: list[str] = []
    for form in _FORMS:
        if form.found_in(net):
            problems += _upgrade(form, net, path)
    return problems


def _upgrade(form: _Form, message: Any, path: str) -> list[str]:
    _log((form.attempt[0], f"{form.attempt[1]}: {path}"), "Attempting to upgrade ")
    problems = form.upgrade(message)
    for problem in problems:
        _log((237, ""), problem, level=2)
    if problems:
        line = (33, "upgrading V0NetParameter to NetParameter (see above); continuing anyway.")
        _log(line, "Warning: had one or more problems ", level=2)
    else:
        _log(form.success, "Successfully upgraded ")
    if form.note:
        _log(form.note, "Note that future Caffe releases will ", level=1)
    return problems


# ---- V0 ----------------------------------------------------------------------------------------

# V0 type -> (V1 type, the message that its parameters go to).
_V0_TYPES = {
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

# V0 parameter -> (its present name, the V0 types that have it).
_V0_PARAMS = {
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
_V0_TRANSFORMS = {
    "scale": "scale",
    "meanfile": "mean_file",
    "cropsize": "crop_size",
    "mirror": "mirror",
}


def _set(message: Any, name: str, value: Any) -> None:
    """Set, append or copy `value` into a field, as the field needs."""
    target = getattr(message, name)
    if hasattr(target, "append"):
        target.extend(value if hasattr(value, "append") else [value])
    elif hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    else:
        setattr(message, name, value)


def _is_v0(net: Any) -> bool:
    return any(connection.HasField("layer") for connection in net.layers)


def _upgrade_v0(net: Any) -> list[str]:
    old = caffe_pb2.NetParameter()
    old.CopyFrom(net)
    net.Clear()
    for name in ("name", "input", "input_dim", "force_backward"):
        if name in (field.name for field, _ in old.ListFields()):
            _set(net, name, getattr(old, name))
    problems: list[str] = []
    for connection in _fold_padding(old):
        _upgrade_v0_layer(connection, net.layers.add(), problems)
    return problems


def _fold_padding(net: Any) -> list[Any]:
    """The V0 layers without the padding layers, whose pads go to the layers that read them."""
    makers: dict[str, Any] = dict.fromkeys(net.input)
    kept = []
    for connection in net.layers:
        layer = connection.layer
        for j, name in enumerate(connection.bottom):
            if name not in makers:
                raise CaffeError(f"layer {layer.name!r}: no layer before it makes bottom {name!r}")
            padding = makers[name]
            if padding is None or padding.layer.type != "padding":
                continue
            if layer.type not in ("conv", "pool"):
                raise CaffeError(
                    f"layer {layer.name!r} of type {layer.type!r} reads the padding layer "
                    f"{padding.layer.name!r}; conv or pool is needed"
                )
            if not len(connection.bottom) == len(padding.bottom) == len(padding.top) == 1:
                raise CaffeError(
                    f"layers {padding.layer.name!r} and {layer.name!r}: padding needs one bottom "
                    "and one top, and its reader one bottom"
                )
            layer.pad = padding.layer.pad
            connection.bottom[j] = padding.bottom[0]
        makers.update(dict.fromkeys(connection.top, connection))
        if layer.type != "padding":
            kept.append(connection)
    return kept


def _upgrade_v0_layer(connection: Any, new: Any, problems: list[str]) -> None:
    new.bottom.extend(connection.bottom)
    new.top.extend(connection.top)
    old = connection.layer
    type_, param = "", ""
    if old.HasField("type"):
        if old.type not in _V0_TYPES:
            raise CaffeError(
                f"layer {old.name!r} has the unknown V0 type {old.type!r}; known types: "
                + ", ".join(_V0_TYPES)
            )
        type_, param = _V0_TYPES[old.type]
        new.type = getattr(caffe_pb2.V1LayerParameter, type_)
    for field, value in old.ListFields():
        if field.name in ("name", "blobs", "blobs_lr", "weight_decay"):
            _set(new, field.name, value)
        elif field.name in _V0_TRANSFORMS:
            _set(new.transform_param, _V0_TRANSFORMS[field.name], value)
        elif field.name == "hdf5_output_param" and old.type == "hdf5_output":
            new.hdf5_output_param.CopyFrom(value)
        elif field.name != "type":
            name, types = _V0_PARAMS.get(field.name, ("", ""))
            if old.type in types.split():
                _set(getattr(new, param), name, value)
            else:
                problems.append(f"Unknown parameter {field.name} for layer type {old.type}")


# ---- V1 ----------------------------------------------------------------------------------------

# The names of V1's layer types that are not their own words joined.
_V1_NAMES = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}


def v1_type(number: int) -> str:
    """The type name of a V1LayerParameter.LayerType."""
    name = caffe_pb2.V1LayerParameter.LayerType.Name(number)
    return _V1_NAMES.get(name, "".join(word.capitalize() for word in name.split("_")))


def _upgrade_v1(net: Any) -> list[str]:
    if net.layer:
        raise CaffeError("the net has both `layer` and `layers`; use `layer` alone")
    for old in net.layers:
        _upgrade_v1_layer(old, net.layer.add())
    net.ClearField("layers")
    return []


def _upgrade_v1_layer(old: Any, new: Any) -> None:
    same = {"bottom", "top", "name", "include", "exclude", "loss_weight", "blobs"}
    for field, value in old.ListFields():
        if field.name in same or field.name.endswith("_param"):
            _set(new, field.name, value)
    if old.HasField("type"):
        new.type = v1_type(old.type)
    for source, target in (
        ("param", "name"),
        ("blob_share_mode", "share_mode"),
        ("blobs_lr", "lr_mult"),
        ("weight_decay", "decay_mult"),
    ):
        for i, value in enumerate(getattr(old, source)):
            spec = new.param[i] if i < len(new.param) else new.param.add()
            setattr(spec, target, value)


# ---- parameters that moved ---------------------------------------------------------------------


def _old_transforms(net: Any) -> list[tuple[Any, Any, str]]:
    """(layer, its data message, field) of all that belongs into transform_param now."""
    v1 = caffe_pb2.V1LayerParameter
    params = {
        v1.DATA: "data_param",
        v1.IMAGE_DATA: "image_data_param",
        v1.WINDOW_DATA: "window_data_param",
    }
    return [
        (layer, getattr(layer, params[layer.type]), field)
        for layer in net.layers
        if layer.type in params
        for field in _V0_TRANSFORMS.values()
        if getattr(layer, params[layer.type]).HasField(field)
    ]


def _upgrade_transforms(net: Any) -> list[str]:
    for layer, param, field in _old_transforms(net):
        setattr(layer.transform_param, field, getattr(param, field))
        param.ClearField(field)
    return []


def _upgrade_inputs(net: Any) -> list[str]:
    """Turn `input` with `input_shape` or `input_dim` into an Input layer at the front.

    As in BVLC Caffe, an input of no shape at all is dropped.
    """
    if net.input_shape:
        shapes = [list(shape.dim) for shape in net.input_shape]
    else:
        shapes = [list(net.input_dim[i : i + 4]) for i in range(0, len(net.input_dim), 4)]
    if shapes:
        if len(shapes) < len(net.input) or len(net.input_dim) % 4:
            raise CaffeError(
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


def _batch_norms(net: Any) -> list[Any]:
    return [layer for layer in net.layer if layer.type == "BatchNorm" and len(layer.param) == 3]


def _upgrade_batch_norms(net: Any) -> list[str]:
    """Keep the solver from learning a BatchNorm's statistics."""
    for layer in _batch_norms(net):
        for spec in layer.param:
            spec.lr_mult = spec.decay_mult = 0
    return []


_FILE = "file specified using deprecated "
_FORMS = (
    _Form(
        _is_v0,
        _upgrade_v0,
        (28, f"input {_FILE}V0LayerParameter"),
        (36, f"{_FILE}V0LayerParameter"),
        (
            39,
            "not support V0NetParameter; use ./build/tools/upgrade_net_proto_text for prototxt "
            "and ./build/tools/upgrade_net_proto_binary for model weights upgrade this and any "
            "other net protos to the new format.",
        ),
    ),
    _Form(
        lambda net: bool(_old_transforms(net)),
        _upgrade_transforms,
        (46, f"input {_FILE}transformation parameters"),
        (49, f"{_FILE}data transformation parameters."),
        (51, "only support transform_param messages for transformation fields."),
    ),
    _Form(
        lambda net: bool(net.layers),
        _upgrade_v1,
        (55, f"input {_FILE}V1LayerParameter"),
        (63, f"{_FILE}V1LayerParameter"),
    ),
    _Form(
        lambda net: bool(net.input),
        _upgrade_inputs,
        (69, f"input {_FILE}input fields"),
        (72, f"{_FILE}input fields."),
        (74, "only support input layers and not input fields."),
    ),
    _Form(
        lambda net: bool(_batch_norms(net)),
        _upgrade_batch_norms,
        (79, "batch norm layers using deprecated params"),
        (82, "batch norm layers using deprecated params."),
    ),
)


# ---- solvers -----------------------------------------------------------------------------------

_SOLVERS = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")


def _upgrade_solver_type(solver: Any) -> list[str]:
    if solver.HasField("type"):
        raise CaffeError("solver_type is the old form of type; give one of them")
    solver.type = _SOLVERS[solver.solver_type]
    solver.ClearField("solver_type")
    return []


_SOLVER_TYPE = _Form(
    lambda solver: bool(solver.HasField("solver_type")),
    _upgrade_solver_type,
    (1084, f"input {_FILE}'solver_type' field (enum)'"),
    (1091, f"{_FILE}'solver_type' field (enum) to 'type' field (string)."),
    (1093, "only support 'type' field (string) for a solver's type."),
)


def solver_needs_upgrade(solver: Any) -> bool:
    """Whether a SolverParameter names its type in the old form."""
    return _SOLVER_TYPE.found_in(solver)


def upgrade_solver(solver: Any, path: str = "") -> None:
    """Turn the `solver_type` of an old SolverParameter into a `type`, in place.

    `path` is the file that the log names. Raises CaffeError if there is a `type` already.
    """
    if solver_needs_upgrade(solver):
        _upgrade(_SOLVER_TYPE, solver, path)
