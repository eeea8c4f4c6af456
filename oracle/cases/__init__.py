"""The golden cases, in order: single layers, small nets, training."""

from oracle.cases import layers, nets, old_files, training  # noqa: F401
from oracle.cases.case import CASES, Case, run

__all__ = ["CASES", "Case", "run"]
