"""A process of the fuzzer: runs cases by number, with limits of memory and time."""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import NamedTuple

import torch
from caffe import glog

from . import mutate, seeds, targets

#: Memory in bytes that a case may take beside what the process has from the start.
MEMORY = 3 << 29
#: Seconds of a case.
SECONDS = 20
#: The longest line of a refusal; a list of 200 layer types fits.
LONGEST = 20_000


class Case(NamedTuple):
    """A case: the target, and the seed of its random numbers."""

    target: str
    number: int


def choose(run: int, number: int, names: list[str]) -> Case:
    """Return the case of a number in the run with the seed `run`."""
    rng = random.Random(f"{run}/{number}")
    weights = [targets.SHARES[name] for name in names]
    return Case(rng.choices(names, weights)[0], number)


class Runner:
    """Makes and runs cases in a folder; the files of those that fail are put into `out`."""

    def __init__(
        self, folder: Path, run: int, limited: bool = True, out: Path | None = None
    ) -> None:
        self.run_seed, self.out = run, out
        self.seeds = seeds.write_all(folder)
        self.words = seeds.words()
        self.failures = {name: seeds.read_failures(name) for name in targets.TARGETS}
        targets.prepare()
        (folder / "case.txt").write_text("")
        if limited:
            torch.set_num_threads(1)
            size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 26, 1 << 26))

    def content(self, case: Case) -> tuple[bytes, random.Random]:
        """Return the file of a case, and the random numbers that come after it."""
        target = targets.TARGETS[case.target]
        rng = random.Random(f"{self.run_seed}/{case.target}/{case.number}")
        choices = self.seeds[target.format] + self.failures[case.target]
        return targets.make_case(target, choices, rng, self.words), rng

    def run(self, case: Case) -> str:
        """Return "" for a case that succeeds, "refused", or how the case fails."""
        content, rng = self.content(case)
        result = self.run_content(case.target, content, rng)
        if self.out is not None and result not in ("", "refused"):
            suffix = Path(targets.TARGETS[case.target].file).suffix
            path = self.out / f"{case.target}-{self.run_seed}-{case.number}{suffix}"
            path.write_bytes(content)
        return result

    def run_content(self, name: str, content: bytes, rng: random.Random) -> str:
        """As `run`, for the content of a file."""
        target = targets.TARGETS[name]
        mutate.write(target.file, content)
        if target.file in ("case.h5", "case.png"):
            Path("case.txt").write_text(f"{target.file}\n")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                target.run(target.file, rng)
        except targets.REFUSALS[target.side] as error:
            return _judge(error)
        except BaseException as error:
            if isinstance(error, (KeyboardInterrupt, GeneratorExit)):
                raise
            return f"{type(error).__name__}: {error}\n{_place(error)}"
        return ""


def _judge(error: BaseException) -> str:
    """Return "refused" for a message of one line that a terminal can show."""
    line = str(error)
    if not line or not line.isprintable() or len(line) > LONGEST:
        return f"{type(error).__name__} with the message {line[:300]!r}\n{_place(error)}"
    return "refused"


def _place(error: BaseException) -> str:
    """Return the last frames of a traceback."""
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    return "\n".join(f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames)


def main() -> None:
    """Read lines `FIRST LAST` from stdin; write `case NUMBER` before, and the result after."""
    folder, run, names = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(",")
    failures = Path(sys.argv[4])
    os.environ[glog.LEVEL] = "4"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    runner = Runner(folder, run, out=failures)
    out.write("ready\n")
    for line in sys.stdin:
        first, last = map(int, line.split())
        for number in range(first, last):
            case = choose(run, number, names)
            out.write(f"case {number}\n")
            result = runner.run(case)
            escaped = result.encode("unicode_escape").decode()
            out.write(f"end {number} {escaped}\n")
        out.write("done\n")


if __name__ == "__main__":
    main()
