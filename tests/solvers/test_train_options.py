"""The options of a training are refused, in one line, before the set is read."""

import pytest

from solvers import check, train
from solvers.train_options import Options, checked, variants


@pytest.mark.parametrize(
    "options, message",
    [
        ({"variant": "fcn4s"}, r"variant fcn4s: needed one of voc-fcn32s, voc-fcn16s"),
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
    assert not any(name.startswith("siftflow") or name.endswith("-d") for name in variants())


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
