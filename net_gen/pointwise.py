"""Layer types whose tops have the height and width of their bottoms, value on value."""

from __future__ import annotations

from typing import Any

from .windows import layer_error

#: Types that join or cut channels, or end a blob, and keep height and width. `caffe.coord_map` has
#: no maps of these.
CHANNEL_TYPES = frozenset({"Concat", "Silence", "Slice", "Softmax"})
#: Types that move no value: a value at (y, x) of a bottom belongs to (y, x) of every top. Beside
#: `CHANNEL_TYPES` these are the pass-through layers of `caffe.coord_map`.
POINTWISE = CHANNEL_TYPES | {
    *("AbsVal", "BatchNorm", "Bias", "BNLL", "Clip", "Dropout", "Eltwise", "ELU", "Exp", "Log"),
    *("LRN", "MVN", "Power", "PReLU", "ReLU", "Scale", "Sigmoid", "Split", "Swish", "TanH"),
    "Threshold",
}
#: The types of these whose bottoms must lie at the same place.
JOINING = frozenset({"Concat", "Eltwise"})
#: The types of these that normalize by statistics of the whole map.
MAP_STATISTICS = frozenset({"MVN"})


def check_pointwise(layer: Any) -> None:
    """Raise ValueError for a LayerParameter whose values depend on other places than their own."""
    if layer.type not in POINTWISE or layer.type in MAP_STATISTICS:
        raise layer_error(layer, "mixes positions; name the last blob before it as the top")
