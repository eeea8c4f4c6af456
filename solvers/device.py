"""Choose the processor that Caffe runs on, and name it in the log."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import List, Optional, Union

import caffe

from solvers import workers

#: The number of a CUDA device, "cpu", or None for the first device if it can be used.
Gpu = Union[None, int, str]

#: Python that uses a device. It runs in another process, because a Caffe without CUDA ends the
#: process that asks for a device.
USE_DEVICE = "import caffe; caffe.set_mode_gpu(); caffe.set_device({})"
USE_WORKERS_DEVICE = "import caffe; caffe.set_mode_gpu()"


def use(gpu: Gpu = None) -> str:
    """Set Caffe's mode and device, and return their name for the log: "the CPU (reason)" or a GPU.

    gpu: the number of a CUDA device, "cpu", or None for device 0 if it can be used and the CPU
        otherwise. Among several workers, a number is refused because each takes a device of its
        own; None means a device for each worker if the machine has devices, otherwise the CPU.

    Raises ValueError if the device cannot be used.
    """
    gpu = _parse(gpu)
    if workers.count() > 1:
        return _use_workers_device(gpu)
    reason: Optional[str] = "as requested"
    if gpu != "cpu":
        index = 0 if gpu is None else int(gpu)
        reason = _refusal(index)
        if not reason:
            caffe.set_device(index)
            caffe.set_mode_gpu()
            return f"GPU {index} ({devices()[index]})"
        if gpu is not None:
            raise ValueError(f"GPU {index} cannot be used: {reason}; `cpu` runs on the CPU")
    caffe.set_mode_cpu()
    return f"the CPU ({reason})"


def _use_workers_device(gpu: Gpu) -> str:
    """Do as `use` for one of several workers: take the device that Caffe chooses, or the CPU."""
    worker = f"worker {workers.rank()} of {workers.count()}"
    if gpu not in (None, "cpu"):
        raise ValueError(
            f"GPU {gpu} cannot be used: each of {workers.count()} workers needs a device of its "
            "own; name no number, or `cpu`"
        )
    if gpu == "cpu" or not devices():
        caffe.set_mode_cpu()
        return f"the CPU ({'as requested' if gpu else 'no CUDA device found'}), {worker}"
    reason = probe(USE_WORKERS_DEVICE)
    if reason:
        raise ValueError(
            f"{worker}: {reason}; start as many workers as there are devices, or name `cpu`"
        )
    caffe.set_mode_gpu()
    return f"a GPU of its own ({len(devices())} here), {worker}"


def engine() -> str:
    """Return the version and the folder of the Caffe that runs."""
    return f"Caffe {caffe.__version__} from {os.path.dirname(os.path.abspath(caffe.__file__))}"


def devices() -> List[str]:
    """Return the names of the CUDA devices that the driver lists; [] without a driver."""
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


def probe(code: str) -> Optional[str]:
    """Run Python code in another process; return why Caffe cannot do it, or None if it can."""
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(p or os.getcwd() for p in sys.path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if process.returncode == 0:
        return None
    lines = process.stdout.strip().splitlines() or ["no message"]
    return f"{engine()} cannot use it ({lines[-1].strip()})"


def _parse(gpu: Gpu) -> Gpu:
    """Return None, "cpu" or an int. Raises ValueError for other words."""
    if gpu is None or gpu == "":
        return None
    if str(gpu).lower() == "cpu":
        return "cpu"
    if not str(gpu).isdigit():
        raise ValueError(f"GPU {gpu!r}: is neither a device number nor `cpu`")
    return int(gpu)


def _refusal(index: int) -> Optional[str]:
    """Return why a CUDA device cannot be used, or None if it can."""
    names = devices()
    if not names:
        return "no CUDA device found"
    if index >= len(names):
        return f"found {len(names)} CUDA device{'s' * (len(names) > 1)}, numbered from 0"
    return probe(USE_DEVICE.format(index))
