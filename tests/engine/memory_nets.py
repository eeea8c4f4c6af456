"""A net whose memory is measured."""

from __future__ import annotations

from caffe.proto import caffe_pb2

import net_gen


def trained(width):
    """VGG16 with a loss over data of its own, `width` of its channels."""
    net = net_gen.vgg16("deploy", width=width)
    for layer in [x for x in net.layer if x.type == "Softmax"]:
        net.layer.remove(layer)
    data = caffe_pb2.LayerParameter(name="data", type="DummyData", top=["data", "label"])
    for dims in ([2, 3, 224, 224], [2]):
        data.dummy_data_param.shape.add(dim=dims)
    net.layer[0].CopyFrom(data)
    top = net.layer[-1].top[0]
    net.layer.add(name="loss", type="SoftmaxWithLoss", bottom=[top, "label"], top=["loss"])
    return net
