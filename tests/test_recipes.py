"""The recipes of CONTRIBUTING.md, applied to a copy of the repository and checked."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import prefork

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("engine", "fcn_common", "fcn_data", "net_gen", "solvers", "surgery")
BLOCK = re.compile(r"<!-- (.+?) -->\n```\w*\n(.*?)```\n", re.DOTALL)
STEP = re.compile(r'(append|create|before|after|replace)(?: "(.+)")? (\S+)$')


class Recipe(NamedTuple):
    """A section of CONTRIBUTING.md.

    steps: (verb, anchor, path, code) in order. check: the script that shows the result.
    compiles: `make proto` runs between the steps and the check.
    """

    title: str
    steps: list
    check: str
    compiles: bool


def recipes():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for section in text.split("\n### ")[1:]:
        title = section.splitlines()[0]
        steps, checks, compiles = [], [], False
        for head, code in BLOCK.findall(section):
            if head.startswith("check"):
                checks.append(code)
                compiles = head.endswith("make proto")
                continue
            verb, anchor, path = STEP.match(head).groups()
            steps.append((verb, (anchor or "").replace('\\"', '"'), path, code))
        assert steps and len(checks) == 1, title
        # The compiler of the schema is installed from the network.
        marks = pytest.mark.slow if compiles else ()
        yield pytest.param(Recipe(title, steps, checks[0], compiles), id=title, marks=marks)


def apply(root, verb, anchor, path, code):
    """Make the change of one step in the copy at `root`."""
    file = root / path
    if verb == "create":
        assert not file.exists(), path
        file.write_text(code)
        return
    text = file.read_text()
    if verb == "append":
        file.write_text(f"{text}\n\n{code}")
    elif verb == "replace":
        assert text.count(anchor) == 1, f"{path}: {anchor!r}"
        file.write_text(text.replace(anchor, code.rstrip("\n")))
    else:
        lines = text.splitlines(keepends=True)
        (number,) = [i for i, line in enumerate(lines) if line.startswith(anchor)]
        lines.insert(number + (verb == "after"), code)
        file.write_text("".join(lines))


@pytest.mark.parametrize("recipe", list(recipes()))
def test_the_check_of_each_recipe_passes(recipe, tmp_path):
    root, work = tmp_path / "copy", tmp_path / "work"
    root.mkdir()
    work.mkdir()
    for part in PARTS:
        # The copy needs the byte code: its programs compile what a recipe has changed alone.
        ignore = shutil.ignore_patterns("*.egg-info")
        shutil.copytree(ROOT / part, root / part, ignore=ignore)
    shutil.copy(ROOT / "voc_layers.py", root)
    for step in recipe.steps:
        apply(root, *step)
    environment = dict(
        os.environ, PYTHONPATH=os.pathsep.join([str(root), str(root / "engine")]), HOME=str(work)
    )
    programs = [["-c", recipe.check]]
    if recipe.compiles:
        programs.insert(0, [str(root / "engine" / "caffe" / "proto" / "generate.py")])
    for program in programs:
        result = prefork.server().run(program, str(work), environment)
        assert result.returncode == 0, result.stderr
