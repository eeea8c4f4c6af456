"""What a net sees in a photograph: a label map, an overlay, the classes and their shares.

python -m solvers.infer photo.jpg [--net deploy.prototxt] [--weights f.caffemodel] [--out DIR]
"""

from __future__ import annotations

import argparse
import os
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np

from solvers import available, device
from surgery import check_weights

#: BGR means of ILSVRC, subtracted from every pixel, as in the published nets' data layers.
MEAN = (104.00699, 116.66877, 122.67892)
#: The long side in pixels of PASCAL VOC's photographs, which the nets were trained on.
LONG_SIDE = 500


def load(net: str, weights: str) -> Any:
    """A deploy net with its weights. Raises ValueError if they do not fill it."""
    import caffe

    for path in (net, weights):
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{path}: no such file")
    loaded = caffe.Net(net, caffe.TEST)
    check_weights(loaded, weights, need=list(loaded.params))
    loaded.copy_from(weights)
    if len(loaded.inputs) != 1:
        raise ValueError(f"{net}: found inputs {list(loaded.inputs)}, needed one, the image")
    return loaded


def read(path: str) -> np.ndarray:
    """A photograph, H x W x 3, RGB, uint8, turned upright. Raises OSError if it cannot be read."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError:
        raise
    except Exception as error:
        raise OSError(f"{path}: cannot be read as an image ({error})") from None


def predict(net: Any, image: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """The label map (H x W, uint8) and the scores (K x H x W) of an RGB image (H x W x 3)."""
    data = image[:, :, ::-1].astype(np.float32) - np.array(MEAN, np.float32)
    name = net.inputs[0]
    net.blobs[name].reshape(1, data.shape[2], *data.shape[:2])
    net.reshape()
    net.blobs[name].data[...] = data.transpose(2, 0, 1)
    net.forward()
    scores = net.blobs["score" if "score" in net.blobs else net.outputs[0]].data[0]
    return scores.argmax(0).astype(np.uint8), scores


def segment(net: Any, image: np.ndarray, long_side: int = LONG_SIDE) -> np.ndarray:
    """The label map (H x W, uint8) of a photograph of any size.

    One whose long side is over `long_side` is seen reduced to that, the scale that the nets were
    trained at, and its scores are enlarged bilinearly; 0 takes every photograph as it is.
    """
    from PIL import Image

    resampling = getattr(Image, "Resampling", Image)
    height, width = image.shape[:2]
    shrink = long_side / max(height, width) if long_side else 1.0
    if shrink >= 1:
        return predict(net, image)[0]
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    scores = predict(net, np.asarray(Image.fromarray(image).resize(size, resampling.LANCZOS)))[1]
    best = np.full((height, width), -np.inf, np.float32)
    label = np.zeros((height, width), np.uint8)
    for k, plane in enumerate(np.array(scores, np.float32)):
        large = np.asarray(Image.fromarray(plane).resize((width, height), resampling.BILINEAR))
        better = large > best
        best[better] = large[better]
        label[better] = k
    return label


def save_labels(path: str, label: np.ndarray) -> None:
    """A label map (H x W) as a PNG with VOC's palette."""
    from PIL import Image

    from datasets import PALETTE

    image = Image.fromarray(np.asarray(label, np.uint8))
    image.putpalette(PALETTE.ravel().tolist())
    _save(image, path)


def overlay(image: np.ndarray, label: np.ndarray, weight: float = 0.6) -> np.ndarray:
    """The photograph (H x W x 3) with each object's colour laid over it; background as it is."""
    from datasets import PALETTE

    colours = PALETTE[label].astype(np.float32)
    share = np.where((label > 0) & (label != 255), weight, 0.0)[..., None]
    return np.round(image * (1 - share) + colours * share).astype(np.uint8)


def shares(label: np.ndarray) -> Dict[str, float]:
    """The classes in a label map and the fraction of the pixels that each has, largest first."""
    from datasets import CLASSES

    counts = np.bincount(label.ravel())
    found = sorted(((n, k) for k, n in enumerate(counts) if n), reverse=True)
    names = {k: CLASSES[k] if k < len(CLASSES) else f"class {k}" for _, k in found}
    return {names[k]: n / label.size for n, k in found}


def _save(image: Any, path: str) -> None:
    partial = f"{path}.{os.getpid()}.partial"
    try:
        image.save(partial, format="PNG")
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def run(
    photo: str,
    net: Optional[str] = None,
    weights: Optional[str] = None,
    out: str = ".",
    gpu: device.Gpu = None,
    variant: str = "voc-fcn8s",
    long_side: int = LONG_SIDE,
) -> Dict[str, float]:
    """Segment a photograph into out/NAME_labels.png and out/NAME_overlay.png; its classes."""
    from PIL import Image

    image = read(photo)
    found = available.pick(variant, net, weights)
    where = device.use(gpu)
    print(f"{device.engine()}; runs on {where}")
    print(f"{found.net} with {found.weights} ({found.what})")
    label = segment(load(found.net, found.weights), image, long_side)
    os.makedirs(out, exist_ok=True)
    stem = os.path.join(out, os.path.splitext(os.path.basename(photo))[0])
    save_labels(stem + "_labels.png", label)
    _save(Image.fromarray(overlay(image, label)), stem + "_overlay.png")
    print(f"wrote {stem}_labels.png and {stem}_overlay.png")
    return shares(label)


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m solvers.infer", description="Segment a photograph."
    )
    parser.add_argument("image", help="a photograph, in any format that Pillow reads")
    parser.add_argument("--net", help="deploy prototxt")
    parser.add_argument("--weights", help=".caffemodel (the best one here)")
    parser.add_argument("--variant", default="voc-fcn8s", help="voc-fcn8s by default")
    parser.add_argument("--out", default=".", help="folder for the two pictures")
    parser.add_argument("--gpu", help="number of a CUDA device, or cpu")
    parser.add_argument(
        "--long-side",
        type=int,
        default=LONG_SIDE,
        help=f"larger photographs are reduced to this many pixels ({LONG_SIDE}; 0: never)",
    )
    args = parser.parse_args(argv)
    found = run(
        args.image, args.net, args.weights, args.out, args.gpu, args.variant, args.long_side
    )
    for name, share in found.items():
        print(f"{name:<14}{100 * share:6.1f} %")


if __name__ == "__main__":
    from solvers import main as program

    program(main)
