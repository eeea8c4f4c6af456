"""The demo's scenes in the folder layouts of PASCAL-Context, SIFT Flow and NYUDv2.

The scenes have the classes of VOC. Class k of VOC becomes class k modulo the number of classes of
the other set. A net can learn these classes, so every step of training can be tried before the real
data is there.
"""

from __future__ import annotations

import os
from typing import Callable, Dict, NamedTuple, Tuple

import numpy as np
from PIL import Image

from fcn_common.files import write_text
from fcn_common.places import make_folder, writable
from fcn_common.voc import IGNORE_LABEL

from .. import class_names
from ..sift_flow import SCENES
from .build import check_manifest, save_mat
from .drawing import Drawing
from .scenes import SIZES, draw_scene

#: Number of labels of PASCAL-Context, and the distance of the 59 classes among them.
CONTEXT_LABELS, CONTEXT_STEP = 459, 7
#: Names of PASCAL-Context's classes that have another name among the 459 labels.
CONTEXT_NAMES = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}
#: Depth in millimetres of the lowest row, and of a class above another.
NEAR, DEPTH_STEP = 1200, 300


class Scene(NamedTuple):
    """A drawn photograph, H x W x 3, uint8, RGB, and its classes, H x W, uint8, 255 for void."""

    image: np.ndarray
    label: np.ndarray


def make(name: str, root: str, train: int, val: int, seed: int = 1, scale: float = 1.0) -> None:
    """Draw scenes as the folder `root` in the layout of a data set; return if they are there.

    name: a key of `LAYOUTS`. train, val: the number of scenes that train and that are scored.
    scale: as for `build.make`. The same arguments draw the same set. Raises ValueError for an
    unknown name, or if `root` holds anything else.
    """
    if name not in LAYOUTS:
        raise ValueError(f"name is {name!r}, needs one of {', '.join(LAYOUTS)}")
    layout = LAYOUTS[name]
    manifest = {"layout": name, "seed": seed, "train": train, "val": val, "scale": scale}
    if os.path.isdir(root) and os.listdir(root):
        check_manifest(root, manifest)
        return
    counts = dict(zip(layout.splits, (train, val)))
    with Drawing(root, manifest, counts) as drawing:
        for k, (split, count) in enumerate(counts.items()):
            ids = [f"{1000 * k + i + 1}" for i in range(count)]
            for i in drawing.rest(split):
                scene = Scene(*draw_scene(np.random.RandomState([seed, k, i]), SIZES, scale))
                layout.write(drawing.folder, ids[i], scene)
            path = os.path.join(drawing.folder, layout.lists, split + ".txt")
            write_text(path, "".join(idx + "\n" for idx in ids))
        layout.finish(drawing.folder)
        drawing.finish()


def _write_context(root: str, idx: str, scene: Scene) -> None:
    _save_image(os.path.join(root, "pascal/VOC2010/JPEGImages", idx + ".jpg"), scene.image)
    classes = np.where(scene.label == IGNORE_LABEL, 0, scene.label).astype(np.int32)
    labels = np.where(classes == 0, CONTEXT_LABELS, 1 + CONTEXT_STEP * (classes - 1))
    path = os.path.join(root, "pascal-context/trainval", idx + ".mat")
    _save_mat(path, LabelMap=labels.astype(np.uint16))


def _finish_context(root: str) -> None:
    frequent = class_names.PASCAL_CONTEXT[1:]
    names = [f"other {number}" for number in range(1, CONTEXT_LABELS + 1)]
    for k, name in enumerate(frequent):
        names[CONTEXT_STEP * k] = CONTEXT_NAMES.get(name, name)
    for file, lines in (("labels.txt", names), ("59_labels.txt", frequent)):
        text = "".join(f"{number}: {name}\n" for number, name in enumerate(lines, 1))
        write_text(os.path.join(root, "pascal-context", file), text)


def _write_sift_flow(root: str, idx: str, scene: Scene) -> None:
    folder = os.path.join(root, "sift-flow")
    _save_image(os.path.join(folder, "Images", SCENES, idx + ".jpg"), scene.image)
    void = scene.label == IGNORE_LABEL
    sem = np.where(void, 0, scene.label + 1).astype(np.uint8)
    geo = np.where(void, -1, scene.label.astype(np.int16) % len(class_names.GEOMETRIC) + 1)
    _save_mat(os.path.join(folder, "SemanticLabels", SCENES, idx + ".mat"), S=sem)
    _save_mat(os.path.join(folder, "GeoLabels", SCENES, idx + ".mat"), S=geo)


def _write_nyud(root: str, idx: str, scene: Scene) -> None:
    folder = os.path.join(root, "nyud")
    void = scene.label == IGNORE_LABEL
    depth = NEAR + DEPTH_STEP * np.where(void, 0, scene.label).astype(np.int64)
    height = np.broadcast_to(np.linspace(255, 0, depth.shape[0])[:, np.newaxis], depth.shape)
    depth = (depth + 8 * height).astype(np.uint16)
    disparity, angle = 255.0 * NEAR / depth, np.where(void, 128, scene.label * 12)
    hha = np.stack([disparity, height, angle], axis=2).astype(np.uint8)
    for inputs, image in (("images", scene.image), ("depth", depth), ("hha", hha)):
        _save_image(os.path.join(folder, "data", inputs, f"img_{idx}.png"), image)
    label = np.where(void, 0, scene.label + 1).astype(np.uint8)
    _save_mat(os.path.join(folder, "segmentation", f"img_{idx}.mat"), segmentation=label)


def _finish(root: str) -> None:
    """Write no further file."""


class Layout(NamedTuple):
    """How a data set lies in its folder.

    write: writes one scene below the root. splits: names of the splits that train and that are
    scored. lists: the folder of the split files. finish: writes the files that are there once.
    """

    write: Callable[[str, str, Scene], None]
    splits: Tuple[str, str]
    lists: str
    finish: Callable[[str], None] = _finish


#: Name of a data set -> its layout below the folder that `DataSet.root` stands for.
LAYOUTS: Dict[str, Layout] = {
    "pascalcontext": Layout(
        _write_context, ("train", "val"), "pascal/VOC2010/ImageSets/Main", _finish_context
    ),
    "siftflow": Layout(_write_sift_flow, ("trainval", "test"), "sift-flow"),
    "nyud": Layout(_write_nyud, ("trainval", "test"), "nyud"),
}


def _save_image(path: str, image: np.ndarray) -> None:
    make_folder(os.path.dirname(path))
    Image.fromarray(image).save(writable(path))


def _save_mat(path: str, **arrays: np.ndarray) -> None:
    make_folder(os.path.dirname(path))
    save_mat(path, arrays)
