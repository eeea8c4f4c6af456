"""The fuzzer in short: every case that once failed, a few hundred new ones, and what it reports."""

from __future__ import annotations

import random

import pytest
from caffe import CaffeError

from tests.fuzz import seeds, targets, worker

FAILURES = sorted(
    (folder.name, path.name) for folder in seeds.FAILURES.iterdir() for path in folder.iterdir()
)
CASES = 80


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOG_minloglevel", "4")
        patch.chdir(tmp_path_factory.mktemp("fuzz"))
        yield worker.Runner(tmp_path_factory.mktemp("seeds"), 1, limited=False)


@pytest.mark.parametrize("target, name", FAILURES)
def test_a_case_that_once_failed_is_read_or_refused_in_one_line(runner, target, name):
    content = (seeds.FAILURES / target / name).read_bytes()
    for seed in (1, 2):  # both phases of a net
        assert runner.run_content(target, content, random.Random(seed)) in ("", "refused")


@pytest.mark.long
def test_new_cases_are_read_or_refused_in_one_line(program, tmp_path):
    """In processes with a limit of memory: a case may ask for all that the machine has."""
    arguments = ["--cases", CASES, "--minutes", 3, "--seed", 5, "--jobs", 1, "--out", tmp_path]
    result = program("-m", "tests.fuzz", *arguments)
    assert result.returncode == 0, result.stdout
    assert f"{CASES} cases, 0 failures, run 5" in result.stdout


@pytest.mark.parametrize(
    "error, words",
    [(KeyError("x"), "KeyError"), (CaffeError(""), "with the message ''")],
)
def test_anything_but_a_refusal_in_one_line_is_a_failure(runner, monkeypatch, error, words):
    def read(path, rng):
        raise error

    monkeypatch.setitem(targets.TARGETS, "mean", targets.TARGETS["mean"]._replace(run=read))
    assert words in runner.run_content("mean", b"", random.Random(1))


def test_a_message_shows_control_characters_as_escapes():
    assert str(CaffeError("layer '\x1b[31m\n'")) == r"layer '\x1b[31m\n'"
