"""The programs that are measured (peers), and what is measured of them (cases)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterable, List, Tuple

from bench.classifiers import CLASSIFIERS
from bench.images import SCORED, voc_sizes
from bench.learners import LEARNERS
from bench.nets import MAIN

ENGINE = "engine"
CPU, CUDA = ("cpu",), ("cuda",)
BOTH = ("cpu", "cuda")
Size = Tuple[int, int]


@dataclass(frozen=True)
class Peer:
    """A program in one precision.

    runner: its file in bench/runners.
    devices: where it runs. trains: whether it can run the cases that train.
    bvlc: whether it runs in BVLC Caffe's root, with the Python there.
    engine: the folder that `import caffe` finds, "" for this checkout's.
    options: more settings for the runner.
    """

    title: str
    runner: str
    precision: str = "float32"
    devices: Tuple[str, ...] = CPU
    trains: bool = False
    bvlc: bool = False
    engine: str = ""
    options: Dict[str, Any] = field(default_factory=dict)

    @property
    def is_engine(self) -> bool:
        """Whether the peer is this project's engine, of this checkout or of another one."""
        return self.runner == "pycaffe" and not self.bvlc

    @property
    def reads_onnx(self) -> bool:
        """Whether the peer reads the ONNX model."""
        return self.runner in ("onnx_runtime", "open_vino")


_LAST = {"layout": "channels_last"}
_GRAPH = {"layout": "channels_last", "graph": True}

#: Name -> peer, in the order in which they are measured and shown.
PEERS: Dict[str, Peer] = {
    ENGINE: Peer("this engine", "pycaffe", devices=BOTH, trains=True),
    "bvlc": Peer("BVLC Caffe", "pycaffe", trains=True, bvlc=True),
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
#: Between the name of an engine's peer and the folder of another checkout's engine.
AT = "@"


def find_peer(name: str) -> Peer:
    """Return the peer of a name in PEERS, or of NAME@FOLDER: the same with another engine."""
    base, _, folder = name.partition(AT)
    peer = PEERS[base]
    return replace(peer, title=f"the engine in {folder}", engine=folder) if folder else peer


def engine_at(name: str, folder: str) -> str:
    """Return the name of an engine's peer with the engine in another folder."""
    return f"{name}{AT}{folder}"


def base_name(name: str) -> str:
    """Return the name in PEERS of a peer that may have another engine."""
    return name.partition(AT)[0]


def in_order(names: Iterable[str]) -> List[str]:
    """Return names of peers in the order of PEERS, each other engine behind this checkout's."""
    order = list(PEERS)
    return sorted(names, key=lambda name: (order.index(base_name(name)), name))


@dataclass(frozen=True)
class Case:
    """One thing to measure.

    kind: the function of bench.worker that measures it. sizes: (height, width) of the images.
    rounds: how many at most. peers: only these peers, base names; all if empty.
    warm: untimed passes of a process. least, passes: timed passes at least and at most.
    sample: only each `sample`-th row and column of the scores is kept for comparison.
    devices: where it is measured. net: its name in bench.nets.NETS, or in LEARNERS.
    """

    title: str
    kind: str
    sizes: Tuple[Size, ...] = ()
    rounds: int = 99
    peers: Tuple[str, ...] = ()
    warm: int = 1
    least: int = 3
    passes: int = 10
    sample: int = 1
    devices: Tuple[str, ...] = BOTH
    net: str = MAIN

    def key(self, size: Size) -> str:
        """Return the name, in the results, of this case's net for a size."""
        return f"{'' if self.net == MAIN else self.net + ' '}{size[0]}x{size[1]}"

    def measures(self, name: str) -> bool:
        """Return whether the case is measured of a peer on a device where both can run."""
        return (not self.peers or base_name(name) in self.peers) and (
            self.kind not in ("train", "learn") or find_peer(name).trains
        )


SQUARE = (500, 500)
STREAM = 6
SIDES = (224, 500, 1000, 1500, 2000)
SCALING = (ENGINE, "torch-last", "engine-bf16", "torch-bf16")
#: The peers that read any Caffe net, or its ONNX model.
READERS = tuple(name for name, peer in PEERS.items() if peer.runner != "plain_torch")
#: Kinds of cases that need a process of their own: they measure what its start costs.
ALONE = {"load", "first"}

#: Name -> case, the most important ones first. With these rounds and passes all cases of all peers
#: take three quarters of an hour on two cores, if the slowest peer takes 4 s for 500 x 500.
CASES: Dict[str, Case] = {
    "forward-500x500": Case("Forward, 500 x 500", "forward", (SQUARE,)),
    "forward-375x500": Case("Forward, 375 x 500", "forward", ((375, 500),), 2),
    "train": Case(
        "Forward, backward and update, 500 x 500",
        "train",
        (SQUARE,),
        2,
        warm=0,  # the step whose weights are compared is the warm-up
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
        net: Case(
            f"Forward of {classifier.title}, {classifier.size[0]} x {classifier.size[1]}",
            "forward",
            (classifier.size,),
            2,
            READERS,
            warm=20,
            least=10,
            passes=2000 if net == "p-net" else 40,
            net=net,
        )
        for net, classifier in CLASSIFIERS.items()
    },
    **{
        f"learn-{net}": Case(
            f"Training step of {learner.title}",
            "learn",
            rounds=2,
            peers=(ENGINE, "bvlc", "torch"),
            warm=2 if "caffenet" in net else 50,
            least=2,
            passes={"caffenet-64": 3, "caffenet-2": 10}.get(net, 1000),
            devices=CPU,
            net=net,
        )
        for net, learner in LEARNERS.items()
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
#: Precisions in which the rate of a plain matrix product is measured.
FLOOR = ("float32", "tf32", "bfloat16")
