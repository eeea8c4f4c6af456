"""Where a net's data comes from."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Sequence, Union

from caffe.net_spec import NetSpec, Top
from caffe.net_spec import layers as L

CLASSES = 21
MEAN = (104.00699, 116.66877, 122.67892)
# In the folder `data`.
SBDD_DIR = "sbdd/dataset"
VOC_DIR = "pascal/VOC2011"


class PythonData(NamedTuple):
    """A Python layer that makes `data` and `label`: its module, its class and its argument.

    A `param_str` that is no text is written as Python writes it.
    """

    module: str
    layer: str
    param_str: Union[str, Dict[str, Any]] = ""

    def add(self, n: NetSpec) -> Top:
        """Adds the layer; gives `data`."""
        text = self.param_str if isinstance(self.param_str, str) else repr(self.param_str)
        n.data, n.label = L.Python(module=self.module, layer=self.layer, ntop=2, param_str=text)
        return n.data


class Input(NamedTuple):
    """A blob `data` that the caller fills, of `shape` N x C x H x W until it is reshaped."""

    shape: Sequence[int]

    def add(self, n: NetSpec) -> Top:
        """Adds the layer; gives `data`."""
        n.data = L.Input(name="input", shape=[{"dim": list(self.shape)}])
        return n.data


def voc(split: str, **settings: Any) -> PythonData:
    """The data layers of the published nets: SBD for `train`, VOC 2011 for `val`.

    settings: sbdd_dir, voc_dir, seed, mean, train_split, val_split, classes.
    """
    mean = tuple(settings["mean"])
    if split == "train":
        where, layer = {"sbdd_dir": settings["sbdd_dir"]}, "SBDDSegDataLayer"
    else:
        where, layer = {"voc_dir": settings["voc_dir"]}, "VOCSegDataLayer"
    what = {"seed": settings["seed"], "split": settings[f"{split}_split"], "mean": mean}
    if settings["classes"] != CLASSES:  # a key that the published layers do not have
        what["classes"] = settings["classes"]
    return PythonData("voc_layers", layer, {**where, **what})
