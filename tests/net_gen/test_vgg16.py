"""The VGG16 classifier."""

import pytest

import net_gen

SOURCE = net_gen.PythonData("module", "Layer", "{}")
NAMES = []
for block, convolutions in enumerate((2, 2, 3, 3, 3), 1):
    for number in range(1, convolutions + 1):
        NAMES += [f"conv{block}_{number}", f"relu{block}_{number}"]
    NAMES.append(f"pool{block}")
NAMES += ["fc6", "relu6", "drop6", "fc7", "relu7", "drop7", "fc8"]


def names(net):
    return [layer.name for layer in net.layer]


def weighted(net):
    return [layer for layer in net.layer if layer.type in ("Convolution", "InnerProduct")]


def test_layers_are_named_as_in_the_published_net():
    deploy = [name for name in NAMES if "drop" not in name]
    assert names(net_gen.vgg16("deploy")) == ["input", *deploy, "prob"]
    assert names(net_gen.vgg16("train", data=SOURCE)) == ["data", *NAMES, "loss"]
    assert names(net_gen.vgg16("val", data=SOURCE)) == ["data", *NAMES, "loss", "accuracy"]


def test_the_convolutions_are_those_of_the_fully_convolutional_nets_but_for_the_padding():
    classifier = {layer.name: layer for layer in net_gen.vgg16("deploy").layer}
    fcn = {layer.name: layer for layer in net_gen.fcn("voc-fcn32s", "deploy").layer}
    assert fcn["conv1_1"].convolution_param.pad[0] == 100
    fcn["conv1_1"].convolution_param.pad[0] = 1
    shared = [name for name in NAMES if name[:3] in ("con", "rel", "poo")]
    assert [classifier[name] for name in shared] == [fcn[name] for name in shared]


def test_fc6_to_fc8_are_inner_products():
    fc = {x.name: x for x in net_gen.vgg16("deploy").layer if x.type == "InnerProduct"}
    counts = {name: layer.inner_product_param.num_output for name, layer in fc.items()}
    assert counts == {"fc6": 4096, "fc7": 4096, "fc8": 1000}


def test_every_weight_has_a_filler_for_training_and_none_in_deploy():
    for split in ("train", "val"):
        for layer in weighted(net_gen.vgg16(split, data=SOURCE)):
            param = layer.convolution_param
            if layer.type == "InnerProduct":
                param = layer.inner_product_param
            assert param.weight_filler.type == "msra", layer.name
    for layer in weighted(net_gen.vgg16("deploy")):
        assert not layer.convolution_param.HasField("weight_filler")
        assert not layer.inner_product_param.HasField("weight_filler")


def test_a_layer_can_have_another_filler_than_the_rest():
    fillers = {"fc8": {"type": "gaussian", "std": 0.25}, "conv1_1": {"type": "xavier"}}
    layers = {x.name: x for x in net_gen.vgg16("train", data=SOURCE, fillers=fillers).layer}
    last = layers["fc8"].inner_product_param.weight_filler
    assert (last.type, last.std) == ("gaussian", 0.25)
    assert layers["fc7"].inner_product_param.weight_filler.type == "msra"
    assert layers["conv1_1"].convolution_param.weight_filler.type == "xavier"
    assert net_gen.vgg16("deploy", fillers=fillers) == net_gen.vgg16("deploy")


def test_a_filler_for_a_layer_without_weights_is_refused():
    with pytest.raises(ValueError, match="fillers has 'relu6', needs layers with weights"):
        net_gen.vgg16("train", data=SOURCE, fillers={"relu6": {"type": "xavier"}})


def test_width_scales_every_channel_count_but_the_classes():
    layers = {x.name: x for x in net_gen.vgg16("deploy", classes=20, width=1 / 8).layer}
    assert layers["conv5_3"].convolution_param.num_output == 64
    assert layers["fc7"].inner_product_param.num_output == 512
    assert layers["fc8"].inner_product_param.num_output == 20


def test_size_channels_and_batch_set_the_shape_of_the_input():
    net = net_gen.vgg16("deploy", channels=1, size=96, batch=10)
    assert list(net.layer[0].input_param.shape[0].dim) == [10, 1, 96, 96]
    assert list(net_gen.vgg16("deploy").layer[0].input_param.shape[0].dim) == [1, 3, 224, 224]


def test_data_and_label_come_from_the_python_layer_in_the_argument():
    source = net_gen.PythonData("module", "Layer", {"batch": 32})
    net = net_gen.vgg16("train", data=source)
    assert list(net.layer[0].top) == ["data", "label"]
    assert net.layer[0].python_param.param_str == "{'batch': 32}"
    assert [list(x.bottom) for x in net.layer if x.name == "loss"] == [["fc8", "label"]]


def test_dropout_0_leaves_the_layers_out():
    without = names(net_gen.vgg16("train", data=SOURCE, dropout=0))
    assert not [name for name in without if "drop" in name]
    assert len(without) == len(NAMES)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"split": "test"}, "split is 'test'"),
        ({"split": "train"}, "data is None, needs a PythonData for the train net"),
        ({"split": "deploy", "size": 0}, "size is 0"),
        ({"split": "deploy", "batch": 1.5}, "batch is 1.5"),
        ({"split": "deploy", "width": 1 / 200}, "64 channels become 0"),
        ({"split": "deploy", "dropout": 2}, "dropout is 2"),
    ],
)
def test_an_argument_that_makes_no_net_is_refused_with_its_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        net_gen.vgg16(**arguments)
