"""caffe.proto, its generated module and BVLC Caffe's messages are the same."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from caffe import proto
from caffe.proto import caffe_pb2, generate
from google.protobuf.descriptor import FieldDescriptor

from oracle.language import schema

FOLDER = Path(proto.__file__).parent
#: Digest of the 534 lines of oracle/language.py's schema() under BVLC Caffe 1.0. `make test-oracle`
#: compares the lines themselves.
BVLC = "5cd72c8a19f9a55a914635b256b70647534cbea0fe230831b0387e4b0cde1fcc"

FIELD = re.compile(
    r"(?P<label>optional|repeated|required) (?P<type>\S+) (?P<name>\w+) = (?P<number>\d+)"
    r"(?: \[(?P<options>.*)\])?;"
)
SCALARS = {
    name: getattr(FieldDescriptor, f"TYPE_{name.upper()}")
    for name in ("bool", "bytes", "double", "float", "int32", "int64", "string", "uint32")
}


BASE, FORKS = ((FOLDER / name).read_text() for name in ("caffe.proto", "forks.proto"))


def declared(text):
    """Return the lines of schema(), read from the text of a schema."""
    lines, scopes = [], [["caffe", set()]]
    text = re.sub(r"//.*", "", text)
    fields = []
    for line in map(str.strip, text.splitlines()):
        opened = re.match(r"(message|enum) (\w+) {", line)
        value = re.match(r"(\w+) = (\d+);", line)
        field = FIELD.match(line)
        if opened:
            scopes[-1][1].add(opened[2])
            scopes.append([f"{scopes[-1][0]}.{opened[2]}", set()])
        elif line == "}":
            scopes.pop()
        elif value:
            lines.append(f"{scopes[-1][0]}.{value[1]} = {value[2]}")
        elif field:
            fields.append((field, scopes[-1]))
        else:
            assert not line or line in ('syntax = "proto2";', "package caffe;"), line
    enums = {line.rsplit(".", 1)[0]: None for line in lines}
    for field, (owner, nested) in fields:
        kind = SCALARS.get(field["type"])
        if kind is None:
            kind = f"{owner if field['type'] in nested else 'caffe'}.{field['type']}"
        options = dict(o.split(" = ") for o in re.split(r", ", field["options"] or "") if o)
        packed = " packed" if options.get("packed") == "true" else ""
        default = ""
        if "default" in options:
            value = options["default"]
            if kind in enums:
                number = next(x for x in lines if x.startswith(f"{kind}.{value} = "))
                value = int(number.rsplit(" ", 1)[1])
            elif field["type"] == "string":
                value = value.strip('"')
            elif field["type"] == "bool":
                value = value == "true"
            elif field["type"] == "float":
                value = np.float32(value)
            else:
                value = int(value)
            default = f" [{value!s}]"
        line = f"{owner}.{field['name']} = {field['number']}: "
        lines.append(f"{line}{field['label']} {kind}{packed}{default}")
    return sorted(lines)


def owner(line):
    """The message or enum that a line of schema() belongs to."""
    return line.split(" = ")[0].rsplit(".", 1)[0]


def test_the_generated_module_declares_what_both_schemas_declare():
    assert declared(generate.join(BASE, FORKS)) == schema()


def test_the_messages_of_caffe_proto_are_those_of_bvlc_caffe():
    lines = declared(BASE)
    assert len(lines) == 534
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == BVLC
    assert set(lines) <= set(schema())


def test_fields_of_forks_have_numbers_that_neither_bvlc_nor_a_fork_uses():
    owners = {owner(line) for line in declared(BASE)}
    added = [line for line in set(schema()) - set(declared(BASE)) if owner(line) in owners]
    added = [line for line in added if not line.startswith("caffe.BlobProto.raw_")]
    assert len(added) > 60
    assert all(int(re.search(r" = (\d+)", line)[1]) >= 100_000 for line in added)


def test_a_block_of_forks_proto_needs_a_message_to_extend():
    block = "extend Missing {\n  optional bool flag = 100000;\n}\n"
    with pytest.raises(RuntimeError, match="extends Missing, which caffe.proto does not declare"):
        generate.join(BASE, block)


@pytest.mark.parametrize("runtime", ["python", "upb"])
def test_the_generated_module_works_on_both_protobuf_runtimes(runtime):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import caffe_pb2 as p;"
        "print(p.SolverParameter().rms_decay, p.BlobShape(dim=[1, 300]).SerializeToString().hex())"
    )
    environ = {**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": runtime}
    command = [sys.executable, "-c", script, str(FOLDER)]
    result = subprocess.run(command, env=environ, capture_output=True, text=True)
    decay, shape = result.stdout.split()
    assert float(decay) == pytest.approx(0.99), result.stderr
    assert shape == "0a0301ac02"


def test_the_generated_module_requires_no_protobuf_release():
    assert "runtime_version" not in (FOLDER / "caffe_pb2.py").read_text()


def test_arrays_are_packed_on_the_wire():
    blob = caffe_pb2.BlobProto(data=[1.0, 2.0])
    assert blob.SerializeToString() == bytes.fromhex("2a080000803f00000040")


def test_the_types_declare_every_message():
    types = (FOLDER / "caffe_pb2.pyi").read_text()
    for name in caffe_pb2.DESCRIPTOR.message_types_by_name:
        assert f"class {name}(_message.Message)" in types


def compiler(folder, body):
    """A program that takes the place of `python -m grpc_tools.protoc --python_out=FOLDER ...`."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\nout={folder}\n{body}\n")
    path.chmod(0o755)
    return path


def test_the_generated_files_name_the_license(tmp_path):
    python = compiler(tmp_path, "echo module > $out/caffe_pb2.py; echo types > $out/caffe_pb2.pyi")
    module, types = generate.generate(python, tmp_path)
    for path, last in ((module, "module"), (types, "types")):
        first, *_, end = path.read_text().splitlines()
        assert "BVLC Caffe; see LICENSE" in first and end == last
    for committed in ("caffe_pb2.py", "caffe_pb2.pyi"):
        assert (FOLDER / committed).read_text().startswith(generate.LICENSE)


def test_a_compiler_that_is_too_new_is_refused(tmp_path):
    python = compiler(tmp_path, "echo runtime_version > $out/caffe_pb2.py")
    with pytest.raises(RuntimeError, match=r"newer than grpcio-tools==1\.62\.3"):
        generate.generate(python, tmp_path)


def test_an_error_in_caffe_proto_is_shown_in_the_words_of_the_compiler(tmp_path):
    python = compiler(tmp_path, 'echo "caffe.proto:9:1: Expected \\";\\"." >&2; exit 1')
    with pytest.raises(RuntimeError, match='caffe.proto: caffe.proto:9:1: Expected ";"'):
        generate.generate(python, tmp_path)


def test_the_committed_module_comes_from_the_compiler_that_is_installed():
    assert generate.COMPILER == "grpcio-tools==1.62.3"
    assert "# Protobuf Python Version: 4.25.1\n" in (FOLDER / "caffe_pb2.py").read_text()
