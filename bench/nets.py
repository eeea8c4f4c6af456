"""The nets that are measured, with drawn weights, in the format of every peer.

Speed and agreement do not depend on what a net was trained for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Sequence

import caffe
import numpy as np
import torch
from caffe.tools import onnx as onnx_writer

import net_gen
import surgery
from bench.classifiers import CLASSIFIERS, draw
from fcn_common import voc
from fcn_common.files import atomic_path, atomic_write

try:
    import onnx
except ImportError:  # `make bench-setup` installs it
    onnx = None  # type: ignore[assignment]

#: Net -> the variant whose deploy net it is. Each net but MAIN has one case; MAIN has the others.
NETS = {
    "fcn8s": "voc-fcn8s",
    "fcn-alexnet": "voc-fcn-alexnet",
    "fcn-googlenet": "voc-fcn-googlenet",
}
MAIN = "fcn8s"
#: The learning rate is large enough to see a step in the weights, and small enough that they stay
#: finite.
SOLVER = {"base_lr": 1e-10, "momentum": 0.99, "weight_decay": 0.0005}
#: The learning rate on pictures, so small that the drawn weights stay as large as they are.
PICTURES_LR = 1e-14


def names() -> List[str]:
    """Return the names of all nets: the FCNs' and the classifiers'."""
    return [*NETS, *CLASSIFIERS]


def training_net(deploy: Any) -> Any:
    """Return the deploy net with a label input and the papers' loss, summed over the pixels."""
    net = type(deploy)()
    net.CopyFrom(deploy)
    label = net.layer.add(name="label", type="Input", top=["label"])
    data = next(layer for layer in net.layer if layer.type == "Input")
    label.input_param.shape.add().dim.extend([1, 1, *data.input_param.shape[0].dim[2:]])
    loss = net.layer.add(
        name="loss", type="SoftmaxWithLoss", bottom=["score", "label"], top=["loss"]
    )
    loss.loss_param.ignore_label = voc.IGNORE_LABEL
    loss.loss_param.normalize = False
    return net


def write_nets(folder: Path, width: Any = 1) -> None:
    """Write each NET.prototxt, and MAIN's train, val, solver and pictures prototxts.

    width: factor of the number of channels. pictures.prototxt is the solver that trains on the
    val net's pictures.
    """
    for name, variant in NETS.items():
        net = net_gen.fcn(variant, "deploy", width=width)
        net_gen.write(net, str(folder / f"{name}.prototxt"))
    for name, classifier in CLASSIFIERS.items():
        net_gen.write(classifier.build(classifier.size, width), str(folder / f"{name}.prototxt"))
    variant = NETS[MAIN]
    train = training_net(net_gen.fcn(variant, "deploy", width=width))
    net_gen.write(train, str(folder / "train.prototxt"))
    solver = net_gen.solver(
        variant,
        train_net=str(folder / "train.prototxt"),
        test_net=[],
        test_iter=[],
        test_interval=None,
        test_initialization=None,
        display=0,
        snapshot=0,
        snapshot_prefix=str(folder / "train"),
        **SOLVER,
    )
    net_gen.write(solver, str(folder / "solver.prototxt"))
    val = net_gen.fcn(variant, "val", width=width, voc_dir=str(folder / "voc"))
    net_gen.write(val, str(folder / "val.prototxt"))
    solver.train_net, solver.base_lr = str(folder / "val.prototxt"), PICTURES_LR
    net_gen.write(solver, str(folder / "pictures.prototxt"))


def fill(net: Any, seed: int = 1) -> None:
    """Draw every weight: He's normal distribution before ReLUs, and bilinear upsampling."""
    rng = np.random.default_rng(seed)
    types = dict(zip(net._layer_names, (layer.type for layer in net.layers)))
    for name, blobs in net.params.items():
        if draw(types[name], blobs, rng):
            continue
        weight = blobs[0].data
        gain = 1.0 if name.startswith("score") else 2.0
        drawn = rng.standard_normal(weight.shape, np.float32)
        weight[...] = drawn * np.float32(np.sqrt(gain / np.prod(weight.shape[1:])))
        for bias in blobs[1:]:
            bias.data[...] = rng.standard_normal(bias.data.shape, np.float32)
    surgery.interp(net, surgery.interp_layers(net))


def write_weights(folder: Path) -> None:
    """Write each NET.caffemodel, and MAIN.pt with the same values."""
    for name in names():
        net = caffe.Net(str(folder / f"{name}.prototxt"), caffe.TEST)
        fill(net)
        if name == MAIN:
            state = {
                f"{layer}.{part}": torch.from_numpy(blob.data)
                for layer, blobs in net.params.items()
                for part, blob in zip(("weight", "bias"), blobs)
            }
            with atomic_path(folder / f"{name}.pt") as partial:
                torch.save(state, partial)
        with atomic_path(folder / f"{name}.caffemodel") as partial:
            net.save(partial)


def can_write_onnx() -> bool:
    """Return whether the package onnx is installed."""
    return onnx is not None


def write_onnx(folder: Path) -> None:
    """Write each NET.onnx and its weights, NET.onnx.data."""
    for name in names():
        files = [str(folder / f"{name}.{kind}") for kind in ("prototxt", "caffemodel", "onnx")]
        net = caffe.Net(files[0], caffe.TEST, weights=files[1])
        onnx_writer.write(net, files[2])


def fixed_onnx(folder: Path, net: str, size: Sequence[int]) -> str:
    """Return the path of the ONNX model with an input of one size; write a missing one.

    Its weights are those of NET.onnx, in the same file.
    """
    path = folder / f"{net}-{size[0]}x{size[1]}.onnx"
    if not path.exists():
        model = onnx.load(str(folder / f"{net}.onnx"), load_external_data=False)
        dims = model.graph.input[0].type.tensor_type.shape.dim
        for dim, value in zip(dims, (1, 3, *size)):
            dim.dim_value = value
        with atomic_write(path) as file:
            file.write(model.SerializeToString())
    return str(path)
