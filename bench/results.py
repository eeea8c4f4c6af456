"""The results of a run, which a JSON file holds and a later run can continue."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Sequence, Set, Tuple

from bench import machine
from bench.peers import find_peer
from bench.plan import Turn
from bench.settings import Json, Settings
from fcn_common.files import write_json


class Results:
    """The results of a run. data: what goes to the JSON file.

    Its entries: key, machine, started, finished; versions (by peer), left_out, runs (one for each
    turn: case, peer, round, load, times and what else the worker measured), differences (case ->
    peer -> difference of the scores from the reference's), between_engines (the same from this
    engine's, for the engines of other checkouts), operations (net and size -> multiply-adds),
    weights (bytes), core_types (OPENBLAS_CORETYPE -> rate), scales.
    """

    def __init__(self, settings: Settings) -> None:
        self.data: Json = {
            "key": settings.key(),
            "machine": machine.describe(settings.device),
            "started": time.strftime("%Y-%m-%d"),
            "versions": {},
            "left_out": [],
            "runs": [],
            "differences": {},
            "operations": {},
            "finished": False,
        }

    def continue_from(self, out: Path) -> None:
        """Take over an unfinished run with the same settings; rename a different one to .old.json.

        What the unfinished run left out is tried again.
        """
        if not out.exists():
            return
        earlier = json.loads(out.read_text())
        same = all(earlier[name] == self.data[name] for name in ("key", "machine"))
        if same and not earlier["finished"]:
            print(f"continues {out}, which has {len(earlier['runs'])} measurements")
            self.data.update(earlier)
            self.data["left_out"] = []
        else:
            os.replace(out, out.with_suffix(".old.json"))

    def write(self, out: Path) -> None:
        """Write the JSON file, atomically."""
        write_json(out, self.data)

    def measured(self) -> Set[Turn]:
        """Return the turns that have a result."""
        return {Turn(run["case"], run["peer"], run["round"]) for run in self.data["runs"]}

    def add(self, turn: Turn, load: float, result: Json) -> None:
        """Add the result of a turn. load: the machine's load average before."""
        if "scales" in result:
            self.data["scales"] = result.pop("scales")
        self.data["runs"].append({**turn._asdict(), "load": round(load, 2), **result})

    def leave_out(self, peer: str, why: str, case: str = "") -> None:
        """Note, and print, that a peer is not measured, or not in one case."""
        entry = {"peer": peer, "case": case, "why": why}
        if entry not in self.data["left_out"]:
            self.data["left_out"].append(entry)
            where = f" in {case}" if case else ""
            print(f"left out: {find_peer(peer).title}, {find_peer(peer).precision}{where}: {why}")

    def remaining(self, turns: Sequence[Turn]) -> Sequence[Turn]:
        """Return the turns without those whose peer failed in the case before."""
        failed: Set[Tuple[str, str]] = {(e["case"], e["peer"]) for e in self.data["left_out"]}
        return [turn for turn in turns if (turn.case, turn.peer) not in failed]
