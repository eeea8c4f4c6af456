"""What a prototxt means, without weights and without a pass: `caffe inspect`.

from caffe.inspect import inspect_net

report = inspect_net("deploy.prototxt")
report.row("conv1").shapes
"""

from .compare import Difference, compare_nets
from .crops import fix_crops
from .findings import Finding, find_problems
from .inputs import Inputs, parse_inputs
from .page import html_page
from .report import CropRow, LayerRow, Report, Totals, inspect_net
from .stored import BlobRow, blob_rows
from .tables import csv_text, markdown, report_text

__all__ = [
    "BlobRow",
    "CropRow",
    "Difference",
    "Finding",
    "Inputs",
    "LayerRow",
    "Report",
    "Totals",
    "blob_rows",
    "compare_nets",
    "csv_text",
    "find_problems",
    "fix_crops",
    "html_page",
    "inspect_net",
    "markdown",
    "parse_inputs",
    "report_text",
]
