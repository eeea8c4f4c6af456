"""SSD on VGG16 (Liu et al. 2016) and on MobileNet (MobileNet-SSD of chuanqi305)."""

from __future__ import annotations

from typing import Any, NamedTuple, Sequence

import caffe
from caffe import layers as L
from caffe import params as P

from .blocks import convolution, rectified, scaled, with_batch_norm

VARIANCE = [0.1, 0.1, 0.2, 0.2]


class Source(NamedTuple):
    """A feature map that detects: its top, its name, and its default boxes in pixels.

    max_size: 0 has no second square box. ratios: the aspect ratios beside 1, both ways.
    """

    top: Any
    name: str
    min_size: float
    max_size: float
    ratios: Sequence[float]

    @property
    def boxes(self) -> int:
        """The number of default boxes of a position."""
        return 1 + (self.max_size > 0) + 2 * len(self.ratios)


def box_sizes(size: int, maps: int, low: int = 20, high: int = 90) -> list[tuple[float, float]]:
    """Return the min_size and max_size of each map for images of `size` pixels.

    The sizes go from half of `low` per cent of the image for the first map, then evenly from `low`
    to `high` per cent (SSD, section 3.1).
    """
    step = (high - low) // max(maps - 2, 1)
    shares = [low / 2, *range(low, high + 1, step)][:maps]
    edges = [*shares, shares[-1] + step]
    return [(size * a / 100, size * b / 100) for a, b in zip(edges, edges[1:])]


def sources_of(
    tops: Sequence[Any],
    names: Sequence[str],
    sizes: Sequence[tuple[float, float]],
    ratios: Sequence[Sequence[float]],
) -> list[Source]:
    """Return the Source of each top. sizes: min_size and max_size."""
    return [
        Source(top, name, low, high, aspects)
        for top, name, (low, high), aspects in zip(tops, names, sizes, ratios)
    ]


def heads(net: Any, data: Any, sources: Sequence[Source], classes: int) -> tuple[Any, Any, Any]:
    """Add the convolutions over each map; return codes, scores and priors of all maps."""
    parts: dict[str, list[Any]] = {"loc": [], "conf": [], "priorbox": []}
    for source in sources:
        for kind, values in (("loc", 4), ("conf", classes)):
            name = f"{source.name}_mbox_{kind}"
            net[name] = convolution(source.top, source.boxes * values, 3)
            net[f"{name}_perm"] = L.Permute(net[name], order=[0, 2, 3, 1])
            net[f"{name}_flat"] = L.Flatten(net[f"{name}_perm"], axis=1)
            parts[kind].append(net[f"{name}_flat"])
        settings: dict[str, Any] = {"min_size": source.min_size, "clip": False, "flip": True}
        if source.max_size:
            settings["max_size"] = source.max_size
        if source.ratios:
            settings["aspect_ratio"] = list(source.ratios)
        settings.update(variance=VARIANCE, offset=0.5)
        name = f"{source.name}_mbox_priorbox"
        net[name] = L.PriorBox(source.top, data, prior_box_param=settings)
        parts["priorbox"].append(net[name])
    for kind, axis in (("loc", 1), ("conf", 1), ("priorbox", 2)):
        net[f"mbox_{kind}"] = L.Concat(*parts[kind], axis=axis)
    return net.mbox_loc, net.mbox_conf, net.mbox_priorbox


def detections(net: Any, tops: tuple[Any, Any, Any], classes: int, threshold: float) -> Any:
    """Return the DetectionOutput over the heads' tops."""
    codes, scores, priors = tops
    net.mbox_conf_reshape = L.Reshape(scores, shape={"dim": [0, -1, classes]})
    net.mbox_conf_softmax = L.Softmax(net.mbox_conf_reshape, axis=2)
    net.mbox_conf_flatten = L.Flatten(net.mbox_conf_softmax, axis=1)
    net.detection_out = L.DetectionOutput(
        codes,
        net.mbox_conf_flatten,
        priors,
        detection_output_param={
            "num_classes": classes,
            "share_location": True,
            "background_label_id": 0,
            "nms_param": {"nms_threshold": 0.45, "top_k": 400},
            "code_type": P.PriorBox.CENTER_SIZE,
            "keep_top_k": 200,
            "confidence_threshold": threshold,
        },
    )
    return net.detection_out


def extra(net: Any, name: str, bottom: Any, narrow: int, wide: int, **window: Any) -> Any:
    """Return a 1 x 1 convolution and a 3 x 3 one, with ReLUs."""
    top = rectified(net, f"{name}_1", bottom, narrow, 1)
    return rectified(net, f"{name}_2", top, wide, 3, **window)


def vgg(width: float = 1 / 16, size: int = 300, classes: int = 21, threshold: float = 0.05) -> Any:
    """Return the NetParameter of SSD300 on VGG16, for 1 x 3 x size x size."""
    n = caffe.NetSpec()
    n.data = L.Input(input_param={"shape": {"dim": [1, 3, size, size]}})
    top, fine = n.data, None
    for block, (count, channels) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
        for i in range(1, count + 1):
            top = rectified(n, f"conv{block}_{i}", top, scaled(channels, width))
        fine = top if block == 4 else fine
        window = {"kernel_size": 2, "stride": 2}
        if block == 5:
            window = {"kernel_size": 3, "stride": 1, "pad": 1}
        n[f"pool{block}"] = L.Pooling(top, pool=P.Pooling.MAX, **window)
        top = n[f"pool{block}"]
    top = rectified(n, "fc6", top, scaled(1024, width), 3, pad=6, dilation=6)
    tops = [fine, rectified(n, "fc7", top, scaled(1024, width), 1)]
    for name, narrow, wide, window in (
        ("conv6", 256, 512, {"stride": 2}),
        ("conv7", 128, 256, {"stride": 2}),
        ("conv8", 128, 256, {"pad": 0}),
        ("conv9", 128, 256, {"pad": 0}),
    ):
        depths = scaled(narrow, width), scaled(wide, width)
        tops.append(extra(n, name, tops[-1], *depths, **window))
    n.conv4_3_norm = L.Normalize(
        fine,
        norm_param={
            "across_spatial": False,
            "channel_shared": False,
            "scale_filler": {"type": "constant", "value": 20},
        },
    )
    tops[0] = n.conv4_3_norm
    names = ("conv4_3_norm", "fc7", "conv6_2", "conv7_2", "conv8_2", "conv9_2")
    ratios = ([2], [2, 3], [2, 3], [2, 3], [2], [2])
    sizes = box_sizes(size, 6)
    sources = sources_of(tops, names, sizes, ratios)
    detections(n, heads(n, n.data, sources, classes), classes, threshold)
    return n.to_proto()


def separable(net: Any, name: str, bottom: Any, depth: int, channels: int, stride: int) -> Any:
    """Return MobileNet's depthwise and pointwise convolutions, each with batch normalization."""
    top = with_batch_norm(net, f"{name}/dw", bottom, depth, 3, stride=stride, group=depth)
    return with_batch_norm(net, name, top, channels, 1)


def mobilenet(
    width: float = 1 / 8, size: int = 160, classes: int = 21, threshold: float = 0.05
) -> Any:
    """Return the NetParameter of MobileNet-SSD, for 1 x 3 x size x size."""
    n = caffe.NetSpec()
    n.data = L.Input(input_param={"shape": {"dim": [1, 3, size, size]}})
    depth = scaled(32, width)
    top = with_batch_norm(n, "conv0", n.data, depth, 3, stride=2)
    channels = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    tops = []
    for i, wide in enumerate(channels, 1):
        stride = 2 if i in (2, 4, 6, 12) else 1
        top = separable(n, f"conv{i}", top, depth, scaled(wide, width), stride)
        depth = scaled(wide, width)
        tops += [top] if i in (11, 13) else []
    for i, (narrow, wide) in enumerate(((256, 512), (128, 256), (128, 256), (64, 128)), 14):
        top = with_batch_norm(n, f"conv{i}_1", tops[-1], scaled(narrow, width), 1)
        tops.append(with_batch_norm(n, f"conv{i}_2", top, scaled(wide, width), 3, stride=2))
    names = ("conv11", "conv13", *(f"conv{i}_2" for i in range(14, 18)))
    sizes = [(0.2 * size, 0.0), *box_sizes(size, 6)[1:]]
    ratios = ([2], *[[2, 3]] * 5)
    sources = sources_of(tops, names, sizes, ratios)
    detections(n, heads(n, n.data, sources, classes), classes, threshold)
    return n.to_proto()
