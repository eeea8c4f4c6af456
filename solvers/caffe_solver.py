"""Caffe's solver for a stage: read its prototxt, build it, fill its net, or continue a snapshot."""

from __future__ import annotations

import contextlib
import glob
import os
import platform
import re
from typing import Any, Iterator, Mapping, Optional, Sequence, Tuple

import caffe
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from fcn_common.caffemodel import contents, write_without
from fcn_common.files import read_text
from fcn_common.places import make_folder, temporary_folder, writable
from solvers import run_lock, snapshots, workers
from surgery import (
    HDF5_SUFFIXES,
    check_weights,
    extend_channels,
    interp_layers,
    read_blobs,
    transplant,
    zero_layers,
)
from surgery.shapes import names_text

#: The temporary solver prototxt of a process: its host and its number.
_TEMPORARY = ".solver_{host}_{process}.prototxt"

#: A test interval that no training reaches: the stage scores, not Caffe's solver.
NEVER = 2**31 - 1


def read_solver(path: str) -> Any:
    """Return the SolverParameter of a solver prototxt; snapshot_prefix has a default.

    Raises ValueError for text that is not a SolverParameter, OSError for a file that cannot be
    read.
    """
    param = caffe_pb2.SolverParameter()
    try:
        text_format.Merge(read_text(path), param)
    except text_format.ParseError as error:
        raise ValueError(f"{os.path.abspath(path)}: {error}") from None
    if not param.snapshot_prefix:
        param.snapshot_prefix = snapshots.PREFIX
    return param


def make_solver(
    param: Any, iters: int, images: Optional[int] = None, seed: Optional[int] = None
) -> Any:
    """Return a Caffe solver for `param`, a SolverParameter whose paths are relative to the
    working directory.

    The solver displays, tests and snapshots only when it is told to. iters: max_iter. images: the
    images of the test net; 0 means no test net, None the test_iter of `param`. seed: Caffe's random
    seed; None means that of `param`.
    """
    settings = caffe_pb2.SolverParameter()
    settings.CopyFrom(param)
    settings.max_iter = iters
    settings.display = settings.snapshot = 0
    settings.test_initialization = False
    settings.test_interval = NEVER
    settings.snapshot_after_train = False
    settings.snapshot_format = caffe_pb2.SolverParameter.BINARYPROTO
    if images == 0:
        del settings.test_net[:], settings.test_iter[:]
    elif images:
        settings.test_iter[:] = [images] * len(settings.test_iter)
    if seed is not None:
        settings.random_seed = seed
    make_folder(os.path.dirname(settings.snapshot_prefix))
    path = os.path.abspath(_TEMPORARY.format(host=platform.node(), process=os.getpid()))
    try:
        with open(writable(path), "w") as file:
            file.write(str(settings))
        return caffe.get_solver(path)
    finally:
        os.remove(path)


def remove_temporary(folder: str) -> None:
    """Remove the solver prototxts that `make_solver` left in a folder when a run was killed.

    Those of living processes stay: other workers read theirs.
    """
    names = _TEMPORARY.format(host=glob.escape(platform.node()), process="*")
    for path in glob.glob(os.path.join(glob.escape(folder), names)):
        process = re.sub(r".*_(\d+)\.prototxt", r"\1", path)
        if process.isdigit() and run_lock.process_start(int(process)) is None:
            with contextlib.suppress(OSError):
                os.remove(path)


def restore(solver: Any, param: Any, snapshot: snapshots.Snapshot, seed: Optional[int]) -> None:
    """Continue a solver from a snapshot, as if it had not been interrupted.

    A Caffe that reads the file PREFIX_iter_N.resume.json continues bit for bit. With any other
    Caffe, the data layers skip the images that have been drawn, and the random seed changes, so
    that the dropout masks of the first iterations are not repeated. Raises ValueError if the
    snapshot does not fill the net.
    """
    check_weights(solver.net, snapshot.model, need=list(solver.net.params))
    # This comes before the snapshot is restored, because resume.json may then set both exactly.
    for layer in solver.net.layers:
        if hasattr(layer, "skip"):
            layer.skip(snapshot.iteration * param.iter_size)
    seed = seed if seed is not None else param.random_seed
    if seed >= 0:
        caffe.set_random_seed((seed + snapshot.iteration) % 2**31)
    solver.restore(snapshot.state)


def copy_weights(net: Any, path: str, renamed: Optional[Mapping[str, str]] = None) -> None:
    """Copy a weights file into a net, by layer name.

    renamed: name of a layer in the file -> name of the net's layer that reads more channels; the
    mean of the weights fills the further channels.

    Layers that score or upsample another number of classes are left out, with a note. Raises
    ValueError if the file has the weights of another net, or if a layer from which the scores are
    computed would be all zero, so that nothing would be learned.
    """
    upsampling = interp_layers(net)
    with _fitting_weights(net, path, upsampling) as fitting:
        filled = [name for name in check_weights(net, fitting) if name not in upsampling]
        net.copy_from(fitting)
    for old, new in (renamed or {}).items():
        extend_channels(net, new, read_blobs(path, old))
        filled.append(new)
    _check_filled(net, path, filled)
    _check_new_layers(net, [*filled, *upsampling])


@contextlib.contextmanager
def _fitting_weights(net: Any, path: str, upsampling: Sequence[str]) -> Iterator[str]:
    """Yield a weights file without the layers that score or upsample another number of classes."""
    stored = {} if path.endswith(HDF5_SUFFIXES) else contents(path)
    other = [
        name
        for name, blobs in net.params.items()
        if (name.startswith("score") or name in upsampling)
        and name in stored
        and _classes_differ(stored[name][0], tuple(blobs[0].shape))
    ]
    if not other:
        yield path
        return
    workers.say(
        f"{path}: has another number of classes; layers made anew: {', '.join(other)}, "
        "all others are copied"
    )
    with temporary_folder() as folder:
        fitting = os.path.join(folder, "fitting.caffemodel")
        write_without(path, fitting, other)
        yield fitting


def _classes_differ(stored: Sequence[int], needed: Sequence[int]) -> bool:
    """Return whether two kernels, K x C x H x W, differ only in the number of classes.

    A layer that scores has K classes; one that upsamples has K = C classes.
    """
    if len(stored) != len(needed) or tuple(stored[2:]) != tuple(needed[2:]):
        return False
    between = stored[0] == stored[1] and needed[0] == needed[1]
    return stored[0] != needed[0] and (stored[1] == needed[1] or between)


def copy_each(net: Any, parents: Mapping[str, Tuple[str, str]]) -> None:
    """Copy the weights of several nets into one, each under layer names with a suffix.

    parents: suffix -> prototxt and .caffemodel of a net. Layer conv1_1 of the net with the suffix
    `color` fills conv1_1color.

    Raises ValueError for weights that do not fit, and if layers stay zero, as `copy_weights` does.
    """
    upsampling, filled = interp_layers(net), []
    for suffix, (prototxt, path) in parents.items():
        parent = caffe.Net(prototxt, caffe.TEST)
        check_weights(
            parent, path, need=[n for n in parent.params if n not in interp_layers(parent)]
        )
        parent.copy_from(path)
        report = transplant(net, parent, suffix)
        if not report.filled:
            raise ValueError(f"{path}: fills no layer of the net with the suffix {suffix!r}")
        _check_filled(net, path, report.filled)
        filled += report.filled
    _check_new_layers(net, [*filled, *upsampling])


def _check_filled(net: Any, path: str, filled: Sequence[str]) -> None:
    """Raise ValueError for layers, other than those that score, whose copied weights are zero."""
    zero = [name for name in zero_layers(net, filled) if not name.startswith("score")]
    if zero:
        raise ValueError(
            f"{path}: layer {zero[0]} is all zero, so every score would stay zero and the "
            "loss would not change; cast a trained classifier with `python -m surgery`"
        )


def _check_new_layers(net: Any, filled: Sequence[str]) -> None:
    """Raise ValueError for layers, other than those that score, that have neither weights nor a
    filler, and warn of those that keep the numbers of their fillers."""
    new = [name for name in net.params if name not in filled and not name.startswith("score")]
    zero = zero_layers(net, new)
    if zero:
        raise ValueError(
            f"layer {zero[0]} of the net is not in the weights file and has no filler: it would "
            "stay zero and nothing would be learned; start from the weights of the stage before"
        )
    trained = [name for name in new if net.layer_dict[name].type in ("Convolution", "InnerProduct")]
    if trained:
        workers.say(
            f"warning: layers {names_text(trained)} are not in the weights file and start from the "
            "numbers of their fillers"
        )
