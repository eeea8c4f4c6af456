"""AlexNet, CaffeNet and GoogLeNet."""

import caffe
import pytest

import net_gen

SOURCE = net_gen.PythonData("module", "Layer", "{}")
NAMES = list(net_gen.CLASSIFIERS)
ALEXNET = """
    conv1 relu1 norm1 pool1 conv2 relu2 norm2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5
    fc6 relu6 drop6 fc7 relu7 drop7 fc8
"""
STEM = """
    conv1/7x7_s2 conv1/relu_7x7 pool1/3x3_s2 pool1/norm1 conv2/3x3_reduce conv2/relu_3x3_reduce
    conv2/3x3 conv2/relu_3x3 conv2/norm2 pool2/3x3_s2
"""
MODULE = """
    1x1 relu_1x1 3x3_reduce relu_3x3_reduce 3x3 relu_3x3 5x5_reduce relu_5x5_reduce 5x5 relu_5x5
    pool pool_proj relu_pool_proj output
"""


def by_name(net):
    return {layer.name: layer for layer in net.layer}


def weighted(net):
    return [layer for layer in net.layer if layer.type in ("Convolution", "InnerProduct")]


def test_alexnet_normalizes_before_it_pools_and_caffenet_after():
    assert [x.name for x in net_gen.alexnet("train", data=SOURCE).layer] == [
        "data",
        *ALEXNET.split(),
        "loss",
    ]
    swapped = {"norm1": "pool1", "pool1": "norm1", "norm2": "pool2", "pool2": "norm2"}
    assert [x.name for x in net_gen.caffenet("train", data=SOURCE).layer] == [
        "data",
        *(swapped.get(name, name) for name in ALEXNET.split()),
        "loss",
    ]


def test_googlenet_has_nine_modules_named_as_in_the_published_net():
    names = [x.name for x in net_gen.googlenet("val", data=SOURCE).layer]
    modules = []
    for module in ("3a", "3b", "pool3", "4a", "4b", "4c", "4d", "4e", "pool4", "5a", "5b"):
        pool = module.startswith("pool")
        modules += (
            [f"{module}/3x3_s2"] if pool else [f"inception_{module}/{x}" for x in MODULE.split()]
        )
    end = ["pool5/7x7_s1", "pool5/drop_7x7_s1", "loss3/classifier", "loss", "accuracy"]
    assert names == ["data", *STEM.split(), *modules, *end]


@pytest.mark.parametrize(
    "name, count", [("alexnet", 60965224), ("caffenet", 60965224), ("googlenet", 6998552)]
)
def test_the_number_of_weights_is_that_of_the_published_net(name, count, tmp_path):
    path = tmp_path / "net.prototxt"
    net_gen.write(net_gen.CLASSIFIERS[name]("deploy"), path)
    net = caffe.Net(str(path), caffe.TEST)
    assert sum(blob.data.size for blobs in net.params.values() for blob in blobs) == count


@pytest.mark.parametrize("name", NAMES)
def test_the_input_has_the_size_of_the_paper_or_another_one(name):
    shape = net_gen.CLASSIFIERS[name]("deploy", batch=2).layer[0].input_param.shape[0].dim
    assert list(shape) == [2, 3, *[227 if name in ("alexnet", "caffenet") else 224] * 2]
    shape = net_gen.CLASSIFIERS[name]("deploy", size=96, channels=1).layer[0].input_param.shape[0]
    assert list(shape.dim) == [1, 1, 96, 96]


@pytest.mark.parametrize("size", [31, 33, 64, 96, 97, 223, 224, 225, 300])
def test_the_last_pooling_of_googlenet_covers_the_map_at_any_size(size, tmp_path):
    path = tmp_path / "net.prototxt"
    net_gen.write(net_gen.googlenet("deploy", width=1 / 16, size=size), path)
    net = caffe.Net(str(path), caffe.TEST)
    kernel = by_name(net_gen.googlenet("deploy", size=size))["pool5/7x7_s1"].pooling_param
    assert net.blobs["inception_5b/output"].data.shape[2:] == (kernel.kernel_size,) * 2
    assert net.blobs["pool5/7x7_s1"].data.shape[2:] == (1, 1)


def test_an_image_too_small_for_googlenet_is_refused():
    for size in (1, 17, 30):
        with pytest.raises(ValueError, match=f"size is {size}, needs at least 31 pixels"):
            net_gen.googlenet("deploy", size=size)


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_filled_for_training_and_learned_at_the_published_rates(name):
    for layer in weighted(net_gen.CLASSIFIERS[name]("train", data=SOURCE, filler="xavier")):
        param = layer.convolution_param
        if layer.type == "InnerProduct":
            param = layer.inner_product_param
        assert param.weight_filler.type == "xavier", layer.name
        assert [(p.lr_mult, p.decay_mult) for p in layer.param] == [(1, 1), (2, 0)]
    for layer in weighted(net_gen.CLASSIFIERS[name]("deploy")):
        assert not layer.convolution_param.HasField("weight_filler")
        assert not layer.inner_product_param.HasField("weight_filler")


@pytest.mark.parametrize("name", NAMES)
def test_width_scales_every_channel_count_but_the_classes(name):
    full, eighth = (
        {
            x.name: x.convolution_param.num_output or x.inner_product_param.num_output
            for x in weighted(net_gen.CLASSIFIERS[name]("deploy", classes=20, width=width))
        }
        for width in (1, 1 / 8)
    )
    last = list(full)[-1]
    assert full.pop(last) == eighth.pop(last) == 20
    assert eighth == {name: count / 8 for name, count in full.items()}


@pytest.mark.parametrize("name", NAMES)
def test_dropout_is_in_the_nets_that_train_and_can_be_left_out(name):
    def ratios(*arguments, **more):
        net = net_gen.CLASSIFIERS[name](*arguments, **more)
        return [x.dropout_param.dropout_ratio for x in net.layer if x.type == "Dropout"]

    published = [0.4] if name == "googlenet" else [0.5, 0.5]
    assert ratios("train", data=SOURCE) == pytest.approx(published)
    assert not ratios("train", data=SOURCE, dropout=0) and not ratios("deploy")
