"""The data sets, by name. A new one is a record here and a reader class (`fcn_data.layers`)."""

from __future__ import annotations

from typing import Dict

from fcn_common import voc

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
DATA_SETS: Dict[str, DataSet] = {data_set.name: data_set for data_set in (VOC, DEMO)}
