"""net.py and solve.py of the variants' folders."""

import ast
from pathlib import Path

import pytest

import net_gen
from net_gen.__main__ import main
from net_gen.programs import PROGRAMS, program_text

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("variant", net_gen.VARIANTS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_committed_programs_are_the_filled_in_templates(variant, program):
    assert (ROOT / variant / program).read_text() == program_text(variant, program)


def test_write_programs_writes_only_the_programs_that_are_missing(tmp_path):
    (tmp_path / "solve.py").write_text("changed by the user\n")
    assert net_gen.write_programs("voc-fcn8s", tmp_path) == [tmp_path / "net.py"]
    assert (tmp_path / "solve.py").read_text() == "changed by the user\n"
    assert net_gen.write_programs("voc-fcn8s", tmp_path) == []


def test_programs_outside_the_repository_run_and_keep_their_settings(tmp_path, program):
    arguments = ["voc-fcn32s", "--classes=5", "--width=1/16", "--mean=1,2,3"]
    main([*arguments, f"--out={tmp_path / 'my nets'}"])
    folder = tmp_path / "my nets" / "voc-fcn32s"
    prototxt = (folder / "train.prototxt").read_text()
    (folder / "train.prototxt").unlink()
    result = program(folder / "net.py", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (folder / "train.prototxt").read_text() == prototxt
    assert f'stage.start_from("{ROOT}/ilsvrc-nets/' in (folder / "solve.py").read_text()


def test_programs_in_a_folder_of_the_repository_name_it_relatively():
    text = program_text("voc-fcn32s", "solve.py", "../..")
    assert 'sys.path.insert(0, os.path.join(FOLDER, "../.."))' in text
    assert 'stage.start_from("../../ilsvrc-nets/' in text


def test_the_programs_of_an_unknown_variant_are_refused(tmp_path):
    with pytest.raises(ValueError, match="variant is 'voc-fcn4s'"):
        net_gen.write_programs("voc-fcn4s", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_variant_is_one_line_of_the_table_and_its_folder_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(
        net_gen.VARIANTS, "voc-fcn4s", net_gen.Variant(4, 1e-15, "voc-fcn8s", normalize=True)
    )
    main(["voc-fcn4s", f"--out={tmp_path}", "--width=1/16"])
    folder = tmp_path / "voc-fcn4s"
    names = {"train.prototxt", "val.prototxt", "deploy.prototxt", "solver.prototxt", *PROGRAMS}
    assert {path.name for path in folder.iterdir()} == names
    text = (folder / "solve.py").read_text()
    ast.parse(text, feature_version=(3, 9))
    assert "FCN-4s: skips from pool4, pool3 and pool2." in text
    assert '"../voc-fcn8s"' in text and "the trained FCN-8s" in text
    assert "1e-15" in text and "averaged" in text and "$" not in text


@pytest.mark.parametrize(
    "variant, title",
    [
        ("voc-fcn32s", "FCN-32s"),
        ("voc-fcn8s-atonce", "FCN-8s at once"),
        ("voc-fcn-alexnet", "FCN-AlexNet"),
        ("voc-fcn-googlenet", "FCN-GoogLeNet"),
        ("voc-fcn-googlenet16s", "FCN-GoogLeNet-16s"),
    ],
)
def test_the_title_of_a_variant_is_its_name_in_the_papers(variant, title):
    assert net_gen.VARIANTS[variant].title == title
