"""Where the files of this checkout lie."""

from __future__ import annotations

import os

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
#: The script that runs a Python file under BVLC Caffe.
CAFFE_PYTHON = os.path.join(CHECKOUT, "oracle", "caffe-python")
#: The numbers that BVLC Caffe gave, a file for each group of cases.
GOLDEN = os.path.join(CHECKOUT, "tests", "golden")
#: The results of oracle/measure.py.
MEASURED = os.path.join(CHECKOUT, "docs", "measured.json")
