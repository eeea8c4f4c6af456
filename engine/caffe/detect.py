"""`python -m caffe.detect`: scores of windows of images, with the arguments of BVLC's detect.py.

The input is a .txt file with a name of an image in each line, for selective search, or a .csv file
with the columns filename, xmin, ymin, xmax, ymax. The output is a .csv file with the window and
the scores class0, class1, ... of each row, or a .h5 file with pandas' table `df`.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import files
from .arguments import Parser
from .classify import add_options, check_folder, error_text, preprocessing
from .detector import Detector
from .errors import CaffeError, FileError, UsageError

MODEL = "models/bvlc_reference_rcnn_ilsvrc13/deploy.prototxt"
WEIGHTS = "models/bvlc_reference_rcnn_ilsvrc13/bvlc_reference_rcnn_ilsvrc13.caffemodel"
COORDINATES = ("ymin", "xmin", "ymax", "xmax")


def read_windows(path: str) -> list[tuple[str, list[list[float]]]]:
    """Return the images of a .csv file with their windows (ymin, xmin, ymax, xmax).

    Raises FileError.
    """
    windows: dict[str, list[list[float]]] = {}
    with files.reading(path), files.open_text(path, newline="") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        missing = {"filename", *COORDINATES} - set(reader.fieldnames or ())
        if missing:
            present = ", ".join(map(str, reader.fieldnames or ())) or "none"
            raise FileError(
                f"{path}: lacks the columns {', '.join(sorted(missing))}; the first line names "
                f"{present}, and needs filename, xmin, ymin, xmax, ymax"
            )
        for row in reader:
            try:
                window = [_number(row[name]) for name in COORDINATES]
            except (TypeError, ValueError):
                raise FileError(f"{path}:{reader.line_num}: {row} has no four numbers") from None
            windows.setdefault(row["filename"], []).append(window)
    return list(windows.items())


def _number(text: str) -> float:
    """Return the number in a cell, an int where it is one. Raises ValueError."""
    number = float(text)
    return int(number) if text.strip().lstrip("+-").isdigit() else number


def write_csv(path: str, detections: Sequence[dict[str, Any]]) -> None:
    """Write the windows and the scores of detections to a .csv file."""
    scores = [np.ravel(d["prediction"]) for d in detections]
    classes = [f"class{i}" for i in range(len(scores[0]) if scores else 0)]
    with files.atomic(path) as raw:
        lines = [["filename", *COORDINATES, *classes]]
        for detection, row in zip(detections, scores):
            values = [*np.asarray(detection["window"]).tolist(), *row.tolist()]
            lines.append([detection["filename"], *map(repr, values)])
        text = "".join(",".join(map(str, line)) + "\n" for line in lines)
        raw.write(text.encode())


def write_hdf5(path: str, detections: Sequence[dict[str, Any]]) -> None:
    """Write detections to a .h5 file as pandas' table `df`. Raises CaffeError without pandas."""
    try:
        import pandas  # an optional package
        import tables  # noqa: F401  pandas writes HDF5 with it
    except ImportError:
        raise CaffeError(
            f"{path}: .h5 files need the packages pandas and tables; install them, or name a .csv "
            "file"
        ) from None
    frame = pandas.DataFrame(list(detections)).set_index("filename")
    corners = np.vstack(list(frame["window"]))
    frame[list(COORDINATES)] = pandas.DataFrame(
        corners, index=frame.index, columns=list(COORDINATES)
    )
    del frame["window"]
    frame.to_hdf(files.writable(path), key="df", mode="w")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on a command line (sys.argv if None); return the exit status."""
    parser = Parser(prog="python -m caffe.detect", description=__doc__)
    parser.add_argument("input_file", help="Input txt/csv filename.")
    parser.add_argument("output_file", help="Output h5/csv filename.")
    add_options(parser, MODEL, WEIGHTS)
    crop_modes = ["list", "selective_search"]
    add = parser.add_argument
    add(
        "--crop_mode",
        choices=crop_modes,
        default="selective_search",
        help="Where windows are from.",
    )
    add("--context_pad", type=int, default=16, help="Context around a window, in input pixels.")
    options = parser.parse_args(argv)
    try:
        return _run(options)
    except (CaffeError, OSError, ValueError) as error:  # the Transformer raises ValueError
        print(f"error: {error_text(error)}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    output = options.output_file
    if not output.lower().endswith(("csv", "h5", "hdf5")):
        raise UsageError(f"{output}: the output needs to be a .csv, .h5 or .hdf5 file")
    check_folder(output)
    settings = preprocessing(options)
    mean = settings["mean"]
    if isinstance(mean, np.ndarray) and mean.shape[1:] != (1, 1):
        settings["mean"] = mean.mean(1).mean(1)
    net = Detector(
        options.model_def,
        options.pretrained_model,
        context_pad=options.context_pad,
        **settings,  # type: ignore[arg-type]
    )
    print("Loading input...")
    start, path = time.time(), os.path.expanduser(options.input_file)
    if path.lower().endswith("csv"):
        windows = read_windows(path)
        if options.crop_mode == "list":
            detections = net.detect_windows(windows)
        else:
            detections = net.detect_selective_search(name for name, _ in windows)
    elif path.lower().endswith("txt"):
        lines = files.read_bytes(path).decode("utf-8", "replace").splitlines()
        names = [line.strip() for line in lines if line.strip()]
        if options.crop_mode == "list":
            raise UsageError(f"{path}: --crop_mode list needs a .csv file with windows")
        detections = net.detect_selective_search(names)
    else:
        raise UsageError(f"{path}: Unknown input file type: not in txt or csv.")
    print(f"Processed {len(detections)} windows in {time.time() - start:.3f} s.")
    (write_csv if output.lower().endswith("csv") else write_hdf5)(output, detections)
    print(f"Saved to {output} in {time.time() - start:.3f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
