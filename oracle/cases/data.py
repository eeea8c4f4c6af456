"""Golden cases of the data layers, and of the tools that write and read databases."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import os
import struct
import zlib
from typing import Any, Sequence, Tuple

import caffe
import h5py
import numpy as np

from oracle.cases.case import (
    Case,
    Numbers,
    Program,
    RandomState,
    Shape,
    add,
    copy,
    layer,
    write,
)
from oracle.cases.tools import run_tool

#: Heights and widths of the images.
SIZES = ((9, 11), (8, 12), (10, 10), (9, 11), (12, 9))


def png(image: np.ndarray) -> bytes:
    """Return the bytes of a PNG file; image: uint8, H x W or H x W x 3 in RGB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    height, width = image.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if image.ndim == 3 else 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def draw_images(rs: RandomState, sizes: Sequence[Tuple[int, int]] = SIZES) -> None:
    """Write images/N.png of these sizes (H, W), and list.txt with a path and a label a line."""
    os.makedirs("images", exist_ok=True)
    lines = []
    for i, size in enumerate(sizes):
        with open("images/%d.png" % i, "wb") as file:
            file.write(png(rs.randint(0, 256, (*size, 3)).astype(np.uint8)))
        lines.append("%d.png %d\n" % (i, 3 * i))
    write(".", "list.txt", "".join(lines))


def draw_mean(rs: RandomState, shape: Shape) -> None:
    """Write mean.binaryproto; shape: C x H x W."""
    with open("mean.binaryproto", "wb") as file:
        blob = caffe.io.array_to_blobproto(rs.randint(0, 256, (1, *shape)).astype(np.float32))
        file.write(blob.SerializeToString())


def run_net(
    case: Case, numbers: Numbers, forwards: int = 4, prefix: str = "", text: str = ""
) -> Any:
    """Run a net with a fixed seed, record its blobs after each forward, and return the net.

    text: the prototxt; the case's where it is empty.
    """
    caffe.set_random_seed(case.seed % 1000)
    net = caffe.Net(write(".", "net.prototxt", text or case.text), case.phase)
    for i in range(forwards):
        for name, blob in net.blobs.items():
            if i == 0:
                numbers["%sshape/%s" % (prefix, name)] = np.array(blob.data.shape, np.float32)
        net.forward()
        for name, blob in net.blobs.items():
            numbers["%s%d/%s" % (prefix, i, name)] = copy(blob.data)
    return net


# Data without files


def run_dummy(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Run a DummyData net, also after a program has written into a blob."""
    net = run_net(case, numbers, 2)
    net.blobs["a"].data[...] = 7
    net.forward()
    numbers["kept"] = copy(net.blobs["a"].data)


CONSTANT = "data_filler { type: 'constant' value: %g }"
DUMMIES = {
    "shapes": "shape { dim: 2 dim: 3 } shape { dim: 4 } " + CONSTANT % 2 + CONSTANT % -3,
    "one_shape": "shape { dim: 2 dim: 3 } " + CONSTANT % 2,
    "no_filler": "shape { dim: 2 } shape { dim: 1 dim: 1 dim: 2 }",
    "legacy": "num: 2 num: 1 channels: 3 channels: 1 height: 2 height: 1 width: 1 width: 4 "
    + CONSTANT % 5,
    "legacy_one": "num: 2 channels: 3 height: 2 width: 4 " + CONSTANT % 1 + CONSTANT % 2,
}
for name, text in DUMMIES.items():
    text = layer("DummyData", "", "a b", "dummy_data_param { %s }" % text)
    add("data.dummy_" + name, text, program=run_dummy)


def run_memory(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Run a MemoryData net on two arrays of different lengths."""
    net = caffe.Net(write(".", "net.prototxt", case.text), case.phase)
    for count in (4, 6):
        data = rs.standard_normal((count, 3, 4, 5)).astype(np.float32)
        net.set_input_arrays(data, np.arange(count).astype(np.float32))
        for i in range(5):
            net.forward()
            for name, blob in net.blobs.items():
                numbers["%d/%d/%s" % (count, i, name)] = copy(blob.data)


MEMORY = "memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 }"
add("data.memory", layer("MemoryData", "", "data label", MEMORY), program=run_memory)


# HDF5


def run_hdf5(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Write HDF5 files and run the net that reads them."""
    for path, rows in (("a.h5", 3), ("b.h5", 4)):
        with h5py.File(path, "w") as file:
            file["data"] = rs.standard_normal((rows, 2, 3)).astype(np.float32)
            file["label"] = rs.randint(0, 9, rows)
            file["deep"] = rs.standard_normal((rows, 1, 2, 1, 2, 1))
    write(".", "list.txt", "a.h5\nb.h5\n")
    write(".", "one.txt", "b.h5\n")
    run_net(case, numbers, 5)


for name, source, batch in (
    ("files", "list.txt", 2),
    ("whole", "list.txt", 8),
    ("one", "one.txt", 3),
):
    text = "hdf5_data_param { source: '%s' batch_size: %d }" % (source, batch)
    add("data.hdf5_" + name, layer("HDF5Data", "", "data label deep", text), program=run_hdf5)


def run_hdf5_output(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Run a net that writes HDF5, and record the file."""
    net = caffe.Net(write(".", "net.prototxt", case.text), case.phase)
    for name in net.inputs:
        net.blobs[name].data[...] = rs.standard_normal(net.blobs[name].data.shape)
    net.forward()
    numbers["names"] = np.array(",".join(net.layer_dict))
    # BVLC Caffe closes the file when it destroys the net.
    del net
    with h5py.File("out.h5", "r") as file:
        for name in file:
            numbers[name] = copy(file[name][...])


OUTPUT = (
    "layer { name: 'in' type: 'Input' top: 'x' top: 'y' input_param { shape { dim: 3 dim: 2 dim: 1 "
    "dim: 2 } shape { dim: 3 } } } layer { name: 'out' type: 'HDF5Output' bottom: 'x' bottom: 'y' "
    "hdf5_output_param { file_name: 'out.h5' } }"
)
add("data.hdf5_output", OUTPUT, program=run_hdf5_output)


# Images

TRANSFORMS = {
    "plain": "",
    "scale": "scale: 0.00390625",
    "crop": "crop_size: 6",
    "odd_crop": "crop_size: 5 scale: 2",
    "mean_value": "mean_value: 104.5",
    "mean_values": "mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.5 crop_size: 3",
    "mean_file": "mean_file: 'mean.binaryproto' crop_size: 6 scale: 0.1",
    "mirror": "mirror: true",
    "mirror_crop": "mirror: true crop_size: 6 mean_value: 100",
    "mirror_mean": "mirror: true crop_size: 7 mean_file: 'mean.binaryproto'",
}


def run_images(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Write images and run the net that reads them."""
    draw_images(rs)
    draw_mean(rs, (3, 9, 10))
    run_net(case, numbers)


def image_data(param: str, transform: str = "") -> str:
    """Return an ImageData's text; param, transform: fields of its two messages."""
    text = "image_data_param { source: 'list.txt' root_folder: 'images/' %s }" % param
    return layer("ImageData", "", "data label", "%s transform_param { %s }" % (text, transform))


SIZED = "batch_size: 3 new_height: 9 new_width: 10"
for name, text in TRANSFORMS.items():
    for phase, number in (("test", caffe.TEST), ("train", caffe.TRAIN)):
        add(
            "data.image_%s_%s" % (name, phase),
            image_data(SIZED, text),
            program=run_images,
            phase=number,
        )
IMAGES = {
    "one_by_one": "batch_size: 1",
    "gray": SIZED + " is_color: false",
    "shuffled": SIZED + " shuffle: true",
    "skipping": SIZED + " rand_skip: 4",
    "shuffled_skipping": SIZED + " rand_skip: 5 shuffle: true",
}
for name, text in IMAGES.items():
    add("data.image_" + name, image_data(text), program=run_images, phase=caffe.TRAIN)
add(
    "data.image_shuffled_mirror_crop",
    image_data(SIZED + " shuffle: true", "mirror: true crop_size: 4"),
    program=run_images,
    phase=caffe.TRAIN,
)


def run_windows(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Write images and a window file, and run the net that reads them."""
    draw_images(rs, ((30, 40), (41, 33)))
    draw_mean(rs, (3, 14, 14))
    write(
        ".",
        "windows.txt",
        """# 0
images/0.png
3
30
40
5
1 1.0 3 4 20 22
2 0.7 0 0 39 29
0 0.2 10 10 14 29
4 0.4 5 5 30 12
0 0.1 1 2 9 9
# 1
images/1.png
3
41
33
3
3 0.6 12 11 32 40
0 0.0 0 30 8 40
9 0.5 15 15 18 17
""",
    )
    run_net(case, numbers, 3)


WINDOWS = {
    "warp": ("", "crop_size: 10"),
    "mirror": ("", "crop_size: 10 mirror: true scale: 0.5"),
    "square": ("crop_mode: 'square'", "crop_size: 10 mirror: true"),
    "context": ("context_pad: 2", "crop_size: 12 mirror: true mean_file: 'mean.binaryproto'"),
    "both": (
        "context_pad: 3 crop_mode: 'square' fg_fraction: 0.6 fg_threshold: 0.65 bg_threshold: 0.3",
        "crop_size: 11 mean_value: 104 mean_value: 117 mean_value: 123",
    ),
}
for name, (param, transform) in WINDOWS.items():
    text = "window_data_param { source: 'windows.txt' batch_size: 6 %s }" % param
    add(
        "data.window_" + name,
        layer("WindowData", "", "data label", "%s transform_param { %s }" % (text, transform)),
        program=run_windows,
        phase=caffe.TRAIN,
    )


# Databases


def database(transform: str = "", batch: int = 3, source: str = "db") -> str:
    """Return a Data layer's text."""
    text = "data_param { source: '%s' batch_size: %d backend: LMDB }" % (source, batch)
    return layer("Data", "", "data label", "%s transform_param { %s }" % (text, transform))


def run_database(*flags: str) -> Program:
    """Return a program that writes a database with these flags, computes its mean, and reads it."""

    def program(case: Case, rs: RandomState, numbers: Numbers) -> None:
        draw_images(rs)
        draw_mean(rs, (3, 9, 10))
        for suffix, command in (
            ("convert", ("convert_imageset", *flags, "images/", "list.txt", "db")),
            ("mean", ("compute_image_mean", "db", "out.binaryproto")),
        ):
            status, files = run_tool(*command)
            numbers[suffix + "/status"] = np.array(status, np.float32)
            for path, content in files.items():
                numbers["%s/%s" % (suffix, path)] = np.frombuffer(content, np.uint8)
        run_net(case, numbers)

    return program


SAME = ("-resize_height=9", "--resize_width", "10")
for name, text in TRANSFORMS.items():
    add(
        "data.lmdb_%s" % name,
        database(text),
        program=run_database(*SAME),
        phase=caffe.TRAIN,
    )
CONVERSIONS = {
    "gray": ((*SAME, "--gray"), ""),
    "encoded": ((*SAME, "--encoded", "-encode_type", "png"), ""),
    "encoded_gray": ((*SAME, "--encode_type=png", "--gray=true"), ""),
    "force_color": ((*SAME, "--encode_type=png", "--gray"), "force_color: true"),
    "force_gray": ((*SAME, "--encoded", "--noshuffle"), "force_gray: true crop_size: 4"),
    "check_size": ((*SAME, "--check_size"), ""),
}
for name, (flags, text) in CONVERSIONS.items():
    add("data.lmdb_" + name, database(text), program=run_database(*flags), phase=caffe.TEST)
for name, flags in (("files", ("--encoded",)), ("sizes", ())):
    add(
        "data.lmdb_" + name,
        database("", 1),
        program=run_database(*flags),
        phase=caffe.TEST,
    )

FEATURES = (
    "layer { name: 'ip' type: 'InnerProduct' bottom: 'data' top: 'ip' "
    "inner_product_param { num_output: 4 } }"
)


def run_features(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Extract features into databases, and record what Data reads from them."""
    draw_images(rs)
    numbers["converted"] = np.array(
        run_tool("convert_imageset", *SAME, "images/", "list.txt", "db")[0]
    )
    net = caffe.Net(write(".", "net.prototxt", case.text), caffe.TEST)
    for blob in net.params["ip"]:
        blob.data[...] = rs.standard_normal(blob.data.shape)
    net.save("net.caffemodel")
    del net
    status, _ = run_tool(
        "extract_features", "net.caffemodel", "net.prototxt", "ip,data", "f,g", "2", "lmdb"
    )
    numbers["status"] = np.array(status, np.float32)
    for source in ("f", "g"):
        run_net(case, numbers, 3, source + "/", database("", 4, source))


add("data.features", database() + FEATURES, program=run_features)
