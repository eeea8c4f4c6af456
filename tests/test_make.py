from __future__ import annotations

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


def make(*arguments, code=0):
    command = ["make", *arguments]
    outer = (
        "MAKELEVEL",
        "MAKEFLAGS",
        "MFLAGS",
        "MAKEOVERRIDES",
        "PY",
        "DATA",
        "GPU",
        "ITERS",
        "SEED",
        "OUT",
    )
    env = {name: value for name, value in os.environ.items() if name not in outer}
    result = subprocess.run(command, cwd=str(ROOT), env=env, capture_output=True, text=True)
    assert result.returncode == code, result.stderr
    return result


def targets():
    """Every target of the Makefile that a person calls."""
    phony = re.search(r"\.PHONY: ((?:.*\\\n)*.*)\n", MAKEFILE).group(1)
    names = set(re.sub(r"\\\n|\$\(VARIANTS\)", " ", phony).split())
    return names | VARIANTS


def test_make_alone_lists_every_target_in_a_line():
    lines = make().stdout.splitlines()
    listed = [line.split()[1] for line in lines]
    assert sorted(listed) == sorted(targets())
    assert all(len(line.split()) > 2 and len(line) <= 100 for line in lines)


@pytest.mark.parametrize("target", ["demo", "test", "voc-fcn8s", "infer"])
def test_a_target_installs_what_it_needs_first(target):
    said = make("-n", "-B", target, "IMAGE=photo.jpg").stdout
    assert said.index("pip install") < said.index("touch .venv/installed")
    assert re.search(r"-m (solvers|ruff)", said.split("touch .venv/installed")[1])


@pytest.mark.parametrize("target", ["demo", "test", "voc-fcn8s"])
def test_another_python_is_used_as_it_is(target):
    said = make("-n", "-B", target, f"PY={sys.executable}").stdout
    assert "pip install" not in said and f"{sys.executable} -m " in said


def test_the_choices_reach_the_programs():
    said = make("-n", "voc-fcn16s", "DATA=demo", "ITERS=2", "GPU=cpu").stdout
    assert "solvers.chain voc-fcn16s --data demo --iters 2 --gpu cpu" in said
    assert "solvers.chain voc-fcn8s --data voc\n" in re.sub(
        " +\n", "\n", make("-n", "voc-fcn8s").stdout
    )
    assert "solvers.demo --seed 3 --gpu 1" in make("-n", "demo", "SEED=3", "GPU=1").stdout
    assert (
        "solvers.infer 'a b.jpg' --out 'x'" in make("-n", "infer", "IMAGE=a b.jpg", "OUT=x").stdout
    )


def test_infer_without_a_photograph_says_how():
    said = make("infer", f"PY={sys.executable}", code=2).stderr
    assert "error: name a photograph: make infer IMAGE=photo.jpg" in said


def test_an_old_python_is_refused_with_what_to_do(tmp_path):
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    said = make("-B", "setup", f"PYTHON={old}", f"VENV={tmp_path}/venv", code=2).stderr
    assert "is Python 3.9.2, needed Python 3.10 or newer" in said
    assert not (tmp_path / "venv").exists()


def test_the_test_command_ends_with_pytest_so_its_closing_line_is_the_last():
    commands = [line for line in make("-n", "test").stdout.splitlines() if line.strip()]
    assert " -m pytest" in commands[-1]
    assert any("ruff check" in c for c in commands) and any("-m mypy" in c for c in commands)


def test_every_direct_dependency_is_pinned():
    constraints = (ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    pinned = {line.split("==")[0] for line in constraints.splitlines() if "==" in line}
    project = (ROOT / "pyproject.toml").read_text()
    lists = re.findall(r"^(?:dependencies|test) = \[(.*?)\]", project, re.M | re.S)
    names = [name for text in lists for name in re.findall(r'"(.*?)"', text)]
    wanted = [re.match(r"[\w-]+", name).group() for name in names]
    assert len(lists) == 2 and {name.lower() for name in wanted} <= pinned


def test_what_a_change_has_to_pass():
    script = (ROOT / ".ci" / "run").read_text()
    assert re.findall(r"^make (.*)$", script, re.M) == ["test", "oracle", "test-oracle"]
