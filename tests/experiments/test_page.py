from __future__ import annotations

import html.parser
import os

import pytest
from PIL import Image

import experiments
from experiments import __main__ as command_line
from experiments import page, report, running
from tests.experiments.results import RESULT, write_figure


@pytest.fixture
def drawing_only(tmp_path, monkeypatch):
    """Replace the experiments by functions that only draw; the folder, and the names run."""
    calls = []

    def module(path):
        name = next(name for name, module in experiments.EXPERIMENTS.items() if module == path)

        def run(out, demo, gpu=None):
            calls.append(name)
            Image.new("RGB", (30, 20), "red").save(os.path.join(out, name, "a.png"))
            return report.Result(name, name, ["Words."], [], [report.Figure("a.png", "Red")])

        return type("Module", (), {"run": staticmethod(run)})

    monkeypatch.setattr(command_line.importlib, "import_module", module)
    return tmp_path / "out", calls


def arguments(out, *more):
    return [*more, "--out", str(out), "--demo", str(out), "--gpu", "cpu"]


def test_all_experiments_run_once_in_the_order_of_the_page(drawing_only):
    out, calls = drawing_only
    command_line.main(arguments(out))
    command_line.main(arguments(out))
    assert calls == list(experiments.EXPERIMENTS)
    text = (out / "index.html").read_text()
    places = [text.index(f'id="{name}"') for name in experiments.EXPERIMENTS]
    assert places == sorted(places)


def test_a_run_of_some_experiments_keeps_the_others_on_the_page(drawing_only):
    out, calls = drawing_only
    command_line.main(arguments(out, "masking"))
    command_line.main(arguments(out, "bounds"))
    assert calls == ["masking", "bounds"]
    text = (out / "experiments.md").read_text()
    assert text.index("## bounds") < text.index("## masking") and "## skips" not in text


def test_another_seed_has_its_own_folders(drawing_only, monkeypatch):
    out, _ = drawing_only
    folders = []
    monkeypatch.setattr(running, "OUT", str(out / "experiments"))
    monkeypatch.setattr(running, "DEMO", str(out / "demo"))
    monkeypatch.setattr(
        running, "make", lambda name, run, out, demo, gpu: folders.append((out, demo))
    )
    command_line.main(["bounds", "--seed", "2"])
    command_line.main(["bounds"])
    assert [os.path.basename(path) for pair in folders for path in pair] == [
        "experiments-seed2",
        "demo-seed2",
        "experiments",
        "demo",
    ]


def test_an_unknown_name_is_refused_before_any_experiment_runs(drawing_only):
    out, calls = drawing_only
    with pytest.raises(ValueError, match=r"experiment is 'none', needs one of casting, "):
        command_line.main(arguments(out, "bounds", "none"))
    assert not calls


def test_the_page_in_docs_shows_copies_of_the_figures(drawing_only, tmp_path):
    out, _ = drawing_only
    command_line.main(arguments(out, "bounds"))
    root = tmp_path / "root"
    (root / "docs").mkdir(parents=True)
    path = page.write_docs([report.load(str(out), "bounds")], str(out), str(root))
    with open(path) as file:
        assert "![Red](experiments/bounds-a.png)" in file.read()
    assert os.listdir(root / "docs" / "experiments") == ["bounds-a.png"]


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_every_experiment_is_a_program_with_the_same_arguments(name, program):
    result = program("-m", f"experiments.{name}", "--help")
    assert result.returncode == 0
    for argument in ("--out", "--demo", "--gpu"):
        assert argument in result.stdout


def test_without_a_demo_run_the_command_prints_one_error_line(program, tmp_path):
    result = program("-m", "experiments", "skips", "--out", tmp_path / "o", "--demo", tmp_path)
    assert result.returncode == 1
    assert result.stderr.strip().endswith("no finished demo run there; run `make demo` first")
    assert result.stderr.count("\n") == 1


class Reader(html.parser.HTMLParser):
    """The tags, sources and text of a page; every tag has to be closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.sources, self.text = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for key, value in attrs if key == "src"]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_shows_and_escapes_all_parts_of_a_result(tmp_path):
    result = RESULT._replace(figures=[write_figure(str(tmp_path))])
    paths = page.write_page([result], str(tmp_path))
    with open(paths[0]) as file:
        reader = Reader(file.read())
    assert not reader.open and "script" not in reader.tags
    assert reader.sources == ["some/a.png"] and os.path.isfile(tmp_path / reader.sources[0])
    text = "".join(reader.text)
    for part in ("Some & all", "A word <b>.", "a | b", "0.5", "<c>", "-", "A caption."):
        assert part in text
    with open(paths[1]) as file:
        lines = file.read().splitlines()
    assert "| a \\| b |   0.5 |" in lines and "| <c>    |     - |" in lines
    assert "![A `caption`.](some/a.png)" in lines
