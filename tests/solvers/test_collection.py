"""Collections: the names of their results, what is read from a folder, and lines of JSON."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from solvers import collection, infer, photograph, segmenter
from tests.solvers import tiny_nets
from tests.solvers.tiny_nets import colour_picture, colour_scores, convolution


@pytest.fixture
def model(tmp_path):
    net = tiny_nets.write(tmp_path / "net", convolution("score", 3), {"score": colour_scores()})
    return {"net": net[0], "weights": net[1], "gpu": "cpu"}


def put(folder, *names, turned=False):
    folder.mkdir(exist_ok=True)
    pixels = colour_picture()[0]
    for name in names:
        Image.fromarray(pixels[:, ::-1] if turned else pixels).save(folder / name)
    return str(folder)


def test_photographs_of_one_stem_have_two_results(tmp_path, model):
    folder = put(tmp_path / "photos", "a.bmp", "b.png")
    put(tmp_path / "photos", "a.png", turned=True)
    out = str(tmp_path / "out")
    infer.run_collection([folder], out=out, **model)
    labels = colour_picture()[1]
    for name, expected in (("a.bmp", labels), ("a.png", labels[:, ::-1]), ("b", labels)):
        label = np.asarray(Image.open(os.path.join(out, f"{name}_labels.png")))
        assert np.array_equal(label, expected), name


def test_stems_that_differ_in_case_alone_have_two_results():
    assert photograph.stems(["x/A.jpg", "x/a.png"]) == {"x/A.jpg": "A.jpg", "x/a.png": "a.png"}


def test_results_beside_their_photographs_are_not_segmented(tmp_path, model):
    folder = put(tmp_path / "photos", "a.png", "b.png", "my_labels.png")
    names = infer.run_collection([folder], out=folder, **model)
    assert len(names) == 3
    assert infer.run_collection([folder], out=folder, **model) == []
    assert len([n for n in os.listdir(folder) if n.endswith(".png")]) == 9


def test_paths_in_one_word_are_several_photographs(tmp_path):
    folder = put(tmp_path / "photos", "a.png", "b c.png")
    paths = [os.path.join(folder, name) for name in ("a.png", "b c.png")]
    assert collection.split_paths([f"{paths[0]} '{paths[1]}'"]) == paths
    assert collection.split_paths([paths[1]]) == [paths[1]]
    assert collection.split_paths([f"{paths[0]} nowhere.png"]) == [f"{paths[0]} nowhere.png"]


def test_every_file_has_a_line_of_json_also_if_it_is_done_or_cannot_be_read(
    tmp_path, model, capsys
):
    folder = put(tmp_path / "photos", "a.png", "b.png")
    out = str(tmp_path / "out")
    infer.run_collection([folder], out=out, **model)
    (tmp_path / "photos" / "c.png").write_bytes(b"no picture")
    capsys.readouterr()
    with pytest.raises(OSError, match="c.png: cannot be segmented; the lines above say why"):
        infer.run_collection([folder], out=out, as_json=True, **model)
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert [os.path.basename(line["file"]) for line in lines] == ["a.png", "b.png", "c.png"]
    assert lines[0]["seconds"] == 0 and lines[0]["outputs"] == lines[1]["outputs"]
    assert "is not a readable image" in lines[2]["error"]
    assert "3 photographs, 2 done already" in captured.err


def test_a_photograph_that_is_too_large_to_be_read_is_skipped(tmp_path, model, monkeypatch, capsys):
    folder = put(tmp_path / "photos", "a.png", "b.png")
    real = segmenter.read_channels

    def read(path, channels):
        if path.endswith("a.png"):
            raise MemoryError
        return real(path, channels)

    monkeypatch.setattr(segmenter, "read_channels", read)
    with pytest.raises(OSError, match="a.png: cannot be segmented; the lines above say why"):
        infer.run_collection([folder], out=str(tmp_path / "out"), **model)
    assert "a.png: memory ended while the picture was read" in capsys.readouterr().err
    assert (tmp_path / "out" / "b_labels.png").is_file()


def test_values_that_are_missing_are_written_by_a_second_run(tmp_path, model):
    folder = put(tmp_path / "photos", "a.png")
    out = str(tmp_path / "out")
    assert len(infer.run_collection([folder], out=out, **model)) == 1
    assert len(infer.run_collection([folder], out=out, values="scores", **model)) == 1
    assert infer.run_collection([folder], out=out, values="scores", **model) == []
    assert np.load(os.path.join(out, "a_scores.npy")).shape == (3, 60, 90)


def test_the_classes_of_a_small_collection_are_printed(tmp_path, model, capsys):
    folder = put(tmp_path / "photos", "a.png", "b.png")
    infer.run_collection([folder], out=str(tmp_path / "out"), **model)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].startswith("a.png: class 0 ") and lines[-2].startswith("b.png: class 0 ")
    assert lines[-1].startswith("wrote the results of 2 files to ")
