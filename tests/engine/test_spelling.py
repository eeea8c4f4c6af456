"""Prototxts are read in every spelling that protobuf's reader in C++ takes."""

from __future__ import annotations

import caffe
import pytest
from caffe.errors import PrototxtError
from caffe.proto import caffe_pb2
from caffe.text import read_text

# What BVLC Caffe reads was found with oracle/spellings.py; make test-oracle compares all of it.


def read(folder, content):
    path = folder / "net.prototxt"
    path.write_bytes(content)
    return read_text(path, caffe_pb2.NetParameter())


@pytest.mark.parametrize("encoding", ["gbk", "utf-16-le", "big5hkscs"])
def test_comments_may_have_any_encoding(tmp_path, encoding):
    comment = "輸入 # layer {".encode(encoding).replace(b"\n", b"")
    net = read(tmp_path, b'name: "a#b" # ' + comment + b'\nlayer { name: "x" }')
    assert net.name == "a#b" and net.layer[0].name == "x"


@pytest.mark.parametrize("minus", ["- 1", "-\n1", "-\t1", "- # one\n  1", "-1"])
def test_a_minus_may_stand_apart_from_its_number(tmp_path, minus):
    net = read(tmp_path, f"layer {{ inner_product_param {{ axis: {minus} }} }}".encode())
    assert net.layer[0].inner_product_param.axis == -1


@pytest.mark.parametrize("text, value", [("0x1", True), ("01", True), ("00", False), ("0", False)])
def test_a_bool_may_be_a_hexadecimal_or_octal_number(tmp_path, text, value):
    net = read(tmp_path, f"force_backward:{text} input_dim: 0x10 input_dim: 010".encode())
    assert net.force_backward is value and list(net.input_dim) == [16, 8]


def test_strings_keep_what_looks_like_a_number_or_a_comment(tmp_path):
    net = read(tmp_path, rb"""name: '- 1 # 0x1 "\' \?\101' "\101" """)
    assert net.name == "- 1 # 0x1 \"' ?AA"


def test_a_string_in_another_encoding_is_refused_with_its_line(tmp_path):
    content = 'name: "net"\n# 名\nlayer { name: "层" }'.encode("gbk")
    with pytest.raises(PrototxtError, match=r"net\.prototxt:3: is not text in UTF-8; save"):
        read(tmp_path, content)


def test_an_error_keeps_its_line_behind_respelled_text(tmp_path):
    content = b"# \xff\nlayer { inner_product_param { axis: -\n1 } }\nlayer { nme: 'x' }"
    with pytest.raises(PrototxtError, match='no field named "nme" .line 4'):
        read(tmp_path, content)


def test_a_byte_order_mark_and_the_line_ends_of_windows_are_read(tmp_path):
    net = read(tmp_path, b'\xef\xbb\xbfname: "net"\r\nlayer {\r\n\tname: "x"\r\n}\r\n')
    assert net.name == "net" and net.layer[0].name == "x"


def test_a_prototxt_in_utf_16_is_refused_with_its_encoding(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text('name: "net"', encoding="utf-16")
    with pytest.raises(PrototxtError, match=r"net\.prototxt: is text in UTF-16; save .* UTF-8"):
        caffe.Net(str(path), caffe.TEST)


@pytest.mark.parametrize(
    "text, words",
    [
        ("layer { convolution_param { num_output: ${CLASSES} } }", r"\$\{CLASSES\} needs values"),
        ("input_dim: $HEIGHT input_dim: $WIDTH", r"\$HEIGHT, \$WIDTH need values"),
        ("input_dim: {{ size }}", r"\{\{ size \}\} needs values"),
    ],
)
def test_a_template_is_refused_with_the_values_that_it_lacks(tmp_path, text, words):
    content = f"# $COMMENT\nname: '${{NET}}' {text}".encode()
    with pytest.raises(PrototxtError, match=f"is a template: {words}; write them"):
        read(tmp_path, content)
