"""Cases of layers with pruned weights."""

from __future__ import annotations

from .case import Case, normal
from .volumes import convolved

SURGERY = "Guo et al. 2016, dynamic network surgery; yiwenguo/Dynamic-Network-Surgery"

CASES = [
    Case(
        "CConvolution",
        "convolution_param { num_output: 2 kernel_size: 3 stride: 2 pad: 1 }",
        normal((2, 3, 7, 8)),
        SURGERY,
        lambda b, p: convolved(b[0], p[0] * p[2], p[1] * p[3], (2, 2), (1, 1), (1, 1)),
    ),
    Case(
        "CInnerProduct",
        "inner_product_param { num_output: 4 }",
        normal((3, 2, 5)),
        SURGERY,
        lambda b, p: b[0].reshape(3, 10) @ (p[0] * p[2]).T + p[1] * p[3],
    ),
]
