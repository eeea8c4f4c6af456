"""Net surgery: weights from one net into another.

A classifier becomes a fully convolutional net by reshaping: an InnerProduct layer over a
C x h x w blob is the convolution whose kernel is that window (Long et al. 2015, section 3.1).
"""

from surgery.bases import BASES, Base
from surgery.caffemodel import contents
from surgery.cast import cast, classifiers_of, save
from surgery.convolutional import convolutional, without_padding
from surgery.rarefy import add_padding, gather_padding, rarefy
from surgery.transplant import (
    Report,
    bilinear,
    check_weights,
    expand_score,
    interp,
    interp_layers,
    transplant,
    zero_layers,
)

__all__ = [
    "BASES",
    "Base",
    "Report",
    "add_padding",
    "bilinear",
    "cast",
    "check_weights",
    "classifiers_of",
    "contents",
    "convolutional",
    "expand_score",
    "gather_padding",
    "interp",
    "interp_layers",
    "rarefy",
    "save",
    "transplant",
    "without_padding",
    "zero_layers",
]
