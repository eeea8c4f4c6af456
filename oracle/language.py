"""Prints results of the installed pycaffe's messages and pure-Python modules, as JSON.

oracle/caffe-python oracle/language.py
"""

from __future__ import annotations

import json
from typing import Any, Dict, List

import numpy as np
from caffe import coord_map, io
from caffe.net_spec import NetSpec, param_name_dict, to_proto
from caffe.net_spec import layers as L
from caffe.net_spec import params as P
from caffe.proto import caffe_pb2


def schema() -> List[str]:
    """Return a line for every field and enum value of Caffe's messages, sorted."""
    lines: List[str] = []

    def enums(owner: Any) -> None:
        for enum in owner.enum_types_by_name.values():
            lines.extend(f"{enum.full_name}.{v.name} = {v.number}" for v in enum.values)

    enums(caffe_pb2.DESCRIPTOR)
    for message in caffe_pb2.DESCRIPTOR.message_types_by_name.values():
        enums(message)
        example = getattr(caffe_pb2, message.name)()
        for field in message.fields:
            inner = field.message_type or field.enum_type
            kind = inner.full_name if inner else field.type
            label = "repeated" if hasattr(getattr(example, field.name), "extend") else "optional"
            if _is_required(field):
                label = "required"
            packed = " packed" if field.GetOptions().packed else ""
            default = field.default_value
            if isinstance(default, float):
                default = np.float32(default)
            default = f" [{default!s}]" if field.has_default_value else ""
            line = f"{message.full_name}.{field.name} = {field.number}: {label} {kind}"
            lines.append(line + packed + default)
    return sorted(lines)


def _is_required(field: Any) -> bool:
    if hasattr(field, "is_required"):
        return field.is_required
    return field.label == field.LABEL_REQUIRED


def nets() -> Dict[str, Any]:
    """Return NetParameters, as hexadecimal bytes, written in every way that NetSpec offers."""
    messages = {}
    n = NetSpec()
    n.data, n.label = L.Data(ntop=2, source="x", backend=P.Data.LMDB, include={"phase": 0})
    filler = {"type": "xavier"}
    n.conv = L.Convolution(n.data, kernel_size=3, num_output=2, weight_filler=filler)
    n.relu = L.ReLU(n.conv, in_place=True)
    n["a/b"] = L.Convolution(n.relu, kernel_size=[3, 5], param=[{"lr_mult": 1}, {"lr_mult": 2}])
    n.silence = L.Silence(n["a/b"], ntop=0)
    n.loss = L.SoftmaxWithLoss(n.relu, n.label, loss_weight=3, propagate_down=[True, False])
    messages["named"] = n.to_proto()
    messages["unnamed"] = to_proto(
        L.Dropout(L.ReLU(L.ReLU(L.Input()), in_place=True), in_place=True)
    )
    n = NetSpec()
    data = L.DummyData(ntop=2)
    n.x = L.Convolution(data[1])
    n.y = L.Eltwise(n.x, L.Power(data[0], power=2), L.Power(data[0]))
    n.z = L.DummyData(ntop=1)
    messages["half named"] = n.to_proto()
    n = NetSpec()
    n.a = L.Input()
    n.b = n.a
    n.c = L.ReLU(n.b)
    n.c = L.TanH(n.c)
    messages["set twice"] = n.to_proto()
    messages["two tops in place"] = to_proto(*L.ReLU(*L.Data(ntop=2), in_place=True, ntop=2))
    messages["explicit name"] = to_proto(L.ReLU(L.Input(name="input"), name="other"))
    shared = L.ReLU(L.Input())
    messages["diamond"] = to_proto(L.Eltwise(L.ReLU(shared), L.Sigmoid(shared)), L.TanH(shared))
    settings: Dict[str, Any] = {
        "one for a list": L.Convolution(kernel_size=3, param={"lr_mult": 0.5}),
        "nested": L.Deconvolution(convolution_param={"num_output": 3, "bias_term": False}),
        "enum": L.Eltwise(operation=P.Eltwise.MAX),
        "shapes": L.Input(shape=[{"dim": [1, 2]}, {"dim": 3}]),
        "message": L.Input(shape=caffe_pb2.BlobShape(dim=[3])),
        "transform": L.Data(transform_param={"mean_value": [1, 2], "mirror": True}),
        "unknown type": L.Foo(convolution_param={"kernel_size": 3}),
        "blobs": L.Convolution(blobs=[{"data": [1, 2], "shape": {"dim": [2]}}]),
        "phase": L.Python(module="m", phase=0, include=[{"stage": ["a", "b"]}, {"not_stage": "c"}]),
        "numpy": L.Pooling(kernel_size=np.int64(3), pad=np.uint8(2)),
        "bool": L.Pooling(kernel_size=True),
        "empty": L.Convolution(weight_filler={}, include={}),
        "own settings": L.BatchNorm(use_global_stats=True),
    }
    messages.update({name: to_proto(top) for name, top in settings.items()})
    return {name: net.SerializeToString().hex() for name, net in messages.items()}


def maps() -> Dict[str, Any]:
    """Return coordinate maps of layers, maps between blobs of random nets, and crop offsets."""
    results: Dict[str, Any] = {}

    def record(name: str, axis: Any, *numbers: Any) -> None:
        results[name] = [
            axis,
            *(np.atleast_1d(number).astype(float).tolist() for number in numbers),
        ]

    data = L.Input()
    for layer in ("Convolution", "Deconvolution", "Pooling", "Im2col"):
        windows: List[Dict[str, Any]] = [
            {"kernel_size": 3},
            {"kernel_size": 4, "stride": 2, "pad": 1},
            {"kernel_size": [3, 5], "stride": [1, 2], "pad": [0, 1]},
            {"kernel_size": 3, "dilation": 2, "axis": 2},
            {"convolution_param": {"kernel_size": 4, "stride": 2, "dilation": [2, 3]}},
        ]
        for settings in windows:
            fn = getattr(L, layer)(data, **settings).fn
            record(f"{layer} {settings}", *coord_map.coord_map(fn))
            record(f"conv_params {layer} {settings}", *coord_map.conv_params(fn))
    crops: List[Dict[str, Any]] = [{}, {"axis": 1, "offset": [0, 5, 6]}]
    for settings in [*crops, {"crop_param": {"offset": 4}}]:
        fn = L.Crop(data, data, **settings).fn
        record(f"Crop {settings}", *coord_map.coord_map(fn))
        record(f"crop_params {settings}", *coord_map.crop_params(fn))
    for layer in ("ReLU", "Eltwise", "BatchNorm", "LRN", "Scale", "Dropout", "Split"):
        record(layer, *coord_map.coord_map(getattr(L, layer)(data).fn))
    for layer in ("InnerProduct", "Flatten", "Concat", "Python", "Softmax"):
        try:
            coord_map.coord_map(getattr(L, layer)(data).fn)
        except coord_map.UndefinedMapException:
            record(layer, "undefined")
    draw = np.random.RandomState(0)
    for number in range(100):
        tops = _random_tops(draw, data)
        pair = [tops[draw.randint(len(tops))] for _ in range(2)]
        axis, scale, shift = coord_map.coord_map_from_to(*pair)
        record(f"random {number}", axis, scale, shift)
        integral = np.all(shift <= 0) and np.all(shift == np.round(shift))
        if isinstance(scale, np.ndarray) and np.all(scale == 1) and integral:
            record(f"crop {number}", *coord_map.crop_params(coord_map.crop(*pair).fn))
    return results


def _random_tops(draw: Any, data: Any) -> List[Any]:
    tops = [data]
    for _ in range(draw.randint(2, 9)):
        bottom = tops[draw.randint(len(tops))]
        kernel, stride, pad, dilation = (int(draw.randint(*ends)) for ends in _RANGES)
        window = {"kernel_size": kernel, "stride": stride, "pad": pad}
        kind = draw.randint(6)
        if kind == 0:
            top = L.Convolution(bottom, dilation=dilation, **window)
        elif kind == 1:
            top = L.Pooling(bottom, **window)
        elif kind == 2:
            top = L.Deconvolution(bottom, convolution_param=window)
        elif kind == 3:
            top = L.Crop(bottom, tops[draw.randint(len(tops))], axis=2, offset=pad)
        elif kind == 4:
            top = L.Eltwise(bottom, L.ReLU(bottom))
        else:
            top = L.LRN(bottom, in_place=True)
        tops.append(top)
    return tops


_RANGES = ((1, 8), (1, 4), (0, 4), (1, 3))


def arrays() -> Dict[str, Any]:
    """Return results of caffe.io: bytes as hexadecimal text, arrays as [type, shape, values]."""
    draw = np.random.RandomState(0)
    results: Dict[str, Any] = {}

    def record(name: str, array: np.ndarray) -> None:
        results[name] = [str(array.dtype), list(array.shape), array.astype(float).ravel().tolist()]

    blob = draw.randn(2, 3, 4, 5).astype(np.float32)
    results["BlobProto"] = io.array_to_blobproto(blob, -blob).SerializeToString().hex()
    record("data", io.blobproto_to_array(io.array_to_blobproto(blob)))
    record("diff", io.blobproto_to_array(io.array_to_blobproto(blob, -blob), return_diff=True))
    legacy = caffe_pb2.BlobProto(num=1, channels=2, height=1, width=3, data=range(6))
    record("legacy", io.blobproto_to_array(legacy))
    vector = io.arraylist_to_blobprotovector_str([blob, blob[0]])
    results["BlobProtoVector"] = vector.hex()
    record("vector", io.blobprotovector_str_to_arraylist(vector)[1])
    pixels = draw.randint(0, 256, (3, 4, 5)).astype(np.uint8)
    for array in (pixels, blob[0], pixels.astype(int)):
        results[f"Datum {array.dtype}"] = io.array_to_datum(array, 7).SerializeToString().hex()
        record(f"datum {array.dtype}", io.datum_to_array(io.array_to_datum(array)))
    photo, exact = draw.rand(30, 41, 3), draw.rand(20, 24, 3).astype(np.float32)
    change = io.Transformer({"data": (1, 3, 20, 24)})
    steps = (
        (change.set_transpose, (2, 0, 1)),
        (change.set_channel_swap, (2, 1, 0)),
        (change.set_raw_scale, 255),
        (change.set_mean, np.array([104.0, 117.0, 123.0])),
        (change.set_input_scale, 0.017),
        (change.set_mean, draw.rand(3, 20, 24) * 100),
        (change.set_mean, draw.rand(3, 26, 28) * 100),
    )
    for number, (method, value) in enumerate(steps):
        setter: Any = method
        setter("data", value)
        record(f"preprocess {number}", change.preprocess("data", photo))
        record(f"preprocess {number}, no resizing", change.preprocess("data", exact.copy()))
        ready = change.preprocess("data", exact.copy())
        record(f"deprocess {number}", change.deprocess("data", ready[np.newaxis]))
    for shape in ((7, 9, 3), (40, 31, 3), (7, 9, 1), (7, 9, 5), (40, 31, 2)):
        record(f"resize {shape}", io.resize_image(draw.rand(*shape) * 200 - 50, (20, 24)))
    record("resize constant", io.resize_image(np.full((5, 6, 3), 2.0), (3, 4)))
    photos = [draw.rand(9, 12, 3).astype(np.float32) for _ in range(2)]
    record("oversample", io.oversample(photos, (4, 5)))
    size: Any = np.array([3, 8])
    record("oversample uneven", io.oversample(photos, size))
    return results


def main() -> None:
    """Print all results."""
    print(
        json.dumps(
            {
                "schema": schema(),
                "param_name_dict": sorted(param_name_dict().items()),
                "nets": nets(),
                "maps": maps(),
                "arrays": arrays(),
            }
        )
    )


if __name__ == "__main__":
    main()
