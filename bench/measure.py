"""A run of the benchmark: finds the peers, measures them in turns, compares their scores."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from bench import machine, nets
from bench.jobs import job_of_turn, make_job, score_file
from bench.operations import count
from bench.peers import CASES, ENGINE, FLOOR, REFERENCES, base_name, find_peer, in_order
from bench.plan import Turn, plan, visits
from bench.process import PeerError, Processes
from bench.results import Results
from bench.settings import Json, Settings
from bench.statistics import difference
from fcn_common.progress import ProgressBar


class Bench:
    """One run of the benchmark."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.processes = Processes(settings.folder / "scratch", settings.threads)
        self.results = Results(settings)

    def run(self, out: Path) -> Json:
        """Measure the turns that `out` lacks, until the minutes have passed; return the results.

        `out` is written after every process.
        """
        end = time.monotonic() + 60 * self.settings.minutes
        data = self.results.data
        self.results.continue_from(out)
        peers = self.find_peers()
        measured = self.results.measured()
        turns = [turn for turn in plan(self.settings, peers) if turn not in measured]
        self.count_operations()
        self.measure_floor(0)
        data["weights"] = (self.settings.folder / f"{nets.MAIN}.caffemodel").stat().st_size
        self.results.write(out)
        with ProgressBar(len(turns), "benchmark") as bar:
            for group in visits(self.settings, turns):
                if time.monotonic() >= end:
                    break
                self.visit(group, out)
                bar.update(len(group))
            else:
                self.measure_floor(1)
                data["finished"] = True
        data["differences"] = self.differences()
        data["between_engines"] = self.between_engines()
        self.results.write(out)
        return data

    def find_peers(self) -> List[str]:
        """Return the peers that run here, with their versions noted; say why others do not."""
        peers = []
        versions: Dict[Tuple[str, bool, str], str] = {}
        for name in self.settings.peers:
            peer = find_peer(name)
            if self.settings.device not in peer.devices:
                continue
            try:
                if peer.bvlc and not self.processes.core_type:
                    self.results.data["core_types"] = self.processes.choose_core_type(peer)
                program = peer.runner, peer.bvlc, peer.engine
                if program not in versions:
                    job = make_job(self.settings, name)
                    (result,) = self.processes.measure(peer, [job], self.settings.limit)
                    versions[program] = result["version"]
                if peer.reads_onnx and not self._has_onnx():
                    raise PeerError("there is no ONNX model; run make bench-setup")
            except PeerError as error:
                self.results.leave_out(name, str(error))
                continue
            self.results.data["versions"][name] = versions[program]
            peers.append(name)
        return peers

    def _has_onnx(self) -> bool:
        return (self.settings.folder / f"{nets.MAIN}.onnx").exists()

    def visit(self, turns: List[Turn], out: Path) -> None:
        """Measure turns of one peer in one round, in one process.

        A turn that fails is left out, and so are its later rounds; the turns after it go on in
        another process.
        """
        waiting = list(self.results.remaining(turns))
        while waiting:
            load, failure = machine.load(), None
            peer, scales = find_peer(waiting[0].peer), self.results.data.get("scales")
            jobs = [job_of_turn(self.settings, turn, scales) for turn in waiting]
            try:
                results = self.processes.measure(peer, jobs, self.settings.limit * len(jobs))
            except PeerError as error:
                results, failure = error.results, str(error)
            for turn, result in zip(waiting, results):
                self.results.add(turn, load, result)
            waiting = waiting[len(results) :]
            if failure is not None and waiting:
                self.results.leave_out(waiting[0].peer, failure, waiting[0].case)
                waiting = waiting[1:]
            self.results.write(out)

    def measure_floor(self, number: int) -> None:
        """Measure the rate of large matrix products in PyTorch, in every precision.

        number: 0 before all cases, 1 after them. What was measured before is not repeated.
        """
        runs = self.results.data["runs"]
        if any((run["case"], run["round"]) == ("floor", number) for run in runs):
            return
        cuda = self.settings.device == "cuda"
        matrix = 2048 if self.settings.quick else 8192 if cuda else 4096
        passes = {"kind": "products", "matrix": matrix, "warm": 2, "least": 3, "passes": 10}
        precisions = FLOOR if cuda else ("float32", "bfloat16")
        job = {**make_job(self.settings, ENGINE), **passes}
        jobs = [{**job, "precision": precision} for precision in precisions]
        results = self.processes.measure(
            find_peer(ENGINE), jobs, self.settings.limit * len(precisions)
        )
        for precision, result in zip(precisions, results):
            self.results.add(Turn("floor", precision, number), machine.load(), result)

    def count_operations(self) -> None:
        """Note the multiply-adds of each case's net for each of its sizes."""
        for name in self.settings.cases:
            case = CASES[name]
            net: Any = caffe_pb2.NetParameter()
            text_format.Parse((self.settings.folder / f"{case.net}.prototxt").read_text(), net)
            for size in case.sizes:
                operations = sum(count(net, size).values())
                self.results.data["operations"][case.key(size)] = operations

    def differences(self) -> Dict[str, Json]:
        """Return case -> peer -> `difference` of its scores from those of the reference.

        The reference is the first of REFERENCES that ran.
        """
        differences: Dict[str, Json] = {}
        for case in self.settings.cases:
            files = self.score_files(case)
            reference = next((name for name in REFERENCES if name in files), None)
            if reference is None:
                continue
            expected = np.load(files[reference])
            differences[case] = {"reference": reference}
            for peer, path in files.items():
                if peer != reference:
                    differences[case][peer] = difference(np.load(path), expected)
        return differences

    def between_engines(self) -> Dict[str, Json]:
        """Return case -> peer -> `difference` of another engine's scores from this engine's."""
        differences: Dict[str, Json] = {}
        for case in self.settings.cases:
            files = self.score_files(case)
            for peer, path in files.items():
                ours = files.get(base_name(peer))
                if find_peer(peer).engine and ours is not None:
                    apart = difference(np.load(path), np.load(ours))
                    differences.setdefault(case, {})[peer] = apart
        return differences

    def score_files(self, case: str) -> Dict[str, Path]:
        """Return the files with the scores of the peers that ran in a case."""
        ran = {run["peer"] for run in self.results.data["runs"] if run["case"] == case}
        files = {peer: score_file(self.settings, case, peer) for peer in in_order(ran)}
        return {peer: path for peer, path in files.items() if path.exists()}
