"""Where nets run and where random numbers come from, per thread as in Caffe."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from .errors import ArgumentRangeError, ArgumentTypeError, CaffeError
from .launch import place

PRECISIONS = ("float32", "tf32", "bfloat16")

#: CAFFE_FAST=0 switches off every fast path, so that a doubtful result can be compared with the
#: plain computation: regions, strips, Winograd's algorithm, separable upsampling, products in
#: place, CUDA kernels and graphs, and the settings of the C library's heap.
_FAST = os.environ.get("CAFFE_FAST", "1") != "0"
NOT_FAST = "CAFFE_FAST=0 is set"

#: The precision that CAFFE_PRECISION names, until a script sets another.
_PRECISION = os.environ.get("CAFFE_PRECISION") or "float32"
if _PRECISION not in PRECISIONS:
    raise CaffeError(f"CAFFE_PRECISION is {_PRECISION!r}; it needs to be {', '.join(PRECISIONS)}")


CPU = torch.device("cpu")


class _State(threading.local):
    gpu = False
    device_id: int | None = None
    precision = "float32" if _PRECISION == "tf32" else _PRECISION
    precision_was_set = False
    rng: np.random.RandomState | None = None
    seeded = False
    generators: dict[torch.device, torch.Generator]

    def __init__(self) -> None:
        self.generators = {}


_state = _State()


def set_mode_cpu() -> None:
    """Run nets of this thread on the CPU (the default)."""
    _state.gpu = False
    if _state.precision == "tf32":
        _state.precision = "float32"


def set_mode_gpu() -> None:
    """Run nets of this thread on the CUDA device that `set_device` chose.

    At first that is 0, or LOCAL_RANK where a launcher such as torchrun started this process.
    Raises CaffeError where PyTorch finds no such CUDA device.
    """
    if _state.device_id is None:
        set_device(place().local)
    assert _state.device_id is not None
    _check_device(_state.device_id)
    _state.gpu = True
    if not _state.precision_was_set:
        _state.precision = _PRECISION


def set_device(device_id: int) -> None:
    """Choose the CUDA device, by number, for nets of this thread."""
    _check_device(device_id)
    _state.device_id = device_id


def _check_device(device_id: int) -> None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device_id >= count or device_id < 0:
        raise CaffeError(
            f"GPU {device_id} was asked for, but PyTorch {torch.__version__} finds {count} CUDA "
            "devices; call set_mode_cpu(), or install a CUDA build of PyTorch and its driver"
        )


def device() -> torch.device:
    """Return the device on which layers of this thread compute now."""
    return torch.device("cuda", _state.device_id or 0) if _state.gpu else CPU


def is_on_cpu() -> bool:
    """Return whether layers of this thread compute on the CPU now."""
    return not _state.gpu


def set_precision(precision: str) -> None:
    """Choose what this thread's nets round to: "float32" (the default), "tf32" or "bfloat16".

    tf32 rounds the factors of products on a CUDA device to 10 bits; bfloat16 keeps the maps and the
    factors of Convolution and InnerProduct to 8 bits, and does as tf32 in all else. Sums, upsampled
    scores, losses, weights, their gradients and their updates stay float32, and so do the arrays
    that are handed out. On the CPU, layers of small blobs compute an inference in float32, which is
    faster, and layers that are computed together round fewer values than one by one.

    Before the first call, the environment variable CAFFE_PRECISION sets the precision; there,
    "tf32" applies to CUDA devices only. Raises CaffeError for another name, and for tf32 while nets
    run on the CPU.
    """
    if precision not in PRECISIONS:
        raise CaffeError(f"precision {precision!r}; it needs to be {', '.join(PRECISIONS)}")
    if precision == "tf32" and not _state.gpu:
        raise CaffeError("precision 'tf32' is of CUDA devices; call set_mode_gpu() first")
    _state.precision, _state.precision_was_set = precision, True


def precision() -> str:
    """Return what nets of this thread round to now."""
    return _state.precision


@contextmanager
def at_precision(precision: str) -> Iterator[None]:
    """Compute at this precision inside a `with` block."""
    before = _state.precision
    _state.precision = precision
    try:
        with pass_flags():
            yield
    finally:
        _state.precision = before


@contextmanager
def pass_flags() -> Iterator[None]:
    """Set PyTorch's switches for TF32 to this thread's precision inside a `with` block.

    The switches belong to the whole process, so they are put back at the end. Caffe computes in
    full float32; PyTorch by itself lets cuDNN round to TF32. Where bfloat16 rounds to 8 bits, the
    10 bits of TF32 do no harm.
    """
    if not _state.gpu:
        yield
        return
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = _state.precision != "float32"
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


def is_plain() -> bool:
    """Return whether nets of this thread compute in float32 on the CPU."""
    return not _state.gpu and _state.precision == "float32"


def low_dtype() -> torch.dtype:
    """Return the type that layers with many products compute in."""
    return torch.bfloat16 if _state.precision == "bfloat16" else torch.float32


def fast() -> bool:
    """Return whether the engine may take its fast paths. CAFFE_FAST=0 forbids them."""
    return _FAST


def map_layout(shape: Sequence[int], on: torch.device) -> torch.memory_format:
    """Return the layout in which a map of this shape, N x C x H x W, is convolved fast.

    On the CPU, with channels last: oneDNN is several times faster on thin maps so, and what follows
    keeps the layout. With one row, column or channel it would read memory that is not its own. On a
    CUDA device tensor cores, which float32 does not use, want channels last.
    """
    last = False
    if on.type == "cpu":
        last = min(shape[1:]) > 1
    elif on.type == "cuda":
        last = _state.precision != "float32"
    return torch.channels_last if last else torch.contiguous_format


def capturing() -> bool:
    """Return whether this thread's work on the device is noted down for a graph, not done."""
    return _state.gpu and torch.cuda.is_current_stream_capturing()


def set_random_seed(seed: int) -> None:
    """Seed the fillers, dropout and shuffling of this thread.

    Raises ArgumentTypeError for a seed that is not an integer, and ArgumentRangeError for a seed
    that is negative or has more than 32 bits.
    """
    if not isinstance(seed, (int, np.integer)):
        raise ArgumentTypeError(f"the seed is {seed!r}; it needs to be an integer")
    if not 0 <= seed < 2**32:
        raise ArgumentRangeError(f"the seed is {seed}; it needs to be 0 .. {2**32 - 1}")
    _seed(seed)
    _state.seeded = True


def seeded() -> bool:
    """Return whether this thread has called `set_random_seed`; the order of draws then counts."""
    return _state.seeded


def _seed(seed: int) -> None:
    _state.rng = np.random.RandomState(seed % 2**32)
    _state.generators.clear()


def rng() -> np.random.RandomState:
    """Return the Mersenne Twister of fillers. The system seeds it until `set_random_seed` does."""
    if _state.rng is None:
        _seed(int.from_bytes(os.urandom(4), "little"))
    assert _state.rng is not None
    return _state.rng


def generator(on: torch.device) -> torch.Generator:
    """PyTorch's generator for random numbers drawn on device `on`, seeded from `rng()`."""
    if on not in _state.generators:
        _state.generators[on] = torch.Generator(on).manual_seed(int(rng().randint(2**31)))
    return _state.generators[on]


def random_state() -> dict[str, Any]:
    """Return where this thread's random numbers are, as values for a JSON file.

    `twister` is the state of `rng()` (see `twister_state`), or None if nothing was drawn yet.
    `generators` has the state of PyTorch's generator of each device, in base64.
    """
    return {
        "twister": None if _state.rng is None else twister_state(_state.rng),
        "generators": {
            str(on): base64.b64encode(g.get_state().numpy().tobytes()).decode()
            for on, g in _state.generators.items()
        },
    }


def set_random_state(values: dict[str, Any]) -> None:
    """Continue this thread's random numbers where `random_state` was called.

    The generator of a device that this machine lacks is left out. Raises ValueError, TypeError or
    KeyError for values of another form.
    """
    rng, generators = None, {}
    if values["twister"] is not None:
        rng = np.random.RandomState()
        set_twister_state(rng, values["twister"])
    for name, text in values["generators"].items():
        on = torch.device(name)
        if on.type == "cuda" and (on.index or 0) >= torch.cuda.device_count():
            continue
        state = np.frombuffer(base64.b64decode(text), np.uint8).copy()
        generators[on] = torch.Generator(on)
        generators[on].set_state(torch.from_numpy(state))
    _state.rng, _state.generators = rng, generators


def twister_state(rng: np.random.RandomState) -> list[Any]:
    """Return the state of a Mersenne Twister: its 624 words in base64, and its position."""
    state = rng.get_state(legacy=False)["state"]
    words = np.asarray(state["key"], "<u4")
    return [base64.b64encode(words.tobytes()).decode(), int(state["pos"])]


def set_twister_state(rng: np.random.RandomState, values: Sequence[Any]) -> None:
    """Set a Mersenne Twister to a state of `twister_state`. Raises ValueError or TypeError."""
    text, position = values
    words = np.frombuffer(base64.b64decode(text), "<u4").astype(np.uint32)
    rng.set_state(("MT19937", words, int(position), 0, 0.0))
