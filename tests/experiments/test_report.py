from __future__ import annotations

import html.parser
import json
import os

import pytest

from experiments import report
from experiments.report import Figure, Number, Result, Table

ROWS = [["a | b", Number(0.5, ".1f")], ["<c>", Number(float("nan"))]]
RESULT = Result(
    "some", "Some & all", ["A `word` <b>."], [Table("Title", ["net", "value"], ROWS)], [], 61.0
)


def figure(out, name="some", file="a.png"):
    from PIL import Image

    os.makedirs(os.path.join(out, name), exist_ok=True)
    Image.new("RGB", (4, 4)).save(os.path.join(out, name, file))
    return Figure(file, "A `caption`.")


def counted(out, demo, gpu=None, **arguments):
    with open(os.path.join(out, "test_report", "calls"), "a") as file:
        file.write("x")
    return RESULT._replace(name="test_report", text=[repr(arguments)])


@pytest.fixture
def demo(tmp_path):
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "settings.json").write_text('{"seed": 1}')
    return str(folder)


def test_a_result_is_read_as_it_was_written(tmp_path):
    result = RESULT._replace(figures=[figure(str(tmp_path))])
    report.save(result, str(tmp_path))
    found = report.load(str(tmp_path), "some")
    assert found.tables[0].rows[0] == ROWS[0]
    assert found.tables[0].rows[1] == ["<c>", Number(None)]
    assert found._replace(tables=()) == result._replace(tables=())


@pytest.mark.parametrize("cell", ["12.5", "1e-3", "95%", "1,200", 3])
def test_a_number_is_not_typed(tmp_path, cell):
    table = Table("T", ["x"], [[cell]])
    with pytest.raises(ValueError, match=r"some: table 'T' has the cell .*needs a report\.Number"):
        report.save(RESULT._replace(tables=[table]), str(tmp_path))


def test_a_row_that_does_not_fit_the_head_is_refused(tmp_path):
    table = Table("T", ["x", "y"], [["one"]])
    with pytest.raises(ValueError, match=r"a row of 1 cells, needs 2"):
        report.save(RESULT._replace(tables=[table]), str(tmp_path))


def test_a_figure_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(OSError, match=r"none\.png: no such figure"):
        report.save(RESULT._replace(figures=[Figure("none.png", "")]), str(tmp_path))
    assert not os.path.exists(tmp_path / "some" / "result.json")


@pytest.mark.parametrize("number", [Number(32, "d"), Number(2e-8, ".1e"), Number(3, ".1f")])
def test_a_number_is_printed_after_reading_as_before(tmp_path, number):
    report.save(RESULT._replace(tables=[Table("T", ["x"], [[number]])]), str(tmp_path))
    assert str(report.load(str(tmp_path), "some").tables[0].rows[0][0]) == str(number)


def test_a_damaged_result_is_refused_by_name(tmp_path):
    report.save(RESULT, str(tmp_path))
    path = tmp_path / "some" / "result.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(ValueError, match=r"result\.json: is no result .*remove it"):
        report.load(str(tmp_path), "some")


def test_numbers_are_printed_by_their_format():
    assert [str(Number(1234.5, ",.0f")), str(Number(None)), str(report.percent(0.123))] == [
        "1,234",
        "-",
        "12.3",
    ]


class Reader(html.parser.HTMLParser):
    """What a page is made of; every tag that is opened has to be closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.sources, self.words = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.sources += [value for key, value in attrs if key == "src"]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_shows_everything_and_escapes_it(tmp_path):
    result = RESULT._replace(figures=[figure(str(tmp_path))])
    paths = report.page([result], str(tmp_path))
    with open(paths[0]) as file:
        page = Reader(file.read())
    assert not page.open and "script" not in page.seen
    assert page.sources == ["some/a.png"] and os.path.isfile(tmp_path / page.sources[0])
    text = "".join(page.words)
    for words in ("Some & all", "A word <b>.", "a | b", "0.5", "<c>", "-", "A caption."):
        assert words in text
    with open(paths[1]) as file:
        lines = file.read().splitlines()
    assert "| a \\| b |   0.5 |" in lines and "| <c>    |     - |" in lines
    assert "![A `caption`.](some/a.png)" in lines


def test_an_experiment_is_made_once(tmp_path, demo):
    first = report.make(counted, str(tmp_path), demo, "cpu")
    second = report.make(counted, str(tmp_path), demo, "cpu")
    assert (tmp_path / "test_report" / "calls").read_text() == "x"
    assert second == report.load(str(tmp_path), "test_report") and second.text == first.text


def test_one_that_was_begun_with_other_settings_is_not_continued(tmp_path, demo):
    report.make(counted, str(tmp_path), demo, "cpu")
    with pytest.raises(ValueError, match=r"begun with split None, asked for 'val'; remove it"):
        report.make(counted, str(tmp_path), demo, "cpu", split="val")
    with open(os.path.join(demo, "settings.json"), "w") as file:
        json.dump({"seed": 2}, file)
    with pytest.raises(ValueError, match=r"begun with demo .*'seed': 1.* asked for .*'seed': 2"):
        report.make(counted, str(tmp_path), demo, "cpu")


def test_the_time_of_an_interrupted_run_is_counted(tmp_path, demo, monkeypatch):
    clock = iter([0.0, 50.0, 100.0, 107.0])
    monkeypatch.setattr(report.time, "time", lambda: next(clock))

    def interrupted(out, demo, gpu=None):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        report.make(interrupted, str(tmp_path), demo, "cpu")
    assert report.make(counted, str(tmp_path), demo, "cpu").seconds == 57.0
