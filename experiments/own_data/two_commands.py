"""The twelve photographs of docs/own-data.md, from the folder to the maps with two commands."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import List, Optional

import numpy as np
from PIL import Image

from experiments.own_data.scenes import NAMES, colour_image, draw_scene
from experiments.own_data.sets import flat
from fcn_common.files import atomic_write, write_text
from solvers.folders import ROOT
from solvers.label_map import save_png

PHOTOGRAPHS, NEW = 12, 2
#: Settings of the net and of each stage: minutes on two cores suffice to learn the classes.
WIDTH, ITERS = "1/8", 40
#: Pixels between the rows of the figure.
GAP = 6


def write_photographs(folder: str) -> None:
    """Write `my_set`, twelve photographs with labels and class names, and `photos`, two more."""
    scenes = {f"IMG_{k:04d}": draw_scene(k) for k in range(PHOTOGRAPHS)}
    flat(os.path.join(folder, "my_set"), scenes, {})
    write_text(os.path.join(folder, "my_set", "class_names.txt"), "\n".join(NAMES) + "\n")
    for k in range(PHOTOGRAPHS, PHOTOGRAPHS + NEW):
        with atomic_write(os.path.join(folder, "photos", f"IMG_{k:04d}.jpg")) as file:
            file.write(draw_scene(k).jpeg)


def commands(folder: str) -> List[List[str]]:
    """Return the two commands: to train, and to segment the photographs."""
    data, run, photos, out = (
        os.path.join(folder, name) for name in ("my_set", "my_run", "photos", "segmented")
    )
    size = ["--width", WIDTH, "--iters", str(ITERS)]
    return [
        ["solvers.train", data, "--out", run, *size],
        ["solvers.infer", photos, "--run", run, "--out", out],
    ]


def time_two_commands(folder: str, gpu: Optional[str] = None) -> List[float]:
    """Run the two commands in `folder`, print the seconds of each, and return them.

    Raises ValueError if one of them fails.
    """
    write_photographs(folder)
    seconds = []
    for command in commands(folder):
        line = [*command, *(["--gpu", gpu] if gpu else [])]
        started = time.time()
        result = subprocess.run([sys.executable, "-m", *line], cwd=ROOT)
        if result.returncode:
            raise ValueError(f"python -m {' '.join(line)}: ended with {result.returncode}")
        seconds.append(time.time() - started)
        print(f"{seconds[-1]:.1f} s: python -m {' '.join(line)}", flush=True)
    return seconds


def draw_figure(folder: str, path: str) -> None:
    """Write a picture of the new photographs, their truth, and the labels of the net."""
    rows = []
    for k in range(PHOTOGRAPHS, PHOTOGRAPHS + NEW):
        scene = draw_scene(k)
        name = f"IMG_{k:04d}_labels.png"
        with Image.open(os.path.join(folder, "segmented", name)) as image:
            predicted = np.asarray(image.convert("RGB"))
        truth = np.asarray(colour_image(scene.labels))
        rows.append(np.concatenate([scene.pixels, truth, predicted], axis=1))
    width = max(row.shape[1] for row in rows)
    padded = [
        np.pad(row, ((0, GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255)
        for row in rows
    ]
    save_png(path, Image.fromarray(np.concatenate(padded)[:-GAP]))
