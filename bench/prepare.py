"""Writes the files that the benchmark runs on, once: nets, weights in every format, images.

python -m bench.prepare FOLDER [--width F] [--device cuda]
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path
from typing import Any, List

from bench import learner_files
from bench.images import SCORED, write_pictures
from bench.nets import can_write_onnx, write_nets, write_onnx, write_weights
from bench.nets import names as net_names
from bench.pictures import picture_list
from fcn_common import command


def missing(folder: Path, device: str = "cpu") -> List[str]:
    """Return what `prepare` still has to write: "nets", "weights", "learners", "pictures", "onnx".

    The programs that read ONNX run on the CPU.
    """
    files = {
        "nets": [folder / f"{name}.prototxt" for name in net_names()]
        + [folder / "pictures.prototxt"],
        "weights": [folder / f"{name}.caffemodel" for name in net_names()],
        "pictures": [picture_list(folder / "voc")],
    }
    if device == "cpu":
        files["learners"] = learner_files.files(folder)
    if device == "cpu" and can_write_onnx():
        files["onnx"] = [folder / f"{name}.onnx" for name in net_names()]
    return [name for name, paths in files.items() if not all(path.exists() for path in paths)]


def prepare(folder: Path, width: Any = 1, pictures: int = SCORED, device: str = "cpu") -> None:
    """Write to `folder` what is missing there; without the package onnx, no ONNX models.

    width: factor of the number of channels. pictures: images of the data set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    absent = missing(folder, device)
    if "nets" in absent:
        write_nets(folder, width)
    if "weights" in absent:
        write_weights(folder)
    if "learners" in absent:
        learner_files.write(folder, width)
    if "pictures" in absent:
        write_pictures(folder, pictures)
    if "onnx" in absent:
        write_onnx(folder)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.prepare", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--width", default=1, type=Fraction, help="factor of the channels: 1/8")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    args = parser.parse_args()
    prepare(args.folder.resolve(), float(args.width), device=args.device)


if __name__ == "__main__":
    command.run(main)
