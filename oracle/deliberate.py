"""The differences between the engine and BVLC Caffe that are deliberate, in one table.

Comparisons count a difference of this table apart from the others, and docs/compatibility.md prints
the sentences.
"""

from __future__ import annotations

import re
from typing import Any, Callable, NamedTuple, Optional

from caffe.proto import caffe_pb2
from google.protobuf import text_format


class Difference(NamedTuple):
    """A deliberate difference.

    name: a few words, for counts. sentence: the explanation for users, with the reason. applies:
    whether a LayerParameter can cause the difference. engine: a pattern of the engine's refusal, if
    the engine refuses a net that BVLC Caffe runs. bvlc: a pattern of BVLC Caffe's refusal, if BVLC
    Caffe refuses a net that the engine runs. Without either, no random net shows the
    difference.
    """

    name: str
    sentence: str
    applies: Callable[[Any], bool]
    engine: Optional[str] = None
    bvlc: Optional[str] = None


def _is_stochastic(layer: Any) -> bool:
    return any(
        param.pool == param.STOCHASTIC
        for name, param in (("Pooling", layer.pooling_param), ("SPP", layer.spp_param))
        if layer.type == name
    )


def _reads_labels(layer: Any) -> bool:
    return layer.type == "Accuracy" or layer.type.endswith("Loss")


def _is_in_place(layer: Any) -> bool:
    return any(top == bottom for top, bottom in zip(layer.top, layer.bottom))


def _has_type(*types: str) -> Callable[[Any], bool]:
    return lambda layer: layer.type in types


def _has_filler(layer: Any) -> bool:
    return "_filler {" in str(layer)


DELIBERATE = (
    Difference(
        "label out of range",
        "The engine refuses a label that is neither a class nor the ignored label; BVLC Caffe "
        "reads out of bounds.",
        _reads_labels,
        engine=r"a label is ",
    ),
    Difference(
        "index out of range",
        "The engine refuses an index outside the table of Embed or the rows of BatchReindex; BVLC "
        "Caffe reads out of bounds.",
        _has_type("Embed", "BatchReindex"),
        engine=r"an index is outside",
    ),
    Difference(
        "sizes after a reshape",
        "ContrastiveLoss compares the sizes of its bottoms, and PReLU compares its channels with "
        "its weights, after every reshape; BVLC Caffe compares once, and later reads or writes out "
        "of bounds.",
        _has_type("ContrastiveLoss", "PReLU"),
        engine=r"\((ContrastiveLoss\): bottoms of shapes|PReLU\): \d+ channels; the weights need)",
    ),
    Difference(
        "maps without values",
        "The engine refuses a convolution, pooling or Im2col whose bottom becomes smaller than the "
        "kernel; BVLC Caffe makes a top without values if the net ran on a larger bottom before.",
        _has_type("Convolution", "Deconvolution", "Pooling", "Im2col"),
        engine=r"is smaller than the kernel|the kernel needs a place in the bottom",
    ),
    Difference(
        "an array without values",
        "The data and diff of a blob without values are empty arrays; BVLC Caffe aborts when a "
        "program reads them, unless the blob was larger before.",
        lambda layer: True,
        bvlc=r"blob\.cpp:\d+\] Check failed: (data_|diff_)",
    ),
    Difference(
        "in place",
        "The engine refuses to run a layer in place that would overwrite values it still reads "
        "(among others ArgMax, BatchReindex, Concat, Embed, LSTM, Slice and Tile); BVLC Caffe "
        "gives wrong numbers.",
        _is_in_place,
        engine=r"cannot run in place",
    ),
    Difference(
        "dropout_ratio",
        "The engine refuses a dropout_ratio below 0, or of 1 or more, when the net is built. In "
        "TEST, BVLC Caffe copies the values; in TRAIN, BVLC Caffe aborts, or divides by zero if "
        "the ratio is 1.",
        lambda layer: layer.type == "Dropout" and not 0 <= layer.dropout_param.dropout_ratio < 1,
        engine=r"dropout_ratio is .*; it needs to be at least 0 and below 1",
    ),
    Difference(
        "more than four axes",
        "PReLU and Pooling run on blobs of more than four axes, as in forks of Caffe that have "
        "volumes; BVLC Caffe aborts.",
        _has_type("PReLU", "Pooling"),
        bvlc=r"Check failed: (num_axes\(\) <= 4 \(5|4 == bottom\[0\]->num_axes\(\) \(4 vs\. 5)",
    ),
    Difference(
        "stochastic pooling on the CPU",
        "Stochastic pooling runs on the CPU and on the GPU; BVLC Caffe has it for the GPU only, "
        "and aborts on the CPU. In TRAIN the random draws differ from BVLC Caffe's.",
        _is_stochastic,
        bvlc=r"pooling_layer\.cpp:\d+\] Not Implemented Yet",
    ),
    Difference(
        "gradients of overwritten values",
        "Power, Log and MVN in place, and layers whose bottom or top another layer overwrites, "
        "have correct gradients; BVLC Caffe computes the gradients from the overwritten values. "
        "Examples of the second kind are a Sigmoid in place over a ReLU in place, and a layer in "
        "place over memory that Flatten, Reshape, Split, a Concat of one bottom or a Slice into "
        "one top shares.",
        _is_in_place,
    ),
    Difference(
        "gradients of an unrolled net's top",
        "An LSTM or RNN whose top is read by a Flatten or Reshape alone learns; BVLC Caffe gives "
        "the top another gradient's memory than the memory that the unrolled net reads, whose "
        "values stay 0.",
        _has_type("LSTM", "RNN"),
    ),
    Difference(
        "gradients used for other numbers",
        "The gradient of a blob is the result of the last backward; BVLC Caffe's HingeLoss writes "
        "other numbers into the gradient in forward, and Scale in a backward that computes no "
        "gradient for the blob. Scale in place allows any number of backward passes after a "
        "forward; BVLC Caffe's Scale allows one.",
        _has_type("HingeLoss", "Scale"),
    ),
    Difference(
        "the largest of NaN",
        "Max pooling passes over NaN and starts at -FLT_MAX, and ArgMax compares NaN, as BVLC "
        "Caffe does, on the CPU. On a CUDA device, where the engine would have to wait for the "
        "result, a NaN is the maximum.",
        _has_type("Pooling", "SPP", "ArgMax"),
    ),
    Difference(
        "random ranges",
        "The engine refuses a uniform filler whose range float32 lacks; BVLC Caffe draws without "
        "end.",
        _has_filler,
        engine=r"float32 needs to hold both and their difference",
    ),
    Difference(
        "modules of Python layers",
        "A prototxt does not import modules of Python's own library or of installed packages "
        "unless CAFFE_PYTHON_LAYERS names them; BVLC Caffe imports every module.",
        _has_type("Python"),
    ),
)


def deliberate(text: str, engine: Optional[str], bvlc: Optional[str]) -> Optional[Difference]:
    """Return the difference that explains why one Caffe alone refuses a net, or None.

    text: the net's prototxt. engine, bvlc: each Caffe's refusal, None where that Caffe runs the
    net.
    """
    message: Any = caffe_pb2.NetParameter()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError:
        return None
    for difference in DELIBERATE:
        if difference.engine is not None:
            pattern, refusal, other = difference.engine, engine, bvlc
        elif difference.bvlc is not None:
            pattern, refusal, other = difference.bvlc, bvlc, engine
        else:
            continue
        applies = any(difference.applies(layer) for layer in message.layer)
        if applies and refusal is not None and other is None and re.search(pattern, refusal):
            return difference
    return None
