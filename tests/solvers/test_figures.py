from __future__ import annotations

import numpy as np
from PIL import Image

from solvers import figures

SCORES = {
    "voc-fcn32s": {"loss": 12345.6, "pixel_accuracy": 0.8, "mean_accuracy": 0.7, "mean_iu": 0.5,
                   "fwavacc": 0.6, "iu": [0.9] + [None] * 20},
    "voc-fcn8s": {"loss": 9.4, "pixel_accuracy": 0.9, "mean_accuracy": 0.8, "mean_iu": 0.555,
                  "fwavacc": 0.7, "iu": [0.95] + [0.5] * 20},
}  # fmt: skip


def test_the_table_of_scores_is_markdown_in_percent():
    assert figures.table(SCORES) == [
        "| net        |   loss | pixel acc. | mean acc. | mean IU | f.w. IU |",
        "|------------|-------:|-----------:|----------:|--------:|--------:|",
        "| voc-fcn32s | 12,346 |       80.0 |      70.0 |    50.0 |    60.0 |",
        "| voc-fcn8s  |      9 |       90.0 |      80.0 |    55.5 |    70.0 |",
    ]


def test_the_table_of_classes_has_a_column_for_each_net_and_a_dash_for_absent_classes():
    lines = figures.class_rows(SCORES)
    assert len(lines) == 23
    assert lines[2].split() == ["|", "background", "|", "90.0", "|", "95.0", "|"]
    assert lines[3].split() == ["|", "aeroplane", "|", "-", "|", "50.0", "|"]


def test_the_figure_shows_photographs_and_label_maps_in_the_colours_of_voc(tmp_path):
    photo = np.full((30, 40, 3), 200, np.uint8)
    label = np.zeros((30, 40), np.uint8)
    label[10:20, 10:30] = 15
    path = tmp_path / "figure.png"
    figures.side_by_side([(photo, [label, label]), (photo, [label, label])], ["A", "B"], str(path))
    picture = np.asarray(Image.open(path).convert("RGB"))
    person = (picture == [192, 128, 128]).all(-1).sum()
    assert person > 4 * 500, "the colour of person, in two rows of two label maps"
    assert picture.shape[1] > 500
    assert [p.name for p in tmp_path.iterdir()] == ["figure.png"]


def test_loss_curves_are_drawn_from_loss_tables(tmp_path):
    table = tmp_path / "loss.csv"
    table.write_text(
        "iteration,loss,lr\n" + "".join(f"{i},{100 - i},1\n" for i in range(0, 90, 10))
    )
    path = tmp_path / "loss.png"
    figures.loss_curves({"32s": str(table), "none": str(tmp_path / "none.csv")}, str(path))
    assert Image.open(path).size[0] > 300
