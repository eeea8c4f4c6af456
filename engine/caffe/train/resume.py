"""What a resumed training needs beside Caffe's own files: PREFIX_iter_N.resume.json.

Caffe's files hold the weights, the update history and the iteration. This file holds what they
cannot, for each of several workers: the random numbers of dropout, the losses of the average that
is logged, and the positions of the data layers. BVLC Caffe ignores the file. Other programs may
keep keys of their own in the file: a snapshot of the same iteration leaves those keys as they are.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import files, glog, launch, mode, records
from ..blob import Blob
from ..errors import FileError
from ..layers import EngineLayer, Layer
from ..net import Net
from .policies import Plateau

VERSION = 1
#: The keys of what this module writes: of a single process or worker 0, and, in a dictionary by
#: rank, of the other workers.
KEY, WORKERS = "solver", "workers"
#: Values at the beginning of each history blob that tell one state from another.
SAMPLE = 1024
_SUFFIXES = (".solverstate", ".solverstate.h5")
_WARNING_PLACE = "resume.py:1"


class Progress(NamedTuple):
    """Where a training is, apart from its weights, its history and its iteration.

    nets: the train net, then the test nets. losses: of the iterations that the present average is
    the mean of; None if the average starts anew. plateau: of the learning rate's policy.
    """

    nets: Sequence[Net]
    losses: list[list[float]] | None
    plateau: Plateau


def path_of(base: str) -> str:
    """Return the path of the file for a snapshot. base: its path without the suffixes."""
    return f"{base}.resume.json"


def values_of(progress: Progress) -> dict[str, Any]:
    """Return what this worker needs to go on, as values for a JSON file."""
    return {
        "worker": launch.solver_rank(),
        "workers": launch.solver_count(),
        "random": mode.random_state(),
        "losses": progress.losses,
        "plateau": progress.plateau.state(),
        "layers": [_layer_states(net) for net in progress.nets],
    }


def write(
    base: str,
    iteration: int,
    workers: Mapping[int, Mapping[str, Any]],
    history: Sequence[Blob],
) -> None:
    """Write the file for a snapshot. Raises FileError if it cannot be written.

    workers: rank -> what `values_of` returned in that worker. history: of the snapshot, which is
    the same in all workers.
    """
    path = path_of(base)
    content = _other_keys(path, iteration)
    samples = (blob.values.tensor().reshape(-1)[:SAMPLE].numpy() for blob in history)
    snapshot = {"history": _fingerprint(samples)}
    if 0 in workers:
        content[KEY] = {**workers[0], **snapshot}
    if others := {str(rank): {**values, **snapshot} for rank, values in workers.items() if rank}:
        content[WORKERS] = others
    with files.atomic(path) as file:
        file.write(json.dumps(content).encode())


def remove(base: str) -> None:
    """Remove the file of a snapshot, from which a training cannot go on bit for bit."""
    with contextlib.suppress(OSError):
        os.unlink(path_of(base))


def remove_alone(base: str) -> None:
    """Remove the file of a snapshot whose state could not be written, unless there is one."""
    if not any(os.path.exists(base + suffix) for suffix in _SUFFIXES):
        remove(base)


def restore(
    state_path: str, state: records.SolverState, nets: Sequence[Net], plateau: Plateau
) -> list[list[float]] | None:
    """Continue where the snapshot of a .solverstate was written; return the losses so far.

    Where that is not possible, a warning in the log says what cannot be exact.
    """
    path = path_of(_base(state_path))
    try:
        values = json.loads(files.read_bytes(path))
        if values["version"] != VERSION or values["iteration"] != state.iter:
            raise ValueError(f"is version {values['version']}, iteration {values['iteration']}")
        rank, count = launch.solver_rank(), launch.solver_count()
        values = values[WORKERS][str(rank)] if rank else values[KEY]
        samples = (np.asarray(blob.data).reshape(-1)[:SAMPLE] for blob in state.history)
        if values["worker"] != rank or values["history"] != _fingerprint(samples):
            raise ValueError("belongs to another snapshot")
        # A single process goes on where worker 0 was; shares of several would overlap.
        if count > 1 and values.get("workers", count) != count:
            raise ValueError(f"is of {values['workers']} workers, and this training has {count}")
        mode.set_random_state(values["random"])
        plateau.set_state(values["plateau"])
    except FileError:
        _warn(state_path, f"there is no {path} beside it")
        return None
    except KeyError as error:
        _warn(state_path, f"{path} lacks {error}, as after another Caffe or the loss of a worker")
        return None
    except (ValueError, TypeError) as error:
        _warn(state_path, f"{path} {error}")
        return None
    for net, states in zip(nets, values["layers"]):
        _set_layer_states(net, states, path)
    return values["losses"]


def _base(state_path: str) -> str:
    """Return the path of a .solverstate without its suffix."""
    for suffix in _SUFFIXES:
        if state_path.endswith(suffix):
            return state_path[: -len(suffix)]
    return state_path


def _warn(state_path: str, reason: str) -> None:
    glog.write(
        _WARNING_PLACE,
        f"{state_path}: {reason}, so the random numbers (dropout, crops), the averaged loss and "
        "the positions of data layers start anew; weights, history and iteration are exact",
        level=1,
    )


def _fingerprint(samples: Iterable[np.ndarray]) -> int:
    checksum = 0
    for sample in samples:
        checksum = zlib.crc32(sample.astype("<f4").tobytes(), checksum)
    return checksum


def _other_keys(path: str, iteration: int) -> dict[str, Any]:
    """Return the keys that other programs have written for a snapshot of this iteration."""
    fresh = {"version": VERSION, "iteration": iteration}
    try:
        values = json.loads(files.read_bytes(path))
        if values["iteration"] != iteration:
            return fresh
        return {k: v for k, v in {**values, **fresh}.items() if k not in (KEY, WORKERS)}
    except (FileError, ValueError, TypeError, KeyError):
        return fresh


def _keeps_state(layer: Layer) -> bool:
    """Return whether a layer, the engine's or a user's, has both methods of a resumed training."""
    methods = (getattr(layer, name, None) for name in ("resume_state", "set_resume_state"))
    return isinstance(layer, EngineLayer) or all(map(callable, methods))


def _layer_states(net: Net) -> list[list[Any]]:
    """Return number, name and state of each layer that has one."""
    states = []
    for i, (name, layer) in enumerate(zip(net.layer_names, net.layers)):
        state = layer.resume_state() if _keeps_state(layer) else None  # type: ignore[attr-defined]
        try:
            json.dumps(state)
        except (TypeError, ValueError) as error:
            message = (
                f"layer {name}: resume_state() returned a value that JSON cannot hold: {error}"
            )
            glog.write(_WARNING_PLACE, message, level=1)
            continue
        if state is not None:
            states.append([i, name, state])
    return states


def _set_layer_states(net: Net, states: Sequence[Sequence[Any]], path: str) -> None:
    names, layers = net.layer_names, net.layers
    for i, name, state in states:
        reason = "the net has no such layer"
        if i < len(layers) and names[i] == name and _keeps_state(layers[i]):
            try:
                layers[i].set_resume_state(state)  # type: ignore[attr-defined]
                continue
            except (ValueError, TypeError, KeyError, IndexError) as error:
                reason = str(error)
        message = f"{path}: layer {name} does not continue where it was: {reason}"
        glog.write(_WARNING_PLACE, message, level=1)
