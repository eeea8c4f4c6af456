"""Layer types whose tops have the height and width of their bottoms, value on value."""

from __future__ import annotations

from typing import Any

from caffe.coord_map import PASS_THROUGH_LAYERS

from .windows import layer_error

#: Types that move no value: what lies at (y, x) in a bottom lies at (y, x) in every top.
#: `PASS_THROUGH_LAYERS` of BVLC Caffe has neither the types that join or cut channels nor the
#: newest activations.
POINTWISE = frozenset(
    {*PASS_THROUGH_LAYERS, "Clip", "Concat", "Silence", "Slice", "Softmax", "Swish"}
)
#: Of these, the types whose bottoms have to lie at one place.
JOINING = frozenset({"Concat", "Eltwise"})
#: Of these, the types that normalize by statistics of the whole map.
MAP_STATISTICS = frozenset({"MVN"})


def check_pointwise(layer: Any) -> None:
    """Raise ValueError for a LayerParameter whose values depend on other places than their own."""
    if layer.type not in POINTWISE or layer.type in MAP_STATISTICS:
        raise layer_error(layer, "mixes positions; name the last blob before it as the top")
