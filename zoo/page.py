"""Write docs/forks.md: every layer of a fork, its source, and its measured errors."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from caffe.layers import layer_class, layer_type_list
from caffe.proto import caffe_pb2
from caffe.proto.origins import ORIGINS
from caffe.unknown import DATA_MESSAGES, SHOWING, TRAINING, TUNING

from fcn_common.command import run
from fcn_common.files import write_text
from fcn_common.tables import markdown

from .__main__ import HEAD, row
from .compare import Comparison, compare
from .layers import CASES, Case, gradient_error, numpy_error, opencv_error
from .nets import NETS
from .published import RESULT as PUBLISHED
from .published import table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "forks.md"
SEGNET, SSD = ROOT / "docs" / "forks-segnet.json", ROOT / "docs" / "forks-ssd.json"
DETECTNET = ROOT / "docs" / "forks-detectnet.json"

INTRODUCTION = """\
# Layers and nets of Caffe's forks

`python -m zoo.page` measured and wrote this page. The engine reads prototxts of Caffe's forks by
the names of their fields, and runs the layer types below.

An error is the largest difference, divided by the largest value. "NumPy" is a second implementation
in plain loops and float64 (`zoo/layers/`). "OpenCV" is OpenCV 4's reader of Caffe nets, for the
layers that OpenCV has. "Gradient" compares backward with finite differences along random
directions, divided by the typical size of the derivative; the rounding of float32 limits the
accuracy of a finite difference.
"""
DIFFERENCES = """\
OpenCV differs from the forks in three places, which the table leaves out. `Interp` ignores
shrink_factor. `Resample` of type LINEAR places pixels differently. `Axpy` scales its third bottom,
where SENet scales the second; the table compares `Axpy` with these bottoms exchanged.

Some words mean different things in different forks (`bn_param`, `upsample_param`). The fields that
are set decide which meaning holds, then the number of bottoms or blobs, then `caffe.set_fork`.

`Crop` without `crop_param` cuts at offset 0 in BVLC Caffe. In longjon/caffe, U-Net and HED, the
layers between the two bottoms determine the offset, so that the first bottom lies on the second.
The engine does this for V1's type CROP. With `caffe.set_fork("longjon")` or "hed", it does this for
a current `type: "Crop"`, too. If the two offsets differ, a line of the log says so. With "hed",
SigmoidCrossEntropyLoss balances edges and other pixels, as HED's loss does.

`VideoData` is three layers. With the fields of SSD, the layer reads a camera or a video file. With
the fields of C3D, it reads clips of videos or of folders. With the fields of yjxiong/caffe (TSN),
it reads frames of the parts of each video.
"""
SETTINGS_TEXT = """\
## Settings of solvers and databases

These fields of forks do not belong to layers. The engine reads them.
"""
#: A setting, the fork that has it, and what it does.
SETTINGS = (
    (
        '`lr_policy: "plateau"`, `plateau_winsize`',
        "weiliu89/caffe (SSD)",
        "the rate drops when the smoothed loss has had no new minimum for that many iterations",
    ),
    (
        '`lr_policy: "multifixed"`, `stagelr`, `stageiter`',
        "gklz1982/caffe-yolov2",
        "a rate for each stage",
    ),
    (
        '`lr_policy: "triangular"`, `"triangular2"`, `max_lr`, `start_lr_policy`',
        "Smith 2017, cyclical learning rates",
        "the rate rises from `base_lr` to `max_lr` and falls back in twice `stepsize` iterations; "
        "with `triangular2`, each cycle is half as high as the one before",
    ),
    (
        "`rampup_interval`, `rampup_lr`, `min_lr`; `warmup_iter`, `warmup_start_lr`",
        "NVIDIA/caffe; intel/caffe",
        "the rate rises at the start; the rate never falls below `min_lr`",
    ),
    (
        '`momentum_policy: "poly"`, `"opt"`, `max_momentum`, `momentum_power`',
        "NVIDIA/caffe",
        "momentum + (max_momentum - momentum) (t / max_iter)^momentum_power; "
        "(1 - sqrt(rate) / 2)^2; for SGD and Nesterov",
    ),
    (
        "`eval_type`, `ap_version`, `show_per_class_result`",
        "weiliu89/caffe (SSD)",
        "a test logs the mean average precision",
    ),
    (
        "`shuffle` of `data_param`",
        "NVIDIA/caffe, intel/caffe, yjxiong/caffe",
        "each turn reads the records in another order; a resumed training continues in this order",
    ),
    (
        "`rand_permute`, `rand_permute_seed`, `preselection_file`, `preselection_label`",
        "lmb-freiburg/flownet2",
        "all turns read the records in one random order; only the records whose number in the file "
        "equals the label are read",
    ),
)
UNKNOWN_TEXT = """\
## What the engine does not know

One message lists every unknown type and field of a prototxt, the layers that use them, and the
public forks that have them. A misspelt word gets a suggestion.
"""
UNKNOWN_HEAD = "in a prototxt or a weights file"
#: Something in a prototxt or a weights file that BVLC Caffe lacks, and what happens.
UNKNOWN = (
    (
        "a type that the engine lacks",
        "refused, until `caffe.register_layer` registers a Python class for it",
    ),
    (
        "a field that only tunes how a fork computes (`engine`, `forward_type`, ...)",
        "left out, with a warning in the log",
    ),
    ("a field of a layer that the phase excludes", "left out, with a warning in the log"),
    (
        "a field of a layer that the engine lacks",
        "named with its type; a registered class gets it in `param_str`",
    ),
    (
        "a field that writes or shows detections (`label_map_file`, `visualize`, ...)",
        "left out, with a warning in the log",
    ),
    (
        "a word in a data layer that resembles none of the known words",
        "left out, with a warning in the log",
    ),
    (
        "placeholders of a template (`${NUM_LABELS}`, `$TARGET_WIDTH`)",
        "refused in one line that lists them",
    ),
    (
        "a byte order mark, Windows' line ends, comments in any encoding",
        "read",
    ),
    (
        "a window of a Pooling for three axes (`kernel_size: [4, 7, 7]`)",
        "read as yjxiong/caffe's, which pools volumes",
    ),
    ("any other unknown field", "refused, unless a registered class has the layer's type"),
    (
        "a word with several meanings that the fields do not decide",
        '`caffe.set_fork("segnet")`, `--fork segnet` or `CAFFE_FORK=segnet` decides',
    ),
    ("NVCaffe's weights in `raw_data`, float16, float32 or float64", "read"),
    (
        "a field with which a fork draws training data or steers a training",
        "left out, with a warning in the log",
    ),
    ("C3D's weights and means, whose blobs have a length", "read"),
    (
        "a field of a filler",
        "left out, with a warning in the log; weights from a file do not depend on it",
    ),
    (
        "a type of filler that the engine lacks (`orthogonal`)",
        "in TEST, where a file has the weights, zeros and a warning; refused in TRAIN",
    ),
    (
        "several labels in a line of ImageData's list (`label_dim`, `label_num`, `label_size`)",
        "read; the label blob is N x the number of labels",
    ),
    (
        "fields of ParamSpec that regularise the shapes of kernels (SSL)",
        "left out, with a warning in the log",
    ),
    (
        "a Python layer of the names below, in a package (`detector.rpn.proposal_layer`)",
        "the engine's own layer runs if the module is missing",
    ),
    (
        "CTPN's Python layer `layers.text_proposal_layer`, without its module",
        "the engine's own layer runs",
    ),
    (
        "py-faster-rcnn's Python layers `rpn.proposal_layer`, `rpn.anchor_target_layer`, "
        "`rpn.proposal_target_layer` and `roi_data_layer.layer` (OHEMDataLayer, too), without "
        "their modules",
        "the engine's own layers run; RoIDataLayer reads the list of `net.layers[0].set_roidb`",
    ),
    (
        "MNC's Python layers `pylayer.proposal_layer`, `pylayer.mask_layer` and "
        "`pylayer.stage_bridge_layer` in TEST, without their modules",
        "the engine's own layers run",
    ),
    ("V-Net's Python layer `pyLayer`, DiceLoss", "the engine's own layer runs"),
    (
        "DetectNet's Python layers of `caffe.layers.detectnet.clustering` and `.mean_ap`, without "
        "their modules",
        "the engine's own layers run",
    ),
    (
        "DetectNetTransformation, which makes the labels that DetectNet learns",
        'refused, until `caffe.set_fork("nvidia")`, `--fork nvidia` or `CAFFE_FORK=nvidia`; the '
        "labels then follow the article about DetectNet, and NVIDIA/caffe may round objects to "
        "cells in another way",
    ),
    (
        "ProposalTargetLayer and RoIDataLayer in nets that mine hard examples",
        "128 regions, as in py-faster-rcnn's settings; `'batch_size': -1` in `param_str` keeps all "
        "regions, as the settings of R-FCN and abhi2610/ohem do",
    ),
)
REGISTERED = """\
A registered class runs under its own type, which BVLC Caffe allows only to C++. `param_str` is the
text of the fields that the engine lacks:

    @caffe.register_layer
    class Whirl(caffe.Layer):  # layer { name: "w" type: "Whirl" ... whirl_param { turns: 3 } }
        def setup(self, bottom, top):
            self.turns = int(re.search(r"turns: *(\\d+)", self.param_str)[1])
        ...                    # reshape, forward, backward as in a Python layer

A program finds the class in a module that it names: `caffe train -layers whirl_layers -solver ...`,
or `CAFFE_LAYERS=whirl_layers` in the environment. The module lies where modules of Python layers
may lie: beside the prototxt, in the working folder or on PYTHONPATH. The rules of
`CAFFE_PYTHON_LAYERS` and `CAFFE_STRICT` hold for these modules as well.
"""
MISSING_TEXT = """\
The engine lacks these types of public forks. For them, papers and the fields of public schemas
leave open what exactly is computed, or which settings there are. A layer of this name would be a
guess. The message about such a type names the fork.
"""
FIELDS_TEXT = """\
For the same reasons, the engine lacks these fields of public forks; the tables list them by
message. A prototxt with a field of the first table is refused, unless `caffe.register_layer` has
the layer's type. Fields of the second table draw training data, choose first weights or steer a
training, and are left out with a warning. Fields that only tune how a fork computes are in neither
table.
"""
NETS_TEXT = """\
## Nets

`make zoo` builds each net with NetSpec (`zoo/nets/`), with few channels and random weights. Each
layer of a fork is compared with NumPy on the bottoms that it has in the net. The outputs are
compared with OpenCV's, if OpenCV reads every layer.
"""

DETECTNET_TEXT = """\
`caffe train --fork nvidia -solver solver.prototxt` trains DetectNet's train_val.prototxt;
`test_state { stage: "val" }` in the solver prints its precision and recall.
`caffe.data.detectnet.label_array(boxes, classes)` is a label as DIGITS stores it, and
`zoo.train_detectnet.write_databases` shows how images and labels get into their databases.
"""
PUBLISHED_TEXT = """\
## Published weights

Some public Python packages contain weights of Caffe nets. The table has the largest difference from
OpenCV 4 on a photograph, divided by the largest value. `python -m zoo.published` measures it and
says how to get the packages.
"""
TASKS_TEXT = """\
## From pictures to pictures

`zoo/tasks/` has the code that such nets need around them: functions that turn a picture into the
net's input, and functions that turn the net's tops into a picture. `python -m zoo.pictures` draws
the pictures below.

"""
PICTURES_TEXT = """\
A face: `draw_detections(picture, read_detections(rows, size), names)`.

![The astronaut's face in a frame](forks/detection.png)

Figures: `draw_pose(picture, read_keypoints(maps, size), limbs)`.

![Lines on the limbs of four drawn figures](forks/pose.png)

A photograph, its fused edges, and the thinned ones: `draw_edges(thin(fuse(sides, size)), picture)`.

![A cup, its edges in grey, and its edges as red lines](forks/edges.png)

A photograph, its lightness, and the lightness with the net's colours: `join(grey, ab)`.

![A cat in colours, in grey, and in the net's colours](forks/colour.png)

A photograph three times as large: its pixels, bicubic, SRCNN, and the truth:
`with_luminance(enlarge(picture, 3), y)`.

![A face in four versions, from coarse to sharp](forks/resolution.png)
"""

#: A module of zoo/tasks, its functions, and the net in its picture.
TASKS = (
    ("detection.py", "read_detections draw_detections", "the published SSD face detector"),
    (
        "pose.py",
        "read_keypoints draw_pose",
        "five convolutions, trained for 260 batches of drawn figures; the picture has others",
    ),
    ("edges.py", "fuse thin draw_edges", "side outputs at three scales, with Sobel's kernels"),
    (
        "colour.py",
        "lightness ab_map join grey",
        "four convolutions, trained on the photograph of the picture",
    ),
    (
        "resolution.py",
        "luminance with_luminance enlarge psnr",
        "SRCNN, trained for 500 batches of three other photographs: 27.65 dB, bicubic 27.33 dB",
    ),
)


def task_rows() -> Iterator[list[str]]:
    """Yield the cells of the modules of tasks."""
    for module, functions, net in TASKS:
        yield [f"`{module}`", ", ".join(f"`{name}`" for name in functions.split()), net]


def fork_types() -> dict[str, type]:
    """Return the layer types whose class lies in the engine's folder of forks."""
    classes = {name: layer_class(name) for name in layer_type_list()}
    return {
        name: cls for name, cls in classes.items() if cls and ".layers.forks." in cls.__module__
    }


def case_row(case: Case) -> list[str]:
    """Return the cells of a layer: type, variant, source, three errors."""
    errors = [
        numpy_error(case) if case.reference else None,
        opencv_error(case) if case.opencv else None,
        gradient_error(case) if case.smooth or case.learns else None,
    ]
    cells = ["" if error is None else f"{error:.0e}" for error in errors]
    return [f"`{case.type}`", case.variant, case.source, *cells]


def other_rows() -> Iterator[list[str]]:
    """Yield the fork's types without a case: type, file and the first line of the docstring."""
    cased = {case.type for case in CASES}
    for name, cls in fork_types().items():
        if name not in cased:
            text = (inspect.getdoc(cls) or "").split("\n")[0]
            yield [f"`{name}`", f"`{cls.__module__.rsplit('.', 1)[1]}.py`", text]


def trained(title: str, result_file: Path, measures: str, column: str) -> list[str]:
    """Return the lines about a trained net, as its program measured it.

    measures: the key of the values by class, or by name where the result has no mean. column:
    their name in the table.
    """
    if not result_file.exists():
        return []
    result = json.loads(result_file.read_text())
    rows = [[name, f"{value:.3f}"] for name, value in result[measures].items()]
    rows += [["mean", f"{result['mean']:.3f}"]] if "mean" in result else []
    first = "class" if "mean" in result else "measure"
    return [f"## {title}", "", result["text"], "", *markdown((first, column), rows), ""]


def missing_rows() -> Iterator[list[str]]:
    """Yield the forks with types that the engine lacks, and these types."""
    types = set(layer_type_list())
    for fork, names in ORIGINS.items():
        missing = [name for name in names.get("types", "").split() if name not in types]
        if missing:
            yield [fork, ", ".join(f"`{name}`" for name in missing)]


def missing_fields(left_out: bool) -> Iterator[list[str]]:
    """Yield message, fork and fields that the engine lacks: those left out, or those refused."""
    messages = caffe_pb2.DESCRIPTOR.message_types_by_name
    rows = []
    for fork, parts in ORIGINS.items():
        for message, names in parts.items():
            # BlobProto stands in binary files alone, and the old words in V1's layers.
            if message not in messages or message == "BlobProto":
                continue
            present = {*messages[message].fields_by_name, *TUNING, *SHOWING}
            if message == "LayerParameter":
                present |= {*messages["V1LayerParameter"].fields_by_name}
            missing = [f"`{name}`" for name in names.split() if name not in present]
            trains = message in TRAINING or message.endswith(DATA_MESSAGES)
            if missing and trains == left_out:
                rows.append([message, fork, ", ".join(missing)])
    return iter(sorted(rows))


def page(results: Sequence[Comparison]) -> str:
    """Return the text of the page. results: the comparisons of the nets."""
    head = ("type", "variant", "source", "NumPy", "OpenCV", "gradient")
    others = list(other_rows())
    lines = [INTRODUCTION, "## Layers", "", *markdown(head, map(case_row, CASES)), "", DIFFERENCES]
    if others:
        lines += ["The tests of the engine (`tests/engine/`) compare these:", ""]
        lines += [*markdown(("type", "file", "what it computes"), others), ""]
    lines += [SETTINGS_TEXT, *markdown(("setting", "source", "what it does"), SETTINGS), ""]
    lines += [UNKNOWN_TEXT, *markdown((UNKNOWN_HEAD, "what happens"), UNKNOWN), "", REGISTERED]
    lines += [MISSING_TEXT, *markdown(("fork", "types"), missing_rows()), ""]
    columns: tuple[str, ...] = ("message", "fork", "fields")
    lines += [FIELDS_TEXT]
    for left_out in (False, True):
        lines += [*markdown(columns, missing_fields(left_out)), ""]
    lines += [NETS_TEXT, *markdown(HEAD, map(row, results)), ""]
    lines += trained("A small SegNet, trained", SEGNET, "iu", "IU")
    lines += trained("A small SSD, trained", SSD, "ap", "AP")
    lines += trained("A small DetectNet, trained", DETECTNET, "scores", "value")
    lines += [DETECTNET_TEXT]
    if PUBLISHED.exists():
        lines += [PUBLISHED_TEXT, *table(json.loads(PUBLISHED.read_text())), ""]
    columns = ("module", "functions", "the net in the picture")
    lines += [TASKS_TEXT.rstrip(), "", *markdown(columns, task_rows()), "", PICTURES_TEXT]
    return "\n".join(lines).rstrip("\n") + "\n"


def main() -> None:
    """Measure everything and write the page."""
    argparse.ArgumentParser(prog="python -m zoo.page", description=__doc__).parse_args()
    write_text(PAGE, page([compare(name) for name in NETS]))
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    run(main)
