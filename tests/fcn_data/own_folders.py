"""One small set of pictures and labels, written in every layout that tools write."""

import os

import numpy as np
from PIL import Image
from scipy.io import savemat

NAMES = ("background", "red", "green")
COLOURS = ((0, 0, 0), (200, 40, 40), (40, 200, 40))
LAYOUTS = ("flat", "folders", "voc", "labelme", "cvat", "sbd")


def picture(seed, height=32, width=40):
    """Return a picture with a red and a green block, and its labels."""
    rng = np.random.RandomState(seed)
    label = np.zeros((height, width), np.uint8)
    row, column = rng.randint(2, height - 14), rng.randint(2, width // 2 - 12)
    label[row : row + 12, column : column + 10] = 1
    label[row : row + 12, width // 2 + column : width // 2 + column + 10] = 2
    pixels = np.array(COLOURS)[label] + rng.randint(0, 40, (height, width, 3))
    return pixels.astype(np.uint8), label


def write(root, layout, count=6, names=None):
    """Write `count` pictures into the folder `root` in a layout of `LAYOUTS`, and return it."""
    root = str(root)
    names = names or [f"scene {k}" for k in range(count)]
    for k, name in enumerate(names):
        pixels, label = picture(k)
        _write_one(root, layout, name, pixels, label)
    if layout == "labelme":
        _text(root, "class_names.txt", "\n".join(("_background_", *NAMES[1:])))
    if layout == "cvat":
        lines = [f"{n}:{c[0]},{c[1]},{c[2]}::" for n, c in zip(NAMES, COLOURS)]
        _text(root, "labelmap.txt", "\n".join(("# label:color_rgb:parts:actions", *lines)))
    if layout == "sbd":
        _text(root, "train.txt", "\n".join(names[:-2]))
        _text(root, "val.txt", "\n".join(names[-2:]))
    if layout in ("voc", "labelme", "cvat"):
        # A byte order mark, as Windows' editors write it.
        _text(root, "ImageSets/Segmentation/train.txt", "\ufeff" + "\n".join(names[:-2]))
        _text(root, "ImageSets/Segmentation/val.txt", "\n".join(names[-2:]))
    return root


def _write_one(root, layout, name, pixels, label):
    folders = {
        "flat": (".", "."),
        "folders": ("images", "masks"),
        "sbd": ("img", "cls"),
        "labelme": ("JPEGImages", "SegmentationClassPNG"),
    }.get(layout, ("JPEGImages", "SegmentationClass"))
    for folder in folders:
        os.makedirs(os.path.join(root, folder), exist_ok=True)
    suffix = ".JPG" if layout == "flat" else ".jpg"
    Image.fromarray(pixels).save(os.path.join(root, folders[0], name + suffix), quality=95)
    target = os.path.join(root, folders[1], name)
    if layout == "sbd":
        record = np.zeros((1,), dtype=[("Segmentation", object)])
        record[0]["Segmentation"] = label
        savemat(target + ".mat", {"GTcls": record})
    elif layout == "cvat":
        Image.fromarray(np.array(COLOURS, np.uint8)[label]).save(target + ".png")
    else:
        image = Image.fromarray(label)
        image.putpalette(np.array(COLOURS, np.uint8).tobytes())
        image.save(target + ".png")


def _text(root, name, text):
    path = os.path.join(root, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text + "\n")
