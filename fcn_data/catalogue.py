"""The data sets, by name. A new one is a record here and a reader class (`fcn_data.layers`)."""

from __future__ import annotations

from typing import Dict, Mapping, Sequence

from fcn_common import voc

from . import class_names
from .records import DataSet, Input, Labels, Split

_KEYS = ("seed", "split", "mean")
_SBD_TRAIN = Split(
    name="train",
    prototxt="train",
    module="voc_layers",
    layer="SBDDSegDataLayer",
    folders={"sbdd_dir": "sbdd/dataset"},
    keys=("sbdd_dir", *_KEYS),
)
_VOC_VAL = Split(
    name="seg11valid",
    prototxt="val",
    module="voc_layers",
    layer="VOCSegDataLayer",
    folders={"voc_dir": "pascal/VOC2011"},
    keys=("voc_dir", *_KEYS),
    images=736,
)

#: PASCAL VOC 2011 with SBD's labels for training (arXiv 1605.06211, section 5).
VOC = DataSet(
    name="voc",
    title="PASCAL VOC",
    root="data",
    inputs=(Input("data", voc.MEAN),),
    labels=(Labels("label", voc.CLASSES, voc.PALETTE, voc.IGNORE_LABEL),),
    splits={"train": _SBD_TRAIN, "val": _VOC_VAL},
    archives=("sbd", "voc2011", "seg11valid"),
)
#: Drawn scenes with VOC's classes in the folder layouts of SBD and VOC (`fcn_data.demo`).
DEMO = DataSet(
    name="demo",
    root="data/demo",
    inputs=VOC.inputs,
    labels=VOC.labels,
    splits={
        "train": _SBD_TRAIN,
        "val": _VOC_VAL._replace(images=80),
        "test": _VOC_VAL._replace(name="test", prototxt="test", images=120),
    },
)


def _read_by(module: str, layer: str, folders: Mapping[str, str], keys: Sequence[str]) -> Split:
    """Return a split whose prototxts name this Python layer, with no name of its own yet."""
    return Split("", "", module, layer, folders, tuple(keys))


_CONTEXT = _read_by(
    "pascalcontext_layers",
    "PASCALContextSegDataLayer",
    {"context_dir": "pascal-context", "voc_dir": "pascal"},
    ("context_dir", "seed", "split", "voc_dir"),
)
#: PASCAL-Context: the images of VOC 2010, every pixel labelled; nothing is ignored (Mottaghi et
#: al., CVPR 2014; arXiv 1605.06211, section 5).
PASCAL_CONTEXT = DataSet(
    name="pascalcontext",
    title="PASCAL-Context",
    root="data",
    inputs=(Input("data", (104.007, 116.669, 122.679)),),
    labels=(Labels("label", class_names.PASCAL_CONTEXT, voc.PALETTE),),
    splits={
        "train": _CONTEXT._replace(name="train", prototxt="train"),
        "val": _CONTEXT._replace(name="val", prototxt="val", images=5105),
    },
    archives=("voc2010", "pascal-context", "pascal-context-labels", "pascal-context-59"),
)

_SIFT_FLOW = _read_by(
    "siftflow_layers",
    "SIFTFlowSegDataLayer",
    {"siftflow_dir": "sift-flow"},
    ("siftflow_dir", "seed", "split"),
)
#: SIFT Flow: a semantic and a geometric class for every pixel (Liu et al., PAMI 2011; Tighe and
#: Lazebnik, ECCV 2010; arXiv 1605.06211, section 5).
SIFT_FLOW = DataSet(
    name="siftflow",
    title="SIFT Flow",
    root="data",
    inputs=(Input("data", (114.578, 115.294, 108.353)),),
    labels=(
        Labels("sem", class_names.SIFT_FLOW, voc.PALETTE),
        Labels("geo", class_names.GEOMETRIC, voc.PALETTE),
    ),
    splits={
        "train": _SIFT_FLOW._replace(name="trainval", prototxt="trainval"),
        "val": _SIFT_FLOW._replace(name="test", prototxt="test", images=200),
    },
    archives=("siftflow",),
)

_NYUD = _read_by(
    "nyud_layers", "NYUDSegDataLayer", {"nyud_dir": "nyud"}, ("tops", "seed", "nyud_dir", "split")
)
#: NYUDv2: indoor scenes with depth. `depth` is the natural logarithm of the depth, `hha` are
#: disparity, height and angle (Gupta et al., ECCV 2014; arXiv 1605.06211, section 5).
NYUD = DataSet(
    name="nyud",
    title="NYUDv2",
    root="data",
    inputs=(
        Input("color", (116.190, 97.203, 92.318)),
        Input("depth", (7.844,)),
        Input("hha", (132.431, 94.076, 118.477)),
    ),
    labels=(Labels("label", class_names.NYUD, voc.PALETTE),),
    splits={
        "train": _NYUD._replace(name="trainval", prototxt="trainval"),
        "val": _NYUD._replace(name="test", prototxt="test", images=654),
    },
    archives=("nyud",),
)
DATA_SETS: Dict[str, DataSet] = {
    data_set.name: data_set for data_set in (VOC, DEMO, PASCAL_CONTEXT, SIFT_FLOW, NYUD)
}
