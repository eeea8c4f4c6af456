"""fc6 and fc7: the fully connected layers of a classifier, and the same layers as convolutions."""

from __future__ import annotations

from typing import Any, Optional

from caffe.net_spec import Top

from .arguments import scale_channels
from .layers import conv_relu, dropout, inner_product, relu

#: Outputs of fc6 and of fc7 (Krizhevsky et al. 2012; Simonyan & Zisserman, arXiv 1409.1556).
CHANNELS = 4096


def add_inner_products(
    n: Any, bottom: Top, width: Any, ratio: float, filler: Optional[str] = None
) -> Top:
    """Add fc6 and fc7 as InnerProduct layers, and return the last top, N x channels.

    width: fraction of the channels. ratio: of the Dropout behind each layer; 0 leaves it out.
    """
    top = bottom
    for number in "67":
        top = inner_product(n, f"fc{number}", top, scale_channels(CHANNELS, width), filler)
        top = dropout(n, f"drop{number}", relu(n, f"relu{number}", top), ratio)
    return top


def add_convolutions(
    n: Any, bottom: Top, width: Any, ratio: float, kernel_size: int, **fields: Any
) -> Top:
    """Add fc6 and fc7 as convolutions, and return the last top, N x channels x H x W.

    Both forms compute the same for a map of kernel_size x kernel_size (Long et al., arXiv
    1411.4038, section 3.1). fields: more fields of the convolutions.
    """
    top, channels = bottom, scale_channels(CHANNELS, width)
    for number, size in ((6, kernel_size), (7, 1)):
        top = conv_relu(n, f"fc{number}", top, channels, kernel_size=size, pad=0, **fields)
        top = dropout(n, f"drop{number}", top, ratio)
    return top
