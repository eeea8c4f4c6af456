"""Messages as text: numbers and strings as Caffe's tools print them."""

import os
import random
import struct

import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

import net_gen
from oracle.compare import golden


@pytest.mark.parametrize(
    "value, text",
    [
        (1, "1"),
        (0.0001, "0.0001"),
        (1e-10, "1e-10"),
        (0.1, "0.1"),
        (0, "0"),
        (-0.0, "-0"),
        (104.00699, "104.006989"),
        (0.99, "0.99"),
        (100000, "100000"),
        (1e6, "1e+06"),
        (123456.7, "123456.703"),
        (16777217, "16777216"),
        (1 / 3, "0.333333343"),
        (3.4028235e38, "3.40282347e+38"),
        (1e-45, "1.40129846e-45"),
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
        (float("nan"), "nan"),
    ],
)
def test_a_float_has_six_digits_or_nine(value, text):
    message = caffe_pb2.ParamSpec(lr_mult=value)
    assert net_gen.to_text(message) == f"lr_mult: {text}\n"


def test_a_double_keeps_its_own_precision():
    message = caffe_pb2.BlobProto(double_data=[0.1, 1 / 3, 1e300])
    assert net_gen.to_text(message).split()[1::2] == ["0.1", "0.33333333333333331", "1e+300"]


def test_a_net_of_numbers_has_the_text_that_a_tool_of_bvlc_caffe_wrote():
    text = str(golden("upgrade")["upgrade.numbers/text"])
    message = text_format.Parse(text, caffe_pb2.NetParameter())
    (layer,) = message.layer
    assert len(layer.loss_weight) > 400 and len(layer.blobs[0].double_data) > 50
    assert net_gen.to_text(message) == text


@pytest.mark.parametrize(
    "value, text",
    [
        ("{'a': \"b\"}", r"""{\'a\': \"b\"}"""),
        ("a\\b\n\r\t\x01\x7f", r"a\\b\n\r\t\001\177"),
        ("\u00e9", r"\303\251"),
    ],
)
def test_a_string_is_escaped(value, text):
    message = caffe_pb2.LayerParameter(name=value)
    assert net_gen.to_text(message) == f'name: "{text}"\n'
    assert text_format.Parse(net_gen.to_text(message), caffe_pb2.LayerParameter()) == message


def test_fields_are_in_the_order_of_their_numbers_and_messages_are_indented():
    message = caffe_pb2.NetParameter(name="n")
    layer = message.layer.add(type="ReLU", name="r", phase=caffe_pb2.TEST, bottom=["a", "b"])
    layer.relu_param.SetInParent()
    message.force_backward = True
    assert net_gen.to_text(message) == (
        'name: "n"\nforce_backward: true\nlayer {\n  name: "r"\n  type: "ReLU"\n'
        '  bottom: "a"\n  bottom: "b"\n  phase: TEST\n  relu_param {\n  }\n}\n'
    )


def random_message(draw, descriptor, depth=0):
    message = getattr(caffe_pb2, descriptor.name)()
    for field in descriptor.fields:
        if field.name == "net_param" or draw.random() > (0.5 if depth else 0.2):
            continue
        repeated = hasattr(getattr(message, field.name), "extend")
        for _ in range(draw.randint(1, 3) if repeated else 1):
            if field.message_type:
                if depth > 2:
                    continue
                part = random_message(draw, field.message_type, depth + 1)
                target = getattr(message, field.name)
                (target.add() if repeated else target).CopyFrom(part)
                continue
            value = random_value(draw, field)
            if repeated:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)
    return message


def random_value(draw, field):
    if field.enum_type:
        return draw.choice(field.enum_type.values).number
    if field.cpp_type == field.CPPTYPE_BOOL:
        return draw.random() < 0.5
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        code, size = ("f", 4) if field.cpp_type == field.CPPTYPE_FLOAT else ("d", 8)
        value = struct.unpack(code, bytes(draw.randrange(256) for _ in range(size)))[0]
        return draw.choice([value if value == value else 0.0, round(draw.uniform(-9, 9), 3)])
    if field.type == field.TYPE_BYTES:
        return bytes(draw.randrange(256) for _ in range(draw.randrange(9)))
    if field.cpp_type == field.CPPTYPE_STRING:
        return "".join(chr(draw.choice([draw.randrange(128), 233, 8364])) for _ in range(6))
    if field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64):
        return draw.randrange(2**32)
    return draw.randrange(-(2**31), 2**31)


@pytest.mark.parametrize("name", ["NetParameter", "SolverParameter", "BlobProto", "Datum"])
def test_random_messages_are_read_back_from_their_text(name):
    draw = random.Random(0)
    sizes = set()
    for _ in range(40):
        message = random_message(draw, caffe_pb2.DESCRIPTOR.message_types_by_name[name])
        text = net_gen.to_text(message)
        assert text_format.Parse(text, type(message)()) == message
        assert text.isascii()
        sizes.add(len(text))
    assert len(sizes) > 10


def test_a_failed_write_leaves_the_old_file_and_no_temporary_file(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "solver.prototxt"
    net_gen.write(caffe_pb2.SolverParameter(max_iter=1), path)
    assert path.read_text() == "max_iter: 1\n"

    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        net_gen.write(caffe_pb2.SolverParameter(max_iter=2), path)
    assert path.read_text() == "max_iter: 1\n"
    assert os.listdir(path.parent) == ["solver.prototxt"]


def test_a_written_file_has_the_permissions_of_any_new_file(tmp_path):
    net_gen.write(caffe_pb2.SolverParameter(), tmp_path / "written")
    (tmp_path / "new").touch()
    assert (tmp_path / "written").stat().st_mode == (tmp_path / "new").stat().st_mode
