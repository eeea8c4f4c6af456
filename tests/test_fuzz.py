"""The fuzzer in short: every case that once failed, a few hundred new ones, and what it reports."""

from __future__ import annotations

import random

import pytest
from caffe import CaffeError

from tests.fuzz import __main__ as fuzz
from tests.fuzz import seeds, targets, worker

FAILURES = sorted(
    (folder.name, path.name) for folder in seeds.FAILURES.iterdir() for path in folder.iterdir()
)
CASES = 150


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


def test_new_cases_are_read_or_refused_in_one_line(runner):
    names = list(targets.TARGETS)
    results = {}
    for number in range(CASES):
        case = worker.choose(1, number, names)
        results[case] = runner.run(case)
    assert not [r for r in results.items() if r[1] not in ("", "refused")]
    assert {"", "refused"} <= set(results.values())


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


@pytest.mark.slow
def test_the_command_counts_cases_and_failures(tmp_path, capfd):
    arguments = ["--cases", "100", "--minutes", "3", "--seed", "5", "--out", str(tmp_path)]
    assert fuzz.main(arguments) == 0
    assert "100 cases, 0 failures, run 5" in capfd.readouterr().out
