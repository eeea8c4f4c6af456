"""`make torture`: rerun what docs/reliability.md has figures of, and print the figures."""

from __future__ import annotations

import argparse
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from fcn_common.places import refuse_strict_mode
from tests import disk_record, power_cases
from tests.fuzz import __main__ as fuzz
from tests.fuzz import targets

from . import long_runs
from .runs import Training, run_on_full_disk, same_weights, stop_runs

#: The signals of an interrupt at the keyboard, a terminal that closes, and a cluster's preemption.
SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
FORMS = ("BINARYPROTO", "HDF5")
#: The tests of staged trainings (kills at each change of the disk, power loss, locks, signals,
#: several workers) and of large nets.
TESTS = (
    "tests/solvers/test_resumed_stage.py",
    "tests/solvers/test_run_lock.py",
    "tests/engine/test_resume.py",
    "tests/engine/test_interrupts.py",
    "tests/engine/test_large_nets.py",
    "tests/solvers/test_parallel_stage.py",
)
#: Figures that have to be zero.
FAULTS = ("hung", "tracebacks", "broken files", "files changed or left over", "failed", "grew")

Figures = dict[str, int]


def kill_and_compare(folder: Path, kills: int, rng: random.Random) -> Iterator[tuple[str, Figures]]:
    """Kill trainings of both formats, let them finish, and compare with uninterrupted ones."""
    for form in FORMS:
        reference, training = (
            Training(folder / f"reference-{form}", form),
            Training(folder / form, form),
        )
        problem = reference.finish()
        rows = stop_runs(training, kills, rng, subprocess.Popen.kill)
        problem = problem or training.finish()
        rows["failed"] = int(bool(problem) or not same_weights(reference, training))
        yield f"SIGKILL, {form}", rows


def interrupt(folder: Path, count: int, rng: random.Random) -> Iterator[tuple[str, Figures]]:
    """Send trainings a signal at random moments."""
    for number in SIGNALS:
        training = Training(folder / number.name, "BINARYPROTO")
        rows = stop_runs(training, count, rng, lambda process, n=number: _signal(process, n))
        yield number.name, rows


def _signal(process: subprocess.Popen, number: signal.Signals) -> None:
    process.send_signal(number)
    if number == signal.SIGHUP:  # writes a snapshot and goes on
        time.sleep(1)
        process.kill()


def fuzz_readers(folder: Path, minutes: float, seed: int) -> Figures:
    """Run the fuzzer for some minutes."""
    tally = fuzz.Tally(seed, list(targets.TARGETS), folder)
    folder.mkdir(parents=True, exist_ok=True)
    fuzz.run(tally, minutes * 60, 10**9, 1)
    return {"cases": tally.cases, "failed": sum(tally.failures.values())}


def run_long(folder: Path, steps: int, images: int) -> Iterator[tuple[str, Figures]]:
    """Run the long runs, and print a table of each."""
    print(long_runs.HEADING)
    for run in long_runs.run_all(folder, steps, images):
        yield f"long run, {run.name}", run.figures()


def lose_power(folder: Path, percent: float, rng: random.Random) -> Iterator[tuple[str, Figures]]:
    """Let the power of each program fail, and go on from a part of the states that may be left.

    Five times as many states are looked at.
    """
    examined = min(1.0, percent / 20)
    for number, case in enumerate(power_cases.CASES if percent else ()):
        if disk_record.library() is None:
            print("power failures: left out, there is no C compiler for Linux")
            return
        place = folder / str(number)
        figures, problems = power_cases.lose_power(
            case(place / "live", place / "others"), rng, examined, percent / 100 / examined
        )
        for problem in problems:
            print(problem)
        yield f"power, {case.name}", figures


def run_tests() -> Figures:
    """Run the tests that kill a staged training at each change of the disk, and lose its power."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "not oracle and not cuda"]
    result = subprocess.run([*command, *TESTS], cwd=fuzz.ROOT, capture_output=True, text=True)
    counts = {
        word: int(count) for count, word in re.findall(r"(\d+) (passed|failed)", result.stdout)
    }
    failed = counts.get("failed", 0) + (not counts)
    return {"tests": counts.get("passed", 0), "failed": failed}


def main(argv: Sequence[str] | None = None) -> int:
    """Run every part and print its figures; return 1 if any is a fault."""
    refuse_strict_mode("torture")
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1, help="of fuzzing (1)")
    parser.add_argument("--kills", type=int, default=5, help="of each format and signal (5)")
    parser.add_argument(
        "--steps", type=int, default=2000, help="of each long training; 0 leaves them out (2000)"
    )
    parser.add_argument(
        "--images", type=int, default=2000, help="of each long inference; 0 leaves them out (2000)"
    )
    parser.add_argument(
        "--power",
        type=float,
        default=1,
        help="percent of the states after a power failure from which a program goes on; 0 leaves "
        "them out (1)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the random moments and cases (1)")
    options = parser.parse_args(argv)
    faults = 0
    with tempfile.TemporaryDirectory(prefix="torture") as temporary:
        for part, rows in run_parts(Path(temporary), options):
            line = ", ".join(f"{count} {name}" for name, count in rows.items())
            print(f"{part:28}{line}", flush=True)
            faults += sum(rows.get(name, 0) for name in FAULTS)
    print(f"{faults} faults")
    return int(faults > 0)


def run_parts(folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, Figures]]:
    """Run every part, and yield its name and its figures when it ends."""
    rng = random.Random(options.seed)
    yield from kill_and_compare(folder, options.kills, rng)
    yield from interrupt(folder, options.kills, rng)
    yield "full disk", run_on_full_disk(Training(folder / "disk", "BINARYPROTO"))
    yield from lose_power(folder / "power", options.power, rng)
    yield from run_long(folder / "long", options.steps, options.images)
    yield "staged trainings", run_tests()
    yield "mutated files", fuzz_readers(Path("runs/fuzz"), options.minutes, options.seed)


if __name__ == "__main__":
    sys.exit(main())
