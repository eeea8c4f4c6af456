"""The data sets (`DATA_SETS`), the published files, and the demo set (`fcn_data.demo`)."""

from fcn_common import command

command.end_loading_at_interrupt()

from .catalogue import DATA_SETS, DEMO, NYUD, PASCAL_CONTEXT, SIFT_FLOW, VOC
from .published import fetch, require
from .records import DataSet, Input, Labels, Split

__all__ = [
    "DATA_SETS",
    "DEMO",
    "NYUD",
    "PASCAL_CONTEXT",
    "SIFT_FLOW",
    "VOC",
    "DataSet",
    "Input",
    "Labels",
    "Split",
    "fetch",
    "require",
]
