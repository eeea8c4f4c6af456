"""Weights of the classes in the loss, from the frequencies of the classes or from a file.

A loss with weights is Caffe's InfogainLoss, whose matrix has the weights on its diagonal.
"""

from __future__ import annotations

import math
import os
import statistics
from typing import Dict, List, Mapping, Sequence, Tuple

import caffe
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf.message import DecodeError

from fcn_common.files import atomic_write, read_text

#: The file of the matrix, in the folder of a run.
MATRIX = "class_weights.binaryproto"
BALANCED, MEDIAN = "balanced", "median-frequency"


def class_weights(
    text: str, classes: Sequence[str], counts: Mapping[int, int], extent: Mapping[int, int]
) -> Tuple[float, ...]:
    """Return a weight for each class.

    text: "balanced", "median-frequency", weights separated by commas, or a file with lines of
    NAME:WEIGHT or one weight a line, in the order of the classes.
    counts: label -> pixels in the training pictures. extent: label -> counted pixels of the
    training pictures in which the label occurs.

    Raises ValueError for text that is none of these, or names another number of weights.
    """
    if text == BALANCED:
        return balanced(len(classes), counts)
    if text == MEDIAN:
        return median_frequency(len(classes), counts, extent)
    source, lines = "class weights", text.split(",")
    if os.path.isfile(text):
        source = text
        lines = read_text(text).split("\n")
        lines = [line for line in lines if line.strip() and not line.startswith("#")]
    elif not all(_is_number(line) for line in lines):
        raise ValueError(
            f"class weights are {text!r}, needs {BALANCED}, {MEDIAN}, a file, or "
            f"{len(classes)} numbers separated by commas"
        )
    return _read_weights(source, [line.strip() for line in lines], classes)


def balanced(classes: int, counts: Mapping[int, int]) -> Tuple[float, ...]:
    """Return weights in inverse proportion to the pixels of each class.

    All classes have the same part of the loss, and the mean weight of a pixel is 1, so that the
    loss keeps its size. A class without a pixel has 1.
    """
    present = [k for k in range(classes) if counts.get(k)]
    total = sum(counts[k] for k in present)
    return tuple(
        total / (len(present) * counts[k]) if counts.get(k) else 1.0 for k in range(classes)
    )


def median_frequency(
    classes: int, counts: Mapping[int, int], extent: Mapping[int, int]
) -> Tuple[float, ...]:
    """Return median frequency / frequency (Eigen and Fergus, arXiv 1411.4734).

    The frequency of a class is its share of the pixels of the pictures in which it occurs. A class
    without a pixel has 1.
    """
    shares: Dict[int, float] = {
        k: counts[k] / extent[k] for k in range(classes) if counts.get(k) and extent.get(k)
    }
    median = statistics.median(shares.values()) if shares else 1.0
    return tuple(median / shares[k] if k in shares else 1.0 for k in range(classes))


def write_matrix(path: str, weights: Sequence[float]) -> None:
    """Write the diagonal matrix of the weights, 1 x 1 x K x K, as Caffe's layers read it."""
    matrix = np.diag(np.asarray(weights, np.float32))[None, None]
    with atomic_write(path) as file:
        file.write(caffe.io.array_to_blobproto(matrix).SerializeToString())


def read_matrix(path: str) -> np.ndarray:
    """Return the matrix K x K of a file that an InfogainLoss reads.

    Raises OSError for a file that cannot be read, ValueError for one that holds no matrix.
    """
    blob = caffe_pb2.BlobProto()
    with open(path, "rb") as file:
        data = file.read()
    try:
        blob.ParseFromString(data)
    except DecodeError as error:
        raise ValueError(f"{path}: is not a BlobProto ({error})") from None
    values = np.array(blob.double_data or blob.data, np.float32)
    side = math.isqrt(len(values))
    if not side or side * side != len(values):
        raise ValueError(f"{path}: has {len(values)} values, needs a square matrix")
    return values.reshape(side, side)


def _read_weights(source: str, lines: List[str], classes: Sequence[str]) -> Tuple[float, ...]:
    """Return the weights in lines of NAME:WEIGHT or WEIGHT. Raises ValueError for other lines."""
    names = [line.rpartition(":")[0].strip() for line in lines]
    weights: List[float] = []
    for line in lines:
        number = line.rpartition(":")[2]
        if not _is_number(number) or not 0 <= float(number) < float("inf"):
            raise ValueError(f"{source}: has {line!r}, needs a number from 0, or NAME:NUMBER")
        weights.append(float(number))
    if any(names):
        unknown = [name for name in (*names, *classes) if (name in names) != (name in classes)]
        if unknown or len(names) != len(classes):
            raise ValueError(
                f"{source}: names {', '.join(names)}, needs each of {', '.join(classes)} once"
            )
        by_name = dict(zip(names, weights))
        return tuple(by_name[name] for name in classes)
    if len(weights) != len(classes):
        raise ValueError(
            f"{source}: has {len(weights)} weights, needs {len(classes)}: one for each class"
        )
    return tuple(weights)


def _is_number(text: str) -> bool:
    try:
        return bool(float(text) == float(text))
    except ValueError:
        return False
