"""The arguments of the generators: their effects, and the values that are refused."""

import ast
from fractions import Fraction

import caffe
import pytest

import net_gen

VARIANTS = list(net_gen.VARIANTS)
CROPS = {
    "voc-fcn32s": [19],
    "voc-fcn16s": [5, 27],
    "voc-fcn8s": [5, 9, 31],
    "voc-fcn8s-atonce": [5, 9, 31],
    "voc-fcn-alexnet": [18],
    "voc-fcn-googlenet": [98],
    "voc-fcn-googlenet16s": [0, 98],
    "voc-fcn-googlenet8s": [0, 0, 98],
}
# A kernel 2 * stride wide is centred between two pixels, one of 2 * stride - 1 on a pixel.
KERNELS = {
    "voc-fcn32s": [64],
    "voc-fcn16s": [4, 32],
    "voc-fcn8s": [4, 4, 16],
    "voc-fcn8s-atonce": [4, 4, 16],
    "voc-fcn-alexnet": [63],
    "voc-fcn-googlenet": [63],
    "voc-fcn-googlenet16s": [3, 31],
    "voc-fcn-googlenet8s": [3, 3, 15],
}
# The nets of the other data sets have the heads of VOC's nets on VGG16, one for each label.
for _name, _variant in net_gen.VARIANTS.items():
    if _variant.data_set != "voc":
        _same, _count = f"voc-fcn{_variant.stride}s", len(_variant.heads)
        CROPS[_name], KERNELS[_name] = CROPS[_same] * _count, KERNELS[_same] * _count
GOOGLENET = [name for name in VARIANTS if "googlenet" in name]
STRIDES = {"vgg16": [32, 16, 8, 4, 2], "alexnet": [32, 16, 8], "googlenet": [32, 16, 8]}
HEADS = [(trunk, stride) for trunk, strides in STRIDES.items() for stride in strides]


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
def test_upsampling_kernels_lie_on_the_pixels_of_the_next_blob(variant):
    net = net_gen.fcn(variant, "train")
    kernels = [x.convolution_param.kernel_size[0] for x in net.layer if x.type == "Deconvolution"]
    assert kernels == KERNELS[variant]


def head(trunk, stride):
    return net_gen.Variant(stride, 1e-10, None, trunk=trunk)


@pytest.mark.parametrize("trunk, stride", HEADS)
def test_more_padding_moves_the_last_crop_by_the_same_number_of_pixels_and_no_other(trunk, stride):
    crops = [
        [x.crop_param.offset[0] for x in net_gen.fcn(head(trunk, stride), "val", pad=pad).layer
         if x.type == "Crop"]
        for pad in (100, 107)
    ]  # fmt: skip
    assert crops[1] == [*crops[0][:-1], crops[0][-1] + 7]


@pytest.mark.parametrize("trunk, stride", HEADS)
def test_a_padding_with_which_scores_start_inside_the_image_is_refused(trunk, stride):
    least = 100 - by_name(net_gen.fcn(head(trunk, stride), "deploy"))["score"].crop_param.offset[0]
    last = net_gen.fcn(head(trunk, stride), "deploy", pad=least).layer[-1]
    assert (last.type, list(last.crop_param.offset)) == ("Crop", [0])
    with pytest.raises(ValueError) as refusal:
        net_gen.fcn(head(trunk, stride), "deploy", pad=least - 1)
    text = str(refusal.value)
    assert f"pad is {least - 1}: with trunk {trunk} and stride {stride}" in text
    assert f"needs {least} or more" in text and "\n" not in text


@pytest.mark.parametrize("trunk", STRIDES)
def test_a_stride_without_a_blob_is_refused_with_the_strides_of_the_trunk(trunk):
    for stride in {64, 24, 4, 2, 1} - set(STRIDES[trunk]):
        with pytest.raises(ValueError) as refusal:
            net_gen.fcn(head(trunk, stride), "train")
        strides = ", ".join(map(str, STRIDES[trunk]))
        assert str(refusal.value) == f"stride is {stride}, trunk {trunk} needs one of {strides}"


def test_a_variant_can_be_a_name_or_a_record():
    for name, variant in net_gen.VARIANTS.items():
        assert net_gen.fcn(name, "train") == net_gen.fcn(variant, "train")
        assert net_gen.solver(name) == net_gen.solver(variant)


def test_the_stages_are_the_three_of_vgg16_in_order():
    assert list(net_gen.STAGES) == ["voc-fcn32s", "voc-fcn16s", "voc-fcn8s"]
    assert all(net_gen.VARIANTS[name] == stage for name, stage in net_gen.STAGES.items())


def test_every_trunk_has_a_variant():
    assert {variant.trunk for variant in net_gen.VARIANTS.values()} == set(net_gen.TRUNKS)


def test_skips_at_once_are_scaled_by_a_hundredth_and_a_hundredth_of_that():
    staged, at_once = (by_name(net_gen.fcn(v, "val")) for v in ("voc-fcn8s", "voc-fcn8s-atonce"))
    assert set(at_once) - set(staged) == {"scale_pool4", "scale_pool3"}
    for pool, value in (("pool4", 0.01), ("pool3", 0.0001)):
        layer = at_once[f"scale_{pool}"]
        assert list(layer.bottom) == [pool] and [p.lr_mult for p in layer.param] == [0]
        assert layer.scale_param.filler.value == pytest.approx(value)
        assert list(at_once[f"score_{pool}"].bottom) == [f"scale_{pool}"]


@pytest.mark.parametrize("variant", GOOGLENET)
def test_the_trunk_of_googlenet_is_its_classifier_but_for_the_padding_and_the_pooling(variant):
    net, classifier = by_name(net_gen.fcn(variant, "deploy")), by_name(net_gen.googlenet("deploy"))
    assert net["conv1/7x7_s2"].convolution_param.pad[0] == 100
    net["conv1/7x7_s2"].convolution_param.pad[0] = 3
    dropped = {"input", "pool5/7x7_s1", "loss3/classifier", "prob"}
    assert [net.get(name) for name in classifier if name not in dropped] == [
        layer for name, layer in classifier.items() if name not in dropped
    ]
    assert dropped & set(net) == {"input"}


def test_the_trunk_of_alexnet_is_caffenet_but_for_the_padding_and_the_learning_rates():
    net, classifier = (
        by_name(x) for x in (net_gen.fcn("voc-fcn-alexnet", "deploy"), net_gen.caffenet("deploy"))
    )
    assert net["conv1"].convolution_param.pad[0] == 100
    net["conv1"].convolution_param.pad[0] = 0
    for name, layer in classifier.items():
        if not name.startswith("fc") and name not in ("input", "prob"):
            del layer.param[:]
            assert net[name] == layer, name


def test_the_dropout_ratio_is_that_of_the_classifier_or_the_argument():
    for variant, names, ratio in (
        ("voc-fcn-googlenet", ["pool5/drop_7x7_s1"], 0.4),
        ("voc-fcn-alexnet", ["drop6", "drop7"], 0.5),
    ):
        for argument, expected in ((None, ratio), (0.1, 0.1)):
            layers = net_gen.fcn(variant, "train", dropout=argument).layer
            ratios = {x.name: x.dropout_param.dropout_ratio for x in layers if x.type == "Dropout"}
            assert ratios == {name: pytest.approx(expected) for name in names}
        assert not [
            x for x in net_gen.fcn(variant, "train", dropout=0).layer if x.type == "Dropout"
        ]


def test_googlenet_learns_half_as_fast_as_vgg16_at_every_stage():
    for stage, name in zip(net_gen.STAGES.values(), GOOGLENET):
        variant = net_gen.VARIANTS[name]
        assert variant.base_lr == pytest.approx(stage.base_lr / 2)
        assert variant.stride == stage.stride and not variant.normalize


@pytest.mark.parametrize("variant", VARIANTS)
def test_width_scales_every_channel_count_but_the_classes(variant):
    full, eighth = (channels(net_gen.fcn(variant, "val", width=w)) for w in (1, 1 / 8))
    windows = [name for name in full if name.startswith("fc6")]
    for name in windows:
        assert full[name] == 4096 and eighth[name] == 512
    if not windows:
        assert full["inception_5b/1x1"] == 384 and eighth["inception_5b/1x1"] == 48
    classes = {len(labels.classes) for labels in net_gen.VARIANTS[variant].data.labels}
    for name, count in full.items():
        assert (count in classes) == ("score" in name), name
        assert eighth[name] == (count if "score" in name else count / 8), name


@pytest.mark.parametrize("variant", [v for v in VARIANTS if "siftflow" not in v])
def test_classes_set_the_channels_of_every_score_and_a_key_of_the_data_layer(variant):
    net = net_gen.fcn(variant, "train", classes=5)
    assert {n for name, n in channels(net).items() if "score" in name} == {5}
    assert ast.literal_eval(net.layer[0].python_param.param_str)["classes"] == 5


def test_channels_set_the_input_of_the_deploy_net_and_the_length_of_the_mean():
    assert (
        list(net_gen.fcn(VARIANTS[0], "deploy", channels=6).layer[0].input_param.shape[0].dim)[1]
        == 6
    )
    net = net_gen.fcn(VARIANTS[0], "train", channels=2, mean=[1.5, 2])
    assert "'mean': (1.5, 2)" in net.layer[0].python_param.param_str


def test_dropout_0_leaves_out_the_dropout_layers_and_no_others():
    net, without = (net_gen.fcn("voc-fcn8s", "train", dropout=d) for d in (0.5, 0))
    assert [layer for layer in net.layer if layer.type != "Dropout"] == list(without.layer)
    other = by_name(net_gen.fcn("voc-fcn8s", "train", dropout=0.25))
    assert other["drop6"].dropout_param.dropout_ratio == 0.25


def test_the_arguments_of_the_data_layers_reach_their_param_str():
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


def test_data_replaces_the_published_data_layer():
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
def test_every_stage_starts_from_the_stage_before(variant):
    init = net_gen.VARIANTS[variant].init
    before = {"voc-fcn16s": "voc-fcn32s", "voc-fcn8s": "voc-fcn16s"}
    before["voc-fcn-googlenet16s"] = "voc-fcn-googlenet"
    before["voc-fcn-googlenet8s"] = "voc-fcn-googlenet16s"
    for name in ("pascalcontext", "siftflow"):
        before.update({f"{name}-fcn16s": f"{name}-fcn32s", f"{name}-fcn8s": f"{name}-fcn16s"})
    assert init == before.get(variant)
    learned = [
        {n for n in channels(net_gen.fcn(v, "val")) if not n.startswith("up")}
        for v in (variant, init or variant)
    ]
    assert learned[0] >= learned[1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_layer_has_a_weight_filler_so_scores_start_at_zero(variant):
    for layer in net_gen.fcn(variant, "train").layer:
        assert not layer.convolution_param.HasField("weight_filler")


REFUSED = [
    (
        {"variant": "voc-fcn4s"},
        "variant is 'voc-fcn4s', needs one of voc-fcn32s, voc-fcn16s, voc-fcn8s",
    ),
    ({"variant": head("vgg19", 8)}, "trunk is 'vgg19', needs one of vgg16, alexnet, googlenet"),
    ({"variant": "voc-fcn-alexnet", "width": 1 / 32}, "channels become 3, needs a multiple of 2"),
    ({"pad": -1}, "pad is -1, needs an integer of at least 0"),
    ({"pad": 1.5}, "pad is 1.5, needs an integer of at least 0"),
    ({"split": "test"}, "split is 'test', needs one of train, val, deploy"),
    ({"width": 0.001}, "width is 0.001: 64 channels become 0"),
    ({"width": 0}, "width is 0, needs a positive number"),
    ({"width": -1}, "width is -1, needs a positive number"),
    ({"width": float("nan")}, "width is nan, needs a positive number"),
    ({"width": float("inf")}, "width is inf, needs a positive number"),
    ({"width": "1/8"}, "width is '1/8', needs a positive number"),
    ({"classes": 0}, "classes is 0, needs an integer of at least 1"),
    ({"classes": 2.5}, "classes is 2.5, needs an integer of at least 1"),
    ({"channels": -3}, "channels is -3, needs an integer of at least 1"),
    ({"channels": True}, "channels is True, needs an integer of at least 1"),
    ({"channels": 4}, "needs 4 values"),
    ({"mean": (1, 2)}, "mean is (1, 2), needs 3 values"),
    ({"dropout": 1}, "dropout is 1, needs a number of at least 0"),
    ({"nyud_dir": "x"}, "no data layer has 'nyud_dir'"),
    ({"split": "deploy", "voc_dri": "x"}, "no data layer has 'voc_dri'"),
    ({"dropout": -0.5}, "dropout is -0.5, needs a number of at least 0"),
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
        ({"base_lrr": 1}, "solver field is 'base_lrr'"),
        ({"base_lr": "fast"}, "solver field base_lr is 'fast'"),
        ({"max_iter": 0.5}, "solver field max_iter is 0.5"),
        ({"test_iter": ["x"]}, "solver field test_iter is ['x']"),
        ({"net_param": 3}, "solver field net_param is 3"),
    ],
)
def test_an_unknown_solver_field_or_a_value_of_the_wrong_type_is_refused(fields, message):
    with pytest.raises(ValueError) as refusal:
        net_gen.solver("voc-fcn32s", **fields)
    assert message in str(refusal.value)


def test_generate_writes_no_file_if_an_argument_is_refused(tmp_path):
    with pytest.raises(ValueError):
        net_gen.generate("voc-fcn32s", tmp_path, {"no_field": 1})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("trunk, stride", HEADS)
def test_every_size_of_image_has_a_score_for_each_pixel(trunk, stride, tmp_path):
    """Caffe refuses a net with a Crop that reads outside of its bottom."""
    path = tmp_path / "deploy.prototxt"
    net_gen.write(net_gen.fcn(head(trunk, stride), "deploy", width=1 / 16), path)
    net = caffe.Net(str(path), caffe.TEST)
    for height, width in [(n, 35 - n) for n in range(1, 35)] + [(n, n + 60) for n in range(60, 94)]:
        net.blobs["data"].reshape(1, 3, height, width)
        net.reshape()
        assert net.blobs["score"].data.shape == (1, 21, height, width)
    net.forward()
    assert net.blobs["score"].data.shape == (1, 21, height, width)
