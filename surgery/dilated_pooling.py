"""Pooling with dilation, written with layers that BVLC Caffe 1.0 has.

Caffe's Pooling has no dilation. The maximum (or mean) over a window whose taps lie some positions
apart is the maximum (or mean) of Crops of one blob that start at these positions.
"""

from __future__ import annotations

from typing import Any, List, NamedTuple, Sequence

from net_gen.windows import Pair, Window, add_pairs, layer_error, multiply_pairs


class Bottom(NamedTuple):
    """The blob under a pooling.

    spread: positions between two taps of the window. not_negative: no value is below 0.
    one_channel: the blob has a single channel.
    """

    name: str
    spread: Pair
    not_negative: bool
    one_channel: bool


def add_dilated_pooling(net: Any, pooling: Any, window: Window, bottom: Bottom) -> None:
    """Add to `net` the layers that compute a MAX or AVE pooling of stride 1 with spread taps.

    pooling: LayerParameter of a pooling of any stride. window: its window. At every stride-th
    position the top has the values of the pooling, windows that reach past the end included.

    Raises ValueError, with the layer's name, for a pooling that these layers cannot compute.
    """
    DilatedPooling(net, pooling, window, bottom).add_layers()


class DilatedPooling:
    """The layers that take the place of one pooling; see `add_dilated_pooling`.

    maximum: MAX or else AVE. overhang: windows that start so late that they reach past the padded
    bottom, as a pair.
    """

    def __init__(self, net: Any, pooling: Any, window: Window, bottom: Bottom) -> None:
        p = pooling.pooling_param
        if len(pooling.top) > 1:
            raise layer_error(pooling, "has a mask as second top, needs a single top")
        if p.pool not in (p.MAX, p.AVE):
            raise layer_error(pooling, "pools at random, needs MAX or AVE")
        self.net, self.pooling, self.window, self.bottom = net, pooling, window, bottom
        self.maximum = p.pool == p.MAX
        self.overhang = self._overhang()

    def add_layers(self) -> None:
        """Add the padding if there is any, then the columns' and the rows' Crops."""
        name, spread, kernel = self.pooling.name, self.bottom.spread, self.window.kernel
        around = add_pairs(self.window.pad, self.overhang)
        if max(around):
            self._check_padding()
        # How much longer the sides of the top are than those of the bottom.
        reach = multiply_pairs((kernel[0] - 1, kernel[1] - 1), spread)
        further = [
            2 * pad * step + over * step - length
            for pad, over, step, length in zip(self.window.pad, self.overhang, spread, reach)
        ]
        like = self._blob_of_extents(further) if any(further) else self.bottom.name
        source = self.bottom.name
        if max(around):
            pad = multiply_pairs(around, spread)
            source = self._add_im2col(f"{name}_pad", source, (1, 1), (1, 1), pad)
        for axis in (3, 2):
            side = axis - 2
            starts = [(self.overhang[side] + tap) * spread[side] for tap in range(kernel[side])]
            source = self._add_line(source, like, axis, starts)

    def _overhang(self) -> Pair:
        """Return how many windows of all phases reach past the padded bottom, for each side.

        If Caffe rounds up, the last window of a phase does unless the phase ends with a complete
        window. Over all phases of a stride s these are s - 1 windows.
        """
        window = self.window
        ceil = getattr(self.pooling.pooling_param, "round_mode", 0) == 0
        over = (window.stride[0] - 1, window.stride[1] - 1) if ceil else (0, 0)
        for kernel, pad, late in zip(window.kernel, window.pad, over):
            if (pad or late) and pad + late >= kernel:
                raise layer_error(
                    self.pooling,
                    f"kernel {kernel}, stride {late + 1}, pad {pad}: its last windows start behind "
                    "the end of the input, needs a kernel above the pad and the stride less 1",
                )
        return over

    def _check_padding(self) -> None:
        if not self.maximum:
            raise layer_error(
                self.pooling,
                "AVE windows at the border have fewer values, needs pad 0 and round_mode FLOOR",
            )
        if not self.bottom.not_negative:
            raise layer_error(
                self.pooling,
                "its windows at the border are filled with zeros, needs a bottom without negative "
                "values, such as the top of a ReLU",
            )

    def _add_line(self, bottom: str, like: str, axis: int, starts: Sequence[int]) -> str:
        """Add the maximum or mean of Crops of `bottom` that start at `starts` along one axis.

        like: the blob whose extents the Crops have.
        """
        side, last = "hw"[axis - 2], axis == 2
        top = self.pooling.top[0] if last else f"{self.pooling.name}_w"
        parts: List[str] = []
        for number, start in enumerate(starts):
            part = f"{self.pooling.name}_{side}{number}" if len(starts) > 1 else top
            layer = self.net.layer.add(name=part, type="Crop", bottom=[bottom, like], top=[part])
            layer.crop_param.axis = axis
            layer.crop_param.offset.extend([start, 0] if last else [start])
            parts.append(part)
        if len(parts) > 1:
            name = self.pooling.name if last else top
            layer = self.net.layer.add(name=name, type="Eltwise", bottom=parts, top=[top])
            p = layer.eltwise_param
            p.operation = p.MAX if self.maximum else p.SUM
            if not self.maximum:
                p.coeff.extend([1.0 / len(parts)] * len(parts))
        return top

    def _blob_of_extents(self, further: Sequence[int]) -> str:
        """Add a blob whose sides are `further` longer than the bottom's, and return its name."""
        name, bottom = self.pooling.name, self.bottom.name
        channel, rest = bottom, f"{name}_rest"
        if not self.bottom.one_channel:
            channel = f"{name}_one"
            layer = self.net.layer.add(
                name=channel, type="Slice", bottom=[bottom], top=[channel, rest]
            )
            layer.slice_param.axis = 1
            layer.slice_param.slice_point.append(1)
            self.net.layer.add(name=rest, type="Silence", bottom=[rest])
        # Two taps |n| apart shorten a side by |n|; a pad of n lengthens it by twice that.
        high, wide = ((2, abs(n), max(n, 0)) if n else (1, 1, 0) for n in further)
        kernel, dilation, pad = zip(high, wide)
        return self._add_im2col(f"{name}_like", channel, kernel, dilation, pad)

    def _add_im2col(self, name: str, bottom: str, kernel: Pair, dilation: Pair, pad: Pair) -> str:
        """Add an Im2col; with a kernel of 1 it is the layer that puts zeros around a blob."""
        layer = self.net.layer.add(name=name, type="Im2col", bottom=[bottom], top=[name])
        p = layer.convolution_param
        p.kernel_size.extend(kernel)
        p.pad.extend(pad)
        p.dilation.extend(dilation)
        return name
