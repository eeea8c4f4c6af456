"""What the benchmark runs on, in words."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def _field(path: str, name: str) -> str:
    try:
        found = re.search(rf"^{name}\s*:\s*(.*)$", Path(path).read_text(), re.M)
    except OSError:
        return ""
    return found.group(1) if found else ""


def flags() -> set[str]:
    """The processor's instruction sets, as Linux names them."""
    return set(_field("/proc/cpuinfo", "flags").split())


def describe(device: str = "cpu") -> dict[str, object]:
    """Processor, cores, memory, system; for `cuda`, the device. Raises ValueError without one."""
    import torch

    known = flags()
    wide = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in known]
    found: dict[str, object] = {
        "processor": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "instructions": ", ".join(wide),
        "cores": len(os.sched_getaffinity(0)),
        "memory": int(_field("/proc/meminfo", "MemTotal").split()[0]) * 1024,
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }
    if device == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(
                "device cuda: PyTorch finds no CUDA device here, needed one; run without "
                "DEVICE=cuda to measure the processor"
            )
        found["device"] = torch.cuda.get_device_name()
        found["cuda"] = torch.version.cuda
    return found


def core_types() -> list[str]:
    """The names OpenBLAS may take for this processor (OPENBLAS_CORETYPE), the widest first."""
    known = flags()
    names = []
    if {"avx512f", "avx512vl", "avx512bw", "avx512dq"} <= known:
        names.append("SkylakeX")
    if "avx2" in known:
        vendor = _field("/proc/cpuinfo", "vendor_id")
        names += ["Zen", "Haswell"] if vendor == "AuthenticAMD" else ["Haswell"]
    return names or (["Sandybridge"] if "avx" in known else [])


def load() -> float:
    """How many other processes wanted a core in the last minute."""
    return os.getloadavg()[0]
