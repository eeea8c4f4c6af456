"""`caffe device_query`: show the properties of GPUs."""

from __future__ import annotations

from typing import Any

import torch

from .. import glog, mode
from .flags import devices, log


def run(flags: Any) -> int:
    """Log the properties of each device that -gpu names; return the exit status."""
    log(138, f"Querying GPUs {flags.gpu}")
    for number in devices(flags.gpu):
        mode.set_device(number)
        p = torch.cuda.get_device_properties(number)
        for label, value in {
            "Device id:": number,
            "Major revision number:": p.major,
            "Minor revision number:": p.minor,
            "Name:": p.name,
            "Total global memory:": p.total_memory,
            "Total shared memory per block:": p.shared_memory_per_block,
            "Warp size:": p.warp_size,
            "Number of multiprocessors:": p.multi_processor_count,
        }.items():
            glog.write("common.cpp:186", f"{label:<30} {value}")
    return 0
