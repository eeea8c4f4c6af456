"""Two folders of label maps are compared by the metrics of scoring."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from solvers import compare, metrics

TRUTH = {"a": [[0, 1, 2], [0, 255, 1]], "b": [[2, 2]]}
PREDICTED = {"a": [[0, 1, 1], [1, 2, 1]], "b": [[2, 0]]}
EXPECTED = [[1, 1, 0], [0, 2, 0], [1, 1, 1]]


def write(folder, maps, end=""):
    os.makedirs(str(folder), exist_ok=True)
    for stem, rows in maps.items():
        values = np.array(rows)
        kind = np.uint16 if values.max() > 255 else np.uint8
        Image.fromarray(values.astype(kind)).save(os.path.join(str(folder), stem + end + ".png"))
    return str(folder)


@pytest.fixture
def folders(tmp_path):
    return write(tmp_path / "truth", TRUTH), write(tmp_path / "predicted", PREDICTED)


def test_the_histogram_and_the_metrics_are_those_of_scoring(folders):
    scores = compare.compare(*folders).scores
    assert scores["confusion"].tolist() == EXPECTED and scores["images"] == 2
    expected = metrics.metrics(np.array(EXPECTED))
    for name in ("pixel_accuracy", "mean_accuracy", "mean_iu", "fwavacc"):
        assert scores[name] == expected[name]


@pytest.mark.parametrize("end, head", [("_labels", ""), ("_sem_labels", "sem")])
def test_the_files_of_infer_are_matched_by_their_stems(folders, tmp_path, end, head):
    predicted = write(tmp_path / "inferred", PREDICTED, end)
    Image.new("RGB", (3, 2)).save(os.path.join(predicted, "a_overlay.png"))
    comparison = compare.compare(folders[0], predicted, head=head)
    assert comparison.scores["confusion"].tolist() == EXPECTED
    assert comparison.unpredicted == comparison.unexpected == ()


def test_stems_that_one_folder_lacks_are_named_and_not_counted(folders, capsys):
    os.rename(os.path.join(folders[1], "b.png"), os.path.join(folders[1], "c.png"))
    assert compare.run(*folders)["images"] == 1
    out = capsys.readouterr().out
    assert "not counted: 1 label maps of" in out and "have no prediction: b" in out
    assert "have no truth: c" in out


def test_only_the_ids_of_a_split_are_counted(folders, tmp_path):
    (tmp_path / "val.txt").write_text("b\n")
    comparison = compare.compare(*folders, ids=str(tmp_path / "val.txt"))
    assert comparison.scores["confusion"].tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 1]]
    assert comparison.unpredicted == comparison.unexpected == ()


def test_folders_without_a_common_stem_are_refused(folders, tmp_path):
    other = write(tmp_path / "other", {"x": [[0]]})
    with pytest.raises(ValueError, match="has no label map of a stem in .*found x, needed a, b"):
        compare.compare(folders[0], other)
    with pytest.raises(OSError, match="nothing: no such folder"):
        compare.compare(folders[0], str(tmp_path / "nothing"))


def test_maps_of_different_sizes_are_refused(folders):
    write(folders[1], {"b": [[2, 0, 0]]})
    with pytest.raises(ValueError, match=r"b.png: is 1 x 3 .*its truth .*b.png is 1 x 2"):
        compare.compare(*folders)


def test_predictions_and_truths_that_are_no_class_are_refused(folders):
    meaning = compare.meaning_of(classes="sky,sea")
    with pytest.raises(ValueError, match=r"a.png: has label 2, needs 0..1 or 255 \(ignored\)"):
        compare.compare(*folders, meaning)
    write(folders[0], {"a": [[0, 1, 1], [0, 255, 1]], "b": [[0, 1]]})
    with pytest.raises(
        ValueError, match=r"predicted.b.png: the prediction has label 2, needs 0..1"
    ):
        compare.compare(*folders, meaning)


def test_names_come_from_the_option_the_data_set_or_a_folder(folders, tmp_path, capsys):
    compare.main([*folders, "--classes", "sky,sea,sand"])
    out = capsys.readouterr().out
    assert "sand" in out and "confusion matrix" in out and "0 sky" in out
    assert compare.meaning_of(data="siftflow").classes[0] == "awning"
    with pytest.raises(ValueError, match="run, data and classes are named, needs one"):
        compare.meaning_of(data="voc", classes="a,b")


def test_labels_of_sixteen_bits_and_another_ignored_label_are_counted(tmp_path):
    truth = write(tmp_path / "t", {"a": [[300, 255, 0]]})
    predicted = write(tmp_path / "p", {"a": [[300, 300, 0]]})
    meaning = compare.meaning_of(ignore_label=0)
    confusion = compare.compare(truth, predicted, meaning).scores["confusion"]
    assert confusion.shape == (301, 301) and confusion[300, 300] == confusion[255, 300] == 1
    assert confusion.sum() == 2


def test_the_scores_are_written_and_printed_as_json(folders, tmp_path, capsys):
    compare.main([*folders, "--json", "--out", str(tmp_path / "out")])
    values = json.loads(capsys.readouterr().out)
    assert values["confusion"] == EXPECTED and values["iu"][0] == pytest.approx(1 / 3)
    with open(tmp_path / "out" / "scores.json") as file:
        assert json.load(file) == values
    lines = (tmp_path / "out" / "confusion.csv").read_text().splitlines()
    assert lines[0] == "truth / prediction,class 0,class 1,class 2" and lines[3] == "class 2,1,1,1"


def test_the_confusion_matrix_is_a_table_of_percentages():
    lines = metrics.confusion_lines(np.array([[3, 1], [0, 0]]), ("sky", "sea"))
    assert lines[2].split() == ["0", "sky", "75.0", "25.0"] and len(lines) == 3


def test_the_largest_confusions_of_many_classes_are_named():
    confusion = np.diag(np.full(40, 10))
    confusion[3, 7] = 10
    lines = metrics.confusion_lines(confusion, [f"c{k}" for k in range(40)])
    assert lines == ["largest confusions:", "   50.0 % of c3 as c7 (10 pixels)"]
