"""Progress, memory and shared options."""

import argparse
import sys

from fcn_common import arguments, progress


def test_without_a_terminal_a_bar_prints_a_line_each_period(capsys, monkeypatch):
    monkeypatch.setattr(progress, "PERIOD", -1)
    with progress.ProgressBar(4, "scoring", initial=1) as bar:
        bar.update(note="loss 2")
        bar.write("Iteration 1")
    out, err = capsys.readouterr()
    assert out == "Iteration 1\n"
    assert err.splitlines()[0].startswith("scoring: 2/4, ") and "loss 2" in err


def test_a_bar_counts_bytes_in_megabytes(capsys, monkeypatch):
    monkeypatch.setattr(progress, "PERIOD", -1)
    with progress.ProgressBar(4_000_000, "a.tar", unit="B") as bar:
        bar.update(1_500_000)
    assert "a.tar: 1.5 MB/4.0 MB" in capsys.readouterr().err


def test_a_short_job_prints_nothing(capsys):
    assert list(progress.track("abc", 3, "letters")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


PEAK = """
import numpy as np
from fcn_common.memory import peak_memory
before = peak_memory()
array = np.ones(before // 8 + 4_000_000)
assert array.nbytes <= peak_memory() < before + 2 * array.nbytes
"""


def test_peak_memory_grows_by_the_bytes_of_an_array(program):
    result = program("-c", PEAK)
    assert (result.returncode, result.stderr) == (0, "")


def test_shared_options_become_one_parser():
    parser = argparse.ArgumentParser(
        parents=[
            arguments.variant(["voc-fcn32s", "voc-fcn8s"], "voc-fcn8s"),
            arguments.gpu(),
            arguments.seed(1),
            arguments.out("runs/demo"),
            arguments.data(["voc", "demo"]),
            arguments.iters(),
            arguments.images(),
            arguments.net("deploy prototxt"),
            arguments.weights(),
        ]
    )
    assert vars(parser.parse_args(["--gpu", "cpu", "--iters", "3"])) == {
        "variant": "voc-fcn8s",
        "gpu": "cpu",
        "seed": 1,
        "out": "runs/demo",
        "data": "voc",
        "iters": 3,
        "images": None,
        "net": None,
        "weights": None,
    }
    assert "(default: runs/demo)" in parser.format_help()


def test_on_a_terminal_a_bar_shows_its_note(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.ProgressBar(2, "training", 1) as bar:
        bar.update(note="loss 2.5")
    err = capsys.readouterr().err
    assert "training" in err and "2/2" in err and "loss 2.5" in err
