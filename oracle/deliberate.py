"""Where the engine differs from BVLC Caffe on purpose, in one place.

Comparisons count a difference that is listed here apart from the others, and docs/compatibility.md
prints the sentences.
"""

from __future__ import annotations

import re
from typing import Any, Callable, NamedTuple, Optional

from caffe.proto import caffe_pb2
from google.protobuf import text_format


class Difference(NamedTuple):
    """One way in which the engine differs.

    name: a few words, for counts. sentence: what a user is told, with the reason. layer: whether a
    LayerParameter has it. ours: what the engine's refusal says, if it refuses where BVLC Caffe
    does not. theirs: what BVLC Caffe's refusal says, if that refuses where the engine does not.
    With neither, numbers differ, and no random net has it.
    """

    name: str
    sentence: str
    layer: Callable[[Any], bool]
    ours: Optional[str] = None
    theirs: Optional[str] = None


def _stochastic(layer: Any) -> bool:
    return any(
        param.pool == param.STOCHASTIC
        for name, param in (("Pooling", layer.pooling_param), ("SPP", layer.spp_param))
        if layer.type == name
    )


def _reads_labels(layer: Any) -> bool:
    return layer.type == "Accuracy" or layer.type.endswith("Loss")


DELIBERATE = (
    Difference(
        "label out of range",
        "A label that is no class, and not the ignored one, is refused; BVLC Caffe reads out of "
        "bounds.",
        _reads_labels,
        ours=r"a label is ",
    ),
    Difference(
        "index out of range",
        "An index outside the table of Embed, or the rows of BatchReindex, is refused; BVLC Caffe "
        "reads out of bounds.",
        lambda layer: layer.type in ("Embed", "BatchReindex"),
        ours=r"an index is outside",
    ),
    Difference(
        "sizes after a reshape",
        "ContrastiveLoss compares the sizes of its bottoms, and PReLU its channels, after every "
        "reshape; BVLC Caffe does so once, and then reads or writes out of bounds.",
        lambda layer: layer.type in ("ContrastiveLoss", "PReLU"),
        ours=r"\((ContrastiveLoss\): bottoms of shapes|PReLU\): \d+ channels; the weights need)",
    ),
    Difference(
        "maps without values",
        "A convolution, pooling or Im2col whose bottom becomes smaller than its kernel is refused; "
        "BVLC Caffe makes a top without values, if the net ran on a larger one before.",
        lambda layer: layer.type in ("Convolution", "Deconvolution", "Pooling", "Im2col"),
        ours=r"is smaller than the kernel|the kernel needs a place in the bottom",
    ),
    Difference(
        "an array without values",
        "The data and diff of a blob without values are empty arrays; BVLC Caffe aborts when they "
        "are asked for, unless the blob was larger before.",
        lambda layer: True,
        theirs=r"blob\.cpp:\d+\] Check failed: (data_|diff_)",
    ),
    Difference(
        "in place",
        "A layer that would write over what it still reads is refused in place (among others "
        "ArgMax, BatchReindex, Concat, Embed, LSTM, Slice and Tile); BVLC Caffe gives wrong "
        "numbers.",
        lambda layer: any(top == bottom for top, bottom in zip(layer.top, layer.bottom)),
        ours=r"cannot run in place",
    ),
    Difference(
        "dropout_ratio",
        "A dropout_ratio below 0, or from 1 on, is refused when the net is built; BVLC Caffe "
        "passes values through in TEST, and in TRAIN aborts, or at 1 divides by zero.",
        lambda layer: layer.type == "Dropout" and not 0 <= layer.dropout_param.dropout_ratio < 1,
        ours=r"dropout_ratio is .*; it needs to be at least 0 and below 1",
    ),
    Difference(
        "stochastic pooling on the CPU",
        "Stochastic pooling runs on the CPU and on the GPU; BVLC Caffe has it for the GPU only, "
        "and aborts on the CPU. In TRAIN the draws differ from BVLC Caffe's.",
        _stochastic,
        theirs=r"pooling_layer\.cpp:\d+\] Not Implemented Yet",
    ),
    Difference(
        "gradients of overwritten values",
        "Power, Log and MVN in place, and layers whose bottom or top another one overwrites (as a "
        "Sigmoid in place over a ReLU in place does, or a layer in place over memory shared "
        "through Flatten, Reshape, Split, a Concat of one bottom or a Slice into one top), have "
        "right gradients; BVLC Caffe takes them from the overwritten values.",
        lambda layer: any(top == bottom for top, bottom in zip(layer.top, layer.bottom)),
    ),
    Difference(
        "gradients of an unrolled net's top",
        "An LSTM or RNN whose top only a Flatten or Reshape reads learns; in BVLC Caffe these give "
        "the top another gradient's memory than the one that the unrolled net reads, which stays "
        "0.",
        lambda layer: layer.type in ("LSTM", "RNN"),
    ),
    Difference(
        "gradients used for other numbers",
        "The gradient of a blob is what the last backward made it; BVLC Caffe's HingeLoss writes "
        "other numbers there in forward, and its Scale in a backward that asks for none. Scale in "
        "place has as many backward passes a forward as one likes; BVLC Caffe's has one.",
        lambda layer: layer.type in ("HingeLoss", "Scale"),
    ),
)


def deliberate(text: str, ours: Optional[str], theirs: Optional[str]) -> Optional[Difference]:
    """The listed difference that explains why one Caffe alone refuses a net; None if none does.

    text: the net's prototxt. ours, theirs: each one's refusal, None where it runs the net.
    """
    message: Any = caffe_pb2.NetParameter()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError:
        return None
    for one in DELIBERATE:
        if one.ours is None and one.theirs is None:
            continue
        pattern, said, other = one.ours, ours, theirs
        if one.theirs is not None:
            pattern, said, other = one.theirs, theirs, ours
        has = any(one.layer(layer) for layer in message.layer)
        if has and said is not None and other is None and re.search(pattern or "", said):
            return one
    return None
