"""The layer types and numbers of fields of BVLC Caffe; the engine also has those of its forks."""

from __future__ import annotations

#: The layer types of BVLC Caffe 1.0, in the order of `caffe.layer_type_list()`.
LAYER_TYPES = (
    *("AbsVal", "Accuracy", "ArgMax", "BNLL", "BatchNorm", "BatchReindex", "Bias", "Clip"),
    *("Concat", "ContrastiveLoss", "Convolution", "Crop", "Data", "Deconvolution", "Dropout"),
    *("DummyData", "ELU", "Eltwise", "Embed", "EuclideanLoss", "Exp", "Filter", "Flatten"),
    *("HDF5Data", "HDF5Output", "HingeLoss", "Im2col", "ImageData", "InfogainLoss"),
    *("InnerProduct", "Input", "LRN", "LSTM", "LSTMUnit", "Log", "MVN", "MemoryData"),
    *("MultinomialLogisticLoss", "PReLU", "Parameter", "Pooling", "Power", "Python", "RNN"),
    *("ReLU", "Reduction", "Reshape", "SPP", "Scale", "Sigmoid", "SigmoidCrossEntropyLoss"),
    *("Silence", "Slice", "Softmax", "SoftmaxWithLoss", "Split", "Swish", "TanH"),
    *("Threshold", "Tile", "WindowData"),
)
#: The first number of the fields and enum values that only forks of Caffe have.
FIRST_FORK_NUMBER = 100000


def in_bvlc(number: int) -> bool:
    """Return whether BVLC Caffe has the field or enum value with this number."""
    return number < FIRST_FORK_NUMBER
