"""`make fuzz MINUTES=`: mutated files for every reader, in processes with limits."""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fcn_common.places import refuse_strict_mode

from . import targets, worker

ROOT = Path(__file__).resolve().parents[2]
#: Cases that a process runs between two orders.
CHUNK = 50
#: Cases after which a process is replaced by a new one.
LIFE = 20_000
#: A folder in memory, where the system has one: cases are small files.
MEMORY_FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
#: Seconds that a process has to start.
START = 240


class Tally:
    """What the cases of a run came to."""

    def __init__(self, run: int, names: list[str], folder: Path) -> None:
        self.run, self.names, self.folder = run, names, folder
        self.results: Counter[tuple[str, str]] = Counter()
        self.failures: Counter[str] = Counter()

    @property
    def cases(self) -> int:
        """The number of cases so far."""
        return sum(self.results.values())

    def add(self, number: int, result: str) -> None:
        """Count the result of a case; note the first failures of each cause."""
        case = worker.choose(self.run, number, self.names)
        kind = result if result in ("", "refused") else "failed"
        self.results[case.target, kind or "read"] += 1
        if kind != "failed":
            return
        last = [line for line in result.splitlines() if line.startswith("  ")][-1:]
        cause = f"{case.target}: {result.split(':')[0][:60]} {(last or [''])[0].strip()}"
        self.failures[cause] += 1
        if self.failures[cause] <= 3:
            (self.folder / f"{case.target}-{self.run}-{number}.txt").write_text(
                f"{cause}\n{result}\n"
            )
            print(f"FAILED case {number} of run {self.run}: {cause}", flush=True)

    def table(self) -> str:
        """Return a line for each target, and the sum."""
        lines = [f"{'target':14}{'cases':>10}{'read':>10}{'refused':>10}{'failed':>8}"]
        for name in [*self.names, "all"]:
            counts = Counter[str]()
            for (target, kind), count in self.results.items():
                if name in (target, "all"):
                    counts[kind] += count
            lines.append(
                f"{name:14}{sum(counts.values()):10}{counts['read']:10}{counts['refused']:10}"
                f"{counts['failed']:8}"
            )
        return "\n".join(lines)


class Worker:
    """A process that runs cases, and what it said so far."""

    def __init__(self, tally: Tally) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="fuzz", dir=MEMORY_FOLDER)
        names, out = ",".join(tally.names), str(tally.folder.resolve())
        command = [sys.executable, "-m", "tests.fuzz.worker"]
        command += [self.folder.name, str(tally.run), names, out]
        env = dict(os.environ, OMP_NUM_THREADS="1", MALLOC_ARENA_MAX="2")
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.cases = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("")

    def next_line(self, seconds: float) -> str:
        """Return the next line, "" after the end, or "late" where none comes in time."""
        try:
            return self.lines.get(timeout=seconds)
        except queue.Empty:
            return "late"

    def end(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


def drive(tally: Tally, numbers: queue.Queue[tuple[int, int]], stop: threading.Event) -> None:
    """Run chunks of cases until there are none left or `stop` is set."""
    process: Worker | None = None
    while not stop.is_set():
        try:
            first, last = numbers.get_nowait()
        except queue.Empty:
            break
        while first < last and not stop.is_set():
            if process is None:
                process = Worker(tally)
                if process.next_line(START) != "ready\n":
                    tally.failures["a process of the fuzzer does not start"] += 1
                    process.end()
                    return
            first, alive = _run_chunk(process, tally, first, last)
            process.cases += CHUNK
            if not alive or process.cases > LIFE:
                process.end()
                process = None
    if process is not None:
        process.end()


def _run_chunk(process: Worker, tally: Tally, first: int, last: int) -> tuple[int, bool]:
    """Run cases in a process; return the next case, and whether the process lives."""
    assert process.process.stdin is not None
    process.process.stdin.write(f"{first} {last}\n")
    process.process.stdin.flush()
    present = first
    while (line := process.next_line(worker.SECONDS)) != "done\n":
        if line in ("", "late"):
            how = f"no end after {worker.SECONDS} s"
            if not line:
                how = f"the process ended with status {process.process.wait()}"
            tally.add(present, f"{how}\n")
            _keep(process, tally, present)
            return present + 1, False
        word, number, *result = line.split(" ", 2)
        if word == "case":
            present = int(number)
        else:
            text = (result or [""])[0].rstrip("\n")
            tally.add(int(number), text.encode().decode("unicode_escape"))
    return last, True


def _keep(process: Worker, tally: Tally, number: int) -> None:
    """Copy the file of a case on which a process ended."""
    target = worker.choose(tally.run, number, tally.names).target
    path = Path(process.folder.name, targets.TARGETS[target].file)
    if path.is_file():
        shutil.copy(path, tally.folder / f"{target}-{tally.run}-{number}{path.suffix}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the fuzzer on a command line; return 1 if a case failed."""
    refuse_strict_mode("fuzz")
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1, help="how long (1)")
    parser.add_argument("--cases", type=int, default=10**9, help="at most this many cases")
    parser.add_argument("--seed", type=int, help="of the run (the time)")
    parser.add_argument("--target", help="these targets alone, separated by commas")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    parser.add_argument("--out", default="runs/fuzz", help="folder of the failures (runs/fuzz)")
    options = parser.parse_args(argv)
    names = options.target.split(",") if options.target else list(targets.TARGETS)
    if unknown := set(names) - set(targets.TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}; one of {', '.join(targets.TARGETS)}")
    seed = int(time.time()) if options.seed is None else options.seed
    tally = Tally(seed, names, Path(options.out))
    tally.folder.mkdir(parents=True, exist_ok=True)
    run(tally, options.minutes * 60, options.cases, options.jobs)
    print(tally.table())
    print(f"{tally.cases} cases, {sum(tally.failures.values())} failures, run {seed}")
    return 1 if tally.failures else 0


def run(tally: Tally, seconds: float, cases: int, jobs: int) -> None:
    """Run at most `cases` cases for at most `seconds`, in `jobs` processes."""
    numbers: queue.Queue[tuple[int, int]] = queue.Queue()
    stop, end = threading.Event(), time.monotonic() + seconds
    threads = [threading.Thread(target=drive, args=(tally, numbers, stop)) for _ in range(jobs)]
    for first in range(0, min(cases, 3 * 10**6), CHUNK):
        numbers.put((first, min(first + CHUNK, cases)))
    for thread in threads:
        thread.start()
    try:
        _wait(tally, threads, stop, end)
    except KeyboardInterrupt:
        stop.set()


def _wait(
    tally: Tally, threads: Sequence[threading.Thread], stop: threading.Event, end: float
) -> None:
    """Wait for threads, say every 30 seconds how far they are, and stop them at `end`."""
    shown = 0.0
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.2)
        if time.monotonic() > shown + 30:
            shown = time.monotonic()
            print(f"{tally.cases} cases, {sum(tally.failures.values())} failures", flush=True)
        if time.monotonic() > end:
            stop.set()


if __name__ == "__main__":
    sys.exit(main())
