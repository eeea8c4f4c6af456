"""Snapshots of a solver: PREFIX_iter_N.caffemodel and PREFIX_iter_N.solverstate.

In HDF5, the names end with .h5.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from .. import files, glog, hdf5, records, weights
from ..blob import Blob
from ..errors import FileError, WeightsError
from ..net import Net


def base_name(param: Any, iteration: int) -> str:
    """Return the path of a snapshot's files without their suffixes."""
    return f"{param.snapshot_prefix}_iter_{iteration}"


def write(param: Any, net: Net, iteration: int, current_step: int, history: Sequence[Blob]) -> None:
    """Write the weights of `net` and, after them, the solver's state, which names the weights.

    param: the SolverParameter with the prefix and the format. Raises FileError.
    """
    base = base_name(param, iteration)
    remove_abandoned(param.snapshot_prefix)
    layers = net.layer_weights()
    if param.snapshot_format == param.HDF5:
        model, state = f"{base}.caffemodel.h5", f"{base}.solverstate.h5"
        glog.write("solver.cpp:474", f"Snapshotting to HDF5 file {model}")
        hdf5.write_net(model, layers, param.snapshot_diff)
        glog.write("sgd_solver.cpp:296", f"Snapshotting solver state to HDF5 file {state}")
        hdf5.write_state(state, iteration, model, current_step, history)
    else:
        model, state = f"{base}.caffemodel", f"{base}.solverstate"
        glog.write("solver.cpp:464", f"Snapshotting to binary proto file {model}")
        weights.write_net(model, net.name, layers, param.snapshot_diff)
        glog.write("sgd_solver.cpp:284", f"Snapshotting solver state to binary proto file {state}")
        weights.write_state(state, iteration, model, current_step, history)


def remove_abandoned(prefix: str) -> None:
    """Remove what killed runs left of snapshots that they were writing."""
    folder, name = os.path.split(prefix)
    names = re.escape(f"{name}_iter_"[: files.NAME_LENGTH]) + ".*"
    files.remove_abandoned(folder or ".", names)


def restore(path: str, net: Net, history: Sequence[Blob]) -> records.SolverState:
    """Copy the weights and the history of a .solverstate into `net` and `history`; return it.

    Nothing is copied if the state or its weights do not fit. Raises FileError for a file that is
    missing or damaged, and WeightsError for one that does not fit.
    """
    state = weights.read_state(path)
    _check_fit(path, state, history)
    if state.learned_net:
        net.copy_from(find_weights(path, state.learned_net))
    if not hdf5.is_hdf5(path):
        glog.write("sgd_solver.cpp:336", "SGDSolver: restoring history")
    for stored, blob in zip(state.history, history):
        stored.copy_to(blob)
    return state


def find_weights(state: str, recorded: str) -> str:
    """Return the path of the weights that the .solverstate file `state` records.

    That is the recorded path or, if no file is there, the file of that name beside the state.
    Raises FileError if neither exists.
    """
    beside = os.path.join(os.path.dirname(state), os.path.basename(recorded))
    for path in (recorded, beside):
        if os.path.isfile(path):
            return path
    raise FileError(f"{state}: its weights {recorded} are neither there nor beside the state")


def _check_fit(path: str, state: records.SolverState, history: Sequence[Blob]) -> None:
    if len(state.history) != len(history):
        raise WeightsError(
            f"{path}: holds the history of {len(state.history)} blobs; this solver needs "
            f"{len(history)}, so restore a state of the same solver type and net"
        )
    for i, (stored, blob) in enumerate(zip(state.history, history)):
        if not stored.fits(blob.shape):
            raise WeightsError(
                f"{path}: history blob {i} has the shape {stored.shape}; this net needs "
                f"{blob.shape}"
            )
