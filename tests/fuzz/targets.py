"""What the fuzzer calls with a mutated file: every reader of the project, and what follows."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import caffe
import numpy as np
from caffe import graph, weights
from caffe.inspect import command as inspector
from caffe.proto import caffe_pb2
from caffe.text import read_text, to_text
from caffe.train import snapshots
from google.protobuf import text_format

from fcn_data import readers
from fcn_data.parameters import read_parameters
from fcn_data.split_files import read_ids
from solvers.run_record import read_run

from . import mutate

#: Values of a net from which on a case does not run it, so that a case ends within its time.
RUN_VALUES = 1 << 19
#: Exceptions that the documents name. Their messages are one line.
REFUSALS: dict[str, tuple[type[BaseException], ...]] = {
    "engine": (caffe.errors.CaffeError,),
    "above": (caffe.errors.CaffeError, ValueError, OSError),
}


class Target(NamedTuple):
    """A reader under test.

    format: the seeds that its cases come from. file: the name of the file that a case is written
    to. run: reads the file. side: the types of refusals, "engine" or "above".
    """

    format: str
    file: str
    run: Callable[[str, random.Random], None]
    side: str = "engine"


def _run_net(net: caffe.Net, backward: bool) -> None:
    if sum(blob.count for blob in net.blobs.values()) > RUN_VALUES:
        return
    if sum(p.blob.count for p in net.parameters) > RUN_VALUES:
        return
    net.forward()
    if backward:
        net.backward()


def _net(path: str, rng: random.Random) -> None:
    phase = rng.choice((caffe_pb2.TRAIN, caffe_pb2.TEST))
    _run_net(caffe.Net(path, phase), backward=phase == caffe_pb2.TRAIN)


def _data_net(path: str, rng: random.Random) -> None:
    net = caffe.Net(path, caffe_pb2.TRAIN)
    if sum(blob.count for blob in net.blobs.values()) <= RUN_VALUES:
        net.forward()
        net.forward()


def _solver(path: str, rng: random.Random) -> None:
    solver = caffe.get_solver(path)
    if sum(blob.count for blob in solver.net.blobs.values()) <= RUN_VALUES:
        for rate_iteration in (0, 3, 10**6):
            solver.iter = rate_iteration
            _ = solver.lr
        solver.iter = 0
        if solver.param.iter_size <= 3 and all(count <= 3 for count in solver.param.test_iter):
            solver.step(2)


def _solver_text(path: str, rng: random.Random) -> None:
    to_text(graph.read_solver(path))


def _net_text(path: str, rng: random.Random) -> None:
    param = graph.read_net(path)
    param.state.phase = caffe_pb2.TEST
    graph.insert_splits(graph.filter_net(param))
    text_format.Parse(to_text(param), caffe_pb2.NetParameter())


def _weights(path: str, rng: random.Random) -> None:
    weights.read_net(path)
    _trained().copy_from(path)


def _state(path: str, rng: random.Random) -> None:
    weights.read_state(path)
    snapshots.restore(path, _SOLVER[0].net, _SOLVER[0].history)


def _mean(path: str, rng: random.Random) -> None:
    weights.read_blob(path)


def _inspect(path: str, rng: random.Random) -> None:
    form = rng.choice(([], ["--markdown"], ["--json"]))
    text, _ = inspector.run(inspector.parser().parse_args([path, *form]))
    if not text.replace("\n", "").isprintable():
        raise AssertionError("a report has control characters")


#: The net and the solver that trained files are loaded into, built once in a process.
_SOLVER: list[caffe.SGDSolver] = []


def prepare() -> None:
    """Build what cases load their files into, in the folder of the seeds."""
    _SOLVER[:] = [caffe.SGDSolver("solver.prototxt")]


def _trained() -> caffe.Net:
    return _SOLVER[0].net


def _source(kind: str, settings: str) -> Callable[[str, random.Random], None]:
    """Return a call that reads three batches through a data layer."""
    text = (
        f'layer {{ name: "data" type: "{kind}" top: "data" top: "label" {settings} '
        "transform_param { crop_size: 4 } }"
    )

    def run(path: str, rng: random.Random) -> None:
        param = text_format.Parse(text.replace("PATH", path), caffe_pb2.NetParameter())
        if kind == "HDF5Data":
            param.layer[0].ClearField("transform_param")
        param.state.phase = caffe_pb2.TEST
        net = caffe.Net.from_param(param)
        for _ in range(3):
            net.forward()

    return run


def _image(path: str, rng: random.Random) -> None:
    readers.read_channels(path, rng.choice((1, 3, 4)))


def _label_image(path: str, rng: random.Random) -> None:
    np.asarray(readers.read_label_image(path))


def _mat(path: str, rng: random.Random) -> None:
    readers.read_segmentation(path)


def _mat_array(path: str, rng: random.Random) -> None:
    readers.read_mat_array(path, "S")


def _ids(path: str, rng: random.Random) -> None:
    read_ids(path)


def _classes(path: str, rng: random.Random) -> None:
    readers.read_class_list(path)


def _param_str(path: str, rng: random.Random) -> None:
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    read_parameters("Layer", text, {"split": str}, {"mean": (tuple, list), "seed": int})


def _run_record(path: str, rng: random.Random) -> None:
    read_run(path)


def _layer_text(path: str, rng: random.Random) -> None:
    read_text(path, caffe_pb2.LayerParameter())


TARGETS: dict[str, Target] = {
    "net": Target("net", "case.prototxt", _net),
    "net_text": Target("net", "case.prototxt", _net_text),
    "solver": Target("solver", "case.prototxt", _solver),
    "solver_text": Target("solver", "case.prototxt", _solver_text),
    "layer_text": Target("data_net", "case.prototxt", _layer_text),
    "inspect": Target("net", "case.prototxt", _inspect),
    "data_net": Target("data_net", "case.prototxt", _data_net),
    "caffemodel": Target("caffemodel", "case.caffemodel", _weights),
    "state": Target("state", "case.solverstate", _state),
    "hdf5_net": Target("hdf5_net", "case.caffemodel.h5", _weights),
    "hdf5_state": Target("hdf5_state", "case.solverstate.h5", _state),
    "mean": Target("mean", "case.binaryproto", _mean),
    "rows": Target(
        "rows",
        "case.h5",
        _source("HDF5Data", 'hdf5_data_param { source: "case.txt" batch_size: 2 }'),
    ),
    "lmdb": Target(
        "lmdb",
        "case.mdb",
        _source("Data", 'data_param { source: "PATH" backend: LMDB batch_size: 9 }'),
    ),
    "image_data": Target(
        "image",
        "case.png",
        _source("ImageData", 'image_data_param { source: "case.txt" batch_size: 2 }'),
    ),
    "list": Target(
        "list",
        "case.list",
        _source("ImageData", 'image_data_param { source: "PATH" batch_size: 2 }'),
    ),
    "image": Target("image", "case.tif", _image, side="above"),
    "label_image": Target("image", "case.png", _label_image, side="above"),
    "mat": Target("mat", "case.mat", _mat, side="above"),
    "mat_array": Target("mat", "case.mat", _mat_array, side="above"),
    "ids": Target("ids", "case.ids", _ids, side="above"),
    "classes": Target("classes", "case.classes", _classes, side="above"),
    "param_str": Target("param_str", "case.ids", _param_str, side="above"),
    "run_record": Target("run_record", "case.json", _run_record, side="above"),
}
#: How often the cases of a target come: fast readers get more.
SHARES = {
    "net": 3,
    "net_text": 4,
    "solver": 2,
    "solver_text": 3,
    "layer_text": 3,
    "inspect": 1,
    "data_net": 3,
    "caffemodel": 12,
    "state": 10,
    "hdf5_net": 2,
    "hdf5_state": 3,
    "mean": 12,
    "rows": 3,
    "lmdb": 6,
    "image_data": 3,
    "list": 3,
    "image": 5,
    "label_image": 6,
    "mat": 1,
    "mat_array": 3,
    "ids": 4,
    "classes": 4,
    "param_str": 3,
    "run_record": 3,
}
#: The message of each format that cases change by reflection.
MESSAGES = {
    "net": caffe_pb2.NetParameter,
    "data_net": caffe_pb2.NetParameter,
    "solver": caffe_pb2.SolverParameter,
    "caffemodel": caffe_pb2.NetParameter,
    "state": caffe_pb2.SolverState,
    "mean": caffe_pb2.BlobProto,
}


def make_case(
    target: Target, seeds: Sequence[bytes], rng: random.Random, words: Sequence[str]
) -> bytes:
    """Return a mutated file for a target."""
    seed, style = rng.choice(seeds), rng.random()
    if style < 0.6 and target.format in MESSAGES:
        return _changed_message(target, seed, rng, words)
    if target.format in ("hdf5_net", "hdf5_state", "rows") and style < 0.6:
        try:
            return mutate.mutate_hdf5(seed, rng)
        except Exception:  # h5py raises exceptions of many types for a seed that is damaged
            return mutate.mutate_bytes(seed, rng)
    if seed[:4] == b"\x89PNG" and style < 0.5:
        return mutate.mutate_png(seed, rng)
    if target.file.endswith((".prototxt", ".list", ".json", ".ids", ".classes")) and style < 0.9:
        return mutate.mutate_text(seed, rng, words)
    return mutate.mutate_bytes(seed, rng)


def _changed_message(
    target: Target, seed: bytes, rng: random.Random, words: Sequence[str]
) -> bytes:
    message = MESSAGES[target.format]()
    is_text = target.file.endswith(".prototxt")
    try:
        if is_text:
            text_format.Parse(seed.decode("utf-8", "replace"), message)
        else:
            message.ParseFromString(seed)
        mutate.mutate_message(message, rng, words)
        if is_text:
            return text_format.MessageToString(message).encode()
        return message.SerializePartialToString()
    except Exception:  # a seed that is damaged, or a message that nothing can write
        return mutate.mutate_bytes(seed, rng)
