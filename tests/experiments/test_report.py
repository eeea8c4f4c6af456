from __future__ import annotations

import os

import pytest

from experiments import report
from experiments.report import Figure, Number, Table
from tests.experiments.results import RESULT, ROWS, write_figure


def test_a_saved_result_is_loaded_unchanged(tmp_path):
    result = RESULT._replace(figures=[write_figure(str(tmp_path))])
    report.save(result, str(tmp_path))
    loaded = report.load(str(tmp_path), "some")
    assert loaded.tables[0].rows[0] == ROWS[0]
    assert loaded.tables[0].rows[1] == ["<c>", Number(None)]
    assert loaded._replace(tables=()) == result._replace(tables=())


@pytest.mark.parametrize("cell", ["12.5", "1e-3", "95%", "1,200", 3])
def test_a_typed_number_in_a_table_is_refused(tmp_path, cell):
    table = Table("T", ["x"], [[cell]])
    with pytest.raises(ValueError, match=r"some: table 'T' has the cell .*needs a report\.Number"):
        report.save(RESULT._replace(tables=[table]), str(tmp_path))


def test_a_row_of_another_length_than_the_head_is_refused(tmp_path):
    table = Table("T", ["x", "y"], [["one"]])
    with pytest.raises(ValueError, match=r"a row of 1 cells, needs 2"):
        report.save(RESULT._replace(tables=[table]), str(tmp_path))


def test_a_missing_figure_is_refused(tmp_path):
    with pytest.raises(OSError, match=r"none\.png: no such figure"):
        report.save(RESULT._replace(figures=[Figure("none.png", "")]), str(tmp_path))
    assert not os.path.exists(tmp_path / "some" / "result.json")


@pytest.mark.parametrize("number", [Number(32, "d"), Number(2e-8, ".1e"), Number(3, ".1f")])
def test_a_loaded_number_keeps_its_format(tmp_path, number):
    report.save(RESULT._replace(tables=[Table("T", ["x"], [[number]])]), str(tmp_path))
    assert str(report.load(str(tmp_path), "some").tables[0].rows[0][0]) == str(number)


def test_a_truncated_result_is_refused(tmp_path):
    report.save(RESULT, str(tmp_path))
    path = tmp_path / "some" / "result.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(ValueError, match=r"result\.json: is not a result .*remove the file"):
        report.load(str(tmp_path), "some")


def test_numbers_are_printed_with_their_format():
    assert [str(Number(1234.5, ",.0f")), str(Number(None)), str(report.percent(0.123))] == [
        "1,234",
        "-",
        "12.3",
    ]
