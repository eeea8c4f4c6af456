"""The machine that the benchmark runs on: processor, memory, system, CUDA device."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import torch

#: Instruction sets of the processor that the results name.
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def _field(path: str, name: str) -> str:
    """Return the value after `name:` in a file of /proc, "" without one."""
    try:
        match = re.search(rf"^{name}\s*:\s*(.*)$", Path(path).read_text(), re.M)
    except OSError:
        return ""
    return match.group(1) if match else ""


def flags() -> set[str]:
    """Return the processor's instruction sets, as Linux names them."""
    return set(_field("/proc/cpuinfo", "flags").split())


def describe(device: str = "cpu") -> dict[str, object]:
    """Return processor, cores, memory (bytes) and system, and with "cuda" the device.

    Raises ValueError if PyTorch finds no CUDA device.
    """
    instructions = [name for name in INSTRUCTIONS if name in flags()]
    machine: dict[str, object] = {
        "processor": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "instructions": ", ".join(instructions),
        "cores": len(os.sched_getaffinity(0)),
        "memory": int(_field("/proc/meminfo", "MemTotal").split()[0]) * 1024,
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }
    if device == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(
                "device cuda: PyTorch finds no CUDA device here, needs one; run without "
                "DEVICE=cuda to measure the processor"
            )
        machine["device"] = torch.cuda.get_device_name()
        machine["cuda"] = torch.version.cuda
    return machine


def core_types() -> list[str]:
    """Return the values of OPENBLAS_CORETYPE that fit this processor, the widest vectors first."""
    instructions = flags()
    names = []
    if {"avx512f", "avx512vl", "avx512bw", "avx512dq"} <= instructions:
        names.append("SkylakeX")
    if "avx2" in instructions:
        vendor = _field("/proc/cpuinfo", "vendor_id")
        names += ["Zen", "Haswell"] if vendor == "AuthenticAMD" else ["Haswell"]
    return names or (["Sandybridge"] if "avx" in instructions else [])


def load() -> float:
    """Return how many processes wanted a core in the last minute, on average."""
    return os.getloadavg()[0]
