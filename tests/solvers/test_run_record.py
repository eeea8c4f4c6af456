"""run.json: what a run is, read and written."""

import json

import numpy as np
import pytest

from solvers.run_record import Output, RunRecord, find_run, read_run, versions, write_run

RECORD = RunRecord(
    variant="voc-fcn16s",
    stages=("fcn32s", "fcn16s"),
    stride=16,
    width="1/8",
    channels=4,
    order="stored",
    mean=(104.0, 117.0, 123.0, 8.5),
    scale=1.0,
    outputs=(Output("score", "scores", ("sky", "straße"), ((0, 0, 0), (255, 128, 0))),),
    ignore_label=255,
    data={"name": "my_set", "folder": "/data/my set", "train": 9, "val": 3},
    largest=(60, 90),
    base="VGG16",
    command="python -m solvers.train my_set",
    versions=versions(),
)


def test_a_record_is_read_as_it_was_written(tmp_path):
    path = write_run(str(tmp_path), RECORD)
    assert read_run(str(tmp_path)) == RECORD == read_run(path)
    assert "caffe" in read_run(path).versions


def test_a_record_gives_a_data_set_with_its_classes_colours_and_mean(tmp_path):
    data_set = RECORD.data_set
    assert data_set.classes == ("sky", "straße")
    assert data_set.mean == RECORD.mean
    assert data_set.palette.dtype == np.uint8
    assert data_set.palette.tolist() == [[0, 0, 0], [255, 128, 0]]


def test_the_run_of_a_snapshot_is_found_above_it(tmp_path):
    write_run(str(tmp_path), RECORD)
    weights = tmp_path / "fcn16s" / "snapshot" / "train_iter_4.caffemodel"
    weights.parent.mkdir(parents=True)
    weights.touch()
    for path in (weights, weights.parent, weights.parent.parent, tmp_path):
        assert find_run(str(path)) == str(tmp_path)
    assert find_run(str(tmp_path.parent)) is None


def test_a_missing_record_names_the_program_that_writes_it(tmp_path):
    with pytest.raises(OSError, match=r"run.json: no such file; python -m solvers.train writes it"):
        read_run(str(tmp_path))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"version": 2}, "is of version 2, this program reads up to 1"),
        ({"version": None}, "has no version"),
        ({"channels": 3}, "mean has 4 values, needs 3"),
        ({"mean": "bright"}, "has a field of the wrong kind"),
        ({"order": "GRB"}, "order is 'GRB', needs one of BGR, stored"),
        ({"outputs": []}, "needs at least one output"),
        ({"outputs": [{"blob": "score"}]}, "has a field of the wrong kind"),
        (
            {"outputs": [{"blob": "a", "meaning": "scores", "classes": ["\x1b"], "palette": []}]},
            r"names the class '\\x1b', which has characters that cannot be shown",
        ),
        ({"stride": ...}, "lacks stride"),
    ],
)
def test_a_record_that_is_wrong_is_refused_with_its_field(tmp_path, change, message):
    path = write_run(str(tmp_path), RECORD)
    with open(path, encoding="utf-8") as file:
        values = {**json.load(file), **change}
    values = {key: value for key, value in values.items() if value is not ...}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(values, file)
    with pytest.raises(ValueError, match="run.json: .*" + message.replace("(", r"\(")):
        read_run(path)


def test_keys_of_other_programs_are_ignored(tmp_path):
    path = write_run(str(tmp_path), RECORD)
    with open(path, encoding="utf-8") as file:
        values = {**json.load(file), "note": "for the paper"}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(values, file)
    assert read_run(path) == RECORD
