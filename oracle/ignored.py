"""The fields of Caffe's schema that nothing in the engine reads, with the reason.

docs/compatibility.md prints the table. A test walks the schema and finds every other field in the
engine's source.
"""

from __future__ import annotations

ENGINE = "chose between Caffe's own code and cuDNN; PyTorch chooses the kernels here"
SPEED = "chose a faster way to the same numbers"

#: "Message.field", or ".field" for a field of every message that has it -> why it has no effect.
IGNORED = {
    ".engine": ENGINE,
    "LayerParameter.sigmoid_param": ENGINE,
    "LayerParameter.tanh_param": ENGINE,
    "V1LayerParameter.sigmoid_param": ENGINE,
    "V1LayerParameter.tanh_param": ENGINE,
    "ConvolutionParameter.force_nd_im2col": SPEED,
    "EltwiseParameter.stable_prod_grad": "the gradient of a product is always the stable one",
    "SolverParameter.layer_wise_reduce": "chose when several GPUs exchange gradients",
    "WindowDataParameter.cache_images": "kept image files in memory",
    "DataParameter.force_encoded_color": "has no effect in BVLC Caffe 1.0; force_color has",
    "PythonParameter.share_in_parallel": "has no effect in BVLC Caffe 1.0",
    "RecurrentParameter.debug_info": "logged the layers of the unrolled net, which is not built",
    "V0LayerParameter.new_num": "belonged to a Reshape layer that no release of Caffe had",
    "V0LayerParameter.new_channels": "belonged to a Reshape layer that no release of Caffe had",
}
