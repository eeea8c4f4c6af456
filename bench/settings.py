"""What a run of the benchmark measures, and how."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, Tuple

from bench.peers import CASES, PEERS, find_peer

ROOT = Path(__file__).resolve().parents[1]
ENGINE_FOLDER = ROOT / "engine"
Json = Dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """The settings of a run.

    folder: where its files are. device: "cpu" or "cuda". cases, peers: names; a peer may be
    NAME@FOLDER (see `bench.peers.find_peer`).
    rounds: how often each case is measured of each peer, at most. threads: of each process.
    seconds: how long a case is measured in a process, unless that is less than its least passes.
    limit: seconds after which a job has failed. minutes: no process begins after these.
    quick: whether this is a trial, with single passes.
    """

    folder: Path
    device: str = "cpu"
    cases: Tuple[str, ...] = tuple(CASES)
    peers: Tuple[str, ...] = tuple(PEERS)
    rounds: int = 3
    threads: int = 1
    seconds: float = 6.0
    limit: float = 600.0
    minutes: float = float("inf")
    quick: bool = False

    def key(self) -> Json:
        """Return what a run must have in common with an unfinished one to continue it."""
        engines = {find_peer(name).engine for name in self.peers}
        folders = [ENGINE_FOLDER / "caffe", ROOT / "bench"]
        folders += [Path(engine) / "caffe" for engine in sorted(engines - {""})]
        return {
            "device": self.device,
            "cases": list(self.cases),
            "peers": list(self.peers),
            "rounds": self.rounds,
            "threads": self.threads,
            "seconds": self.seconds,
            "quick": self.quick,
            "code": _digest(folders),
        }


def _digest(folders: Iterable[Path]) -> str:
    """Return a digest of the Python files in some folders."""
    code = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            code.update(path.read_bytes())
    return code.hexdigest()[:16]
