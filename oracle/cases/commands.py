"""Golden cases of the command-line tools: exit status, log lines and files, for every flag.

Stamps, times and speeds, which differ from run to run, are removed from the log's lines. Numbers
are recorded apart from the lines, in an array for each kind of line.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from typing import Dict, List

import numpy as np

from oracle.cases.blocks import fc
from oracle.cases.case import Case, Numbers, RandomState, add, files_of_both, layer, write
from oracle.cases.data import draw_images, draw_mean
from oracle.cases.tools import execute

NUMBER = re.compile(r"(?<![\w.:])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.]*\.\w)")
#: (pattern, replacement) of the parts of a line that differ from run to run.
VARYING = (
    (re.compile(r"^[IWEF]\d{4} \S+ +\d+ "), ""),
    (re.compile(r"\(\S+ iter/s, \S+s/(\d+) iters\)"), r"(per \1 iters)"),
    (re.compile(r"\S+ ms\."), "so many ms."),
)
#: Beginnings of the lines that are not recorded; see `lines`.
OMITTED = ("layer_factory", "blocking_queue", "hdf5", "***", "    @", "WARNING: Log")
#: Makes the tools write their whole log to standard error.
ENVIRONMENT = {"GLOG_minloglevel": "0", "GLOG_logtostderr": "1"}


def lines(log: str) -> List[str]:
    """Return the log's lines without the parts that differ from run to run.

    Lines of layer_factory are omitted, because a loss of BVLC Caffe makes a layer inside. Lines of
    blocking_queue and hdf5 depend on the time that reading takes, and on earlier reads.
    """
    result = []
    for line in log.splitlines():
        for pattern, replacement in VARYING:
            line = pattern.sub(replacement, line)
        if line.strip() and not line.startswith(OMITTED):
            result.append(line)
    return result


NET = (
    layer(
        "ImageData",
        "",
        "data label",
        "image_data_param { source: 'list.txt' root_folder: 'images/' batch_size: 5 new_height: 6"
        " new_width: 7 } transform_param { scale: 0.004 }",
    )
    + fc("data", "ip", 13)
    + layer("SoftmaxWithLoss", "ip label", "loss")
    + layer("Accuracy", "ip label", "acc", "include { phase: TEST }")
    + layer("ReLU", "ip", "staged", "include { stage: 'more' }")
    + layer("TanH", "ip", "levelled", "include { min_level: 1 }")
)
SOLVER = """net: 'net.prototxt' base_lr: 0.1 lr_policy: 'step' stepsize: 5 gamma: 0.1 max_iter: 12
momentum: 0.9 display: 4 test_iter: 2 test_interval: 6 snapshot: 8 snapshot_prefix: 'snap'
random_seed: 1 solver_mode: CPU """
DB = "convert_imageset -resize_height 9 -resize_width 10 images/ list.txt db"
TRAINED = "caffe train -solver solver.prototxt"
TRAINED_HDF5 = "caffe train -solver hdf5.prototxt"
#: A command that writes files, or nothing -> the commands that need those files.
COMMANDS: Dict[str, List[str]] = OrderedDict(
    [
        (
            "",
            [
                "caffe",
                "caffe fly",
                "caffe train",
                "caffe test",
                "caffe test -model net.prototxt",
                "caffe time",
                "caffe --nosuch=1",
                "caffe train -iterations",
                "caffe train -solver none.prototxt",
                "caffe train -solver net.prototxt",
                "caffe train -solver solver.prototxt -snapshot a -weights b",
                "caffe train -solver solver.prototxt -sigint_effect=x",
                TRAINED,
                TRAINED_HDF5,
                "caffe train --solver=solver.prototxt --stage=more",
                "caffe train -solver solver.prototxt -level 1 -stage more,other",
                "caffe train -solver solver.prototxt -sighup_effect none -sigint_effect snapshot",
                "caffe time -model net.prototxt -iterations 2",
                "caffe time -model net.prototxt -iterations=1 -phase TEST -stage more -level 1",
                "caffe time -model net.prototxt -phase X",
                "caffe device_query",
                "convert_imageset",
                "convert_imageset images/ list.txt db",
                "convert_imageset images/ missing.txt db",
                "convert_imageset -check_size images/ list.txt db",
                "convert_imageset -encoded images/ list.txt db",
                "convert_imageset -encode_type png images/ list.txt db",
                "convert_imageset -shuffle images/ list.txt db",
                "convert_imageset -encoded -encode_type jpg images/ list.txt db",
                "convert_imageset -gray -resize_height=4 -resize_width=5 images/ list.txt db",
                "convert_imageset --backend=none images/ list.txt db",
                DB,
                "compute_image_mean",
                "compute_image_mean none",
                "extract_features",
                "upgrade_net_proto_text",
                "upgrade_net_proto_text none new.prototxt",
                "upgrade_net_proto_text net.prototxt new.prototxt",
                "upgrade_net_proto_text v1.prototxt new.prototxt",
                "upgrade_net_proto_binary",
                "upgrade_net_proto_binary none new",
                "upgrade_solver_proto_text",
                "upgrade_solver_proto_text none new.prototxt",
                "upgrade_solver_proto_text solver.prototxt new.prototxt",
                "upgrade_solver_proto_text old_solver.prototxt new.prototxt",
            ],
        ),
        (
            TRAINED,
            [
                "caffe train -solver=solver.prototxt --snapshot snap_iter_8.solverstate",
                "caffe train -solver solver.prototxt -weights snap_iter_8.caffemodel",
                "caffe train -solver solver.prototxt"
                " -weights snap_iter_8.caffemodel,snap_iter_12.caffemodel",
                "caffe test -model net.prototxt -weights snap_iter_12.caffemodel -iterations 2",
                "caffe test -model net.prototxt -weights snap_iter_12.caffemodel -iterations=1"
                " -stage more -level 1",
                "upgrade_net_proto_binary snap_iter_8.caffemodel new.caffemodel",
                "extract_features snap_iter_8.caffemodel net.prototxt ip,data f,g 2 lmdb",
                "extract_features snap_iter_8.caffemodel net.prototxt ip f 1 lmdb CPU",
                "extract_features snap_iter_8.caffemodel net.prototxt nothing f 1 lmdb",
            ],
        ),
        (
            TRAINED_HDF5,
            ["caffe train -solver hdf5.prototxt -snapshot snap_iter_8.solverstate.h5"],
        ),
        (
            DB,
            [
                DB,
                "compute_image_mean db",
                "compute_image_mean db mean.binaryproto",
                "compute_image_mean --backend=lmdb db mean.binaryproto",
            ],
        ),
    ]
)
V1 = """name: 'old' layers { name: 'x' type: DATA top: 'x' }
layers { name: 'r' type: RELU bottom: 'x' top: 'y' }"""


def lay_out(rs: RandomState) -> None:
    """Write the files that the commands name."""
    draw_images(rs)
    draw_mean(rs, (3, 9, 10))
    write(".", "missing.txt", "0.png 0\nnothing.png 1\n")
    write(".", "net.prototxt", NET)
    write(".", "solver.prototxt", SOLVER)
    write(".", "hdf5.prototxt", SOLVER + "snapshot_format: HDF5")
    write(".", "v1.prototxt", V1)
    write(".", "old_solver.prototxt", "net: 'net.prototxt' solver_type: ADAM base_lr: 0.1")


def run_command(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Run a case's two commands, and record the second one's status, files and log."""
    lay_out(rs)
    before, command = case.text.split("\n")
    if before:
        name, *arguments = before.split()
        execute(name, arguments, ENVIRONMENT)
    existing = set(os.listdir("."))
    name, *arguments = command.split()
    status, log = execute(name, arguments, ENVIRONMENT)
    numbers["status"] = np.array(status, np.float32)
    if status:
        # Error messages differ, and BVLC Caffe leaves truncated files.
        return
    numbers["files"] = np.array(" ".join(sorted(set(files_of_both()) - existing)))
    kinds: Dict[str, List[float]] = OrderedDict()
    templates = []
    for line in lines(log):
        template = NUMBER.sub("#", line)
        templates.append(template)
        kinds.setdefault(template, []).extend(float(n) for n in NUMBER.findall(line))
    numbers["log"] = np.array("\n".join(templates))
    for i, values in enumerate(kinds.values()):
        if values:
            numbers[f"numbers/{i}"] = np.array(values)


for _before, _commands in COMMANDS.items():
    for _command in _commands:
        _name = (
            "command." + _command.replace("/", ":") + (" (again)" if _before == _command else "")
        )
        add(_name, _before + "\n" + _command, program=run_command)
