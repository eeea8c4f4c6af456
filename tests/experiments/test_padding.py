"""The page about padding is of the generator's present numbers; the experiment, made small."""

import json
from pathlib import Path

import pytest

from experiments import padding, report
from net_gen import padding as limits

DOCS = Path(padding.DOCS)


def test_the_committed_page_is_what_the_command_writes():
    result = report.load(str(DOCS), "padding")
    assert padding.page(result) == (DOCS / "padding.md").read_text()


def test_the_committed_drawings_show_the_present_numbers():
    for name, shown in padding.drawings().items():
        assert padding.numbers_in(str(DOCS / "padding" / name)) == shown, name


def test_a_drawn_row_lies_where_the_coordinate_map_says():
    rows, offsets = padding.places("voc-fcn32s", 100, 224, ("data", "pool5", "upscore", "score"))
    data, pool5, upscore, score = rows
    assert data == padding.Row("data", 0, 223, 1, 224)
    assert score == data._replace(blob="score")
    assert upscore.first == -offsets["score"] == -19
    scale, shift = limits.coordinate_maps("voc-fcn32s")["pool5"][1:]
    assert pool5.pitch == 32 and scale * int(2 * pool5.first) / 2 + shift == pytest.approx(0)
    assert pool5.last == pool5.first + 32 * (pool5.size - 1)


def test_at_the_classifiers_own_padding_the_drawn_scores_do_not_cover_the_image():
    rows, offsets = padding.places("voc-fcn32s", 1, 224, ("upscore",))
    assert offsets["score"] == -80 and rows[0].first == 80 and rows[0].last < 223


def test_timing_in_a_process_gives_seconds_and_memory(monkeypatch):
    monkeypatch.setattr(padding, "TIMED_SIZE", 16)
    monkeypatch.setattr(padding, "TIMED_REPEATS", 1)
    found = padding.time_in_a_process("voc-fcn-googlenet", 18)
    assert 0 < found["seconds"] < 60 and 50 < found["mib"] < 4000
    with pytest.raises(OSError, match="pad -1: .*pad is -1"):
        padding.time_in_a_process("voc-fcn-googlenet", -1)


def test_the_measured_tables_hold_every_padding_of_every_net():
    result = json.loads((DOCS / "padding" / "result.json").read_text())
    demo, timed = result["tables"]
    for table, nets in ((demo, ("voc-fcn32s", "voc-fcn16s", "voc-fcn8s")), (timed, None)):
        found = {}
        for row in table["rows"]:
            found.setdefault(row[0], []).append(int(row[1]["value"]))
        assert list(found) == list(nets or padding.TIMED_NETS)
        for net, pads in found.items():
            assert pads == padding.paddings(net, 176), net
