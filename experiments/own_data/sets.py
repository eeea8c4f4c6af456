"""The same scenes as data sets: one function a layout of folders, one a format of pictures.

A function writes the pictures and labels of the scenes into a folder. `SETS` says which sets have
the same values and therefore have to give the same net.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np
from PIL import Image
from scipy.io import savemat

from experiments.own_data.scenes import COLOURS, NAMES, Scene, colour_image, palette_image
from fcn_common.files import atomic_write, write_text
from fcn_common.places import make_folder, writable
from fcn_data.channel_lists import write_channel_lists

#: EXIF tag of the orientation, and the value of a picture that is stored lying on its side.
ORIENTATION, LYING = 0x0112, 6
Scenes = Mapping[str, Scene]
Writer = Callable[[str, Scenes, Mapping[str, Sequence[str]]], None]


class SetForm(NamedTuple):
    """A data set on disk: what writes it, and the options that `solvers.train` needs for it.

    exact: whether its pictures have exactly the values of the first set of its group.
    """

    write: Writer
    options: Tuple[str, ...] = ()
    exact: bool = True


def flat(root: str, scenes: Scenes, splits: Mapping[str, Sequence[str]]) -> None:
    """ID.JPG and ID.png side by side; the split is drawn."""
    for idx, scene in scenes.items():
        _write_bytes(root, f"{idx}.JPG", scene.jpeg)
        _save(palette_image(scene.labels), root, f"{idx}.png")


def two_folders(root: str, scenes: Scenes, splits: Mapping[str, Sequence[str]]) -> None:
    """images/ID.jpg and masks/ID.png; the split is drawn."""
    for idx, scene in scenes.items():
        _write_bytes(root, f"images/{idx}.jpg", scene.jpeg)
        _save(palette_image(scene.labels), root, f"masks/{idx}.png")


def split_folders(root: str, scenes: Scenes, splits: Mapping[str, Sequence[str]]) -> None:
    """train/images, train/labels, val/images, val/labels."""
    for split, ids in splits.items():
        for idx in ids:
            _write_bytes(root, f"{split}/images/{idx}.jpg", scenes[idx].jpeg)
            _save(palette_image(scenes[idx].labels), root, f"{split}/labels/{idx}.png")


def voc(root: str, scenes: Scenes, splits: Mapping[str, Sequence[str]]) -> None:
    """VOC, whose split files begin with a byte order mark, as editors of Windows write them."""
    _voc(root, scenes, "SegmentationClass", palette_image)
    for split, ids in splits.items():
        text = "\ufeff" + "\r\n".join(ids) + "\r\n"
        _write_bytes(root, f"ImageSets/Segmentation/{split}.txt", text.encode())


def labelme(root: str, scenes: Scenes, splits: Mapping[str, Sequence[str]]) -> None:
    """What labelme's labelme2voc.py writes."""
    _voc(root, scenes, "SegmentationClassPNG", palette_image)
    for idx, scene in scenes.items():
        path = os.path.join(root, "SegmentationClass", f"{idx}.npy")
        with atomic_write(path) as file:
            np.save(file, scene.labels.astype(np.int32))
        visual = Image.blend(Image.fromarray(scene.pixels), colour_image(scene.labels), 0.5)
        _save(visual, root, f"SegmentationClassVisualization/{idx}.jpg")
    write_text(os.path.join(root, "class_names.txt"), "\n".join(NAMES) + "\n")


def cvat(root: str, scenes: Scenes, splits: Mapping[str, Sequence[str]]) -> None:
    """What CVAT exports as "Segmentation mask": colours, labelmap.txt, all ids in default.txt."""
    _voc(root, scenes, "SegmentationClass", colour_image)
    lines = [f"{name}:{r},{g},{b}::" for name, (r, g, b) in zip(NAMES, COLOURS)]
    text = "\n".join(["# label:color_rgb:parts:actions", *lines]) + "\n"
    write_text(os.path.join(root, "labelmap.txt"), text)
    ids = "".join(idx + "\n" for idx in scenes)
    write_text(os.path.join(root, "ImageSets/Segmentation/default.txt"), ids)


def sbd(root: str, scenes: Scenes, splits: Mapping[str, Sequence[str]]) -> None:
    """SBD: img/ID.jpg, cls/ID.mat, train.txt and val.txt."""
    for idx, scene in scenes.items():
        _write_bytes(root, f"img/{idx}.jpg", scene.jpeg)
        make_folder(os.path.join(root, "cls"))
        record = np.zeros((1,), dtype=[("Segmentation", object)])
        record[0]["Segmentation"] = scene.labels
        savemat(writable(os.path.join(root, "cls", f"{idx}.mat")), {"GTcls": record})
    for split, ids in splits.items():
        write_text(os.path.join(root, f"{split}.txt"), "".join(idx + "\n" for idx in ids))


def pictures(suffix: str, change: Callable[[np.ndarray], Image.Image], **settings: Any) -> Writer:
    """Return a writer of images/ID.suffix, made by `change` from H x W x 3, and labels/ID.png."""

    def write(root: str, scenes: Scenes, splits: Mapping[str, Sequence[str]]) -> None:
        for idx, scene in scenes.items():
            _save(change(scene.pixels), root, f"images/{idx}{suffix}", **settings)
            _save(palette_image(scene.labels), root, f"labels/{idx}.png")

    return write


def lying(root: str, scenes: Scenes, splits: Mapping[str, Sequence[str]]) -> None:
    """PNG files that are stored lying and have the EXIF orientation of a telephone."""
    exif = Image.Exif()
    exif[ORIENTATION] = LYING
    rotate = getattr(Image, "Transpose", Image).ROTATE_90
    pictures(".png", lambda pixels: Image.fromarray(pixels).transpose(rotate), exif=exif)(
        root, scenes, splits
    )


def pages(root: str, scenes: Scenes, splits: Mapping[str, Sequence[str]]) -> None:
    """TIFF files of four pages: red, green, blue, and the grey picture."""
    for idx, scene in scenes.items():
        first, *rest = [Image.fromarray(plane) for plane in four_channels(scene.pixels)]
        _save(first, root, f"images/{idx}.tif", save_all=True, append_images=rest)
        _save(palette_image(scene.labels), root, f"labels/{idx}.png")


def several_files(root: str, scenes: Scenes, splits: Mapping[str, Sequence[str]]) -> None:
    """Colours in one folder, 16-bit grey in another, joined by channel lists."""
    for idx, scene in scenes.items():
        _write_bytes(root, f"colours/{idx}.jpg", scene.jpeg)
        _save(grey_16(scene.pixels), root, f"infrared/{idx}.png")
        _save(palette_image(scene.labels), root, f"labels/{idx}.png")
    folders = [os.path.join(root, name) for name in ("colours", "infrared")]
    write_channel_lists(folders, os.path.join(root, "images"), (".jpg", ".png"))


def grey(pixels: np.ndarray) -> np.ndarray:
    """Return the grey values of H x W x 3, RGB: H x W, uint8."""
    return np.asarray(Image.fromarray(pixels).convert("L"))


def grey_8(pixels: np.ndarray) -> Image.Image:
    """Return the grey values as an image of 8 bits."""
    return Image.fromarray(grey(pixels))


def grey_16(pixels: np.ndarray) -> Image.Image:
    """Return the grey values in 16 bits."""
    return Image.fromarray(grey(pixels).astype(np.uint16) * 257)


def four_channels(pixels: np.ndarray) -> List[np.ndarray]:
    """Return red, green, blue and grey, H x W each."""
    return [*np.moveaxis(pixels, 2, 0), grey(pixels)]


def rgba(pixels: np.ndarray) -> Image.Image:
    """Return an image whose fourth channel is the grey picture."""
    return Image.fromarray(np.dstack(four_channels(pixels)))


def _voc(
    root: str, scenes: Scenes, labels: str, image: Callable[[np.ndarray], Image.Image]
) -> None:
    for idx, scene in scenes.items():
        _write_bytes(root, f"JPEGImages/{idx}.jpg", scene.jpeg)
        _save(image(scene.labels), root, f"{labels}/{idx}.png")


def _write_bytes(root: str, name: str, data: bytes) -> None:
    with atomic_write(os.path.join(root, name)) as file:
        file.write(data)


def _save(image: Image.Image, root: str, name: str, **settings: Any) -> None:
    path = os.path.join(root, name)
    make_folder(os.path.dirname(path))
    image.save(writable(path), **settings)


#: Group -> name -> set. The first set of a group is what the others are compared with.
SETS: Dict[str, Dict[str, SetForm]] = {
    "colour pictures": {
        "side by side": SetForm(flat),
        "two folders": SetForm(two_folders),
        "train and val": SetForm(split_folders),
        "VOC": SetForm(voc),
        "labelme": SetForm(labelme),
        "CVAT, colour labels": SetForm(cvat),
        "SBD, .mat labels": SetForm(sbd),
        "PNG": SetForm(pictures(".png", Image.fromarray)),
        "BMP": SetForm(pictures(".bmp", Image.fromarray)),
        "TIFF": SetForm(pictures(".tif", Image.fromarray)),
        "PNG, EXIF orientation 6": SetForm(lying),
        "PNG with transparency": SetForm(pictures(".png", rgba)),
    },
    "grey pictures": {
        "8 bits": SetForm(pictures(".png", grey_8), ("--channels", "1")),
        "16 bits": SetForm(pictures(".png", grey_16), ("--channels", "1")),
        "floats in 0..1": SetForm(
            pictures(".tif", lambda p: Image.fromarray(grey(p).astype(np.float32) / 255)),
            ("--channels", "1"),
            exact=False,
        ),
    },
    "four channels": {
        "RGBA": SetForm(pictures(".png", rgba), ("--channels", "4")),
        "TIFF of four pages": SetForm(pages, ("--channels", "4")),
        "two files": SetForm(several_files),
    },
}
