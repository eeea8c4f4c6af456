"""The layers of a NetParameter that lead to one blob."""

from __future__ import annotations

from typing import Any, List, Optional, Tuple


def layers_to(net: Any, top: Optional[str]) -> Tuple[List[Any], str]:
    """Return the layers that compute the blob `top`, in order, and its name.

    top: None is the last blob of the net.

    Raises ValueError for a net in Caffe's old format, a net without blobs and an unknown blob.
    """
    if len(net.layers):
        raise ValueError(
            f"net {net.name!r}: is in Caffe's old format (`layers`), needs `layer`; "
            "upgrade_net_proto_text converts it"
        )
    blobs = [blob for layer in net.layer for blob in layer.top]
    if not blobs:
        raise ValueError(f"net {net.name!r}: has no layer with a top, needs one")
    top = blobs[-1] if top is None else top
    if top not in blobs:
        raise ValueError(
            f"blob {top}: not in this net, which has {', '.join(dict.fromkeys(blobs))}"
        )
    needed, layers = {top}, []
    for layer in reversed(net.layer):
        if needed.intersection(layer.top):
            layers.append(layer)
            needed.update(layer.bottom)
    return layers[::-1], top


def without_layers(net: Any) -> Any:
    """Return a copy of a NetParameter that has no layers."""
    copy = type(net)()
    copy.CopyFrom(net)
    copy.ClearField("layer")
    return copy


def copy_layer(net: Any, layer: Any) -> Any:
    """Add a copy of a LayerParameter to a net, and return the copy."""
    copy = net.layer.add()
    copy.CopyFrom(layer)
    return copy
