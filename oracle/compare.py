"""When two sets of recorded numbers agree.

An array agrees with its golden one when it has the same shape and
max |a - b| <= tolerance * max |b|, with b the golden numbers and both maxima over the array. So
an array that is zero there must be exactly zero. Values of b that are not finite, or the -FLT_MAX
of an empty pooling window, are met exactly and left out of the maxima. Names and types (`meta`)
are equal.
Files (`file`) agree when their messages do, with the arrays in them compared as above.
"""

from __future__ import annotations

import functools
import io
import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf.message import Message

TOLERANCE = 1e-5
#: Of the largest score, after the twenty layers and more of a whole net.
WHOLE_NET = 1e-4
#: Scores closer than this to each other, of the largest, differ by a rounding: either may win.
TIE = 2e-6
#: The share of labels that may be such ties.
FEW = 1e-4
GOLDEN = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "golden"
)


@functools.cache
def golden(group: str, folder: str = GOLDEN) -> Dict[str, np.ndarray]:
    """The recorded numbers of a group of cases, by key."""
    with np.load(os.path.join(folder, group + ".npz")) as numbers:
        return {key: numbers[key] for key in numbers.files}


def disagreement(
    ours: np.ndarray, theirs: np.ndarray, tolerance: float = TOLERANCE
) -> Optional[str]:
    """What is wrong with `ours`, in words; None where it agrees with `theirs`."""
    if ours.shape != theirs.shape:
        return f"shape {ours.shape}, BVLC Caffe has {theirs.shape}"
    if theirs.dtype.kind in "US":
        return None if str(ours) == str(theirs) else f"{ours}, BVLC Caffe has {theirs}"
    odd = ~np.isfinite(theirs) | (np.abs(theirs) > 1e30)
    if not np.array_equal(ours[odd], theirs[odd], equal_nan=True):
        return f"{ours[odd]} where BVLC Caffe has {theirs[odd]}"
    ours, theirs = ours[~odd].astype(np.float64), theirs[~odd].astype(np.float64)
    if not theirs.size:
        return None
    error, scale = np.abs(ours - theirs).max(), np.abs(theirs).max()
    if error <= tolerance * scale:
        return None
    return (
        f"off by {error:.3g}, {error / scale if scale else np.inf:.1e} of the largest {scale:.3g}"
    )


def parse_hdf5(content: bytes) -> Tuple[Dict[str, str], List[np.ndarray]]:
    """The shapes and strings in an HDF5 file by path, and its arrays in the order of the paths."""
    import h5py

    said: Dict[str, str] = {}
    arrays: List[np.ndarray] = []

    def visit(path: str, item: object) -> None:
        value = item[()] if isinstance(item, h5py.Dataset) else None
        if isinstance(value, bytes):
            said[path] = f"{item.dtype} {value.decode()}"  # type: ignore[attr-defined]
        elif value is not None:
            said[path] = f"{item.dtype} {item.shape}"  # type: ignore[attr-defined]
            arrays.append(np.asarray(value))

    with h5py.File(io.BytesIO(content), "r") as file:
        file.visititems(visit)
    return said, arrays


def parse(name: str, content: bytes) -> Tuple[Union[Message, Dict[str, str]], List[np.ndarray]]:
    """What a .caffemodel or .solverstate, or its HDF5 form, says without its arrays, and those."""
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
    arrays = [np.array(blob.data, np.float32) for blob in blobs]
    for blob in blobs:
        del blob.data[:]
    return message, arrays


def file_disagreement(
    name: str, ours: bytes, theirs: bytes, tolerance: float = TOLERANCE
) -> Optional[str]:
    """What is wrong with the bytes of a .caffemodel or .solverstate, in words; None if nothing."""
    our_message, our_arrays = parse(name, ours)
    message, their_arrays = parse(name, theirs)
    if our_message != message:
        return f"says\n{our_message}\nBVLC Caffe's says\n{message}"
    words = [disagreement(a, b, tolerance) for a, b in zip(our_arrays, their_arrays)]
    return next(filter(None, words), None)


def disagreements(
    ours: Dict[str, np.ndarray], theirs: Dict[str, np.ndarray], tolerance: float = TOLERANCE
) -> List[str]:
    """A line for every key that is missing, too many, or differs."""
    missing = [f"{key}: missing" for key in theirs if key not in ours]
    extra = [f"{key}: BVLC Caffe has none" for key in ours if key not in theirs]
    wrong = [
        f"{key}: {words}"
        for key in theirs
        if key in ours
        and (
            words := file_disagreement(key, ours[key].tobytes(), theirs[key].tobytes(), tolerance)
            if "/file/" in key
            else disagreement(np.asarray(ours[key]), theirs[key], tolerance)
        )
    ]
    return missing + extra + wrong


class Agreement(NamedTuple):
    """How two engines' scores agree.

    error: the largest difference, of the largest score. places: labels, or scores in a ranking.
    differ: places whose label, or order, differs. margin: the largest lead of a score over the one
    that stands before it in the other engine, of the largest score; 0 where none differs. ties:
    for up to five labels that differ, the place, and both scores in each engine.
    """

    error: float
    places: int
    differ: int
    margin: float
    ties: List[Dict[str, List[float]]]


def score_agreement(ours: np.ndarray, theirs: np.ndarray) -> Agreement:
    """Compares maps (N x C x H x W) by the best class of each place, vectors (N x C) by order."""
    largest = float(np.abs(theirs).max())
    error = float(np.abs(ours.astype(np.float64) - theirs).max() / largest)
    if theirs.ndim > 2:
        mine, yours = (scores.argmax(1)[:, np.newaxis] for scores in (ours, theirs))
        # N x 2 x H x W: the scores of the class that wins there, and of the one that wins here.
        pair = np.concatenate([yours, mine], 1)
        both = [np.take_along_axis(scores, pair, 1) for scores in (ours, theirs)]
        lead = both[1][:, 0] - both[1][:, 1]
        differ = (mine != yours)[:, 0]
        ties = []
        for place in np.argwhere(differ)[:5]:
            index = (place[0], slice(None), *place[1:])
            kinds = ("classes", pair), ("ours", both[0]), ("theirs", both[1])
            ties.append({"place": place.tolist(), **{k: v[index].tolist() for k, v in kinds}})
        margin = float(lead.max() / largest)
        return Agreement(error, differ.size, int(differ.sum()), margin, ties)
    lead = theirs[:, :, np.newaxis] - theirs[:, np.newaxis]
    differ = (lead > 0) & (ours[:, :, np.newaxis] <= ours[:, np.newaxis])
    margin = float((lead * differ).max() / largest)
    return Agreement(error, theirs.size, int(differ.any(2).sum()), margin, [])


def assert_same_scores(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Within WHOLE_NET of the largest score, and the same labels, or order, but for ties.

    Of the labels of a map, FEW may be such ties.
    """
    assert np.isfinite(ours).all() and np.abs(theirs).max() > 0
    found = score_agreement(ours, theirs)
    assert found.error <= WHOLE_NET, found
    assert found.margin <= TIE, found
    assert theirs.ndim == 2 or found.differ <= found.places * FEW, found
