"""Who is measured, and on what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .prepare import MAIN, SCORED, voc_sizes

ENGINE = "engine"
CPU, CUDA = ("cpu",), ("cuda",)
BOTH = ("cpu", "cuda")


@dataclass(frozen=True)
class Peer:
    """A program in one precision.

    runner: its file in bench/runners. own: runs in this Python; else in BVLC Caffe's root.
    """

    title: str
    runner: str
    precision: str = "float32"
    devices: tuple[str, ...] = CPU
    trains: bool = False
    own: bool = True
    options: dict[str, Any] = field(default_factory=dict)


_LAST = {"layout": "channels_last"}
_GRAPH = {"layout": "channels_last", "graph": True}

#: In the order that they are measured and shown.
PEERS: dict[str, Peer] = {
    ENGINE: Peer("this engine", "pycaffe", devices=BOTH, trains=True),
    "bvlc": Peer("BVLC Caffe", "pycaffe", trains=True, own=False),
    "opencv": Peer("OpenCV", "opencv"),
    "onnxruntime": Peer("ONNX Runtime", "onnx_runtime"),
    "openvino": Peer("OpenVINO", "open_vino"),
    "torch": Peer("PyTorch", "plain_torch", devices=BOTH, trains=True),
    "torch-last": Peer(
        "PyTorch, channels last", "plain_torch", devices=BOTH, trains=True, options=_LAST
    ),
    "engine-tf32": Peer("this engine", "pycaffe", "tf32", CUDA, trains=True),
    "torch-tf32": Peer(
        "PyTorch, channels last", "plain_torch", "tf32", CUDA, trains=True, options=_LAST
    ),
    "torch-tf32-graph": Peer(
        "PyTorch, channels last, CUDA graphs", "plain_torch", "tf32", CUDA, options=_GRAPH
    ),
    "engine-bf16": Peer("this engine", "pycaffe", "bfloat16", BOTH, trains=True),
    "openvino-bf16": Peer("OpenVINO", "open_vino", "bfloat16"),
    "torch-bf16": Peer(
        "PyTorch, channels last", "plain_torch", "bfloat16", BOTH, trains=True, options=_LAST
    ),
    "torch-bf16-graph": Peer(
        "PyTorch, channels last, CUDA graphs", "plain_torch", "bfloat16", CUDA, options=_GRAPH
    ),
}
#: Scores are compared with those of the first of these that ran.
REFERENCES = ("bvlc", "torch", ENGINE)


@dataclass(frozen=True)
class Case:
    """One thing to measure.

    kind: the worker's function. sizes: of the images. rounds: at most so many. peers: only these.
    net: of prepare.NETS.
    warm, least, passes: untimed passes, and how many timed ones at least and at most a process.
    devices: where it is measured.
    """

    title: str
    kind: str
    sizes: tuple[tuple[int, int], ...] = ()
    rounds: int = 99
    peers: tuple[str, ...] = ()
    warm: int = 1
    least: int = 3
    passes: int = 10
    sample: int = 1
    devices: tuple[str, ...] = BOTH
    net: str = MAIN

    def of(self, size: tuple[int, int]) -> str:
        """The net, where it is another than FCN-8s, and a size."""
        return f"{'' if self.net == MAIN else self.net + ' '}{size[0]}x{size[1]}"


SQUARE = (500, 500)
STREAM = 6
SIDES = (224, 500, 1000, 1500, 2000)
SCALING = (ENGINE, "torch-last", "engine-bf16", "torch-bf16")
#: Those that read any Caffe net, or its ONNX model.
READERS = tuple(name for name, peer in PEERS.items() if peer.runner != "plain_torch")

#: The most important come first. Rounds and passes are such that all of them, with every peer, take
#: some three quarters of an hour on two cores, where the slowest takes 4 s for 500 x 500.
CASES: dict[str, Case] = {
    "forward-500x500": Case("Forward, 500 x 500", "forward", (SQUARE,)),
    "forward-375x500": Case("Forward, 375 x 500", "forward", ((375, 500),), 2),
    "train": Case(
        "Forward, backward and update, 500 x 500",
        "train",
        (SQUARE,),
        2,
        warm=0,  # the step whose weights are compared comes before
        least=2,
        passes=5,
    ),
    "train-pictures": Case(
        "Training on pictures of mixed sizes, files to update, an iteration",
        "train_pictures",
        rounds=1,
        peers=(ENGINE, "engine-tf32", "engine-bf16"),
        warm=3,
        least=2,
        passes=6,
        devices=CUDA,
    ),
    "load": Case("Loading the weights", "load", ((64, 64),)),
    "first": Case(
        "From the start of the process to a label map, 375 x 500", "first", ((375, 500),)
    ),
    "forward-224x224": Case("Forward, 224 x 224", "forward", ((224, 224),), 2),
    "stream": Case(
        "Forward, a stream of mixed sizes, an image",
        "stream",
        tuple(voc_sizes(STREAM)),
        1,
        least=1,
        passes=2,
    ),
    "score": Case(f"Scoring {SCORED} images, an image", "score", rounds=1),
    **{
        net: Case(f"Forward of {title}, 500 x 500", "forward", (SQUARE,), 2, READERS, net=net)
        for net, title in (("fcn-alexnet", "FCN-AlexNet"), ("fcn-googlenet", "FCN-GoogLeNet"))
    },
    **{
        f"area-{side}": Case(
            f"Forward, {side} x {side}",
            "forward",
            ((side, side),),
            1,
            SCALING,
            least=1,
            passes=3,
            sample=8,
        )
        for side in SIDES
    },
}
FLOOR = ("float32", "tf32", "bfloat16")
