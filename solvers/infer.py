"""What a net sees in photographs: a label map and an overlay of each, and the classes of one.

    python -m solvers.infer photo.jpg [--net deploy.prototxt] [--weights f.caffemodel] [--out DIR]
    python -m solvers.infer FOLDER --out DIR

A collection (folders, lists, several photographs) is done once: the same command does what is
missing. Under torchrun the workers share it out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from solvers import available, device, workers
from solvers.log import Bar, write_text
from solvers.score import highest, labels
from surgery import check_weights

#: BGR means of ILSVRC, subtracted from every pixel, as in the published nets' data layers.
MEAN = (104.00699, 116.66877, 122.67892)
#: The long side in pixels of PASCAL VOC's photographs, which the nets were trained on.
LONG_SIDE = 500
#: What of a folder is taken for a photograph.
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm")
#: In the folder of a collection's pictures: what they were made with.
RECORD = "infer.json"


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
    return labels(scores[None])[0].astype(np.uint8, copy=False), scores


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
    large = (
        np.asarray(Image.fromarray(plane).resize((width, height), resampling.BILINEAR))
        for plane in np.array(scores, np.float32)
    )
    return highest(large)[0].astype(np.uint8, copy=False)


def save_labels(path: str, label: np.ndarray) -> None:
    """A label map (H x W) as a PNG with VOC's palette."""
    from PIL import Image

    from fcn_common.voc import PALETTE

    image = Image.fromarray(np.asarray(label, np.uint8))
    image.putpalette(PALETTE.ravel().tolist())
    _save(image, path)


def overlay(image: np.ndarray, label: np.ndarray, weight: float = 0.6) -> np.ndarray:
    """The photograph (H x W x 3) with each object's colour laid over it; background as it is."""
    from fcn_common.voc import PALETTE

    object_ = (label > 0) & (label != 255)
    out, colours = np.array(image), PALETTE[label[object_]].astype(np.float64)
    out[object_] = np.round(image[object_] * (1 - weight) + colours * weight).astype(np.uint8)
    return out


def shares(label: np.ndarray) -> Dict[str, float]:
    """The classes in a label map and the fraction of the pixels that each has, largest first."""
    from fcn_common.voc import CLASSES

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

    image = read(photo)
    found = available.pick(variant, net, weights)
    where = device.use(gpu)
    print(f"{device.engine()}; runs on {where}")
    print(f"{found.net} with {found.weights} ({found.what})")
    label = segment(load(found.net, found.weights), image, long_side)
    os.makedirs(out, exist_ok=True)
    stem = os.path.join(out, _stem(photo))
    _write(stem, image, label)
    print(f"wrote {stem}_labels.png and {stem}_overlay.png")
    return shares(label)


def _stem(photo: str) -> str:
    return os.path.splitext(os.path.basename(photo))[0]


def _write(stem: str, image: np.ndarray, label: np.ndarray) -> None:
    """The label map comes last: where it is, the photograph is done."""
    from PIL import Image

    _save(Image.fromarray(overlay(image, label)), stem + "_overlay.png")
    save_labels(stem + "_labels.png", label)


def collect(sources: Sequence[str]) -> List[str]:
    """The photographs of a collection: files, those in folders (by name, not deeper), and those in
    .txt lists, one a line, from the list's folder.

    Raises OSError for what is not there, ValueError for two whose pictures would have one name.
    """
    photos: List[str] = []
    for source in sources:
        if os.path.isdir(source):
            names = sorted(n for n in os.listdir(source) if n.lower().endswith(SUFFIXES))
            photos += [os.path.join(source, name) for name in names]
        elif source.lower().endswith(".txt"):
            with open(source, encoding="utf-8") as file:
                named = [line.strip() for line in file if line.strip()]
            photos += [os.path.join(os.path.dirname(source), name) for name in named]
        else:
            photos.append(source)
    seen: Dict[str, str] = {}
    for photo in photos:
        if not os.path.isfile(photo):
            raise FileNotFoundError(f"{photo}: no such file")
        other = seen.setdefault(_stem(photo), photo)
        if other != photo:
            raise ValueError(
                f"{photo}: its pictures would be called as those of {other}; rename one of the two"
            )
    if not photos:
        raise ValueError(f"{', '.join(sources)}: no photographs; needed {', '.join(SUFFIXES)}")
    return list(seen.values())


def run_collection(
    sources: Sequence[str],
    net: Optional[str] = None,
    weights: Optional[str] = None,
    out: str = ".",
    gpu: device.Gpu = None,
    variant: str = "voc-fcn8s",
    long_side: int = LONG_SIDE,
) -> List[str]:
    """Segment a collection into out/NAME_labels.png and out/NAME_overlay.png; what this worker did.

    Photographs that have their label map there already are passed over. One that cannot be read is
    told of and left out; in a single process OSError is raised at the end, but among workers it
    must not end the others. Raises ValueError if `out` holds pictures of another net.
    """
    photos = collect(sources)
    found = available.pick(variant, net, weights)
    where = device.use(gpu)
    workers.say(f"{device.engine()}; runs on {where}")
    workers.say(f"{found.net} with {found.weights} ({found.what})")
    os.makedirs(out, exist_ok=True)
    _check_record(out, found.net, found.weights, long_side)
    mine = photos[workers.rank() :: workers.count()]
    missing = [p for p in mine if not os.path.isfile(_labels(out, p))]
    print(
        f"{_worker()}{len(mine)} photographs, {len(mine) - len(missing)} done already", flush=True
    )
    unreadable = []
    loaded = load(found.net, found.weights) if missing else None
    with workers.by_first(Bar, len(missing), "segmenting", leave=False) as bar, _Writer() as writer:
        for photo, coming in _read_ahead(missing):
            try:
                image = coming.result()
            except OSError as error:
                print(f"{_worker()}left out: {error}", file=sys.stderr, flush=True)
                unreadable.append(photo)
            else:
                stem = os.path.join(out, _stem(photo))
                writer.write(stem, image, segment(loaded, image, long_side))
            bar.update()
    if unreadable and workers.count() == 1:
        raise OSError(f"{unreadable[0]}: first of {len(unreadable)} that cannot be read")
    return [photo for photo in missing if photo not in unreadable]


def _read_ahead(photos: Sequence[str]) -> Iterator[Tuple[str, Future]]:
    """Each photograph with what `read` gives of it; the next is read while one is worked on."""
    with ThreadPoolExecutor(1) as reader:
        coming = [reader.submit(read, photo) for photo in photos[:1]]
        for i, photo in enumerate(photos):
            coming += [reader.submit(read, following) for following in photos[i + 1 : i + 2]]
            yield photo, coming.pop(0)


class _Writer:
    """Writes pictures in a thread, one photograph's at a time; `with` ends when all are written."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._last: Optional[Future] = None

    def write(self, stem: str, image: np.ndarray, label: np.ndarray) -> None:
        """`_write`; an error of the writing before is raised here."""
        self._wait()
        self._last = self._pool.submit(_write, stem, image, label)

    def _wait(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: Optional[type], *error: object) -> None:
        self._pool.shutdown()
        if kind is None:
            self._wait()


def _labels(out: str, photo: str) -> str:
    return os.path.join(out, _stem(photo) + "_labels.png")


def _worker() -> str:
    return f"worker {workers.rank()} of {workers.count()}: " if workers.count() > 1 else ""


def _check_record(out: str, net: str, weights: str, long_side: int) -> None:
    """Record what the pictures in `out` are made with; ValueError if others are there."""
    now = {
        "net": os.path.abspath(net),
        "weights": os.path.abspath(weights),
        "bytes": os.path.getsize(weights),
        "modified": os.stat(weights).st_mtime_ns,
        "long_side": long_side,
    }
    path = os.path.join(out, RECORD)
    if not os.path.isfile(path):
        write_text(path, json.dumps(now, indent=1) + "\n")
        return
    with open(path) as file:
        before = json.load(file)
    for key in now:
        if before.get(key) != now[key]:
            raise ValueError(
                f"{out}: holds pictures made with {key} {before.get(key)}, not {now[key]}; give "
                "another --out, or remove them"
            )


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m solvers.infer",
        description="Segment a photograph, or a collection, of which what is missing is done.",
    )
    parser.add_argument(
        "image",
        nargs="+",
        help="a photograph, in any format that Pillow reads; or several, folders, .txt lists",
    )
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
    options = (args.net, args.weights, args.out, args.gpu, args.variant, args.long_side)
    photo = args.image[0]
    one = len(args.image) == 1 and not os.path.isdir(photo) and not photo.lower().endswith(".txt")
    if not one or workers.count() > 1:
        run_collection(args.image, *options)
        return
    found = run(photo, *options)
    for name, share in found.items():
        print(f"{name:<14}{100 * share:6.1f} %")


if __name__ == "__main__":
    from solvers import main as program

    program(main)
