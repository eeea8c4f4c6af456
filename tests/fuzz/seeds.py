"""The seeds of the fuzzer, which the project writes: a small file of each format."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import caffe
import h5py
import lmdb
import numpy as np
from caffe import proto
from caffe.io import array_to_blobproto, array_to_datum
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from PIL import Image
from scipy.io import savemat

#: Cases that once failed, by target: NAME.EXTENSION in folders of the targets' names.
FAILURES = Path(__file__).with_name("failures")

_TRAIN = """
name: "small"
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 2 dim: 3 dim: 9 dim: 8 } shape { dim: 2 dim: 1 dim: 1 dim: 1 }
  data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 1 } } }
layer { name: "conv/1" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 }
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 group: 1
  weight_filler { type: "xavier" } bias_filler { type: "constant" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "msra" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss"
  include { phase: TRAIN } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy"
  include { phase: TEST } }
"""
_FCN = """
input: "data" input_shape { dim: 1 dim: 3 dim: 10 dim: 12 }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 4 kernel_h: 3 kernel_w: 3 stride: 2 dilation: 1 pad: 4 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv1" top: "bn" }
layer { name: "scale" type: "Scale" bottom: "bn" top: "scale" scale_param { bias_term: true } }
layer { name: "prelu" type: "PReLU" bottom: "scale" top: "prelu" }
layer { name: "lrn" type: "LRN" bottom: "prelu" top: "lrn" lrn_param { local_size: 3 } }
layer { name: "drop" type: "Dropout" bottom: "lrn" top: "drop" }
layer { name: "slice" type: "Slice" bottom: "drop" top: "s1" top: "s2"
  slice_param { axis: 1 slice_point: 2 } }
layer { name: "concat" type: "Concat" bottom: "s1" bottom: "s2" top: "cat" }
layer { name: "sum" type: "Eltwise" bottom: "cat" bottom: "drop" top: "sum"
  eltwise_param { operation: SUM coeff: 1 coeff: -1 } }
layer { name: "up" type: "Deconvolution" bottom: "sum" top: "up" convolution_param {
  num_output: 4 group: 4 kernel_size: 4 stride: 2 bias_term: false
  weight_filler { type: "bilinear" } } }
layer { name: "crop" type: "Crop" bottom: "up" bottom: "data" top: "crop"
  crop_param { axis: 2 offset: 1 } }
layer { name: "reshape" type: "Reshape" bottom: "crop" top: "flat"
  reshape_param { shape { dim: 0 dim: -1 } } }
layer { name: "power" type: "Power" bottom: "flat" top: "power" power_param { power: 2 } }
layer { name: "argmax" type: "ArgMax" bottom: "power" top: "argmax" argmax_param { top_k: 2 } }
layer { name: "softmax" type: "Softmax" bottom: "crop" top: "softmax" }
layer { name: "tile" type: "Tile" bottom: "softmax" top: "tile" tile_param { tiles: 2 } }
layer { name: "reduce" type: "Reduction" bottom: "tile" top: "reduce" reduction_param { axis: 1 } }
layer { name: "spp" type: "SPP" bottom: "crop" top: "spp" spp_param { pyramid_height: 2 } }
layer { name: "mvn" type: "MVN" bottom: "crop" top: "mvn" }
layer { name: "filter" type: "Im2col" bottom: "crop" top: "col"
  convolution_param { kernel_size: 2 } }
"""
_V1 = """
name: "old" input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layers { layer { name: "conv" type: "conv" num_output: 2 kernelsize: 3 pad: 1
  weight_filler { type: "gaussian" std: 0.1 } blobs_lr: 1 weight_decay: 1 }
  bottom: "data" top: "conv" }
layers { layer { name: "pool" type: "pool" pool: MAX kernelsize: 2 stride: 2 }
  bottom: "conv" top: "pool" }
"""
_RECURRENT = """
layer { name: "x" type: "Input" top: "x" top: "cont" top: "index" input_param {
  shape { dim: 3 dim: 2 dim: 4 } shape { dim: 3 dim: 2 } shape { dim: 3 } } }
layer { name: "lstm" type: "LSTM" bottom: "x" bottom: "cont" top: "h" recurrent_param {
  num_output: 3 weight_filler { type: "uniform" min: -1 max: 1 } } }
layer { name: "rnn" type: "RNN" bottom: "h" bottom: "cont" top: "o"
  recurrent_param { num_output: 2 } }
layer { name: "embed" type: "Embed" bottom: "index" top: "embed"
  embed_param { input_dim: 4 num_output: 2 } }
layer { name: "hinge" type: "HingeLoss" bottom: "o" bottom: "cont" top: "hinge" }
layer { name: "param" type: "Parameter" top: "p" parameter_param { shape { dim: 2 } } }
layer { name: "bias" type: "Bias" bottom: "o" top: "b" bias_param { axis: 2 } }
"""
_FORKS = """
input: "data" input_shape { dim: 1 dim: 8 dim: 6 dim: 6 }
layer { name: "permute" type: "Permute" bottom: "data" top: "permute"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "norm" type: "Normalize" bottom: "data" top: "norm" norm_param { } }
layer { name: "prior" type: "PriorBox" bottom: "norm" bottom: "data" top: "prior"
  prior_box_param { min_size: 2 max_size: 4 aspect_ratio: 2 variance: 0.1 } }
layer { name: "interp" type: "Interp" bottom: "norm" top: "interp" interp_param { zoom_factor: 2 } }
layer { name: "upsample" type: "Upsample" bottom: "interp" bottom: "interp" top: "up"
  upsample_param { scale: 2 } }
layer { name: "shuffle" type: "ShuffleChannel" bottom: "data" top: "shuffle"
  shuffle_channel_param { group: 2 } }
"""
_SOLVER = """
net: "train.prototxt" base_lr: 0.01 lr_policy: "{policy}" gamma: 0.5 power: 0.9 stepsize: 1
stepvalue: 1 stepvalue: 2 max_iter: 2 momentum: 0.9 weight_decay: 0.005 display: 0
test_iter: 1 test_interval: 2 average_loss: 2 iter_size: 1 clip_gradients: 5
snapshot_prefix: "snap" snapshot_after_train: false random_seed: 3 type: "{type}"
"""
_DATA = """
layer {{ name: "data" type: "{type}" top: "data" top: "label" {settings} {transform} }}
"""
_TRANSFORM = (
    'transform_param { scale: 0.5 mirror: true crop_size: 4 mean_file: "mean.binaryproto" }'
)


def words() -> list[str]:
    """Return the words of prototxts: layer types, fields, values of enums, names of blobs."""
    names: set[str] = {*caffe.layer_type_list(), "data", "conv", "ip", "label", "train.prototxt"}
    for message in caffe_pb2.DESCRIPTOR.message_types_by_name.values():
        for field in message.fields:
            names.add(field.name)
            if field.enum_type is not None:
                names.update(value.name for value in field.enum_type.values)
    names -= {"HDF5Output"}  # Writes files wherever a case says.
    return sorted(names)


def write_all(folder: Path) -> dict[str, list[bytes]]:
    """Write the files that cases refer to into `folder`; return the seeds of each format."""
    os.chdir(folder)
    seeds: dict[str, list[bytes]] = {
        "net": [text.encode() for text in (_TRAIN, _FCN, _V1, _RECURRENT, _FORKS)],
        "solver": [
            _SOLVER.format(policy=policy, type=kind).encode()
            for policy in ("fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid")
            for kind in ("SGD", "Adam", "AdaDelta")
        ],
    }
    (folder / "train.prototxt").write_text(_TRAIN)
    (folder / "solver.prototxt").write_bytes(seeds["solver"][0])
    _write_trained(folder, seeds)
    _write_pictures(folder, seeds)
    _write_tables(folder, seeds)
    return seeds


def _write_trained(folder: Path, seeds: dict[str, list[bytes]]) -> None:
    for name in ("caffemodel", "state", "hdf5_net", "hdf5_state", "mean"):
        seeds[name] = []
    for kind in ("BINARYPROTO", "HDF5"):
        param = text_format.Parse(seeds["solver"][0].decode(), caffe_pb2.SolverParameter())
        param.snapshot_format = caffe_pb2.SolverParameter.SnapshotFormat.Value(kind)
        param.snapshot_diff = True
        solver = caffe.SGDSolver.from_param(param)
        solver.step(1)
        solver.snapshot()
    for name, path in (
        ("caffemodel", "snap_iter_1.caffemodel"),
        ("state", "snap_iter_1.solverstate"),
        ("hdf5_net", "snap_iter_1.caffemodel.h5"),
        ("hdf5_state", "snap_iter_1.solverstate.h5"),
    ):
        seeds[name].append((folder / path).read_bytes())
    old = caffe_pb2.NetParameter()
    layer = old.layers.add(name="conv/1", type=4)
    layer.blobs.add(num=4, channels=3, height=3, width=3, data=[0.5] * 108, diff=[1] * 108)
    seeds["caffemodel"].append(old.SerializeToString())
    mean = array_to_blobproto(np.full((1, 3, 6, 6), 100.0))
    seeds["mean"].append(mean.SerializeToString())
    (folder / "mean.binaryproto").write_bytes(seeds["mean"][0])


def _write_pictures(folder: Path, seeds: dict[str, list[bytes]]) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    seeds["image"] = []
    for mode, kind in (
        ("RGB", "PNG"),
        ("P", "PNG"),
        ("L", "PNG"),
        ("RGB", "JPEG"),
        ("RGB", "TIFF"),
    ):
        buffer = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(buffer, kind)
        seeds["image"].append(buffer.getvalue())
    (folder / "picture.png").write_bytes(seeds["image"][0])
    seeds["list"] = [b"picture.png 1\npicture.png 2\n", b"picture.png\n"]
    seeds["lmdb"] = [_lmdb(folder, pixels, encoded) for encoded in (False, True)]
    settings = {
        "Data": 'data_param { source: "db" backend: LMDB batch_size: 2 prefetch: 1 }',
        "ImageData": 'image_data_param { source: "list.txt" batch_size: 2 new_height: 6 '
        "new_width: 6 }",
        "MemoryData": "memory_data_param { batch_size: 1 channels: 3 height: 6 width: 6 }",
        "HDF5Data": 'hdf5_data_param { source: "files.txt" batch_size: 2 }',
    }
    seeds["data_net"] = [
        _DATA.format(
            type=kind, settings=text, transform=_TRANSFORM if kind.endswith("eData") else ""
        ).encode()
        for kind, text in settings.items()
    ]
    (folder / "list.txt").write_bytes(seeds["list"][0])
    (folder / "files.txt").write_text("rows.h5\n")
    with h5py.File(folder / "rows.h5", "w") as file:
        file["data"], file["label"] = np.ones((4, 3), np.float32), np.arange(4)
    seeds["rows"] = [(folder / "rows.h5").read_bytes()]


def _lmdb(folder: Path, pixels: np.ndarray, encoded: bool) -> bytes:
    """Write a database of six images, and of a value that needs pages of its own."""
    path = folder / ("encoded" if encoded else "db")
    datum = array_to_datum(pixels.transpose(2, 0, 1), 1)
    if encoded:
        datum.data, datum.encoded = (folder / "picture.png").read_bytes(), True
    with lmdb.open(str(path), map_size=1 << 20) as environment, environment.begin(write=True) as t:
        for i in range(40):
            t.put(b"%04d" % i, datum.SerializeToString())
        big = array_to_datum(np.zeros((3, 50, 50), np.uint8), 0)
        t.put(b"9999", datum.SerializeToString() if encoded else big.SerializeToString())
    return (path / "data.mdb").read_bytes()


def _write_tables(folder: Path, seeds: dict[str, list[bytes]]) -> None:
    seeds["mat"] = []
    labels = np.arange(30, dtype=np.uint8).reshape(5, 6)
    record = np.zeros((1, 1), [("Segmentation", object), ("Boundaries", object)])
    record["Segmentation"][0, 0], record["Boundaries"][0, 0] = labels, np.eye(3)
    for compressed in (False, True):
        buffer = io.BytesIO()
        savemat(
            buffer, {"GTcls": record, "S": labels, "names": ["a", "bb"]}, do_compression=compressed
        )
        seeds["mat"].append(buffer.getvalue())
    seeds["ids"] = [b"2007_000032\n2007_000039\n", b"\xef\xbb\xbfa b\r\nc\r\n"]
    seeds["param_str"] = [b"{'split': 'train',\n'mean': (104.0, 1, 2),\n'seed': 3}"]
    record = {
        "version": 1,
        **{"variant": "v", "stages": ["s"], "stride": 8, "width": "1", "channels": 1},
        **{"order": "BGR", "mean": [1.0], "scale": 1},
        "outputs": [
            {"blob": "score", "meaning": "scores", "classes": ["a"], "palette": [[1, 2, 3]]}
        ],
    }
    seeds["run_record"] = [json.dumps(record, indent=1).encode()]
    seeds["classes"] = [b"1: sky\n2: tree\n"]


def read_failures(target: str) -> list[bytes]:
    """Return the cases of a target that once failed."""
    folder = FAILURES / target
    return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []


__all__ = ["FAILURES", "proto", "read_failures", "words", "write_all"]
