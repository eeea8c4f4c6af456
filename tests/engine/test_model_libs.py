"""caffe.model_libs: the bodies and heads with which SSD's scripts write their nets."""

import caffe
import numpy as np
import pytest
from caffe.model_libs import *  # noqa: F403  (as SSD's scripts do)
from caffe.model_libs import (
    ConvBNLayer,
    CreateAnnotatedDataLayer,
    CreateMultiBoxHead,
    L,
    P,
    ResBody,
    ResNet101Body,
    UnpackVariable,
    VGGNetBody,
)

HEAD = dict(
    from_layers=["conv4_3", "fc7"],
    use_batchnorm=False,
    min_sizes=[30, 60],
    max_sizes=[[], 111],
    aspect_ratios=[[2], [2, 3]],
    steps=[8, 16],
    normalizations=[20, -1],
    num_classes=21,
    prior_variance=[0.1, 0.1, 0.2, 0.2],
    kernel_size=3,
    pad=1,
)


def layers_of(net):
    return {layer.name: layer for layer in net.to_proto().layer}


def with_input(*shape):
    net = caffe.NetSpec()
    net.data = L.Input(shape=dict(dim=list(shape)))
    return net


def test_the_net_of_ssd_pascal_has_the_layers_of_the_published_weights():
    net = caffe.NetSpec()
    net.data, net.label = CreateAnnotatedDataLayer(
        "lmdb",
        batch_size=4,
        label_map_file="labelmap.prototxt",
        transform_param=dict(mirror=True, resize_param=dict(resize_mode=P.Resize.WARP)),
        batch_sampler=[dict(sampler={}, max_trials=1, max_sample=1)],
    )
    VGGNetBody(
        net, from_layer="data", fully_conv=True, reduced=True, dilated=True, dropout=False,
        freeze_layers=["conv1_1"],
    )  # fmt: skip
    assert net.keys()[-1] == "relu7" and net.vals()[-1] is net.relu7
    tops = CreateMultiBoxHead(net, **HEAD)
    assert tops == [net.mbox_loc, net.mbox_conf, net.mbox_priorbox]
    layers = layers_of(net)
    assert layers["data"].data_param.batch_size == 4 and list(layers["data"].top)[1] == "label"
    assert [p.lr_mult for p in layers["conv1_1"].param] == [0, 0]
    assert [p.lr_mult for p in layers["conv1_2"].param] == [1, 2]
    fc6 = layers["fc6"].convolution_param
    assert (fc6.num_output, fc6.pad[0], fc6.kernel_size[0], fc6.dilation[0]) == (1024, 6, 3, 6)
    pool5 = layers["pool5"].pooling_param
    assert (pool5.kernel_size, pool5.stride, pool5.pad) == (3, 1, 1)
    assert layers["conv4_3_norm"].norm_param.scale_filler.value == 20
    for name, count in (("conv4_3_norm", 3), ("fc7", 6)):
        assert layers[f"{name}_mbox_loc"].convolution_param.num_output == 4 * count
        assert layers[f"{name}_mbox_conf"].convolution_param.num_output == 21 * count
    prior = layers["fc7_mbox_priorbox"].prior_box_param
    assert list(prior.max_size) == [111] and list(prior.aspect_ratio) == [2, 3] and prior.flip
    assert list(layers["mbox_conf"].bottom) == ["conv4_3_norm_mbox_conf_flat", "fc7_mbox_conf_flat"]


def test_a_head_on_a_residual_block_runs(tmp_path):
    net = with_input(1, 3, 32, 32)
    ConvBNLayer(net, "data", "conv1", True, True, 4, 7, 3, 4, use_global_stats=True)
    ResBody(net, "conv1", "2a", 4, 4, 8, stride=2, use_branch1=True, dilation=2)
    CreateMultiBoxHead(
        net, from_layers=["res2a"], num_classes=3, min_sizes=[8], max_sizes=[16],
        aspect_ratios=[2], inter_layer_depth=[4], use_objectness=True, img_height=32, img_width=32,
    )  # fmt: skip
    path = tmp_path / "net.prototxt"
    path.write_text(str(net.to_proto()))
    out = caffe.Net(str(path), caffe.TEST).forward()
    boxes = 4 * 4 * 4
    assert out["mbox_loc"].shape == (1, 4 * boxes) and out["mbox_conf"].shape == (1, 3 * boxes)
    assert out["mbox_objectness"].shape == (1, 2 * boxes)
    assert out["mbox_priorbox"].shape == (1, 2, 4 * boxes)
    assert np.isfinite(out["mbox_loc"]).all()
    names = layers_of(net)
    assert {"bn2a_branch2b", "scale2a_branch2b", "res2a_branch1", "res2a_inter_bn"} <= set(names)
    assert names["res2a_branch2b"].convolution_param.pad[0] == 2
    assert [p.lr_mult for p in names["conv1_scale"].param] == [0, 0]


def test_resnet_101_has_the_blocks_of_the_published_weights():
    net = with_input(1, 3, 224, 224)
    ResNet101Body(net, "data", use_dilation_conv5=True)
    layers = layers_of(net)
    assert {"conv1", "bn_conv1", "scale_conv1", "res3b3", "bn4b22_branch2c"} <= set(layers)
    assert sum(layer.type == "Convolution" for layer in layers.values()) == 104
    assert layers["res5a_branch2a"].convolution_param.stride == [1]
    assert layers["res5c_branch2b"].convolution_param.dilation == [2]


def test_numbers_of_values_that_do_not_fit_are_refused():
    net = with_input(1, 3, 32, 32)
    with pytest.raises(ValueError, match=r"min_sizes has 1 values for 2 from_layers"):
        CreateMultiBoxHead(net, **dict(HEAD, min_sizes=[30]))
    with pytest.raises(ValueError, match="num_classes is 0"):
        CreateMultiBoxHead(net, **dict(HEAD, num_classes=0))
    with pytest.raises(ValueError, match="needs 1 or 2"):
        UnpackVariable([1, 2, 3], 2)
    assert UnpackVariable(3, 2) == UnpackVariable([3], 2) == [3, 3]


def test_a_top_may_have_the_name_of_a_method_of_ssd():
    net = with_input(1, 3)
    net.keys = L.ReLU(net.data)
    assert [layer.name for layer in net.to_proto().layer] == ["data", "keys"]
    assert net.vals() == [net.data, net.keys]
