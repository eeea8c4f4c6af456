"""The page of a run: offline, complete, and true to the files that it is made from."""

from __future__ import annotations

import html.parser
import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest

from fcn_data import Labels
from solvers import by_products, caffe_solver, curves, report, snapshots, stage
from solvers.examples import EXTREMES, SAMPLES, Examples, photograph, read_examples
from solvers.metrics import fast_hist
from tests import tiny

jinja2 = pytest.importorskip("jinja2")
LABELS = Labels(
    "label", ("ground", "<cat>", "dog"), np.array([(0, 0, 0), (9, 8, 7), (1, 2, 3)]), 255
)


class Blob:
    def __init__(self, data):
        self.data = data


class Net:
    """A net that has read one image of H x W."""

    def __init__(self, truth, value=0.0):
        height, width = truth.shape
        self.blobs = {
            "data": Blob(np.full((1, 3, height, width), value, np.float32)),
            "label": Blob(truth[None, None].astype(np.float32)),
        }


def scored(qualities, size=(8, 12)):
    """Examples of images of which a fraction of the rows is predicted right."""
    examples = Examples(LABELS, (100.0, 150.0, 200.0))
    for k, quality in enumerate(qualities):
        truth = np.ones(size, int)
        truth[0, 0] = 255
        prediction = np.where(np.arange(size[0])[:, None] < quality * size[0], truth, 2)
        prediction[0, 0] = 0
        hist = fast_hist(truth, prediction, 3)
        examples.add(Net(truth), f"image{k}", hist, prediction)
    return examples


class Page(html.parser.HTMLParser):
    """The tags, the addresses and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.open, self.addresses, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "path", "circle"):
            self.open.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "xlink:href", "data")]

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def run_folder(tiny_start, tmp_path_factory):
    """A folder with a stage that was trained and scored three times."""
    out = tmp_path_factory.mktemp("run")
    folder = tiny.nets(str(out / "voc-fcn32s"), str(tiny_start), max_iter=3, snapshot=1)
    pages = []

    def write():
        pages.append(Path(report.write_run(str(out))).read_text())

    stage.run(folder, str(tiny_start / "start.caffemodel"), gpu="cpu", seed=1, write_report=write)
    return out, pages


def test_the_page_is_written_at_every_scoring(run_folder):
    _, pages = run_folder
    assert [re.search(r"iteration (\d+) of\s+3", page)[1] for page in pages] == ["1", "2", "3"]
    assert "finished" not in pages[0] and "finished" in pages[2]


def test_the_page_opens_offline_and_is_well_formed(run_folder):
    page = Page(run_folder[1][-1])
    assert page.open == []
    assert page.addresses and all(a.startswith("data:image/jpeg;base64,") for a in page.addresses)
    assert "@import" not in run_folder[1][-1] and "<script" not in run_folder[1][-1]


def test_the_page_has_the_scores_the_classes_and_the_loss_of_a_guess(run_folder):
    out, pages = run_folder
    text = " ".join(Page(pages[-1]).text.split())
    records = snapshots.read_records(str(out / "voc-fcn32s" / "snapshot"))
    assert f"{100 * records[3]['mean_iu']:.1f} %mean IU" in text
    assert f"ln(21) = {math.log(21):.2f}" in text and "tvmonitor" in text
    assert "Confusion matrix" in text and "Best images" in text and "base_lr" in text


def test_the_loss_of_the_page_is_that_of_a_labelled_pixel(run_folder):
    """At the start, all scores are zero, so the loss of a pixel is ln(21)."""
    rows = report.losses(str(run_folder[0] / "voc-fcn32s" / "snapshot" / "loss.csv"))
    assert rows[0]["pixel_loss"] == pytest.approx(math.log(21), rel=1e-5)


def test_the_program_writes_the_page_again(run_folder, capsys):
    out, pages = run_folder
    os.remove(out / "report.html")
    report.main([str(out)])
    assert capsys.readouterr().out.strip() == str(out / "report.html")
    stamp = re.compile(r"Written [^.]*\.")
    assert stamp.sub("", (out / "report.html").read_text()) == stamp.sub("", pages[-1])


def test_the_page_of_a_stage_lies_beside_its_snapshots(run_folder):
    folder = run_folder[0] / "voc-fcn32s"
    path = folder / "snapshot" / "report.html"
    assert report.write_run(str(folder)) == str(path) and "voc-fcn32s" in path.read_text()
    path.unlink()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has neither run\.json nor a stage"):
        report.write_run(str(tmp_path))


def test_a_report_that_cannot_be_written_does_not_stop_the_training(
    tiny_stage, tiny_start, monkeypatch, capsys
):
    monkeypatch.setattr(by_products, "_warned", set())
    folder = tiny_stage(max_iter=2, snapshot=1)

    def fail():
        raise RuntimeError("no room")

    start = str(tiny_start / "start.caffemodel")
    assert stage.run(folder, start, gpu="cpu", seed=1, write_report=fail)["iteration"] == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "no room" in line]
    assert len(lines) == 1


def test_names_are_shown_as_text_not_as_markup(tmp_path):
    scored([1.0, 0.5]).write(str(tmp_path), 5)
    examples = json.loads((tmp_path / "examples.json").read_text())
    record = {"iteration": 5, "iu": [None, 0.5, None], "accuracy": [None, 0.5, None], "images": 2}
    record.update(dict.fromkeys(report.METRICS, 0.5))
    snapshots.write_records(str(tmp_path), {5: record})
    (tmp_path / "solver.prototxt").write_text('max_iter: 9 snapshot_prefix: "s/train"')
    param = caffe_solver.read_solver(str(tmp_path / "solver.prototxt"))
    path = report.write(
        str(tmp_path / "page.html"),
        "<b>title</b>",
        [report.stage_section(str(tmp_path), "stage", param)],
        findings=[{"level": "warning", "text": "<i>bad</i>", "files": ["<u>.png"]}],
        command="train '<x>'",
    )
    text = Path(path).read_text()
    assert not re.search(r"<(b>title|i>bad|u>|x>|cat>)", text)
    assert "&lt;cat&gt;" in text and "&lt;u&gt;.png" in text
    assert sum(map(sum, examples["hist"])) == 2 * (8 * 12 - 1), "all pixels but the ignored one"


def test_the_best_and_the_worst_images_are_kept(tmp_path):
    qualities = [0.5, 0.1, 0.9, 0.3, 0.7, 1.0, 0.2, 0.8, 0.6]
    examples = scored(qualities, size=(10, 12))
    by_kind = {}
    for example in examples.chosen:
        for kind in example.kinds:
            by_kind.setdefault(kind, []).append(example.name)
    order = sorted(range(len(qualities)), key=lambda k: -qualities[k])
    assert by_kind["best"] == [f"image{k}" for k in order[:EXTREMES]]
    assert by_kind["worst"] == [f"image{k}" for k in order[::-1][:EXTREMES]]
    assert sorted(by_kind["sample"]) == [f"image{k}" for k in range(SAMPLES)]
    strips = examples.strips()
    assert list(strips) == sorted(by_kind["sample"])
    assert all(strip.shape == (10, 36, 3) for strip in strips.values())


def test_one_image_is_best_and_not_worst_too():
    (example,) = scored([0.5]).chosen
    assert example.kinds == ("best", "sample")


def test_a_picture_is_kept_small_and_shows_truth_and_prediction(tmp_path):
    scored([0.5], size=(700, 500)).write(str(tmp_path), 7)
    values = read_examples(str(tmp_path))
    (row,) = values["examples"]
    assert max(row["size"]) <= 320 and values["iteration"] == 7
    assert row["classes"] == {"truth": [1], "prediction": [2, 1]}
    assert read_examples(str(tmp_path / "none")) == {}


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_photograph_is_shown_as_the_file_had_it(channels):
    rng = np.random.RandomState(0)
    pixels = rng.randint(0, 256, (5, 6, channels))
    mean = np.arange(channels) * 10.0
    stored = pixels[..., ::-1] if channels == 3 else pixels
    photo = photograph(stored.transpose(2, 0, 1) - mean[:, None, None], mean)
    if channels == 3:
        assert np.array_equal(photo, pixels)
    elif channels < 3:
        assert np.array_equal(photo, np.repeat(pixels[..., :1], 3, axis=2))
    else:
        assert np.array_equal(photo, pixels[..., 2::-1])


def test_a_photograph_without_a_known_mean_is_stretched_to_all_values():
    photo = photograph(np.linspace(-1, 1, 12).reshape(1, 3, 4), None)
    assert photo.min() == 0 and photo.max() == 255
    assert np.array_equal(photograph(np.ones((1, 2, 2)), None), np.zeros((2, 2, 3), np.uint8))


def test_a_curve_has_its_points_in_the_chart():
    points = [(i, math.exp(-i / 900)) for i in range(5000)]
    svg = curves.chart([curves.Curve("loss", points)], "loss", curves.Level("guess", 1.5))
    x, y = (
        [float(v) for v in re.findall(pattern, re.search(r'class="line.*?d="([^"]*)"', svg)[1])]
        for pattern in (r"[ML]([\d.]+) ", r" ([\d.]+)")
    )
    assert len(x) <= curves.POINTS and x == sorted(x) and y == sorted(y)
    assert min(x) >= curves.LEFT and max(x) <= curves.WIDTH - curves.RIGHT + 0.1
    assert min(y) >= curves.TOP and "guess" in svg


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 3.04, [0, 1, 2, 3]),
        (0, 53, [0, 20, 40, 60]),
        (0, 0.05, [0, 0.01, 0.02, 0.03, 0.04, 0.05]),
    ],
)
def test_an_axis_has_round_numbers(low, high, expected):
    assert curves.ticks(low, high) == pytest.approx(expected)
    assert curves.ticks(0, 3, integers=True) == [0, 1, 2, 3]


def test_values_that_are_no_numbers_are_left_out_of_a_chart():
    assert curves.chart([curves.Curve("iu", [(1, math.nan), (2, None)])], "percent") == ""
    assert curves.spark([(1, None)]) == "" and "svg" in curves.spark([(1, None), (2, 0.5)])
