"""Layers that read windows of a map, and Crop."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import math
from typing import List, NamedTuple, Sequence, Tuple

from oracle.random_nets.draft import Draft, Shape

#: Axes from this length on get the smallest window, so that nets stay small.
LONG_AXIS = 16


class Window(NamedTuple):
    """A layer's window along one axis."""

    kernel: int
    stride: int
    pad: int
    dilation: int

    @property
    def extent(self) -> int:
        """The distance from the window's first position to its last, both included."""
        return self.dilation * (self.kernel - 1) + 1

    def convolved(self, n: int) -> int:
        """Return the length of the top of a convolution over an axis of length n."""
        return (n + 2 * self.pad - self.extent) // self.stride + 1

    def deconvolved(self, n: int) -> int:
        """Return the length of the top of a deconvolution over an axis of length n."""
        return self.stride * (n - 1) + self.extent - 2 * self.pad


SMALLEST = Window(1, 1, 0, 1)


def draw_windows(d: Draft, sizes: Sequence[int], transposed: bool = False) -> List[Window]:
    """Return a window for each axis, with which the top has at least one position."""
    return [draw_window(d, n, transposed) for n in sizes]


def draw_window(d: Draft, n: int, transposed: bool) -> Window:
    """Return a window along an axis of length n; transposed: for a deconvolution."""
    if n >= LONG_AXIS:
        return SMALLEST
    while True:
        kernel, stride = d.size(1, 4), d.random.choice((1, 1, 2, 3))
        pad, dilation = d.random.choice((0, 0, 1, 2)), d.random.choice((1, 1, 1, 2))
        window = Window(kernel, stride, pad, dilation)
        if not transposed:
            fits = n + 2 * pad >= window.extent
        else:
            small = stride * n + window.extent <= LONG_AXIS + 1
            fits = window.deconvolved(n) >= 1 and small
        if fits:
            return window


def windows_text(d: Draft, windows: Sequence[Window]) -> str:
    """Return the windows as fields, in one of the forms that Caffe reads."""
    fields = []
    for i, (field, short, default) in enumerate(
        (
            ("kernel_size", "kernel", None),
            ("stride", "stride", 1),
            ("pad", "pad", 0),
            ("dilation", None, 1),
        )
    ):
        values = [window[i] for window in windows]
        if set(values) == {default} and d.chance(0.7):
            continue
        if short and len(values) == 2 and d.chance(0.3):
            fields += ["%s_h: %d %s_w: %d" % (short, values[0], short, values[1])]
        elif len(set(values)) == 1 and d.chance(0.7):
            fields.append("%s: %d" % (field, values[0]))
        else:
            fields += ["%s: %d" % (field, v) for v in values]
    return " ".join(fields)


def add_convolution(d: Draft, type_: str, transposed: bool) -> None:
    """Add a Convolution, or the transposed layer, over one or two blobs."""
    bottom = d.pick(3, 4, 4, 4, 5)
    shape = d.shapes[bottom]
    axis = channel_axis(d, shape)
    spatial, channels = shape[axis + 1 :], shape[axis]
    windows = draw_windows(d, spatial, transposed)
    group = d.random.choice([g for g in range(1, channels + 1) if channels % g == 0] + [1, 1])
    outputs = group * d.size(1, 3)
    bias = d.chance(0.7)
    fields = "num_output: %d %s" % (outputs, windows_text(d, windows))
    fields += " group: %d" % group if group > 1 or d.chance(0.1) else ""
    fields += "" if bias else " bias_term: false"
    fields += " axis: %d" % (axis - len(shape) if d.chance(0.3) else axis) if axis != 1 else ""
    fields += " force_nd_im2col: true" if d.chance(0.1) else ""
    first, second = (channels, outputs) if transposed else (outputs, channels)
    kernels = [window.kernel for window in windows]
    weights: List[Shape] = [(first, second // group, *kernels), (outputs,)]
    bottoms = [bottom]
    if d.chance(0.1):
        bottoms += [d.input(shape)]
    size = [w.deconvolved(n) if transposed else w.convolved(n) for n, w in zip(spatial, windows)]
    d.add(
        type_,
        bottoms,
        [(*shape[:axis], outputs, *size)] * len(bottoms),
        d.params(*weights[: 1 + bias]) + "convolution_param { %s }" % fields,
    )


def channel_axis(d: Draft, shape: Shape) -> int:
    """Return the axis of the channels: mostly 1, with one to three axes after it."""
    if d.chance(0.85):
        return 1
    axis = d.random.randrange(max(0, len(shape) - 4), len(shape) - 1)
    return axis if axis > 0 and 1 <= len(shape[axis + 1 :]) <= 3 else 1


def Convolution(d: Draft) -> None:
    """Add a Convolution."""
    add_convolution(d, "Convolution", False)


def Deconvolution(d: Draft) -> None:
    """Add a Deconvolution."""
    add_convolution(d, "Deconvolution", True)


def Im2col(d: Draft) -> None:
    """Add an Im2col."""
    bottom = d.pick(3, 4, 4, 5)
    shape = d.shapes[bottom]
    windows = draw_windows(d, shape[2:])
    size = [window.convolved(n) for n, window in zip(shape[2:], windows)]
    channels = shape[1] * math.prod(window.kernel for window in windows)
    fields = "convolution_param { %s }" % windows_text(d, windows)
    d.add("Im2col", [bottom], [(shape[0], channels, *size)], fields)


def Pooling(d: Draft) -> None:
    """Add a Pooling over windows, or over the whole map."""
    bottom = d.pick(4)
    shape = d.shapes[bottom]
    kind = d.random.choice(("MAX", "AVE"))
    if d.chance(0.12):
        fields, size = "global_pooling: true", [1, 1]
    else:
        fields, size = pooling_windows(d, shape[2:])
    # The second top of MAX is the index of each maximum, and has no gradient.
    masked = kind == "MAX" and d.chance(0.15)
    tops = d.add(
        "Pooling",
        [bottom],
        [(*shape[:2], *size)] * (1 + masked),
        "pooling_param { pool: %s %s }" % (kind, fields),
        gradient=not masked,
    )
    if masked:
        del d.shapes[tops[1]]


def pooling_windows(d: Draft, sizes: Sequence[int]) -> Tuple[str, List[int]]:
    """Return the fields of a pooling's windows over a map, and the size of the top."""
    floor = d.chance(0.3)
    while True:
        windows = draw_windows(d, sizes)
        size = [pooled(n, window, floor) for n, window in zip(sizes, windows)]
        if min(size) > 0:
            break
    fields = " ".join(
        "%s_h: %d %s_w: %d" % (field, windows[0][i], field, windows[1][i])
        for i, field in enumerate(("kernel", "stride", "pad"))
    )
    if windows[0] == windows[1] and d.chance(0.7):
        fields = "kernel_size: %d stride: %d pad: %d" % tuple(windows[0][:3])
    return fields + (" round_mode: FLOOR" if floor else ""), size


def pooled(n: int, window: Window, floor: bool) -> int:
    """Return how many windows a pooling has along an axis; 0 where one lies past the end.

    BVLC Caffe reads out of bounds in a window that lies past the end.
    """
    kernel, stride, pad, _ = window
    places = (n + 2 * pad - kernel) / stride
    count = (math.floor(places) if floor else math.ceil(places)) + 1
    count -= bool(pad and (count - 1) * stride >= n + pad)
    inside = pad < kernel <= n + 2 * pad and 0 <= (count - 1) * stride - pad < n
    return count if inside else 0


def SPP(d: Draft) -> None:
    """Add an SPP."""
    bottom = d.pick(4)
    shape = d.shapes[bottom]
    height = 1 if min(shape[2:]) < 2 else d.random.choice((1, 2))
    bins = sum(4**i for i in range(height))
    top = (*shape[:2], 1, 1) if height == 1 else (shape[0], shape[1] * bins)
    kind = d.random.choice(("MAX", "AVE"))
    d.add("SPP", [bottom], [top], "spp_param { pyramid_height: %d pool: %s }" % (height, kind))


def Crop(d: Draft) -> None:
    """Add a Crop to the size of an input."""
    bottom = d.pick(2, 3, 4)
    shape = d.shapes[bottom]
    axis, text = d.axis(shape)
    size = [n if i < axis else d.size(1, n) for i, n in enumerate(shape)]
    offsets = [d.size(0, shape[i] - size[i]) for i in range(axis, len(shape))]
    if d.chance(0.3):
        offset = min(shape[i] - size[i] for i in range(axis, len(shape)))
        offsets = [d.size(0, offset)]
    reference = d.input(tuple(size if d.chance(0.5) else [1] * axis + size[axis:]))
    text += "".join(" offset: %d" % n for n in offsets)
    d.add("Crop", [bottom, reference], [tuple(size)], "crop_param { %s }" % text)


MAKERS = (Convolution, Deconvolution, Im2col, Pooling, SPP, Crop)
