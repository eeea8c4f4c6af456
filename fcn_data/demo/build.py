"""The files of the demo set."""

from __future__ import annotations

import glob
import json
import os
import shutil
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from PIL import Image

from fcn_common.files import write_text
from fcn_common.places import make_folder, writable
from fcn_common.voc import CLASSES, PALETTE

from .drawing import Drawing
from .scenes import CROP, SIZES, draw_crop, draw_scene

#: Version of the drawings; a set of another version is not used.
VERSION = 1


def make(
    root: str,
    seed: int = 1,
    train: int = 800,
    val: int = 80,
    test: int = 120,
    crops: int = 3150,
    crops_val: int = 420,
    sizes: Sequence[Tuple[int, int]] = SIZES,
    scale: float = 1.0,
) -> None:
    """Draw the demo set as the folder `root`; return at once if the set is there.

    `train` scenes lie in `root`/sbdd/dataset (and in VOC's train split), `val` and `test` scenes in
    `root`/pascal/VOC2011: the splits seg11valid (and val) and test. `crops` and `crops_val` crops
    for a classifier lie in `root`/objects/{train,val}.npz: `data` N x 96 x 96 x 3, uint8, RGB, and
    `label` N, class indices, where 0 is a crop of ground alone. `sizes` are height and width of the
    scenes. `scale` multiplies everything in the scenes; 2.1 gives images of up to 500 pixels.

    The same arguments draw the same set, also after a kill: the next call goes on where the drawing
    was. Raises ValueError if `root` holds anything else.
    """
    manifest = {
        "version": VERSION,
        "seed": seed,
        "train": train,
        "val": val,
        "test": test,
        "crops": crops,
        "crops_val": crops_val,
        "sizes": [list(size) for size in sizes],
        "scale": scale,
    }
    root = os.path.abspath(root)
    if os.path.isdir(root) and os.listdir(root):
        check_manifest(root, manifest)
        return
    scenes = {"train": train, "seg11valid": val, "test": test}
    parts = {**scenes, "objects/train": crops, "objects/val": crops_val}
    with Drawing(root, manifest, parts) as drawing:
        _draw_scenes(drawing, scenes, seed, sizes, scale)
        _draw_crops(drawing, {"train": crops, "val": crops_val}, seed)
        drawing.finish()


def _draw_scenes(
    drawing: Drawing,
    counts: Dict[str, int],
    seed: int,
    sizes: Sequence[Tuple[int, int]],
    scale: float,
) -> None:
    """Draw the scenes of each split in VOC's layout, and the train split in SBD's layout too."""
    root = drawing.folder
    sbd = os.path.join(root, "sbdd", "dataset")
    voc = os.path.join(root, "pascal", "VOC2011")
    sets = os.path.join(voc, "ImageSets", "Segmentation")
    for folder in ("img", "cls"):
        make_folder(os.path.join(sbd, folder))
    for folder in ("JPEGImages", "SegmentationClass"):
        make_folder(os.path.join(voc, folder))
    for k, (split, count) in enumerate(counts.items()):
        ids = [f"2011_{100000 * k + i:06d}" for i in range(count)]
        for i in drawing.rest(split):
            idx = ids[i]
            image, label = draw_scene(np.random.RandomState([seed, k, i]), sizes, scale)
            photograph = os.path.join(voc, "JPEGImages", idx + ".jpg")
            Image.fromarray(image).save(writable(photograph), quality=92, subsampling=0)
            _save_label(os.path.join(voc, "SegmentationClass", idx + ".png"), label)
            if split == "train":
                shutil.copyfile(photograph, writable(os.path.join(sbd, "img", idx + ".jpg")))
                _save_truth(os.path.join(sbd, "cls", idx + ".mat"), label)
        _write_ids(os.path.join(sets, split + ".txt"), ids)
        if split == "train":
            _write_ids(os.path.join(sbd, "train.txt"), ids)
        elif split == "seg11valid":
            _write_ids(os.path.join(sets, "val.txt"), ids)


def _draw_crops(drawing: Drawing, counts: Dict[str, int], seed: int) -> None:
    """Draw crops that go through the classes in turn."""
    folder = os.path.join(drawing.folder, "objects")
    make_folder(folder)
    for k, (split, count) in enumerate(counts.items()):
        # A file that holds the crops that are drawn, also after a kill.
        path = os.path.join(folder, split + ".part.npy")
        size = (count, CROP, CROP, 3)
        # The turn starts again at crop 256, as in every set of version 1.
        label = (np.arange(count) % 256 % len(CLASSES)).astype(np.uint8)
        data = _crops(path, size) if count else np.empty(size, np.uint8)
        for i in drawing.rest(f"objects/{split}"):
            data[i] = draw_crop(np.random.RandomState([seed, 3 + k, i]), int(label[i]))
        np.savez(writable(os.path.join(folder, split + ".npz")), data=data, label=label)
    for path in glob.glob(os.path.join(glob.escape(folder), "*.part.npy")):
        os.remove(path)


def _crops(path: str, size: Tuple[int, ...]) -> np.ndarray:
    """Return the crops in a file that a killed drawing has left, or those of a new file."""
    if os.path.isfile(path):
        try:
            return np.lib.format.open_memmap(writable(path), "r+")
        except ValueError:  # It was killed before the first crop.
            os.remove(path)
    return np.lib.format.open_memmap(writable(path), "w+", np.uint8, size)


def check_manifest(root: str, needed: Dict[str, Any]) -> None:
    """Raise ValueError unless manifest.json in `root` names the set of these arguments."""
    try:
        with open(os.path.join(root, "manifest.json"), encoding="utf-8") as file:
            manifest = json.load(file)
    except (OSError, ValueError):
        manifest = None
    if not isinstance(manifest, dict):
        raise ValueError(f"{root}: has files but no demo set's manifest.json; name another folder")
    for key, value in needed.items():
        if manifest.get(key) != value:
            raise ValueError(
                f"{root}: is a demo set with {key} {manifest.get(key)}, needs {value}; "
                "remove the folder or name another"
            )


def _write_ids(path: str, ids: List[str]) -> None:
    write_text(path, "".join(idx + "\n" for idx in ids))


def _save_label(path: str, label: np.ndarray) -> None:
    image = Image.fromarray(label)
    image.putpalette(PALETTE.tobytes())
    image.save(writable(path))


def _save_truth(path: str, label: np.ndarray) -> None:
    truth = np.zeros((1, 1), [("Segmentation", object)])
    truth[0, 0]["Segmentation"] = label
    save_mat(path, {"GTcls": truth})


def save_mat(path: str, arrays: Dict[str, Any]) -> None:
    """Write arrays by name as a compressed .mat file."""
    # scipy.io takes 0.3 s to import, and only drawing needs it.
    from scipy.io import savemat

    savemat(writable(path), arrays, do_compression=True)
