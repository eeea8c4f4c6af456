"""Net surgery: weights from one net into another, and nets rewritten for the same weights.

A classifier becomes a fully convolutional net when its weights get another shape: an InnerProduct
over a C x h x w blob is the convolution whose kernel is that window (Long et al., arXiv 1411.4038,
section 3.1).
"""

from fcn_common import command

command.end_loading_at_interrupt()

from fcn_common.caffemodel import contents
from surgery.adapt import Adaptation, adapt
from surgery.bases import BASES, Base
from surgery.cast import cast, classifiers_of, save
from surgery.convolutional import convolutional, without_padding
from surgery.image_padding import add_padding, gather_padding
from surgery.rarefy import rarefy
from surgery.transplant import Report, expand_score, extend_channels, transplant
from surgery.upsampling import bilinear, interp, interp_layers, upsample_filt
from surgery.weight_files import read_values
from surgery.weights import HDF5_SUFFIXES, check_weights, read_blobs, zero_layers

__all__ = [
    "BASES",
    "HDF5_SUFFIXES",
    "Adaptation",
    "Base",
    "Report",
    "adapt",
    "add_padding",
    "bilinear",
    "cast",
    "check_weights",
    "classifiers_of",
    "contents",
    "convolutional",
    "expand_score",
    "extend_channels",
    "gather_padding",
    "interp",
    "interp_layers",
    "rarefy",
    "read_blobs",
    "read_values",
    "save",
    "transplant",
    "upsample_filt",
    "without_padding",
    "zero_layers",
]
