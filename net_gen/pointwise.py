"""Layer types whose tops have the height and width of their bottoms, value on value."""

from __future__ import annotations

from caffe.coord_map import PASS_THROUGH_LAYERS

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
