"""The windows that layers slide over height and width: kernel, stride, pad and dilation.

Caffe has three spellings of such a setting: one number for both sides (`stride: 2`), one number a
side (`stride: 2 stride: 1`, convolutions only) and a field a side (`stride_h: 2 stride_w: 1`).
`read_window` reads all of them, `write_setting` writes the shortest.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Tuple

#: A number along the height and one along the width.
Pair = Tuple[int, int]

#: Layer type -> the field of LayerParameter that holds its window.
WINDOWED = {
    "Convolution": "convolution_param",
    "Deconvolution": "convolution_param",
    "Pooling": "pooling_param",
}
DEFAULTS = {"stride": 1, "pad": 0, "dilation": 1}


class Slide(NamedTuple):
    """A window along one side.

    reach: positions of the bottom from the first to the last that the window sees.
    stride: positions of the bottom between two windows.
    pad: positions that are added before the bottom and behind the bottom.
    """

    reach: int
    stride: int
    pad: int

    def count(self, size: int, ceil: bool = False, clip: bool = False) -> int:
        """Return how many windows a bottom of `size` positions has; 0 or less if it has none.

        ceil: the last window may reach past the padding, as a window of Pooling does.
        clip: a window has to start inside the bottom or inside the padding before the bottom.
        """
        room = size + 2 * self.pad - self.reach
        windows = (-(-room // self.stride) if ceil else room // self.stride) + 1
        return windows - (clip and (windows - 1) * self.stride >= size + self.pad)


class Window(NamedTuple):
    """The window of a layer, as (height, width) pairs.

    kernel: values that the window reads. dilation: positions between two of these values.
    stride: positions between two windows. pad: positions that are added around the bottom.
    """

    kernel: Pair
    stride: Pair
    pad: Pair
    dilation: Pair

    def along(self, side: int) -> Slide:
        """Return the window along the height (`side` 0) or along the width (`side` 1)."""
        reach = (self.kernel[side] - 1) * self.dilation[side] + 1
        return Slide(reach, self.stride[side], self.pad[side])


def parameters(layer: Any) -> Any:
    """Return the message that holds the window of a layer, a `convolution_param` for example."""
    return getattr(layer, WINDOWED[layer.type])


def read_window(layer: Any) -> Window:
    """Return the window of a Convolution, Deconvolution or Pooling LayerParameter.

    Raises ValueError, with the layer's name, for a window over other axes than height and width,
    for global pooling, for a layer without a kernel size, and for a kernel, stride or dilation
    below 1.
    """
    message = parameters(layer)
    if getattr(message, "global_pooling", False):
        raise layer_error(layer, "pools the whole map, needs a kernel_size")
    axis = getattr(message, "axis", 1)
    if axis != 1:
        raise layer_error(layer, f"axis is {axis}, needs axis 1: a window over height and width")
    kernel = _setting(layer, "kernel_size", "kernel")
    if kernel is None:
        raise layer_error(layer, "has no kernel_size, needs one over height and width")
    settings = {name: _setting(layer, name, name) or (default, default)
                for name, default in DEFAULTS.items()}  # fmt: skip
    window = Window(kernel, **settings)
    for name, pair in window._asdict().items():
        if name != "pad" and min(pair) < 1:
            raise layer_error(layer, f"{name} is {pair[0]} x {pair[1]}, needs at least 1")
    return window


def write_setting(layer: Any, name: str, pair: Pair) -> None:
    """Set the `stride`, `pad` or `dilation` of a layer to (height, width).

    A layer that has this setting already is not changed.
    """
    if (_setting(layer, name, name) or (DEFAULTS[name],) * 2) == pair:
        return
    clear_setting(layer, name)
    message = parameters(layer)
    if hasattr(getattr(message, name), "extend"):
        getattr(message, name).extend(pair if pair[0] != pair[1] else pair[:1])
    elif pair[0] == pair[1]:
        setattr(message, name, pair[0])
    else:
        setattr(message, f"{name}_h", pair[0])
        setattr(message, f"{name}_w", pair[1])


def clear_setting(layer: Any, name: str) -> None:
    """Clear every spelling of the `stride`, `pad` or `dilation` of a layer."""
    message = parameters(layer)
    for field in (name, f"{name}_h", f"{name}_w"):
        if field in message.DESCRIPTOR.fields_by_name:
            message.ClearField(field)


def add_pairs(a: Pair, b: Pair) -> Pair:
    """Return the sum of two (height, width) pairs."""
    return a[0] + b[0], a[1] + b[1]


def multiply_pairs(a: Pair, b: Pair) -> Pair:
    """Return the product of two (height, width) pairs, number by number."""
    return a[0] * b[0], a[1] * b[1]


def layer_error(layer: Any, problem: str) -> ValueError:
    """Return a ValueError whose message begins with the name and the type of a layer."""
    return ValueError(f"layer {layer.name} ({layer.type}): {problem}")


def _setting(layer: Any, name: str, stem: str) -> Optional[Pair]:
    """Return the field `name`, or `<stem>_h` and `<stem>_w`, of a layer; None if none is set."""
    message = parameters(layer)
    fields = message.DESCRIPTOR.fields_by_name
    if name in fields:
        value = getattr(message, name)
        if not hasattr(value, "extend"):
            if message.HasField(name):
                return value, value
        elif len(value) > 2:
            raise layer_error(layer, f"{name} has {len(value)} values, needs 1 or 2")
        elif len(value):
            return value[0], value[-1]
    sides = (f"{stem}_h", f"{stem}_w")
    if all(side in fields for side in sides) and any(map(message.HasField, sides)):
        return getattr(message, sides[0]), getattr(message, sides[1])
    return None
