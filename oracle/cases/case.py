"""The golden cases: small nets whose numbers are compared between BVLC Caffe and the engine.

A case is a prototxt, a seed for its inputs, weights and top gradients, and what is run. Cases use
only pycaffe's public interface, so the same file runs under BVLC Caffe (Python 3.9) and under the
engine. `run(case, folder)` returns the numbers as an ordered dict of arrays:

    CASE/meta                 JSON: names of blobs, layers, inputs, outputs, types, bottoms, tops
    CASE/ROUND/data/BLOB      every blob after forward
    CASE/ROUND/diff/BLOB      every blob's gradient after backward
    CASE/param/LAYER/I        weights
    CASE/ROUND/param_diff/LAYER/I
"""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import json
import os
from collections import OrderedDict
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

import caffe
import numpy as np

Shape = Tuple[int, ...]
Numbers = Dict[str, np.ndarray]
RandomState = np.random.RandomState

PYTHON = "python_param { module: 'oracle.python_layers' layer: '%s' }"
CUBE = PYTHON % "Cube"


class Case:
    """One golden case.

    name: `group.case`; a group is a file in tests/golden.
    text: the net's prototxt.
    inputs: input blob -> the distribution of its values: 'normal' (default), 'label K [IGNORE]',
        'few K' (integers from -K to K, which give ties), 'positive', 'nonzero', 'special SHARE
        VALUE ...' (normal, with a share of these values). `OUTPUT.diff` -> the distribution of a
        gradient; `weights` -> that of all parameters.
    rounds: for each forward, new shapes of input blobs; an empty dict keeps the shapes.
    fill: draw the weights too; otherwise the weights are those of the net's fillers.
    program: runs instead of the rounds, as program(case, random state, numbers to fill).
    net_args: more arguments for caffe.Net. solver: a solver's prototxt, for programs that train.
    """

    def __init__(
        self,
        name: str,
        text: str,
        inputs: Optional[Dict[str, str]] = None,
        rounds: Sequence[Mapping[str, Shape]] = ({},),
        phase: int = caffe.TEST,
        backward: bool = True,
        fill: bool = True,
        program: Optional[Program] = None,
        net_args: Optional[dict] = None,
        solver: str = "",
    ) -> None:
        self.name, self.text, self.inputs = name, text, inputs or {}
        self.rounds, self.phase, self.backward = rounds, phase, backward
        self.fill, self.program, self.net_args = fill, program, net_args or {}
        self.solver = solver

    @property
    def group(self) -> str:
        """The file in tests/golden with the case's numbers."""
        return self.name.split(".")[0]

    @property
    def seed(self) -> int:
        """A number that depends only on the name, so that a new case changes no other case."""
        seed = 5381
        for letter in self.name:
            seed = (33 * seed + ord(letter)) % 2**31
        return seed


Program = Callable[[Case, RandomState, Numbers], None]
CASES: OrderedDict[str, Case] = OrderedDict()


def add(name: str, text: str, **options: Any) -> None:
    """Add a case; options are Case's. Raises ValueError if another case has the name."""
    if name in CASES:
        raise ValueError("two golden cases have the name %s" % name)
    CASES[name] = Case(name, text, **options)


def add_layer(
    name: str,
    type_: str,
    shapes: Union[Shape, Mapping[str, Shape]],
    fields: str = "",
    tops: str = "y",
    **options: Any,
) -> None:
    """Add a case of one layer over Input blobs.

    shapes: the shape of the one bottom `x`, or bottom -> shape. fields: the rest of the layer's
    text.
    """
    if isinstance(shapes, tuple):
        shapes = {"x": shapes}
    add(name, net(shapes, layer(type_, " ".join(shapes), tops, fields)), **options)


def groups(cases: Iterable[Case]) -> List[str]:
    """Return the groups of the cases in order, each group once."""
    return list(OrderedDict.fromkeys(case.group for case in cases))


def net(inputs: Mapping[str, Shape], layers: str, force_backward: bool = True) -> str:
    """Return a prototxt with an Input layer for each of `inputs`, then `layers`."""
    text = "name: 'case'\n"
    if force_backward:
        text += "force_backward: true\n"
    for blob, shape in inputs.items():
        dims = " ".join("dim: %d" % d for d in shape)
        text += "layer { name: '%s' type: 'Input' top: '%s' input_param { shape { %s } } }\n" % (
            blob,
            blob,
            dims,
        )
    return text + layers


def layer(
    type_: str, bottoms: str, tops: str = "y", fields: str = "", name: Optional[str] = None
) -> str:
    """Return one layer's text; bottoms and tops are names with spaces between them."""
    parts = ["name: '%s' type: '%s'" % (name or tops.split()[0], type_)]
    parts += ["bottom: '%s'" % b for b in bottoms.split()]
    parts += ["top: '%s'" % t for t in tops.split()]
    return "layer { %s %s }\n" % (" ".join(parts), fields)


def draw(rs: RandomState, kind: str, shape: Shape) -> np.ndarray:
    """Return float32 numbers of a distribution (see Case.inputs)."""
    words = kind.split()
    values: np.ndarray
    if words[0] == "normal":
        values = rs.standard_normal(shape)
    elif words[0] == "positive":
        values = rs.random_sample(shape) + 0.5
    elif words[0] == "nonzero":
        values = rs.standard_normal(shape)
        values += np.where(values < 0, -0.3, 0.3)
    elif words[0] == "few":
        values = rs.randint(-int(words[1]), int(words[1]) + 1, shape)
    elif words[0] == "special":
        values = rs.standard_normal(shape)
        special = np.array(words[2:], np.float64)[rs.randint(0, len(words) - 2, shape)]
        values = np.where(rs.random_sample(shape) < float(words[1]), special, values)
    elif words[0] == "label":
        values = rs.randint(0, int(words[1]), shape)
        if len(words) > 2:
            values = np.where(rs.random_sample(shape) < 0.3, int(words[2]), values)
    else:
        raise ValueError("unknown distribution %r; see oracle.cases.case.Case" % kind)
    return np.asarray(values, np.float32)


def fill_params(net: caffe.Net, rs: RandomState, kind: str = "normal") -> None:
    """Draw every parameter, in the order of net.params."""
    for blobs in net.params.values():
        for blob in blobs:
            shape = tuple(blob.data.shape)
            fan_in = max(1, int(np.prod(shape[1:])))
            blob.data[...] = draw(rs, kind, shape) * (0.3 if len(shape) < 2 else fan_in**-0.5)


def meta(net: caffe.Net) -> np.ndarray:
    """Return the names and types of the net's parts, as JSON."""
    names = list(net.layer_dict)
    return np.array(
        json.dumps(
            {
                "blobs": list(net.blobs),
                "layers": names,
                "types": [str(layer.type) for layer in net.layers],
                "params": {k: len(v) for k, v in net.params.items()},
                "inputs": list(net.inputs),
                "outputs": list(net.outputs),
                "bottoms": {n: list(net.bottom_names[n]) for n in names},
                "tops": {n: list(net.top_names[n]) for n in names},
            },
            sort_keys=True,
        )
    )


def copy(array: np.ndarray) -> np.ndarray:
    """Return a float32 copy."""
    return np.array(array, np.float32)


def fill_top_diffs(
    net: caffe.Net, rs: RandomState, kinds: Optional[Mapping[str, str]] = None
) -> None:
    """Draw the gradient of every output but losses, whose gradients are their weights.

    kinds: `OUTPUT.diff` -> the distribution of the gradient (see Case.inputs).
    """
    for name in sorted(net.outputs):
        if not name.startswith("loss"):
            blob, kind = net.blobs[name], (kinds or {}).get(name + ".diff", "normal")
            blob.diff[...] = draw(rs, kind, tuple(blob.data.shape))


def record(
    net: caffe.Net, numbers: Numbers, prefix: str, kinds: str = "data diff param_diff"
) -> None:
    """Copy the net's arrays into `numbers`; kinds: some of data, diff, param, param_diff."""
    if "data" in kinds.split():
        for name, blob in net.blobs.items():
            numbers["%sdata/%s" % (prefix, name)] = copy(blob.data)
    if "diff" in kinds.split():
        for name, blob in net.blobs.items():
            numbers["%sdiff/%s" % (prefix, name)] = copy(blob.diff)
    for kind, attribute in (("param", "data"), ("param_diff", "diff")):
        if kind in kinds.split():
            for name, blobs in net.params.items():
                for i, blob in enumerate(blobs):
                    key = "%s%s/%s/%d" % (prefix, kind, name, i)
                    numbers[key] = copy(getattr(blob, attribute))


def write(folder: str, name: str, text: str) -> str:
    """Write a text file and return its path."""
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        f.write(text)
    return path


def file_bytes(path: str) -> np.ndarray:
    """Return a file's bytes, as uint8."""
    return np.fromfile(path, np.uint8)


def files_of_both() -> List[str]:
    """Return the names in the working directory, without those that the engine alone writes."""
    return sorted(name for name in os.listdir(".") if not name.endswith(".resume.json"))


def run(case: Case, folder: str, gpu: Optional[int] = None) -> Numbers:
    """Run the case in the Caffe that `import caffe` gives, and return its numbers by key.

    gpu: the CUDA device; None for the CPU. folder: where the prototxt is written. Programs run
    with `folder` as the working directory, so that the paths that solvers write into their files
    are short and do not depend on the folder.
    """
    if gpu is None:
        caffe.set_mode_cpu()
    else:
        caffe.set_device(gpu)
        caffe.set_mode_gpu()
    numbers: Numbers = OrderedDict()
    rs = RandomState(case.seed)
    if case.program is not None:
        before = os.getcwd()
        os.chdir(folder)
        try:
            case.program(case, rs, numbers)
        finally:
            os.chdir(before)
    else:
        run_rounds(case, rs, numbers, folder)
    return OrderedDict((case.name + "/" + k, v) for k, v in numbers.items())


def load(case: Case, folder: str = ".") -> caffe.Net:
    """Write the case's prototxt and build its net."""
    return caffe.Net(write(folder, "net.prototxt", case.text), case.phase, **case.net_args)


def draw_inputs(case: Case, net: caffe.Net, rs: RandomState) -> None:
    """Draw the input blobs, each from its distribution."""
    for name in net.inputs:
        blob = net.blobs[name]
        blob.data[...] = draw(rs, case.inputs.get(name, "normal"), tuple(blob.data.shape))


def run_passes(case: Case, net: caffe.Net, rs: RandomState, numbers: Numbers) -> None:
    """Run a net through the case's rounds, and record the blobs and gradients of each round."""
    for i, shapes in enumerate(case.rounds):
        for name, shape in shapes.items():
            net.blobs[name].reshape(*shape)
        draw_inputs(case, net, rs)
        net.forward()
        record(net, numbers, "%d/" % i, "data")
        if case.backward:
            fill_top_diffs(net, rs, case.inputs)
            net.backward()
            record(net, numbers, "%d/" % i, "diff param_diff")


def run_rounds(case: Case, rs: RandomState, numbers: Numbers, folder: str) -> None:
    """Build the case's net, fill it, and run its rounds."""
    net = load(case, folder)
    numbers["meta"] = meta(net)
    if case.fill:
        fill_params(net, rs)
    record(net, numbers, "", "param")
    run_passes(case, net, rs, numbers)
