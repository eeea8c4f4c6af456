"""The Makefile: its targets, and how values reach the programs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import net_gen

ROOT = Path(__file__).resolve().parents[1]
MAKEFILE = (ROOT / "Makefile").read_text()
VARIANTS = set(net_gen.VARIANTS)


#: Variables of this process that would reach the programs under test.
OUTER = {"MAKELEVEL", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "PY"}
#: By target, its program, and options that have another name in the Makefile.
PROGRAMS = {
    "demo": ("solvers.demo", {"data": "DEMO_DATA"}),
    "demo-all": ("experiments", {}),
    "voc-fcn8s": ("solvers.chain", {}),
    "prototxts": ("net_gen", {}),
    "train": ("solvers.train", {}),
    "check": ("solvers.check", {}),
    "infer": ("solvers.infer", {}),
    "score": ("solvers.score", {}),
    "export": ("solvers.export", {}),
    "inspect": ("caffe inspect", {}),
    "bench": ("bench", {"write-docs": "DOCS"}),
}


def values():
    """The variables of the Makefile that carry values of the user."""
    text = re.search(r"^VALUES := ((?:.*\\\n)*.*)\n", MAKEFILE, re.M).group(1)
    return set(text.replace("\\\n", " ").split())


def make(*arguments, code=0, **environment):
    env = {name: text for name, text in os.environ.items() if name not in OUTER | values()}
    env.update(environment)
    result = subprocess.run(
        ["make", *arguments], cwd=str(ROOT), env=env, capture_output=True, text=True
    )
    assert result.returncode == code, result.stderr
    return result


@pytest.fixture
def calls(tmp_path):
    """Runs make with a Python that only records its arguments: the list of each call."""

    def run(*arguments, **environment):
        log = tmp_path / "calls"
        log.unlink(missing_ok=True)
        recorder = tmp_path / "python"
        recorder.write_text(
            f"#!{sys.executable}\nimport json, sys\n"
            f"print(json.dumps(sys.argv[1:]), file=open({str(log)!r}, 'a'))\n"
        )
        recorder.chmod(0o755)
        make(*arguments, f"PY={recorder}", **environment)
        return [json.loads(line) for line in log.read_text().splitlines()]

    return run


def targets():
    """Every target of the Makefile that a person calls."""
    phony = re.search(r"\.PHONY: ((?:.*\\\n)*.*)\n", MAKEFILE).group(1)
    names = set(re.sub(r"\\\n|\$\(VARIANTS\)", " ", phony).split())
    return names | VARIANTS


def test_make_without_a_target_lists_every_target_in_a_line():
    lines = make().stdout.splitlines()
    listed = [line.split()[1] for line in lines]
    assert sorted(listed) == sorted(targets())
    assert all(len(line.split()) > 2 and len(line) <= 100 for line in lines)


@pytest.mark.parametrize("target", ["demo", "test", "voc-fcn8s", "infer"])
def test_a_target_installs_its_packages_first(target):
    commands = make("-n", "-B", target, "IMAGE=photo.jpg").stdout
    assert commands.index("pip install") < commands.index("touch .venv/installed")
    assert re.search(r"-m (solvers|ruff)", commands.split("touch .venv/installed")[1])


@pytest.mark.parametrize("target", ["demo", "test", "voc-fcn8s"])
def test_nothing_is_installed_for_another_python(target):
    commands = make("-n", "-B", target, f"PY={sys.executable}").stdout
    assert "pip install" not in commands and '"$PY" -m ' in commands


def test_values_reach_the_programs(calls):
    assert calls("voc-fcn16s", "DATA=demo", "ITERS=2", "GPU=cpu") == [
        ["-m", "solvers.chain", "voc-fcn16s", "--data", "demo", "--iters", "2", "--gpu", "cpu"]
    ]
    assert calls("voc-fcn8s") == [["-m", "solvers.chain", "voc-fcn8s"]]
    assert calls("demo", "SEED=3", GPU="1") == [["-m", "solvers.demo", "--seed", "3", "--gpu", "1"]]
    assert calls("data") == [["-m", "fcn_data", "fetch", "voc"]]
    assert calls("score", "VARIANT=voc-fcn32s") == [["-m", "solvers.score", "voc-fcn32s"]]


def test_the_experiments_use_the_demo_that_make_trains(calls):
    assert calls("demo-all", "DEMO=runs/d", "OUT=runs/e", "EXPERIMENTS=skips bounds") == [
        ["-m", "solvers.demo", "--out", "runs/d"],
        ["-m", "experiments", "skips", "bounds", "--out", "runs/e", "--demo", "runs/d"],
    ]


@pytest.mark.parametrize(
    "text", ["it's.jpg", "a b.jpg", 'say "a".jpg', "$(HOME)$x`id`;id.jpg", "a\\#b*.jpg", "-a&b"]
)
def test_a_value_is_no_part_of_a_shell_command(calls, text):
    expected = [["-m", "solvers.infer", text, "--out", text]]
    assert calls("infer", f"IMAGE={text}", f"OUT={text}") == expected
    assert calls("infer", IMAGE=text, OUT=text) == expected


def test_a_python_in_a_folder_with_a_space_is_used(calls, tmp_path):
    folder = tmp_path / "my tools"
    folder.mkdir()
    (folder / "python").write_text('#!/bin/sh\necho "$@"\n')
    (folder / "python").chmod(0o755)
    assert make("prototxts", f"PY={folder}/python").stdout == "-m net_gen\n"


@pytest.mark.parametrize("target", PROGRAMS)
def test_make_offers_every_option_of_the_program(calls, program, target):
    module, names = PROGRAMS[target]
    text = program("-m", *module.split(), "--help").stdout
    options = set(re.findall(r"^ +--([a-z-]+)", text, re.M)) - {"help"}
    variables = {name: names.get(name, name.upper().replace("-", "_")) for name in options}
    settings = [f"{variable}=7" for variable in variables.values()]
    arguments = calls(target, "IMAGE=a.jpg", "DATA=my_set", "NET=net.prototxt", *settings)[-1]
    assert {argument[2:] for argument in arguments if argument.startswith("--")} == options


def test_infer_without_a_photograph_is_refused_with_an_example():
    error = make("infer", f"PY={sys.executable}", code=2).stderr
    assert "error: name a photograph: make infer IMAGE=photo.jpg" in error


@pytest.mark.parametrize("target", ["train", "check"])
def test_training_without_a_folder_is_refused_with_an_example(target):
    error = make(target, f"PY={sys.executable}", code=2).stderr
    assert f"error: name a folder of pictures and labels: make {target} DATA=my_set" in error


def test_inspect_without_a_net_is_refused_with_an_example():
    error = make("inspect", f"PY={sys.executable}", code=2).stderr
    assert "error: name a prototxt or its folder: make inspect NET=voc-fcn8s" in error


def test_an_old_python_is_refused_with_an_example(tmp_path):
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    error = make("-B", "setup", f"PYTHON={old}", f"VENV={tmp_path}/venv", code=2).stderr
    assert "is Python 3.9.2, needs Python 3.10 or newer" in error
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("failing", ["", "ruff", "mypy", "pytest"])
def test_make_test_fails_with_each_of_its_programs(tmp_path, failing):
    """mypy runs beside the tests, and its output follows theirs."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\n[ $2 = mypy ] && sleep 0.1\necho ran $2\n[ $2 != "{failing}" ]\n'
    )
    python.chmod(0o755)
    lines = make("test", f"PY={python}", code=2 if failing else 0).stdout.split("ran ")[1:]
    expected = ["ruff", "ruff", "pytest", "mypy"]
    assert [line.split()[0] for line in lines] == (["ruff"] if failing == "ruff" else expected)


def test_every_direct_dependency_is_pinned():
    constraints = (ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    pinned = {line.split("==")[0] for line in constraints.splitlines() if "==" in line}
    project = (ROOT / "pyproject.toml").read_text()
    lists = re.findall(r"^(?:dependencies|test) = \[(.*?)\]", project, re.M | re.S)
    names = [name for text in lists for name in re.findall(r'"(.*?)"', text)]
    packages = {re.match(r"[\w-]+", name).group().lower() for name in names}
    assert len(lists) == 2 and packages <= pinned


def test_the_check_of_a_change_runs_the_tests_and_the_oracle():
    script = (ROOT / ".ci" / "run").read_text()
    assert re.findall(r"^make (.*)$", script, re.M) == [
        "test",
        "test-long",
        "oracle",
        "test-oracle",
    ]
