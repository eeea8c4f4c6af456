"""run.json: what a trained run is, for every program that uses its weights.

    my_run/run.json                      the record of the run
    my_run/fcn32s/deploy.prototxt        a stage: prototxts, and snapshot/ with weights and logs

`read_run(folder)` reads the record, `write_run(folder, record)` writes it, and `find_run(path)`
returns the run of a weights file.
"""

from __future__ import annotations

import json
import os
import platform
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import caffe
import numpy as np

from fcn_common.files import write_json
from fcn_data import DataSet, Input, Labels
from fcn_data.folders import check_names

RUN = "run.json"
#: The version of the format. A reader refuses files of later versions.
VERSION = 1
#: What the values of an output blob are. `scores`: N x classes x H x W, the class is the largest.
#: `probabilities`: the same after Softmax. `sigmoid`: N x 1 x H x W, the probability of class 1.
#: `logit`: its logarithm of odds. `labels`: N x 1 x H x W class indices, as ArgMax gives them.
MEANINGS = ("scores", "probabilities", "sigmoid", "logit", "labels")
#: Orders of the channels: BGR for colour images, or the order in which the files store them.
ORDERS = ("BGR", "stored")
#: Folders above a weights file in which its record can be: snapshot, stage, run.
LEVELS = 3


#: The fields that have no default.
REQUIRED = (
    *("variant", "stages", "stride", "width", "channels", "order", "mean", "scale"),
    "outputs",
)


class Output(NamedTuple):
    """A blob that the deploy net gives: its name, its meaning (`MEANINGS`), and its classes.

    classes: names by index. palette: a colour (R, G, B) for each class.
    """

    blob: str
    meaning: str
    classes: Tuple[str, ...]
    palette: Tuple[Tuple[int, int, int], ...]


class RunRecord(NamedTuple):
    """What a run is.

    variant: the name of the last stage's variant. stages: the folders of the stages below the
        run's folder, in the order of training. stride: of the net's last upsampling, in pixels.
    width: fraction of the channel counts, as text: "1/8".
    channels: of the images. order: of the channels, one of `ORDERS`. mean: one value a channel,
        in that order, for pixels of 0..255. scale: the net reads (pixel - mean) * scale.
    outputs: the blobs of the deploy net that are used; the first is the one that is scored.
    ignore_label: the label that neither training nor scoring counts.
    data: what the run was trained on: name, folder, and the number of images of each split.
    largest: height and width of the largest image of training; larger ones were never seen.
    long_side: pixels to which the long side of larger pictures is reduced before they are
        segmented; 0: never.
    base: where the first weights come from, in words.
    command: the command that made the run. versions: program -> version. options: the options
        that a later command has to repeat to continue the run. class_weights: of each class in the
        loss; () for a loss without weights.
    """

    variant: str
    stages: Tuple[str, ...]
    stride: int
    width: str
    channels: int
    order: str
    mean: Tuple[float, ...]
    scale: float
    outputs: Tuple[Output, ...]
    ignore_label: int = 255
    data: Mapping[str, Any] = {}
    largest: Tuple[int, int] = (0, 0)
    long_side: int = 0
    base: str = ""
    command: str = ""
    versions: Mapping[str, str] = {}
    options: Mapping[str, Any] = {}
    class_weights: Tuple[float, ...] = ()

    @property
    def classes(self) -> Tuple[str, ...]:
        """The class names of the first output."""
        return self.outputs[0].classes

    @property
    def palette(self) -> np.ndarray:
        """The colours of the first output's classes, K x 3, uint8, RGB."""
        return np.array(self.outputs[0].palette, np.uint8)

    @property
    def data_set(self) -> DataSet:
        """A data set record with the run's mean, classes and colours, but without splits."""
        labels = tuple(
            Labels(
                "label" + out.blob[len("score") :],
                out.classes,
                np.array(out.palette, np.uint8),
                self.ignore_label,
            )
            for out in self.outputs
        )
        return DataSet(str(self.data.get("name", "")), "", (Input("data", self.mean),), labels, {})


def write_run(folder: str, record: RunRecord) -> str:
    """Write the record of a run into its folder, and return the path.

    Raises ValueError for a record that contradicts itself.
    """
    path = os.path.join(folder, RUN)
    _check(path, record)
    fields = record._asdict()
    fields["outputs"] = [output._asdict() for output in record.outputs]
    write_json(path, {"version": VERSION, **fields})
    return path


def read_run(path: str) -> RunRecord:
    """Return the record of a run.

    path: the run's folder, or the file run.json. Raises OSError if there is no such file,
    ValueError for a file of a later version or with a missing or wrong field.
    """
    path = os.path.join(path, RUN) if os.path.isdir(path) else path
    if not os.path.isfile(path):
        if os.path.basename(path) != RUN:
            raise FileNotFoundError(f"{path}: no such run; python -m solvers.train writes runs")
        raise FileNotFoundError(f"{path}: no such file; python -m solvers.train writes it")
    try:
        with open(path, encoding="utf-8-sig") as file:
            values = json.load(file)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not a JSON file ({error})") from None
    if not isinstance(values, dict) or not isinstance(values.get("version"), int):
        raise ValueError(f"{path}: has no version, needs the run.json of python -m solvers.train")
    version = values.pop("version")
    if version > VERSION:
        raise ValueError(
            f"{path}: is of version {version}, this program reads up to {VERSION}; update it"
        )
    record = _record(path, values)
    _check(path, record)
    return record


def find_run(path: str) -> Optional[str]:
    """Return the folder of the run that a weights file, prototxt or folder belongs to, or None."""
    folder = os.path.abspath(path)
    if not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    for _ in range(LEVELS):
        if os.path.isfile(os.path.join(folder, RUN)):
            return folder
        folder = os.path.dirname(folder)
    return None


def versions() -> Dict[str, str]:
    """Return the versions of the programs that a run depends on."""
    return {
        "python": platform.python_version(),
        "caffe": str(caffe.__version__),
        "numpy": str(np.__version__),
    }


def _record(path: str, values: Dict[str, Any]) -> RunRecord:
    """Return the record with the values of a file; keys that it does not know are left out."""
    missing = [name for name in REQUIRED if name not in values]
    if missing:
        raise ValueError(f"{path}: lacks {', '.join(missing)}")
    try:
        values = {
            **values,
            "stages": tuple(map(str, values["stages"])),
            "mean": tuple(map(float, values["mean"])),
            "scale": float(values["scale"]),
            "largest": tuple(map(int, values.get("largest", (0, 0)))),
            "long_side": int(values.get("long_side", 0)),
            "outputs": tuple(_output(output) for output in values["outputs"]),
            "class_weights": tuple(map(float, values.get("class_weights", ()))),
        }
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path}: has a field of the wrong kind ({error!r})") from None
    return RunRecord(**{key: values[key] for key in RunRecord._fields if key in values})


def _output(values: Mapping[str, Any]) -> Output:
    palette: List[Tuple[int, int, int]] = []
    for red, green, blue in values["palette"]:
        palette.append((int(red), int(green), int(blue)))
    classes = tuple(map(str, values["classes"]))
    return Output(str(values["blob"]), str(values["meaning"]), classes, tuple(palette))


def _check(path: str, record: RunRecord) -> None:
    """Raise ValueError if the fields of a record contradict each other."""
    _check_choice(path, "order", record.order, ORDERS)
    if len(record.mean) != record.channels:
        raise ValueError(
            f"{path}: mean has {len(record.mean)} values, needs {record.channels}: one a channel"
        )
    if not record.outputs or not record.stages:
        raise ValueError(f"{path}: needs at least one output and one stage")
    for output in record.outputs:
        check_names(output.classes, path)
        _check_choice(path, f"the meaning of {output.blob}", output.meaning, MEANINGS)
        if len(output.palette) != len(output.classes):
            raise ValueError(
                f"{path}: {output.blob} has {len(output.palette)} colours, "
                f"needs {len(output.classes)}: one a class"
            )


def _check_choice(path: str, field: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{path}: {field} is {value!r}, needs one of {', '.join(choices)}")
