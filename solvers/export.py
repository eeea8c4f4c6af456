"""A trained run as an ONNX model, or its weights as safetensors: `python -m solvers.export`.

    python -m solvers.export --run my_run --to onnx

`caffe export` does the work, in a process of its own. What run.json says becomes the model's
metadata.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from typing import Any, Dict, List, Optional, Sequence, Tuple

from fcn_common import command
from fcn_common.places import temporary_folder, writable
from solvers import available, snapshots
from solvers.run_record import RunRecord, read_run

FORMATS = ("onnx", "safetensors")
#: The fields of run.json that the user of a model needs.
FIELDS = (
    *("variant", "stride", "width", "channels", "order", "mean", "scale", "ignore_label"),
    *("largest", "base", "versions"),
)


def metadata(record: RunRecord) -> Dict[str, Any]:
    """Return what a model's metadata say about a run: how images are read, what outputs mean.

    The names and colours of the classes are those of the first output; `outputs` has all.
    """
    fields = record._asdict()
    values = {name: fields[name] for name in FIELDS}
    values["input"] = f"(image in {record.order}, 0..255, - mean) * scale"
    values["classes"] = list(record.classes)
    values["palette"] = record.palette.tolist()
    values["outputs"] = [output._asdict() for output in record.outputs]
    values["data"] = record.data.get("name", "")
    return values


def stage_folder(run: str, record: RunRecord, stage: Optional[str] = None) -> str:
    """Return the folder of a stage of a run, by default the last. Raises ValueError."""
    if stage is not None and stage not in record.stages:
        raise ValueError(f"{run}: has the stages {', '.join(record.stages)}, not {stage!r}")
    return os.path.join(run, stage or record.stages[-1])


def export(
    run: str, to: str, out: Optional[str] = None, stage: Optional[str] = None, more: Sequence = ()
) -> str:
    """Write the best weights of a run in another format, and return the path.

    to: one of `FORMATS`. out: the path, by default in the run's folder, named after it. stage: by
    default the last. more: further arguments of `caffe export`.

    Raises OSError for a run without record or weights, ValueError where the export fails.
    """
    record = read_run(run)
    folder = stage_folder(run, record, stage)
    weights = snapshots.best(folder) or available.weights_of(folder)
    name = os.path.basename(os.path.abspath(run)) + (f"-{stage}" if stage else "")
    path = out or os.path.join(run, f"{name}.{to}")
    arguments = ["--weights", weights, "--to", to, "--out", path, *more]
    print(f"{weights}, to {to}", flush=True)
    with temporary_folder() as temporary:
        if to == "onnx":
            described = os.path.join(temporary, "metadata.json")
            with open(writable(described), "w", encoding="utf-8") as file:
                json.dump(metadata(record), file)
            deploy = os.path.join(folder, "deploy.prototxt")
            arguments = ["--net", deploy, "--metadata", described, *arguments]
        command_line = [sys.executable, "-m", "caffe", "export", *arguments]
        result = subprocess.run(
            command_line, stderr=subprocess.PIPE, text=True, errors="backslashreplace"
        )
    before, reason = split_error(result.stderr)
    sys.stderr.write(before)
    if result.returncode:
        raise ValueError(reason or f"{run}: caffe export ended with status {result.returncode}")
    return path


def split_error(text: str) -> Tuple[str, str]:
    """Return what a program wrote before its error line, and the error without its prefix.

    The error is "" if there is none. The usage that argparse prints above an error is left out.
    """
    match = re.search(r"^(?:usage: .*?)?(?:[\w ]*: )?error: (.*)", text, re.MULTILINE | re.DOTALL)
    return (text[: match.start()], match[1].strip()) if match else (text, "")


def main(argv: Optional[List[str]] = None) -> None:
    """The command line of `export`; options that it lacks go to `caffe export`."""
    parser = argparse.ArgumentParser(
        prog="python -m solvers.export",
        description="Write a trained run as an ONNX model, with class names, mean and channel "
        "order as metadata, or its weights as safetensors. Other options are those of "
        "`python -m caffe export`, such as --fixed and --precision.",
    )
    parser.add_argument("--run", required=True, metavar="FOLDER", help="a run, with run.json")
    parser.add_argument("--to", default="onnx", choices=FORMATS, help="(default: onnx)")
    parser.add_argument("--out", metavar="FILE", help="(default: in the run's folder)")
    parser.add_argument("--stage", metavar="NAME", help="(default: the last)")
    arguments, more = parser.parse_known_args(argv)
    export(arguments.run, arguments.to, arguments.out, arguments.stage, more)


if __name__ == "__main__":
    command.run(main)
