"""Where a net's images and labels come from."""

from __future__ import annotations

from typing import Any, Dict, Mapping, NamedTuple, Sequence, Tuple, Union

from caffe.net_spec import NetSpec
from caffe.net_spec import layers as L

#: The nets of a variant: two that read a data set, and one whose input the caller fills.
SPLITS = ("train", "val", "deploy")


class PythonData(NamedTuple):
    """A Python layer that reads images and labels.

    module, layer: the module and the class of the layer. param_str: its argument; anything but a
    string is written as its `repr`. tops: the blobs that the layer fills.
    """

    module: str
    layer: str
    param_str: Union[str, Dict[str, Any]] = ""
    tops: Tuple[str, ...] = ("data", "label")

    def add(self, n: NetSpec) -> None:
        """Add the layer."""
        text = self.param_str if isinstance(self.param_str, str) else repr(self.param_str)
        count = len(self.tops)
        tops = L.Python(module=self.module, layer=self.layer, ntop=count, param_str=text)
        for name, top in zip(self.tops, tops if count > 1 else [tops]):
            n[name] = top


class Input(NamedTuple):
    """Blobs that the caller fills: name -> shape N x C x H x W, until it is reshaped."""

    shapes: Mapping[str, Sequence[int]]

    def add(self, n: NetSpec) -> None:
        """Add an Input layer for each blob: `input`, or `input_<blob>` if there are several."""
        for blob, shape in self.shapes.items():
            name = "input" if len(self.shapes) == 1 else f"input_{blob}"
            n[blob] = L.Input(name=name, shape=[{"dim": list(shape)}])
