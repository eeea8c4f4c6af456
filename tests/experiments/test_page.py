from __future__ import annotations

import importlib
import os

import pytest

import experiments
from experiments import __main__ as every
from experiments import report


@pytest.fixture
def made(tmp_path, monkeypatch):
    """The experiments replaced by ones that do nothing but draw; the folder, and which were run."""
    calls = []

    def module(name):
        def run(out, demo, gpu=None):
            from PIL import Image

            calls.append(name)
            Image.new("RGB", (30, 20), "red").save(os.path.join(out, name, "a.png"))
            return report.Result(name, name, ["Words."], [], [report.Figure("a.png", "Red")])

        return type("Module", (), {"run": staticmethod(run)})

    monkeypatch.setattr(every.importlib, "import_module", lambda n: module(n.split(".")[1]))
    monkeypatch.setattr(report, "name_of", lambda run: run.__closure__[1].cell_contents)
    return tmp_path / "out", calls


def arguments(out, *more):
    return [*more, "--out", str(out), "--demo", str(out), "--gpu", "cpu"]


def test_all_are_made_once_in_the_order_of_the_page(made):
    out, calls = made
    every.main(arguments(out))
    every.main(arguments(out))
    assert calls == list(experiments.EXPERIMENTS)
    page = (out / "index.html").read_text()
    places = [page.index(f'id="{name}"') for name in experiments.EXPERIMENTS]
    assert places == sorted(places)


def test_some_can_be_asked_for_and_the_page_keeps_the_others(made):
    out, calls = made
    every.main(arguments(out, "masking"))
    every.main(arguments(out, "bounds"))
    assert calls == ["masking", "bounds"]
    text = (out / "experiments.md").read_text()
    assert text.index("## bounds") < text.index("## masking") and "## skips" not in text


def test_another_seed_has_folders_of_its_own(made, monkeypatch):
    out, _ = made
    seen = []
    monkeypatch.setattr(report, "OUT", str(out / "experiments"))
    monkeypatch.setattr(report, "DEMO", str(out / "demo"))
    monkeypatch.setattr(report, "make", lambda run, out, demo, gpu: seen.append((out, demo)))
    every.main(["bounds", "--seed", "2"])
    every.main(["bounds"])
    assert [os.path.basename(path) for pair in seen for path in pair] == [
        "experiments-seed2",
        "demo-seed2",
        "experiments",
        "demo",
    ]


def test_an_unknown_name_is_refused_before_anything_is_run(made):
    out, calls = made
    with pytest.raises(ValueError, match=r"experiment 'none': one of casting, .* is needed"):
        every.main(arguments(out, "bounds", "none"))
    assert not calls


def test_the_copy_in_docs_has_its_figures_beside_it(made, tmp_path):
    out, _ = made
    every.main(arguments(out, "bounds"))
    root = tmp_path / "root"
    (root / "docs").mkdir(parents=True)
    path = every.docs([report.load(str(out), "bounds")], str(out), str(root))
    with open(path) as file:
        assert "![Red](experiments/bounds-a.png)" in file.read()
    assert os.listdir(root / "docs" / "experiments") == ["bounds-a.png"]


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_every_experiment_is_a_program_of_the_same_arguments(name, program):
    module = importlib.import_module(f"experiments.{name}")
    assert report.name_of(module.run) == name
    found = program("-m", f"experiments.{name}", "--help")
    assert found.returncode == 0
    for argument in ("--out", "--demo", "--gpu"):
        assert argument in found.stdout


def test_without_a_demo_run_there_is_one_line(program, tmp_path):
    found = program("-m", "experiments", "skips", "--out", tmp_path / "o", "--demo", tmp_path)
    assert found.returncode == 1
    assert found.stderr.strip().endswith("no finished demo run there; run `make demo` first")
    assert found.stderr.count("\n") == 1
