"""Nets that find or recognize faces."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Tuple

from caffe import layers as L
from caffe import params as P

from bench.builder import FILLER, Builder

CLASSES = 1000


def sphereface20(size: Tuple[int, int], width: float = 1) -> Any:
    """Return SphereFace-20 (Liu et al. 2017, table 2): 20 layers, PReLU after each convolution."""
    build = Builder(size, width)
    spec = build.spec
    x = shortcut = spec.data
    for stage, (count, channels) in enumerate(((1, 64), (2, 128), (4, 256), (1, 512)), 1):
        outputs = build.channels(channels)
        for layer in range(1, 2 + 2 * count):
            x = build.convolved(f"conv{stage}_{layer}", x, outputs, stride=2 if layer == 1 else 1)
            spec[f"relu{stage}_{layer}"] = x = L.PReLU(x, in_place=True)
            if layer == 1:
                shortcut = x
            elif layer % 2 == 1:
                spec[f"res{stage}_{layer}"] = x = shortcut = L.Eltwise(shortcut, x)
    spec.fc5 = L.InnerProduct(x, num_output=build.channels(512))
    spec.score = L.InnerProduct(spec.fc5, num_output=CLASSES)
    return spec.to_proto()


def p_net(size: Tuple[int, int], width: float = 1) -> Any:
    """Return the proposal net of MTCNN (Zhang et al. 2016, figure 2), its two outputs as one blob.

    Programs that return one output of a net would return different ones.
    """
    build = Builder(size, width)
    spec, x = build.spec, build.spec.data
    for i, outputs in enumerate((10, 16, 32), 1):
        x = build.convolved(f"conv{i}", x, build.channels(outputs), pad=0)
        spec[f"prelu{i}"] = x = L.PReLU(x, in_place=True)
        if i == 1:
            x = build.pooled("pool1", x)
    heads = [build.convolved(name, x, count, 1) for name, count in (("classes", 2), ("box", 4))]
    build.joined("score", heads)
    return spec.to_proto()


class Maxout(NamedTuple):
    """Layers of the lightened CNN: their outputs before maxout, kernel, and whether it pools."""

    outputs: int
    kernel: int
    pools: bool


#: Wu et al. 2018, "A Light CNN for Deep Face Representation with Noisy Labels", table 2, the net of
#: 9 layers. The first one reads a gray image there.
MAXOUTS = (
    Maxout(96, 5, True),
    Maxout(96, 1, False),
    Maxout(192, 3, True),
    Maxout(192, 1, False),
    Maxout(384, 3, True),
    Maxout(384, 1, False),
    Maxout(256, 3, False),
    Maxout(256, 1, False),
    Maxout(256, 3, True),
)


def lightened_cnn(size: Tuple[int, int], width: float = 1) -> Any:
    """Return the lightened CNN: each layer's top is the larger one of two halves of its maps."""
    build = Builder(size, width)
    spec, x = build.spec, build.spec.data

    def larger(name: str, x: Any) -> Any:
        halves = L.Slice(x, ntop=2, axis=1)
        spec[name + "_a"], spec[name + "_b"] = halves
        spec[name + "_max"] = top = L.Eltwise(*halves, operation=P.Eltwise.MAX)
        return top

    for i, layer in enumerate(MAXOUTS, 1):
        outputs = 2 * build.channels(layer.outputs // 2)
        x = larger(f"conv{i}", build.convolved(f"conv{i}", x, outputs, layer.kernel))
        if layer.pools:
            x = build.pooled(f"pool{i}", x)
    spec.fc1 = L.InnerProduct(x, num_output=2 * build.channels(256), weight_filler=FILLER)
    spec.score = L.InnerProduct(larger("fc1", spec.fc1), num_output=CLASSES)
    return spec.to_proto()


#: The blocks of MobileNet (Howard et al. 2017, table 1): outputs and stride.
MOBILE_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)
#: The blocks, by number, whose tops RetinaFace reads: strides 8, 16 and 32.
LEVELS = (5, 11, 13)
#: RetinaFace's outputs at each position: for 2 anchors, 2 classes, a box, and 5 points.
HEADS = (("class", 4), ("box", 8), ("points", 20))


def retinaface(size: Tuple[int, int], width: float = 1) -> Any:
    """Return RetinaFace (Deng et al. 2020) on a quarter of MobileNet, its outputs in one row.

    Each of three maps is reduced to 64 channels, the coarser one is added, and a context module
    (Najibi et al. 2017, "SSH", figure 4) precedes the outputs.
    """
    build = Builder(size, width)
    spec = build.spec
    x = build.normalized("conv1", spec.data, build.channels(8), kernel_size=3, stride=2, pad=1)
    levels: List[Any] = []
    inputs, maps = build.channels(8), build.channels(64)
    for i, (outputs, stride) in enumerate(MOBILE_BLOCKS, 1):
        settings: Dict[str, Any] = {"kernel_size": 3, "stride": stride, "pad": 1, "group": inputs}
        x = build.normalized(f"block{i}_dw", x, inputs, **settings)
        inputs = build.channels(outputs // 4)
        x = build.normalized(f"block{i}", x, inputs, kernel_size=1)
        if i in LEVELS:
            levels.append(x)
    rows: List[Any] = []
    coarser = None
    for i, level in reversed(list(enumerate(levels, 3))):
        x = build.normalized(f"lateral{i}", level, maps, kernel_size=1)
        if coarser is not None:
            settings = {"kernel_size": 4, "stride": 2, "pad": 1, "group": maps, "bias_term": False}
            spec[f"up{i}"] = L.Deconvolution(
                coarser, convolution_param={**settings, "num_output": maps}
            )
            spec[f"sum{i}"] = L.Eltwise(x, spec[f"up{i}"])
            x = build.normalized(f"merged{i}", spec[f"sum{i}"], maps, kernel_size=3, pad=1)
        coarser = x
        context = _context(build, f"context{i}", x, maps)
        for name, count in HEADS:
            head = build.convolved(f"{name}{i}", context, count, 1)
            spec[f"{name}{i}_row"] = row = L.Flatten(head)
            rows.append(row)
    build.joined("score", rows)
    return spec.to_proto()


def _context(build: Builder, name: str, x: Any, maps: int) -> Any:
    """Add three convolutions in parallel, whose fields of view are 3, 5 and 7 positions."""
    same: Dict[str, Any] = {"kernel_size": 3, "pad": 1}
    quarter = maps // 4
    tops = [build.normalized(name + "_3", x, maps // 2, False, **same)]
    inner = build.normalized(name + "_5a", x, quarter, **same)
    tops.append(build.normalized(name + "_5", inner, quarter, False, **same))
    inner = build.normalized(name + "_7a", inner, quarter, **same)
    tops.append(build.normalized(name + "_7", inner, quarter, False, **same))
    top = build.joined(name, tops)
    build.spec[name + "_relu"] = top = L.ReLU(top, in_place=True)
    return top
