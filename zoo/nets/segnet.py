"""SegNet (Badrinarayanan et al. 2015): VGG16 twice, the second unpooling where the first pooled."""

from __future__ import annotations

from typing import Any

import caffe
from caffe import layers as L
from caffe import params as P

from .blocks import scaled, with_bn

BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def encode_and_decode(
    net: Any,
    data: Any,
    classes: int,
    width: float,
    blocks: int = 5,
    bn: dict[str, Any] | None = None,
) -> Any:
    """Return the scores of each class at each pixel of `data`. `blocks` is the number of poolings.

    bn: the settings of the BN layers.
    """
    sizes = BLOCKS[:blocks]
    top, masks = data, []
    for block, (count, channels) in enumerate(sizes, 1):
        for i in range(1, count + 1):
            top = with_bn(net, f"conv{block}_{i}", top, scaled(channels, width), bn=bn)
        pool, mask = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=2, stride=2, ntop=2)
        net[f"pool{block}"], net[f"pool{block}_mask"] = pool, mask
        top = pool
        masks.append(mask)
    for block in range(len(sizes), 0, -1):
        count, channels = sizes[block - 1]
        net[f"upsample{block}"] = L.Upsample(top, masks[block - 1], upsample_param={"scale": 2})
        top = net[f"upsample{block}"]
        below = sizes[block - 2][1] if block > 1 else 64
        for i in range(count, 0, -1):
            name = f"conv{block}_{i}_D"
            if block == 1 and i == 1:
                break
            top = with_bn(net, name, top, scaled(channels if i > 1 else below, width), bn=bn)
    net["scores"] = L.Convolution(
        top, num_output=classes, kernel_size=3, pad=1, weight_filler={"type": "msra"}
    )
    return net["scores"]


def net(width: float = 1 / 16, size: int = 64, classes: int = 11) -> Any:
    """Return SegNet's NetParameter for inference, for 1 x 3 x size x size."""
    n = caffe.NetSpec()
    n.data = L.Input(input_param={"shape": {"dim": [1, 3, size, size]}})
    scores = encode_and_decode(n, n.data, classes, width, bn={"bn_mode": P.BN.INFERENCE})
    n.prob = L.Softmax(scores)
    return n.to_proto()
