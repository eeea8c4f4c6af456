"""Files that one Caffe writes and the other reads: weights, solver states, means, HDF5 data.

    oracle/caffe-python oracle/exchange.py FOLDER NAME write
    oracle/caffe-python oracle/exchange.py FOLDER NAME read OTHER

FOLDER/cases.json has the cases of oracle.exchange_cases. `write` makes the files of every case in
FOLDER/NAME/CASE. `read` reads the files in FOLDER/OTHER/CASE and writes the numbers to
FOLDER/NAME/OTHER/CASE.npz. Where there are none, FOLDER/NAME/.../CASE.refused has the last words.
"""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import json
import os
import sys
from typing import Any, Callable, Dict, List

import caffe
import h5py
import numpy as np

#: The end of a fork's output that says why a case was refused, in characters.
LAST_WORDS = 600
Numbers = Dict[str, np.ndarray]


def values(case: dict, shape: List[int], i: int) -> np.ndarray:
    """Return the values of the case's blob number i, float32."""
    random = np.random.RandomState(case["seed"] * 100 + i)
    return random.standard_normal(shape).astype(np.float32)


def text_file(path: str, text: str) -> str:
    """Write a text file and return its path."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def read_bytes(path: str) -> np.ndarray:
    """Return a file's bytes."""
    return np.fromfile(path, np.uint8)


def set_params(net: Any, case: dict) -> None:
    """Set all parameters to the case's values."""
    i = 0
    for blobs in net.params.values():
        for blob in blobs:
            if blob.count:
                blob.data[...] = values(case, list(blob.shape), i)
            i += 1


def get_params(net: Any, numbers: Numbers, prefix: str = "") -> None:
    """Record shapes, values and gradients of all parameters in their order."""
    for i, blobs in enumerate(net.params.values()):
        for k, blob in enumerate(blobs):
            key = "%s%d.%d." % (prefix, i, k)
            numbers[key + "shape"] = np.array(list(blob.shape))
            if blob.count:
                numbers[key + "data"] = np.array(blob.data)


def write_net(case: dict) -> Numbers:
    """Write the weights of a net."""
    net = caffe.Net(text_file("net.prototxt", case["net"]), caffe.TEST)
    set_params(net, case)
    net.save(case["file"]) if case["format"] == "binary" else net.save_hdf5(case["file"])
    numbers: Numbers = {}
    get_params(net, numbers)
    get_params(net, numbers, "weights=")
    return numbers


def read_net(case: dict, folder: str) -> Numbers:
    """Read weights into a new net, in the two ways of pycaffe."""
    numbers: Numbers = {}
    path = os.path.join(folder, case["file"])
    text_file("net.prototxt", case["net"])
    net = caffe.Net("net.prototxt", caffe.TEST)
    net.copy_from(path) if case["format"] == "binary" else net.load_hdf5(path)
    get_params(net, numbers)
    get_params(caffe.Net("net.prototxt", caffe.TEST, weights=path), numbers, "weights=")
    return numbers


def make_solver(case: dict) -> Any:
    """Return the case's solver, whose net has other values than the files."""
    text_file("net.prototxt", case["net"])
    return caffe.get_solver(text_file("solver.prototxt", case["solver"]))


def write_solver(case: dict) -> Numbers:
    """Train a few iterations, write a snapshot, and go on."""
    folder = os.path.dirname(case["prefix"])
    if folder:
        os.makedirs(folder)
    solver = make_solver(case)
    set_params(solver.net, case)
    solver.step(case["iterations"])
    solver.snapshot()
    numbers: Numbers = {"iter": np.array(solver.iter)}
    get_params(solver.net, numbers, "restored ")
    solver.step(3)
    get_params(solver.net, numbers, "continued ")
    return numbers


def read_solver(case: dict, folder: str) -> Numbers:
    """Restore a snapshot, and train on."""
    os.chdir(folder)
    numbers: Numbers = {}
    solver = make_solver(case)
    solver.restore(case["file"])
    numbers["iter"] = np.array(solver.iter)
    get_params(solver.net, numbers, "restored ")
    solver.step(3)
    get_params(solver.net, numbers, "continued ")
    return numbers


def write_mean(case: dict) -> Numbers:
    """Write a BlobProto with gradients."""
    numbers = {"data": values(case, case["shape"], 0), "diff": values(case, case["shape"], 1)}
    blob = caffe.io.array_to_blobproto(numbers["data"], numbers["diff"])
    with open(case["file"], "wb") as file:
        file.write(blob.SerializeToString())
    return numbers


def read_mean(case: dict, folder: str) -> Numbers:
    """Read a BlobProto in Python and, where it can be a matrix, in a layer."""
    path = os.path.join(folder, case["file"])
    with open(path, "rb") as file:
        content = file.read()
    blob = caffe.proto.caffe_pb2.BlobProto.FromString(content)
    numbers = {"data": caffe.io.blobproto_to_array(blob)}
    numbers["diff"] = caffe.io.blobproto_to_array(blob, return_diff=True)
    side = round(float(np.sqrt(numbers["data"].size)))
    if side and side * side == numbers["data"].size:
        net = caffe.Net(text_file("net.prototxt", MATRIX % (side, path)), caffe.TEST)
        net.blobs["x"].data[...] = np.arange(2 * side).reshape(2, side) % 3
        net.blobs["l"].data[...] = [0, side - 1]
        numbers["loss"] = np.array(net.forward()["loss"])
    return numbers


MATRIX = """layer { name: 'x' type: 'Input' top: 'x' top: 'l'
input_param { shape { dim: 2 dim: %d } shape { dim: 2 } } }
layer { name: 'loss' type: 'InfogainLoss' bottom: 'x' bottom: 'l' top: 'loss'
infogain_loss_param { source: '%s' } }"""


def write_data(case: dict) -> Numbers:
    """Write an HDF5 file of rows, through h5py or through a layer; return the batches of it."""
    arrays = [values(case, shape, i) for i, (_, shape) in enumerate(case["tops"])]
    if case["by"] == "h5py":
        arrays = [(20 * rows).astype(case["dtype"]) for rows in arrays]
        with h5py.File(case["file"], "w") as file:
            for (name, _), rows in zip(case["tops"], arrays):
                file.create_dataset(name, data=rows, **case["storage"])
    else:
        write_by_layer(case, arrays)
    n, size = len(arrays[0]), case["batch"]
    return {
        "%d.%d" % (batch, i): rows[np.arange(batch * size, (batch + 1) * size) % n]
        for batch in range(2)
        for i, rows in enumerate(arrays)
    }


def write_by_layer(case: dict, arrays: List[np.ndarray]) -> None:
    """Write an HDF5 file through HDF5Output."""
    text = "".join(
        "layer { name: '%s' type: 'Input' top: '%s' input_param { shape { %s } } }\n"
        % (name, name, " ".join("dim: %d" % n for n in shape))
        for name, shape in case["tops"]
    )
    text += "layer { name: 'out' type: 'HDF5Output' bottom: '%s' bottom: '%s'" % (
        case["tops"][0][0],
        case["tops"][1][0],
    )
    text += " hdf5_output_param { file_name: '%s' } }" % case["file"]
    net = caffe.Net(text_file("net.prototxt", text), caffe.TEST)
    for (name, _), rows in zip(case["tops"], arrays):
        net.blobs[name].data[...] = rows
    net.forward()


def read_data(case: dict, folder: str) -> Numbers:
    """Read two batches of an HDF5 file."""
    text_file("files.txt", os.path.join(folder, case["file"]) + "\n")
    net = caffe.Net(text_file("net.prototxt", case["net"]), caffe.TEST)
    numbers: Numbers = {}
    for batch in range(2):
        net.forward()
        for i, (name, _) in enumerate(case["tops"]):
            numbers["%d.%d" % (batch, i)] = np.array(net.blobs[name].data)
    return numbers


WRITERS: Dict[str, Callable[[dict], Numbers]] = {
    "net": write_net,
    "solver": write_solver,
    "mean": write_mean,
    "data": write_data,
}
READERS: Dict[str, Callable[[dict, str], Numbers]] = {
    "net": read_net,
    "solver": read_solver,
    "mean": read_mean,
    "data": read_data,
}


def run_case(path: str, action: Callable[[], Numbers]) -> None:
    """Run an action with the folder PATH as working directory.

    The numbers go to PATH.npz. If there are none, PATH.refused says why. BVLC Caffe, which ends the
    process where it refuses, runs in a fork.
    """
    os.makedirs(path, exist_ok=True)
    if not caffe.__file__.startswith("/usr/lib/"):
        refusal = attempt(path, action)
        if refusal:
            text_file(path + ".refused", refusal + "\nsignal 0")
        return
    child = os.fork()
    if not child:
        with open(path + ".printed", "w") as file:
            os.dup2(file.fileno(), 2)
        os.write(2, attempt(path, action).encode())
        os._exit(0)
    signal = os.waitpid(child, 0)[1] & 127
    if not os.path.exists(path + ".npz"):
        with open(path + ".printed", errors="replace") as printed:
            text = "%s\nsignal %d" % (printed.read()[-LAST_WORDS:], signal)
        text_file(path + ".refused", text)


def attempt(path: str, action: Callable[[], Numbers]) -> str:
    """Write the numbers of an action to PATH.npz; return its exception as text, or nothing."""
    before = os.getcwd()
    try:
        os.chdir(path)
        numbers: Dict[str, Any] = {**action()}
        np.savez(path + ".part.npz", **numbers)
        os.rename(path + ".part.npz", path + ".npz")
        return ""
    except Exception as error:
        return "%s: %s" % (type(error).__name__, error)
    finally:
        os.chdir(before)


def main(folder: str, name: str, action: str, other: str = "") -> None:
    """Write the files of every case, or read those of the Caffe `other`."""
    caffe.set_mode_cpu()
    with open(os.path.join(folder, "cases.json"), encoding="utf-8") as file:
        cases = json.load(file)
    for case in cases:
        if action == "write":
            path = os.path.join(folder, name, case["name"])
            run_case(path, lambda case=case: WRITERS[case["kind"]](case))  # type: ignore[misc]
        else:
            path, source = (
                os.path.join(folder, *p, case["name"]) for p in ((name, other), (other,))
            )
            if os.path.exists(source + ".npz"):
                run_case(path, lambda c=case, s=source: READERS[c["kind"]](c, s))  # type: ignore[misc]


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]), *sys.argv[2:])
