"""The page about padding shows the generator's present numbers."""

import json
from pathlib import Path

import pytest

from experiments import report
from experiments.padding import drawings, page, positions, settings, timing
from net_gen import padding

DOCS = Path(page.DOCS)


@pytest.mark.long
def test_the_committed_page_is_what_the_command_writes():
    result = report.load(str(DOCS), "padding")
    assert page.page(result) == (DOCS / "padding.md").read_text()


@pytest.mark.long
def test_the_committed_drawings_show_the_present_numbers():
    for name, numbers in drawings.drawing_numbers().items():
        assert drawings.numbers_in(str(DOCS / "padding" / name)) == numbers, name


def test_a_row_of_a_drawing_lies_where_the_coordinate_map_puts_the_blob():
    rows, offsets = positions.blob_rows(
        "voc-fcn32s", 100, 224, ("data", "pool5", "upscore", "score")
    )
    data, pool5, upscore, score = rows
    assert data == positions.BlobRow("data", 0, 223, 1, 224)
    assert score == data._replace(blob="score")
    assert upscore.first == -offsets["score"] == -19
    scale, shift = padding.coordinate_maps("voc-fcn32s")["pool5"][1:]
    assert pool5.pitch == 32 and scale * int(2 * pool5.first) / 2 + shift == pytest.approx(0)
    assert pool5.last == pool5.first + 32 * (pool5.size - 1)


def test_scores_at_the_classifiers_padding_do_not_cover_the_image():
    rows, offsets = positions.blob_rows("voc-fcn32s", 1, 224, ("upscore",))
    assert offsets["score"] == -80 and rows[0].first == 80 and rows[0].last < 223


@pytest.mark.long
def test_a_new_process_measures_seconds_and_memory(monkeypatch):
    monkeypatch.setattr(settings, "TIMED_SIZE", 16)
    monkeypatch.setattr(settings, "TIMED_REPEATS", 1)
    values = timing.time_in_new_process("voc-fcn-googlenet", 18)
    assert 0 < values["seconds"] < 60 and 50 < values["mib"] < 4000
    with pytest.raises(OSError, match="pad -1: .*pad is -1"):
        timing.time_in_new_process("voc-fcn-googlenet", -1)


def test_the_measured_tables_have_every_padding_of_every_net():
    result = json.loads((DOCS / "padding" / "result.json").read_text())
    demo, timed = result["tables"]
    for table, nets in ((demo, ("voc-fcn32s", "voc-fcn16s", "voc-fcn8s")), (timed, None)):
        pads_of = {}
        for row in table["rows"]:
            pads_of.setdefault(row[0], []).append(int(row[1]["value"]))
        assert list(pads_of) == list(nets or settings.TIMED_NETS)
        for net, pads in pads_of.items():
            assert pads == positions.paddings(net, 176), net
