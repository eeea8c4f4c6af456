"""Makes what the benchmark runs on, once: nets, weights in every peer's format, images.

    python -m bench.prepare FOLDER [--width F]

Weights are drawn: speed and agreement do not depend on what a net was trained on.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from fractions import Fraction
from pathlib import Path
from typing import Any, List, Sequence, Tuple

import numpy as np

#: Net -> the variant whose deploy net it is. FCN-8s is the one that is measured in every respect.
NETS = {
    "fcn8s": "voc-fcn8s",
    "fcn-alexnet": "voc-fcn-alexnet",
    "fcn-googlenet": "voc-fcn-googlenet",
}
MAIN = "fcn8s"
MEAN = (104.00699, 116.66877, 122.67892)
CLASSES = 21
#: Sizes (height, width) of PASCAL VOC's photographs with how many of a hundred have them, roughly.
VOC_SIZES = {
    (375, 500): 52,
    (500, 375): 15,
    (333, 500): 15,
    (500, 333): 6,
    (334, 500): 4,
    (332, 500): 4,
    (281, 500): 2,
    (400, 500): 2,
}
SCORED = 20
#: The learning rate is large enough to see a step in the weights, and they stay finite.
SOLVER = {"base_lr": 1e-10, "momentum": 0.99, "weight_decay": 0.0005}


def voc_sizes(count: int, seed: int = 7) -> List[Tuple[int, int]]:
    """`count` sizes (height, width) as PASCAL VOC's photographs have them, drawn from a seed."""
    shares = np.array(list(VOC_SIZES.values()), float)
    drawn = np.random.RandomState(seed).choice(len(shares), count, p=shares / shares.sum())
    return [list(VOC_SIZES)[i] for i in drawn]


def photograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A drawn picture, H x W x 3, uint8: smooth patches of colour and grain."""
    import cv2

    rng = np.random.RandomState(seed + 10007 * height + width)
    patches = rng.rand(height // 40 + 2, width // 40 + 2, 3).astype(np.float32) * 255
    smooth = cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + 12 * rng.randn(height, width, 3), 0, 255).astype(np.uint8)


def labels(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A drawn label map, H x W, uint8: blocks of 0..20, outlined with 255."""
    rng = np.random.RandomState(seed + 20011 * height + width)
    blocks = rng.randint(0, CLASSES, (height // 60 + 1, width // 60 + 1)).astype(np.uint8)
    label = np.kron(blocks, np.ones((60, 60), np.uint8))[:height, :width]
    label[::60] = label[:, ::60] = 255
    return label


def image(height: int, width: int) -> np.ndarray:
    """The net's input of a size: 1 x 3 x H x W, float32, mean subtracted."""
    data = photograph(height, width).astype(np.float32) - np.array(MEAN, np.float32)
    return np.ascontiguousarray(data.transpose(2, 0, 1))[None]


def input_file(folder: Path, what: str, size: Sequence[int]) -> str:
    """The path of the image or label of a size as a .npy file, made if it is not there."""
    path = folder / f"{what}-{size[0]}x{size[1]}.npy"
    if not path.exists():
        array = image(*size) if what == "image" else labels(*size)[None, None]
        partial = path.with_suffix(f".{os.getpid()}.npy")
        np.save(partial, array)
        os.replace(partial, path)
    return str(path)


def training_net(deploy: Any) -> Any:
    """The deploy net with a label input and the papers' loss, summed over the pixels."""
    net = type(deploy)()
    net.CopyFrom(deploy)
    label = net.layer.add(name="label", type="Input", top=["label"])
    data = next(layer for layer in net.layer if layer.type == "Input")
    label.input_param.shape.add().dim.extend([1, 1, *data.input_param.shape[0].dim[2:]])
    loss = net.layer.add(
        name="loss", type="SoftmaxWithLoss", bottom=["score", "label"], top=["loss"]
    )
    loss.loss_param.ignore_label = 255
    loss.loss_param.normalize = False
    return net


def write_nets(folder: Path, width: Any = 1) -> None:
    """Deploy prototxts, NET.prototxt, and train, solver and val prototxts of FCN-8s."""
    import net_gen

    for name, variant in NETS.items():
        net = net_gen.fcn(variant, "deploy", width=width)
        net_gen.write(net, str(folder / f"{name}.prototxt"))
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
    # Slow enough that the drawn weights stay as large as they are.
    solver.train_net, solver.base_lr = str(folder / "val.prototxt"), 1e-14
    net_gen.write(solver, str(folder / "pictures.prototxt"))


def fill(net: Any, seed: int = 1) -> None:
    """Draws every weight: He's normal for ReLU layers, biases, bilinear kernels for `up` layers."""
    import surgery

    rng = np.random.default_rng(seed)
    for name, blobs in net.params.items():
        weight = blobs[0].data
        gain = 1.0 if name.startswith("score") else 2.0
        drawn = rng.standard_normal(weight.shape, np.float32)
        weight[...] = drawn * np.float32(np.sqrt(gain / np.prod(weight.shape[1:])))
        for bias in blobs[1:]:
            bias.data[...] = rng.standard_normal(bias.data.shape, np.float32)
    surgery.interp(net, surgery.interp_layers(net))


def write_weights(folder: Path) -> None:
    """NET.caffemodel, and fcn8s.pt with the same values."""
    import caffe
    import torch

    for name in NETS:
        net = caffe.Net(str(folder / f"{name}.prototxt"), caffe.TEST)
        fill(net)
        if name == MAIN:
            state = {
                f"{layer}.{part}": torch.from_numpy(blob.data)
                for layer, blobs in net.params.items()
                for part, blob in zip(("weight", "bias"), blobs)
            }
            _whole(folder / f"{name}.pt", lambda path, state=state: torch.save(state, path))
        _whole(folder / f"{name}.caffemodel", lambda path, net=net: net.save(str(path)))


def write_onnx(folder: Path) -> None:
    """NET.onnx and its weights, NET.onnx.data."""
    import caffe
    from caffe.tools import onnx

    for name in NETS:
        files = [str(folder / f"{name}.{kind}") for kind in ("prototxt", "caffemodel", "onnx")]
        net = caffe.Net(files[0], caffe.TEST, weights=files[1])
        onnx.write(net, files[2])


def fixed_onnx(folder: Path, net: str, size: Sequence[int]) -> str:
    """The path of the ONNX model with an input of this size; its weights are the shared ones."""
    import onnx

    path = folder / f"{net}-{size[0]}x{size[1]}.onnx"
    if not path.exists():
        model = onnx.load(str(folder / f"{net}.onnx"), load_external_data=False)
        dims = model.graph.input[0].type.tensor_type.shape.dim
        for dim, value in zip(dims, (1, 3, *size)):
            dim.dim_value = value
        _whole(path, lambda partial: partial.write_bytes(model.SerializeToString()))
    return str(path)


def write_pictures(folder: Path, count: int = SCORED) -> None:
    """A VOC data set of `count` drawn pictures in folder/voc."""
    from PIL import Image

    root = folder / "voc"
    for inside in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / inside).mkdir(parents=True, exist_ok=True)
    names = [f"{i:04d}" for i in range(count)]
    for i, (name, size) in enumerate(zip(names, voc_sizes(count))):
        photo = Image.fromarray(photograph(*size, seed=i + 1))
        photo.save(root / "JPEGImages" / f"{name}.jpg", quality=95)
        Image.fromarray(labels(*size, seed=i + 1)).save(root / "SegmentationClass" / f"{name}.png")
    split = "".join(name + "\n" for name in names)
    (root / "ImageSets/Segmentation/seg11valid.txt").write_text(split)


def _whole(path: Path, write: Any) -> None:
    """A file that appears under its name only once it is whole."""
    partial = path.with_name(f"{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        if partial.exists():
            partial.unlink()


def missing(folder: Path, device: str = "cpu") -> List[str]:
    """What `prepare` still has to make; the programs that read ONNX run on the CPU."""
    made = {
        "nets": [f"{name}.prototxt" for name in NETS] + ["pictures.prototxt"],
        "weights": [f"{name}.caffemodel" for name in NETS],
        "pictures": ["voc/ImageSets/Segmentation/seg11valid.txt"],
        "onnx": [f"{name}.onnx" for name in NETS],
    }
    if device != "cpu" or importlib.util.find_spec("onnx") is None:
        del made["onnx"]
    return [
        name for name, paths in made.items() if not all((folder / path).exists() for path in paths)
    ]


def prepare(folder: Path, width: Any = 1, pictures: int = SCORED, device: str = "cpu") -> None:
    """Makes in `folder` what is not there yet. Without the package onnx, no ONNX model."""
    folder.mkdir(parents=True, exist_ok=True)
    absent = missing(folder, device)
    if "nets" in absent:
        write_nets(folder, width)
    if "weights" in absent:
        write_weights(folder)
    if "pictures" in absent:
        write_pictures(folder, pictures)
    if "onnx" in absent:
        write_onnx(folder)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.prepare", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--width", default=1, type=Fraction, help="of every channel count: 1/8")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    args = parser.parse_args()
    prepare(args.folder.resolve(), float(args.width), device=args.device)


if __name__ == "__main__":
    from fcn_common import command

    command.run(main)
