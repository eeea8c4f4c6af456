"""Choose the processor, and say in words which one it is."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import List, Optional, Union

from solvers import workers

Gpu = Union[None, int, str]

# In a process of its own: a Caffe built without CUDA ends the process that asks for a device.
_PROBE = "import caffe; caffe.set_mode_gpu(); caffe.set_device({})"
_PROBE_OWN = "import caffe; caffe.set_mode_gpu()"


def use(gpu: Gpu = None) -> str:
    """Set Caffe's mode and device; what was chosen, for the log.

    gpu: the number of a CUDA device, `cpu`, or None for device 0 if it can be used and else the
    CPU. Of several workers each takes a device of its own, so None or `cpu` is needed; where there
    are devices, None needs one for each. Raises ValueError if a device cannot be used.
    """
    import caffe

    gpu = _parsed(gpu)
    if workers.count() > 1:
        return _use_own(gpu)
    why_not: Optional[str] = "as asked"
    if gpu != "cpu":
        index = 0 if gpu is None else int(gpu)
        why_not = _why_not(index)
        if not why_not:
            caffe.set_device(index)
            caffe.set_mode_gpu()
            return f"GPU {index} ({devices()[index]})"
        if gpu is not None:
            raise ValueError(f"GPU {index} was asked for: {why_not}; ask for `cpu` to run there")
    caffe.set_mode_cpu()
    return f"the CPU ({why_not})"


def _use_own(gpu: Gpu) -> str:
    """`use` for one of several workers: Caffe's own choice of device, or the CPU."""
    import caffe

    worker = f"worker {workers.rank()} of {workers.count()}"
    if gpu not in (None, "cpu"):
        raise ValueError(
            f"GPU {gpu} was asked for, but {workers.count()} workers need a device each; leave the "
            "number out, or ask for `cpu`"
        )
    if gpu == "cpu" or not devices():
        caffe.set_mode_cpu()
        return f"the CPU ({'as asked' if gpu else 'no CUDA device found'}), {worker}"
    why_not = _probed(_PROBE_OWN)
    if why_not:
        raise ValueError(f"{worker}: {why_not}; start as many as there are, or ask for `cpu`")
    caffe.set_mode_gpu()
    return f"a GPU of its own ({len(devices())} here), {worker}"


def engine() -> str:
    """Which Caffe runs, for the first line of a log."""
    import caffe

    return f"Caffe {caffe.__version__} from {os.path.dirname(os.path.abspath(caffe.__file__))}"


def devices() -> List[str]:
    """The names of the CUDA devices that the driver shows; empty without a driver."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count = ctypes.c_int(0)
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return []
    names = []
    for index in range(count.value):
        device, name = ctypes.c_int(0), ctypes.create_string_buffer(100)
        cuda.cuDeviceGet(ctypes.byref(device), index)
        cuda.cuDeviceGetName(name, len(name), device)
        names.append(name.value.decode("utf-8", "replace"))
    return names


def _parsed(gpu: Gpu) -> Gpu:
    if gpu is None or gpu == "":
        return None
    if str(gpu).lower() == "cpu":
        return "cpu"
    if not str(gpu).isdigit():
        raise ValueError(f"GPU {gpu!r}: found neither a device number nor `cpu`")
    return int(gpu)


def _why_not(index: int) -> Optional[str]:
    found = devices()
    if not found:
        return "no CUDA device found"
    if index >= len(found):
        return f"found {len(found)} CUDA device{'s' * (len(found) > 1)}, numbered from 0"
    return _probed(_PROBE.format(index))


def _probed(code: str) -> Optional[str]:
    """Why Caffe cannot do this; None if it can."""
    probe = subprocess.run(
        [sys.executable, "-c", code],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(p or os.getcwd() for p in sys.path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if probe.returncode == 0:
        return None
    lines = probe.stdout.strip().splitlines() or ["no message"]
    return f"{engine()} cannot use it ({lines[-1].strip()})"
