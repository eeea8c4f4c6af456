"""Agreement of two engines' numbers.

Two arrays agree if they have the same shape and max |a - b| <= tolerance * max |b|, where b are
BVLC Caffe's numbers and both maxima are over the array. An array that is zero in BVLC Caffe must
therefore be exactly zero. Values of b that are not finite, and the -FLT_MAX of an empty pooling
window, must be equal; the maxima leave them out. Names and types (`meta`) must be equal. Files
(keys with `/file/`) agree if their messages are equal and the arrays in the messages agree.
"""

from __future__ import annotations

import functools
import io
import os
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Tuple, Union

import h5py
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf.message import Message

from oracle.places import GOLDEN

#: The largest difference in an array, as a share of BVLC Caffe's largest value.
TOLERANCE = 1e-5
#: The tolerance behind the twenty or more layers of an FCN or a published classifier.
WHOLE_NET = 1e-4
#: A lead of one score over another, as a share of the largest score, that roundings can reverse.
TIE = 2e-6
#: The largest share of a map's labels that may be such ties.
TIE_SHARE = 1e-4


@functools.cache
def golden(group: str, folder: str = GOLDEN) -> Dict[str, np.ndarray]:
    """Return the numbers that BVLC Caffe gave for a group of cases, by key."""
    with np.load(os.path.join(folder, group + ".npz")) as numbers:
        return {key: numbers[key] for key in numbers.files}


@functools.cache
def golden_keys(group: str) -> FrozenSet[str]:
    """Return the keys of `golden(group)` without reading the numbers."""
    with np.load(os.path.join(GOLDEN, group + ".npz")) as numbers:
        return frozenset(numbers.files)


def is_ordinary(values: np.ndarray) -> np.ndarray:
    """Return where values are finite and not the -FLT_MAX of an empty pooling window."""
    return np.isfinite(values) & (np.abs(values) <= 1e30)


def error(engine: np.ndarray, bvlc: np.ndarray) -> float:
    """Return the largest difference as a share of BVLC Caffe's largest ordinary value."""
    ordinary = is_ordinary(bvlc)
    difference = np.abs(engine[ordinary].astype(np.float64) - bvlc[ordinary]).max(initial=0.0)
    return float(difference / np.abs(bvlc[ordinary]).max()) if difference else 0.0


def disagreement(
    engine: np.ndarray, bvlc: np.ndarray, tolerance: float = TOLERANCE
) -> Optional[str]:
    """Return a description of how the engine's array disagrees, or None if the arrays agree."""
    if engine.shape != bvlc.shape:
        return f"shape {engine.shape}, BVLC Caffe has {bvlc.shape}"
    if bvlc.dtype.kind in "US":
        return None if str(engine) == str(bvlc) else f"{engine}, BVLC Caffe has {bvlc}"
    ordinary = is_ordinary(bvlc)
    if not np.array_equal(engine[~ordinary], bvlc[~ordinary], equal_nan=True):
        return f"{engine[~ordinary]} where BVLC Caffe has {bvlc[~ordinary]}"
    if not ordinary.any():
        return None
    engine, bvlc = engine[ordinary].astype(np.float64), bvlc[ordinary].astype(np.float64)
    difference, scale = np.abs(engine - bvlc).max(), np.abs(bvlc).max()
    if difference <= tolerance * scale:
        return None
    share = difference / scale if scale else np.inf
    return f"off by {difference:.3g}, {share:.1e} of the largest {scale:.3g}"


def parse_hdf5(content: bytes) -> Tuple[Dict[str, str], List[np.ndarray]]:
    """Return an HDF5 file's types, shapes and strings by path, and its arrays in path order."""
    entries: Dict[str, str] = {}
    arrays: List[np.ndarray] = []

    def visit(path: str, item: object) -> None:
        value = item[()] if isinstance(item, h5py.Dataset) else None
        if isinstance(value, bytes):
            entries[path] = f"{item.dtype} {value.decode()}"  # type: ignore[attr-defined]
        elif value is not None:
            entries[path] = f"{item.dtype} {item.shape}"  # type: ignore[attr-defined]
            arrays.append(np.asarray(value))

    with h5py.File(io.BytesIO(content), "r") as file:
        file.visititems(visit)
    return entries, arrays


def parse(name: str, content: bytes) -> Tuple[Union[Message, Dict[str, str]], List[np.ndarray]]:
    """Return the message of a .caffemodel or .solverstate without its arrays, and the arrays.

    For a file in the HDF5 form, the first value is what `parse_hdf5` returns.
    """
    if name.endswith(".h5"):
        return parse_hdf5(content)
    if name.endswith(".solverstate"):
        message: Any = caffe_pb2.SolverState()
        message.ParseFromString(content)
        blobs = list(message.history)
    else:
        message = caffe_pb2.NetParameter()
        message.ParseFromString(content)
        blobs = [blob for layer in [*message.layer, *message.layers] for blob in layer.blobs]
    arrays = [np.array(x, np.float32) for blob in blobs for x in (blob.data, blob.diff)]
    for blob in blobs:
        del blob.data[:], blob.diff[:]
    return message, arrays


def file_disagreement(
    name: str, engine: bytes, bvlc: bytes, tolerance: float = TOLERANCE
) -> Optional[str]:
    """Return how the engine's .caffemodel or .solverstate disagrees, or None if the files agree."""
    engine_message, engine_arrays = parse(name, engine)
    bvlc_message, bvlc_arrays = parse(name, bvlc)
    if engine_message != bvlc_message:
        return f"has\n{engine_message}\nBVLC Caffe's file has\n{bvlc_message}"
    texts = [disagreement(a, b, tolerance) for a, b in zip(engine_arrays, bvlc_arrays)]
    return next(filter(None, texts), None)


def disagreements(
    engine: Dict[str, np.ndarray], bvlc: Dict[str, np.ndarray], tolerance: float = TOLERANCE
) -> List[str]:
    """Return a line for every key that is missing, that is superfluous, or that disagrees."""
    missing = [f"{key}: missing" for key in bvlc if key not in engine]
    extra = [f"{key}: BVLC Caffe has none" for key in engine if key not in bvlc]
    wrong = [
        f"{key}: {text}"
        for key in bvlc
        if key in engine
        and (
            text := file_disagreement(key, engine[key].tobytes(), bvlc[key].tobytes(), tolerance)
            if "/file/" in key
            else disagreement(np.asarray(engine[key]), bvlc[key], tolerance)
        )
    ]
    return missing + extra + wrong


class Agreement(NamedTuple):
    """How two engines' scores agree.

    error: the largest difference, as a share of the largest score. places: the number of labels,
    or of scores in a ranking. differ: the number of places whose label, or order, differs. margin:
    the largest lead of a score over the score before which it stands in the other engine, as a
    share of the largest score; 0 where no place differs. ties: for up to five labels that differ,
    the place, the two classes, and their scores in each engine.
    """

    error: float
    places: int
    differ: int
    margin: float
    ties: List[Dict[str, List[float]]]


def score_agreement(engine: np.ndarray, other: np.ndarray) -> Agreement:
    """Compare maps (N x C x H x W) by the best class of each place, or vectors (N x C) by order."""
    largest = float(np.abs(other).max())
    share = float(np.abs(engine.astype(np.float64) - other).max() / largest)
    if other.ndim > 2:
        return _map_agreement(engine, other, share, largest)
    lead = other[:, :, np.newaxis] - other[:, np.newaxis]
    differ = (lead > 0) & (engine[:, :, np.newaxis] <= engine[:, np.newaxis])
    margin = float((lead * differ).max() / largest)
    return Agreement(share, other.size, int(differ.any(2).sum()), margin, [])


def _map_agreement(
    engine: np.ndarray, other: np.ndarray, share: float, largest: float
) -> Agreement:
    engine_labels, other_labels = (scores.argmax(1)[:, np.newaxis] for scores in (engine, other))
    # N x 2 x H x W: the scores of the other engine's best class, and of this engine's.
    pair = np.concatenate([other_labels, engine_labels], 1)
    engine_pair, other_pair = (np.take_along_axis(scores, pair, 1) for scores in (engine, other))
    lead = other_pair[:, 0] - other_pair[:, 1]
    differ = (engine_labels != other_labels)[:, 0]
    ties = []
    for place in np.argwhere(differ)[:5]:
        index = (place[0], slice(None), *place[1:])
        values = {"classes": pair, "engine": engine_pair, "other": other_pair}
        ties.append({"place": place.tolist(), **{k: v[index].tolist() for k, v in values.items()}})
    margin = float(lead.max() / largest)
    return Agreement(share, differ.size, int(differ.sum()), margin, ties)


def assert_same_scores(engine: np.ndarray, other: np.ndarray) -> None:
    """Assert that scores agree to WHOLE_NET, and that labels or order differ at ties only.

    At most TIE_SHARE of a map's labels may differ.
    """
    assert np.isfinite(engine).all() and np.abs(other).max() > 0
    agreement = score_agreement(engine, other)
    assert agreement.error <= WHOLE_NET, agreement
    assert agreement.margin <= TIE, agreement
    assert other.ndim == 2 or agreement.differ <= agreement.places * TIE_SHARE, agreement
