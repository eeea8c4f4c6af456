"""What the arguments of the generators change, and what they refuse."""

import ast
from fractions import Fraction

import pytest

import net_gen

VARIANTS = list(net_gen.VARIANTS)
CROPS = {"voc-fcn32s": [19], "voc-fcn16s": [5, 27], "voc-fcn8s": [5, 9, 31]}


def by_name(net):
    return {layer.name: layer for layer in net.layer}


def channels(net):
    return {
        layer.name: layer.convolution_param.num_output or layer.inner_product_param.num_output
        for layer in net.layer
        if layer.type in ("Convolution", "Deconvolution", "InnerProduct")
    }


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("width", [1, 1 / 8, Fraction(1, 8)])
def test_crop_offsets_come_from_the_coordinate_map_at_any_width(variant, width):
    net = net_gen.fcn(variant, "train", width=width)
    offsets = [layer.crop_param.offset[0] for layer in net.layer if layer.type == "Crop"]
    assert offsets == CROPS[variant]


@pytest.mark.parametrize("variant", VARIANTS)
def test_width_scales_every_channel_count_but_the_classes(variant):
    full, eighth = (channels(net_gen.fcn(variant, "val", width=w)) for w in (1, 1 / 8))
    assert full["fc6"] == 4096 and eighth["fc6"] == 512
    for name, count in full.items():
        assert eighth[name] == (21 if "score" in name else count / 8), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_classes_set_every_score_and_what_the_data_layer_checks(variant):
    net = net_gen.fcn(variant, "train", classes=5)
    assert {n for name, n in channels(net).items() if "score" in name} == {5}
    param = ast.literal_eval(by_name(net)["data"].python_param.param_str)
    assert param["classes"] == 5


def test_input_channels_are_those_of_the_deploy_net_and_of_the_mean():
    assert (
        list(net_gen.fcn(VARIANTS[0], "deploy", channels=6).layer[0].input_param.shape[0].dim)[1]
        == 6
    )
    net = net_gen.fcn(VARIANTS[0], "train", channels=2, mean=[1.5, 2])
    assert "'mean': (1.5, 2)" in net.layer[0].python_param.param_str


def test_dropout_0_leaves_the_layers_out_and_nothing_else():
    net, without = (net_gen.fcn("voc-fcn8s", "train", dropout=d) for d in (0.5, 0))
    assert [layer for layer in net.layer if layer.type != "Dropout"] == list(without.layer)
    other = by_name(net_gen.fcn("voc-fcn8s", "train", dropout=0.25))
    assert other["drop6"].dropout_param.dropout_ratio == 0.25


def test_the_data_layers_are_told_what_is_given():
    settings = {"sbdd_dir": "a", "voc_dir": "b", "train_split": "c", "val_split": "d", "seed": 3}
    train, val = (
        ast.literal_eval(
            net_gen.fcn("voc-fcn16s", split, **settings).layer[0].python_param.param_str
        )
        for split in ("train", "val")
    )
    mean = net_gen.MEAN
    assert train == {"sbdd_dir": "a", "split": "c", "seed": 3, "mean": mean}
    assert val == {"voc_dir": "b", "split": "d", "seed": 3, "mean": mean}


def test_another_data_layer_takes_the_place_of_the_published_one():
    source = net_gen.PythonData("my_layers", "MyLayer", {"split": "train"})
    net = net_gen.fcn("voc-fcn8s", "train", data=source)
    param = net.layer[0].python_param
    assert (param.module, param.layer, param.param_str) == (
        "my_layers",
        "MyLayer",
        "{'split': 'train'}",
    )
    assert list(net.layer[1:]) == list(net_gen.fcn("voc-fcn8s", "train").layer[1:])
    assert net == net_gen.fcn("voc-fcn8s", "train", data=tuple(source))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_stage_starts_from_the_one_before(variant):
    init = net_gen.VARIANTS[variant].init
    assert init == {"voc-fcn16s": "voc-fcn32s", "voc-fcn8s": "voc-fcn16s"}.get(variant)
    learned = [
        {n for n in channels(net_gen.fcn(v, "val")) if not n.startswith("up")}
        for v in (variant, init or variant)
    ]
    assert learned[0] >= learned[1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_layers_without_filler_start_at_zero(variant):
    for layer in net_gen.fcn(variant, "train").layer:
        assert not layer.convolution_param.HasField("weight_filler")


REFUSED = [
    ({"variant": "voc-fcn4s"}, "variant 'voc-fcn4s': one of voc-fcn32s, voc-fcn16s, voc-fcn8s"),
    ({"split": "test"}, "split 'test': one of train, val, deploy"),
    ({"width": 0.001}, "width 0.001: makes 64 channels 0"),
    ({"width": 0}, "width 0: a number over 0"),
    ({"width": -1}, "width -1: a number over 0"),
    ({"width": float("nan")}, "width nan: a number over 0"),
    ({"width": float("inf")}, "width inf: a number over 0"),
    ({"width": "1/8"}, "width '1/8': a number over 0"),
    ({"classes": 0}, "classes 0: a whole number from 1"),
    ({"classes": 2.5}, "classes 2.5: a whole number from 1"),
    ({"channels": -3}, "channels -3: a whole number from 1"),
    ({"channels": True}, "channels True: a whole number from 1"),
    ({"channels": 4}, "4 values are needed"),
    ({"mean": (1, 2)}, "mean (1, 2): 3 values are needed"),
    ({"dropout": 1}, "dropout 1: a number from 0"),
    ({"dropout": -0.5}, "dropout -0.5: a number from 0"),
]


@pytest.mark.parametrize("changed, message", REFUSED)
def test_an_argument_that_makes_no_net_is_refused_with_its_value(changed, message):
    arguments = {"variant": "voc-fcn32s", "split": "train", **changed}
    with pytest.raises(ValueError) as refusal:
        net_gen.fcn(**arguments)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"base_lrr": 1}, "solver field 'base_lrr'"),
        ({"base_lr": "fast"}, "solver field base_lr = 'fast'"),
        ({"max_iter": 0.5}, "solver field max_iter = 0.5"),
        ({"test_iter": ["x"]}, "solver field test_iter = ['x']"),
        ({"net_param": 3}, "solver field net_param = 3"),
    ],
)
def test_a_solver_field_that_does_not_fit_is_refused_with_its_value(fields, message):
    with pytest.raises(ValueError) as refusal:
        net_gen.solver("voc-fcn32s", **fields)
    assert message in str(refusal.value)


def test_generate_writes_nothing_if_an_argument_is_refused(tmp_path):
    with pytest.raises(ValueError):
        net_gen.generate("voc-fcn32s", tmp_path, {"no_field": 1})
    assert not list(tmp_path.iterdir())
