"""The options of a training are refused, in one line, before the set is read."""

import pytest

import net_gen
from fcn_data.folder_layers import PictureSet
from fcn_data.label_coding import LabelCoding
from net_gen import VARIANTS
from solvers import check, train
from solvers.stage import Stage
from solvers.train_options import Options, checked, variants


@pytest.mark.parametrize(
    "options, message",
    [
        ({"lr": 0.0}, r"lr is 0, needs a number above 0"),
        ({"lr": -1.0}, r"lr is -1, needs a number above 0"),
        ({"variant": "fcn4s"}, r"variant is 'fcn4s', needs one of voc-fcn32s, voc-fcn16s"),
        ({"variant": "siftflow-fcn8s"}, r"variant siftflow-fcn8s: reads data, sem, geo, and a"),
        ({"variant": "nyud-fcn32s-color-d"}, r"reads color, depth, label, and a folder has a"),
        ({"width": "2"}, r"width is '2', needs a fraction such as 1/8, at most 1"),
        ({"batch": 0}, r"batch is 0, needs 1 or more pictures"),
        ({"crop": -3}, r"the options: crop is -3, needs a number of pixels"),
        ({"scale": "2:0.5"}, r"scale is '2:0.5', needs a factor or two with a colon: 0.5:2"),
        (
            {"solver": "momentun: 1"},
            r"solver is 'momentun: 1', needs fields of a solver .*momentun",
        ),
    ],
)
def test_wrong_options_are_refused_before_the_set_is_read(tmp_path, monkeypatch, options, message):
    monkeypatch.setattr(check, "open_folder", None)
    with pytest.raises(ValueError, match=message):
        train.run(str(tmp_path), str(tmp_path / "run"), Options(**options))


def test_variants_with_two_heads_or_images_are_not_offered():
    assert "voc-fcn8s-atonce" in variants() and "pascalcontext-fcn32s" in variants()
    assert not any(name.startswith(("siftflow", "nyud")) for name in variants())


@pytest.mark.parametrize("variant", variants())
def test_every_offered_variant_makes_a_net_for_own_pictures(tmp_path, variant):
    pictures = PictureSet(
        *("set", str(tmp_path), {"a": ("a.png", "b.png")}, ("x", "y"), ((0, 0, 0), (1, 1, 1))),
        *(LabelCoding(), (1.0, 2.0, 3.0)),
    )
    record = VARIANTS[variant]._replace(data_set=pictures.data_set({"train": "a", "val": "a"}))
    net_gen.generate(record, tmp_path, width=1 / 16, channels=3, set_dir="..", mirror=True)
    assert "mirror" in (tmp_path / "train.prototxt").read_text()
    assert "mirror" not in (tmp_path / "val.prototxt").read_text()


def test_a_short_name_means_a_net_of_voc():
    assert checked(Options(variant="fcn16s", width="0.125")).stages == ["voc-fcn32s", "voc-fcn16s"]
    assert checked(Options(variant="fcn16s", width="0.125")).width == "1/8"


def test_fields_of_the_solver_have_their_types():
    fields = Options(solver="momentum: 0.5 snapshot: 7 stepvalue: [1, 2] lr_policy: 'step'")
    assert fields.solver_fields == {
        "momentum": 0.5,
        "snapshot": 7,
        "stepvalue": [1, 2],
        "lr_policy": "step",
    }


@pytest.mark.parametrize("name", ["iters", "images"])
def test_a_count_below_one_is_refused_before_anything_is_written(tmp_path, name):
    for start in (
        lambda: train.run("set", str(tmp_path / "run"), **{name: 0}),
        lambda: Stage(str(tmp_path / "stage"), **{name: 0}),
    ):
        with pytest.raises(ValueError, match=f"{name} is 0, needs an integer of at least 1"):
            start()
    assert not list(tmp_path.iterdir())
