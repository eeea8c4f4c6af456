"""Blocks that several generators share. A block adds layers to a NetSpec and returns its top."""

from __future__ import annotations

from typing import Any

from caffe import layers as L
from caffe import params as P

FILLER = {"type": "msra"}


def scaled(channels: int, width: float, multiple: int = 1) -> int:
    """Return a number of channels times `width`, rounded to a multiple, at least that multiple."""
    return max(multiple, int(channels * width) // multiple * multiple)


def convolution(bottom: Any, channels: int, kernel: int = 3, bias: bool = True, **more: Any) -> Any:
    """Return a Convolution that keeps the size at stride 1, unless `more` sets another pad."""
    settings = {"pad": kernel // 2, **more}
    return L.Convolution(
        bottom,
        num_output=channels,
        kernel_size=kernel,
        bias_term=bias,
        weight_filler=FILLER,
        **settings,
    )


def rectified(net: Any, name: str, bottom: Any, channels: int, kernel: int = 3, **more: Any) -> Any:
    """Return a Convolution `name` with a ReLU in place."""
    net[name] = convolution(bottom, channels, kernel, **more)
    net[f"relu_{name}"] = L.ReLU(net[name], in_place=True)
    return net[f"relu_{name}"]


def with_bn(
    net: Any,
    name: str,
    bottom: Any,
    channels: int,
    kernel: int = 3,
    relu: bool = True,
    bn: dict[str, Any] | None = None,
    **more: Any,
) -> Any:
    """Return a Convolution `name` without bias, a BN with these settings, and a ReLU."""
    net[name] = convolution(bottom, channels, kernel, bias=False, **more)
    net[f"{name}/bn"] = L.BN(net[name], in_place=True, bn_param=bn or {"eps": 1e-5})
    if not relu:
        return net[f"{name}/bn"]
    net[f"{name}/relu"] = L.ReLU(net[f"{name}/bn"], in_place=True)
    return net[f"{name}/relu"]


def with_batch_norm(
    net: Any,
    name: str,
    bottom: Any,
    channels: int,
    kernel: int = 3,
    slope: float | None = 0.0,
    **more: Any,
) -> Any:
    """Return a Convolution `name`, BatchNorm and Scale, and a ReLU unless `slope` is None."""
    net[name] = convolution(bottom, channels, kernel, bias=False, **more)
    net[f"{name}/bn"] = L.BatchNorm(net[name], in_place=True)
    net[f"{name}/scale"] = L.Scale(net[f"{name}/bn"], in_place=True, bias_term=True)
    if slope is None:
        return net[f"{name}/scale"]
    net[f"{name}/relu"] = L.ReLU(net[f"{name}/scale"], in_place=True, negative_slope=slope)
    return net[f"{name}/relu"]


def vgg16(net: Any, bottom: Any, width: float, last: int = 5) -> Any:
    """Return the top of VGG16's convolutions and poolings up to block `last`."""
    top = bottom
    for block, (count, channels) in enumerate(
        ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))[:last], 1
    ):
        for i in range(1, count + 1):
            top = rectified(net, f"conv{block}_{i}", top, scaled(channels, width))
        net[f"pool{block}"] = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=2, stride=2)
        top = net[f"pool{block}"]
    return top
