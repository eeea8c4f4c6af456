"""The names of the engine's layer classes that a user's Python layer may use for itself."""

from __future__ import annotations

from caffe.layers import EngineLayer, Function, Layer
from caffe.proto import caffe_pb2

#: The methods that a user's layer defines and Caffe calls.
METHODS = {"setup", "reshape", "forward", "backward"}
#: Read-only properties of BVLC Caffe's Layer, which reserves no other names. Caffe also sets the
#: attributes `phase` and `param_str` before `setup`; a layer may set them again.
RESERVED = {"blobs", "type"}


def public_names() -> set[str]:
    """The public names that the engine's layer classes define, or set on a layer."""
    param = caffe_pb2.LayerParameter(name="a", type="A")
    names: set[str] = set()
    for cls in (Layer, EngineLayer, Function):
        names |= {*dir(cls), *vars(cls(param)), *cls.__annotations__}
    return {name for name in names if not name.startswith("_")}


#: The names that a user's layer may use for an attribute or a method of its own.
FREE_NAMES = sorted(public_names() - METHODS - RESERVED)
