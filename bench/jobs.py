"""The jobs of the worker processes: what a process measures, on which files, and how."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Optional

from bench import nets
from bench.images import SCORED, input_file
from bench.learners import LEARNERS
from bench.peers import CASES, Case, find_peer
from bench.plan import Turn
from bench.settings import Json, Settings

#: Warm-up passes on a CUDA device, where graphs are captured in the third or fourth pass.
WARM_ON_DEVICE = 4


def make_job(settings: Settings, peer_name: str, case: Optional[Case] = None) -> Json:
    """Return the job of a case; without a case, the job that asks a peer for its version."""
    peer, folder = find_peer(peer_name), settings.folder
    net = case.net if case else nets.MAIN
    job: Json = {
        "kind": case.kind if case else "probe",
        "runner": peer.runner,
        "engine": peer.engine,
        "precision": peer.precision,
        "options": peer.options,
        "device": settings.device,
        "threads": settings.threads,
        "deploy": str(folder / f"{net}.prototxt"),
        "solver": str(folder / "solver.prototxt"),
        "val": str(folder / "val.prototxt"),
        "pictures_solver": str(folder / "pictures.prototxt"),
        "weights": str(folder / f"{net}.caffemodel"),
        "torch": str(folder / f"{net}.pt"),
        "onnx": str(folder / f"{net}.onnx"),
        "pictures": str(folder / "voc"),
        "count": min(2, SCORED) if settings.quick else SCORED,
        "solver_settings": nets.SOLVER,
        "seconds": settings.seconds,
    }
    if net in LEARNERS:
        learner = LEARNERS[net]
        job.update(
            solver=str(folder / f"{net}-solver.prototxt"),
            weights=str(folder / f"{learner.family}.caffemodel"),
            torch=str(folder / f"{learner.family}.pt"),
            shape=learner.shape,
            classes=learner.classes,
            compared=[layer.name for layer in learner.weighted()],
            net=net,
        )
    if case:
        warm = max(case.warm, WARM_ON_DEVICE) if settings.device == "cuda" else case.warm
        job.update(warm=warm, least=case.least, passes=case.passes, sample=case.sample)
        for kind in ("image", "label"):
            job[kind + "s"] = [input_file(folder, kind, size) for size in case.sizes]
        if len(case.sizes) == 1 and peer.reads_onnx:
            job["onnx"] = nets.fixed_onnx(folder, net, case.sizes[0])
    return job


def job_of_turn(settings: Settings, turn: Turn, scales: Optional[list] = None) -> Json:
    """Return the job of a turn; in the first round it saves its scores.

    scales: by which the changes of the weights in a training step are divided.
    """
    case = CASES[turn.case]
    if settings.quick:
        case = replace(case, sizes=case.sizes[:3], warm=1, least=1, passes=1)
    job = make_job(settings, turn.peer, case)
    if turn.round == 0 and case.kind != "load":
        path = score_file(settings, turn.case, turn.peer)
        job["save"] = str(path)
        path.parent.mkdir(exist_ok=True)
    if case.kind == "train":
        job["scales"] = scales
    return job


def score_file(settings: Settings, case: str, peer: str) -> Path:
    """Return the file of a peer's scores in a case."""
    name = f"{settings.device}-{case}-{peer}".replace("/", "%")
    return settings.folder / "scores" / f"{name}.npy"
