"""A narrow FCN-8s over many pictures of random sizes; `long_runs` watches the process.

python -m tests.torture.image_runs pictures|passes FOLDER IMAGES PARTS
"""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path

import caffe
import numpy as np
from PIL import Image

import net_gen
from solvers import chain, infer, segmenter

#: The sides of the pictures in pixels.
SIDES = (16, 128)
WIDTH, CLASSES = 1 / 32, 5

Size = tuple[int, int]


def pictures(folder: Path, net: str, weights: str) -> Callable[[Size], object]:
    """Return a function that segments a new picture of a size, as `solvers.infer` does."""
    opened = segmenter.open_segmenter(net=net, weights=weights, gpu="cpu")
    rng = np.random.RandomState(2)

    def segment(size: Size) -> object:
        path = str(folder / "picture.png")
        Image.fromarray(rng.randint(0, 255, (*size, 3), np.uint8)).save(path)
        return infer.segment_file(path, opened, str(folder / "out"), print)

    return segment


def passes(folder: Path, net: str, weights: str) -> Callable[[Size], object]:
    """Return a function that runs a net of another size by pycaffe's calls."""
    caffe.set_mode_cpu()
    opened = caffe.Net(net, weights, caffe.TEST)

    def run(size: Size) -> object:
        opened.blobs["data"].reshape(1, 3, *size)
        opened.reshape()
        opened.blobs["data"].data[...] = 1
        return opened.forward()["score"].sum()

    return run


KINDS = {"pictures": pictures, "passes": passes}


class _Heap(ctypes.Structure):
    """What mallinfo2 of the GNU C library says of the heap, in bytes."""

    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = tuple((name, ctypes.c_size_t) for name in _names.split())


def memory_in_use() -> float:
    """Return the memory that the process has allocated and not freed, in MB; 0 if unknown."""
    call = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if call is None:
        return 0.0
    gc.collect()
    call.restype = _Heap
    heap = call()
    return (heap.uordblks + heap.hblkhd) / 1e6


def main(kind: str, folder: Path, images: int, parts: int) -> None:
    """Run a kind over pictures, and print how many are done after each part."""
    net, weights = str(folder / "deploy.prototxt"), str(folder / "random.caffemodel")
    param = net_gen.fcn("voc-fcn8s", "deploy", classes=CLASSES, width=WIDTH)
    net_gen.write(chain.with_fillers(param, "msra"), net)
    chain.random_weights(net, weights, 1)
    run = KINDS[kind](folder, net, weights)
    rng = np.random.RandomState(3)
    print(f"0 images done, {memory_in_use():.1f} MB in use", flush=True)
    for part in range(parts):
        for _ in range((part + 1) * images // parts - part * images // parts):
            height, width = (int(side) for side in rng.randint(*SIDES, 2))
            run((height, width))
        done = (part + 1) * images // parts
        print(f"{done} images done, {memory_in_use():.1f} MB in use", flush=True)
    time.sleep(1)  # The watching process looks at this one after the last line.


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
