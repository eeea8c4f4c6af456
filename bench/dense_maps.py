"""Nets whose outputs are maps: the joints of people, and the colors of a gray image."""

from __future__ import annotations

from typing import Any, NamedTuple, Tuple

from caffe import layers as L

from bench.builder import FILLER, Builder


class PoseStage(NamedTuple):
    """A stage of BODY_25: its name, channels of its inner layers, and of its map."""

    name: str
    channels: int
    joined: int
    outputs: int


#: Cao et al. 2019, "OpenPose", section 3.2, with the channels of the published BODY_25 net: four
#: stages find the limbs (26 x 2 maps), two the joints (25 and the background).
POSE_STAGES = (
    PoseStage("limbs0", 96, 256, 52),
    PoseStage("limbs1", 128, 512, 52),
    PoseStage("limbs2", 128, 512, 52),
    PoseStage("limbs3", 128, 512, 52),
    PoseStage("joints0", 96, 256, 26),
    PoseStage("joints1", 128, 512, 26),
)
#: VGG19's first ten layers: layers and channels of each group, with a pooling between groups.
VGG_GROUPS = ((2, 64), (2, 128), (4, 256), (2, 512))


def body25(size: Tuple[int, int], width: float = 1) -> Any:
    """Return OpenPose's BODY_25, its two outputs as one blob."""
    build = Builder(size, width)
    spec, x = build.spec, build.spec.data

    def activated(name: str, x: Any, outputs: int, kernel: int = 3) -> Any:
        top = build.convolved(name, x, build.channels(outputs), kernel)
        spec[name + "_prelu"] = top = L.PReLU(top, in_place=True)
        return top

    for i, (count, channels) in enumerate(VGG_GROUPS, 1):
        for j in range(1, count + 1):
            name = f"conv{i}_{j}"
            last = name == "conv4_2"
            x = (
                activated(name, x, channels)
                if last
                else build.rectified(name, x, build.channels(channels))
            )
        if i < len(VGG_GROUPS):
            x = build.pooled(f"pool{i}", x)
    features = activated("conv4_4", activated("conv4_3", x, 256), 128)
    maps: dict[str, Any] = {}
    for stage in POSE_STAGES:
        kind = stage.name.rstrip("0123456789")
        others = [maps[name] for name in ("joints", "limbs") if name in maps]
        x = build.joined(stage.name + "_in", [features, *others]) if others else features
        for i in range(1, 6):
            parts = []
            for j in range(3):
                x = activated(f"{stage.name}_{i}_{j}", x, stage.channels)
                parts.append(x)
            x = build.joined(f"{stage.name}_{i}", parts)
        x = activated(stage.name + "_6", x, stage.joined, 1)
        maps[kind] = build.convolved(stage.name + "_7", x, stage.outputs, 1)
    build.joined("score", [maps["joints"], maps["limbs"]])
    return spec.to_proto()


class ColorStage(NamedTuple):
    """Layers of the colorization net: number, channels, stride of the last one, dilation."""

    layers: int
    channels: int
    stride: int
    dilation: int


#: Zhang et al. 2016, "Colorful Image Colorization", figure 2.
COLOR_STAGES = (
    ColorStage(2, 64, 2, 1),
    ColorStage(2, 128, 2, 1),
    ColorStage(3, 256, 2, 1),
    ColorStage(3, 512, 1, 1),
    ColorStage(3, 512, 1, 2),
    ColorStage(3, 512, 1, 2),
    ColorStage(3, 512, 1, 1),
)


def colorization(size: Tuple[int, int], width: float = 1) -> Any:
    """Return the colorization net with the means of the predicted colors.

    The published net reads one channel, the lightness.
    """
    build = Builder(size, width)
    spec, x = build.spec, build.spec.data
    for i, stage in enumerate(COLOR_STAGES, 1):
        for j in range(1, stage.layers + 1):
            x = build.rectified(
                f"conv{i}_{j}",
                x,
                build.channels(stage.channels),
                stride=stage.stride if j == stage.layers else 1,
                pad=stage.dilation,
                dilation=stage.dilation,
            )
        spec[f"norm{i}"] = x = L.BatchNorm(x)
    settings = {"kernel_size": 4, "stride": 2, "pad": 1, "weight_filler": FILLER}
    spec.conv8_1 = L.Deconvolution(
        x, convolution_param={**settings, "num_output": build.channels(256)}
    )
    spec.conv8_1_relu = x = L.ReLU(spec.conv8_1, in_place=True)
    for j in (2, 3):
        x = build.rectified(f"conv8_{j}", x, build.channels(256))
    spec.colors = L.Softmax(build.convolved("conv8_313", x, 313, 1))
    build.convolved("score", spec.colors, 2, 1)
    return spec.to_proto()
