"""Writes the files of the nets that are trained on arrays: prototxts, solvers, weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

import caffe
import numpy as np
import torch
from caffe import layers as L
from caffe import params as P

import net_gen
from bench.learners import (
    LEARNERS,
    SOLVER,
    Convolution,
    Dense,
    Layer,
    Learner,
    Pooling,
    name_of,
    narrow,
)
from fcn_common.files import atomic_path, write_text


def files(folder: Path) -> List[Path]:
    """Return the paths of all files."""
    learners = LEARNERS.items()
    paths = [folder / f"{name}{part}.prototxt" for name, _ in learners for part in ("", "-solver")]
    families = dict.fromkeys(learner.family for learner in LEARNERS.values())
    return paths + [folder / f"{family}.{kind}" for family in families for kind in KINDS]


KINDS = ("caffemodel", "pt")


def net(learner: Learner) -> Any:
    """Return the NetParameter: inputs "data" and "label", the layers, and a softmax loss."""
    spec = caffe.NetSpec()
    spec.data = L.Input(input_param={"shape": {"dim": list(learner.shape)}})
    spec.label = L.Input(input_param={"shape": {"dim": [learner.shape[0]]}})
    top = spec.data
    for number, layer in enumerate(learner.layers, 1):
        spec[name_of(layer, number)] = top = _layer(layer, top)
    spec.loss = L.SoftmaxWithLoss(top, spec.label)
    return spec.to_proto()


def _layer(layer: Layer, bottom: Any) -> Any:
    if isinstance(layer, Convolution):
        window = {"kernel_size": layer.kernel, "stride": layer.stride, "pad": layer.pad}
        return L.Convolution(bottom, num_output=layer.outputs, group=layer.group, **window)
    if isinstance(layer, Dense):
        return L.InnerProduct(bottom, num_output=layer.outputs)
    if isinstance(layer, Pooling):
        return L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=layer.kernel, stride=layer.stride)
    if layer.type == "LRN":
        return L.LRN(bottom, lrn_param={"local_size": 5, "alpha": 1e-4, "beta": 0.75})
    return L.ReLU(bottom, in_place=True)


def write(folder: Path, width: float = 1) -> None:
    """Write all files. width: factor of the number of channels."""
    for name, published in LEARNERS.items():
        learner = narrow(published, width)
        path = str(folder / f"{name}.prototxt")
        net_gen.write(net(learner), path)
        fields = {**SOLVER, "net": f'"{path}"', "lr_policy": '"fixed"', "display": 0}
        fields["snapshot_prefix"] = f'"{folder / name}"'
        lines = [f"{field}: {value}\n" for field, value in fields.items()]
        write_text(folder / f"{name}-solver.prototxt", "".join(lines))
        if not (folder / f"{learner.family}.pt").exists():
            _write_weights(folder, path, learner.family)


def _write_weights(folder: Path, path: str, family: str) -> None:
    built, rng = caffe.Net(path, caffe.TRAIN), np.random.default_rng(1)
    for weight, bias in built.params.values():
        scale = np.sqrt(2 / np.prod(weight.data.shape[1:]))
        weight.data[...] = np.float32(scale) * rng.standard_normal(weight.data.shape, np.float32)
        bias.data[...] = 0.1 * rng.standard_normal(bias.data.shape)
    state = {
        f"{layer}.{part}": torch.from_numpy(blob.data)
        for layer, blobs in built.params.items()
        for part, blob in zip(("weight", "bias"), blobs)
    }
    with atomic_path(folder / f"{family}.caffemodel") as partial:
        built.save(partial)
    with atomic_path(folder / f"{family}.pt") as partial:
        torch.save(state, partial)
