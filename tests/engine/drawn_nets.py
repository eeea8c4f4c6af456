"""Nets for the inspector's page: a deep residual net, and a net with two trunks."""

from __future__ import annotations

from caffe import NetSpec
from caffe import layers as L
from caffe import params as P


def resnet(units=(3, 24, 36, 3), width=8):
    """A residual net of bottleneck units, each of three convolutions (He et al. 2015, table 1).

    (3, 24, 36, 3) units make 200 layers with weights.
    """
    n = NetSpec()
    n.data = L.Input(input_param={"shape": {"dim": [1, 3, 224, 224]}})
    n.conv1 = L.Convolution(n.data, num_output=width, kernel_size=7, stride=2, pad=3)
    top = n.pool1 = L.Pooling(n.conv1, kernel_size=3, stride=2, pool=P.Pooling.MAX)
    for stage, count in enumerate(units, 2):
        for unit in range(count):
            top = _unit(n, top, f"res{stage}_{unit}", width << (stage - 2), stage > 2, unit == 0)
    n.pool5 = L.Pooling(top, global_pooling=True, pool=P.Pooling.AVE)
    n.fc = L.InnerProduct(n.pool5, num_output=10)
    return n.to_proto()


def _unit(n, bottom, name, width, halves, first):
    """Add a unit: 1 x 1, 3 x 3 and 1 x 1 convolutions, added to their input."""
    stride = 2 if halves and first else 1
    top = bottom
    for branch, (kernel, outputs) in zip("abc", ((1, width), (3, width), (1, 4 * width))):
        inner = f"{name}/branch2{branch}"
        n[inner] = L.Convolution(
            top,
            num_output=outputs,
            kernel_size=kernel,
            pad=kernel // 2,
            stride=stride if branch == "a" else 1,
            bias_term=False,
        )
        n[f"{inner}/bn"] = L.BatchNorm(n[inner], in_place=True)
        n[f"{inner}/scale"] = L.Scale(n[f"{inner}/bn"], bias_term=True, in_place=True)
        top = n[f"{inner}/scale"]
    shortcut = bottom
    if first:
        shortcut = n[f"{name}/branch1"] = L.Convolution(
            bottom, num_output=4 * width, kernel_size=1, stride=stride, bias_term=False
        )
    n[f"{name}/sum"] = L.Eltwise(shortcut, top)
    n[f"{name}/relu"] = L.ReLU(n[f"{name}/sum"], in_place=True)
    return n[f"{name}/relu"]


def two_trunks():
    """Scores of two images, each by a trunk, added and cut to the size of the first."""
    n = NetSpec()
    shape = {"dim": [1, 3, 64, 64]}
    n.color, n.depth = L.Input(ntop=2, input_param={"shape": [shape, shape]})
    scores = []
    for image in ("color", "depth"):
        top = n[image]
        for i in range(1, 4):
            name = f"conv{i}_{image}"
            pad = 30 if i == 1 else 1
            n[name] = L.Convolution(top, num_output=8 * i, kernel_size=3, pad=pad)
            n[f"relu{i}_{image}"] = L.ReLU(n[name], in_place=True)
            top = n[f"pool{i}_{image}"] = L.Pooling(
                n[f"relu{i}_{image}"], kernel_size=2, stride=2, pool=P.Pooling.MAX
            )
        score = n[f"score_{image}"] = L.Convolution(top, num_output=4, kernel_size=1)
        scores.append(score)
    n.fused = L.Eltwise(*scores)
    n.up = L.Deconvolution(
        n.fused,
        convolution_param={
            "num_output": 4,
            "kernel_size": 16,
            "stride": 8,
            "weight_filler": {"type": "bilinear"},
        },
    )
    n.score = L.Crop(n.up, n.color, crop_param={"axis": 2, "offset": 33})
    return n.to_proto()
