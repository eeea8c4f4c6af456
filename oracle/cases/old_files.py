"""Golden cases of prototxts and weights of old formats, which Caffe's tools upgrade."""

# ruff: noqa: UP031 (prototxt text is full of braces)
from __future__ import annotations

import caffe
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from oracle.cases.bvlc import in_bvlc
from oracle.cases.case import Case, Numbers, RandomState, add, file_bytes, record, write
from oracle.cases.tools import run_tool

#: An input for nets whose first layer reads the blob `a`.
A = 'input: "a" input_dim: 1 input_dim: 1 input_dim: 2 input_dim: 2\n'


def upgrade(
    text: str, numbers: Numbers, prefix: str = "", name: str = "upgrade_net_proto_text"
) -> None:
    """Record a tool's status and the text that the tool wrote."""
    status, files = run_tool(name, write(".", "old.prototxt", text), "new.prototxt")
    numbers[prefix + "status"] = np.array(status, np.float32)
    numbers[prefix + "text"] = np.array(files.get("new.prototxt", b"").decode())


def upgrade_net(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Upgrade the case's net."""
    upgrade(case.text, numbers)


def upgrade_solver(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Upgrade the case's solver."""
    upgrade(case.text, numbers, name="upgrade_solver_proto_text")


def upgrade_v0_parameters(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Upgrade each field of V0 layers in a layer whose type has no such field."""
    for line in case.text.splitlines():
        text = 'layers { layer { name: "r" type: "relu" %s } bottom: "a" top: "b" }' % line
        upgrade(A + text, numbers, line.split()[0] + "/")


def upgrade_binary(case: Case, rs: RandomState, numbers: Numbers) -> None:
    """Upgrade a weights file, and read the old file into a net."""
    message = text_format.Parse(case.text, caffe_pb2.NetParameter())
    with open("old.caffemodel", "wb") as file:
        file.write(message.SerializeToString())
    status, files = run_tool("upgrade_net_proto_binary", "old.caffemodel", "new.caffemodel")
    numbers["status"] = np.array(status, np.float32)
    numbers["file/new.caffemodel"] = np.frombuffer(files["new.caffemodel"], np.uint8)
    net = caffe.Net(write(".", "net.prototxt", READER), caffe.TEST)
    net.copy_from("old.caffemodel")
    record(net, numbers, "", "param")
    net.save("saved.caffemodel")
    numbers["file/saved.caffemodel"] = file_bytes("saved.caffemodel")


READER = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 1 dim: 2 dim: 2 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 2 pad: 1 kernel_size: 1 } }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 1 bias_term: false } }
"""


def numbers_of_every_size() -> str:
    """Return a net with numbers of random bits, decimals, powers of ten, and the largest values."""
    rs = np.random.RandomState(0)
    bits = rs.randint(0, 2**32, 300, dtype=np.uint64).astype(np.uint32).view(np.float32)
    floats = [*bits[np.isfinite(bits)], *np.round(rs.uniform(-1000, 1000, 100), 3)]
    floats += [np.float32("1e%d" % i) for i in range(-45, 39)]
    floats += [123456.7, 0.1, 1 / 3, 999999.5, 1e6, 104.00699, 3.4028235e38, -0.0]
    doubles = [*rs.uniform(-10, 10, 50), 0.1, 1 / 3, 1e22, 1e300, 5e-324, 1.7976931348623157e308]
    weights = " ".join("loss_weight: %.9g" % np.float32(x) for x in floats)
    data = " ".join("double_data: %.17g" % x for x in doubles)
    return 'layer { name: "n" type: "X" %s loss_weight: -inf blobs { %s } }' % (weights, data)


NETS = {
    "numbers": numbers_of_every_size(),
    "v0": """
name: "old"
input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8 force_backward: true
layers {
layer { name: "pad1" type: "padding" pad: 2 } bottom: "data" top: "pad1" }
layers {
layer { name: "conv1" type: "conv" num_output: 4 kernelsize: 3 stride: 2 group: 1 biasterm: false
  weight_filler { type: "gaussian" std: 0.01 } bias_filler { type: "constant" value: 1e-05 }
  blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0 }
  bottom: "pad1" top: "conv1" }
layers {
layer { name: "relu1" type: "relu" } bottom: "conv1" top: "conv1" }
layers {
layer { name: "pool1" type: "pool" pool: AVE kernelsize: 3 stride: 2 pad: 1 } bottom: "conv1"
  top: "pool1" }
layers {
layer { name: "norm1" type: "lrn" local_size: 5 alpha: 0.0001 beta: 0.75 k: 2 } bottom: "pool1"
  top: "norm1" }
layers {
layer { name: "ip" type: "innerproduct" num_output: 10 biasterm: true weight_filler { type:
  "xavier" } bias_filler { type: "constant" } } bottom: "norm1" top: "ip" }
layers {
layer { name: "drop" type: "dropout" dropout_ratio: 0.3 } bottom: "ip" top: "ip" }
layers {
layer { name: "cat" type: "concat" concat_dim: 1 } bottom: "ip" bottom: "ip" top: "cat" }
layers {
layer { name: "prob" type: "softmax" } bottom: "cat" top: "prob" }
""",
    "v0_data": """
name: "old data"
layers {
layer { name: "data" type: "data" source: "a_lmdb" meanfile: "m.binaryproto" batchsize: 8
  cropsize: 5 mirror: true scale: 0.00390625 rand_skip: 3 } top: "data" top: "label" }
layers {
layer { name: "images" type: "images" source: "list" batchsize: 2 rand_skip: 7 shuffle_images:
  true new_height: 9 new_width: 10 } top: "i" top: "il" }
layers {
layer { name: "hdf5" type: "hdf5_data" source: "list.h5" batchsize: 3 } top: "h" }
layers {
layer { name: "win" type: "window_data" source: "win" batchsize: 4 det_fg_threshold: 0.6
  det_bg_threshold: 0.4 det_fg_fraction: 0.3 det_context_pad: 16 det_crop_mode: "square"
  cropsize: 9 } top: "w" top: "wl" }
layers {
layer { name: "info" type: "infogain_loss" source: "H.binaryproto" } bottom: "data" bottom:
  "label" }
layers {
layer { name: "out" type: "hdf5_output" hdf5_output_param { file_name: "o.h5" } } bottom:
  "data" bottom: "label" }
layers {
layer { name: "a" type: "accuracy" } bottom: "data" bottom: "label" top: "acc" }
layers {
layer { name: "b" type: "bnll" } bottom: "data" top: "b" }
layers {
layer { name: "e" type: "euclidean_loss" } bottom: "data" bottom: "b" }
layers {
layer { name: "f" type: "flatten" } bottom: "data" top: "f" }
layers {
layer { name: "ic" type: "im2col" } bottom: "data" top: "ic" }
layers {
layer { name: "ml" type: "multinomial_logistic_loss" } bottom: "data" bottom: "label" }
layers {
layer { name: "s" type: "sigmoid" } bottom: "data" top: "s" }
layers {
layer { name: "sl" type: "softmax_loss" } bottom: "data" bottom: "label" }
layers {
layer { name: "sp" type: "split" } bottom: "data" top: "x" top: "z" }
layers {
layer { name: "t" type: "tanh" } bottom: "data" top: "t" }
""",
    "v1": """
name: "v1"
layers { name: "data" type: DATA top: "data" top: "label" data_param { source: "s" backend:
  LMDB batch_size: 4 scale: 0.00390625 mean_file: "m" crop_size: 5 mirror: true } include {
  phase: TRAIN } }
layers { name: "im" type: IMAGE_DATA top: "im" top: "iml" image_data_param { source: "s"
  batch_size: 4 scale: 2 mirror: false } transform_param { scale: 3 crop_size: 2 } exclude {
  phase: TEST stage: "x" } }
layers { name: "win" type: WINDOW_DATA top: "w" top: "wl" window_data_param { source: "s"
  mean_file: "mm" crop_size: 7 } }
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" param: "w" param: "b"
  blob_share_mode: PERMISSIVE blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
  loss_weight: 0.5
 convolution_param { num_output: 3 kernel_size: 3 kernel_h: 2 engine: CAFFE } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "conv" bottom: "label" top: "loss"
  loss_weight: 2 loss_param { ignore_label: 3 normalize: false } softmax_param { axis: 2 } }
layers { name: "notype" bottom: "loss" top: "q" }
layers { name: "none" type: NONE bottom: "q" top: "r" }
layers { name: "py" type: POWER bottom: "r" top: "u" power_param { power: 2 } blobs_lr: 3 }
""",
    "v1_types": "".join(
        'layers { name: "%s" type: %s }\n' % (t, t)
        for t, number in caffe_pb2.V1LayerParameter.LayerType.items()
        if in_bvlc(number)
    ),
    "layer_and_layers": """
layer { name: "a" type: "ReLU" bottom: "x" top: "y" }
layers { name: "b" type: RELU bottom: "x" top: "z" }
""",
    "input_dims": """
name: "i" input: "data" input: "label" input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4
  input_dim: 5 input_dim: 6 input_dim: 7 input_dim: 8
layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
layer { name: "s" type: "TanH" bottom: "label" top: "s" } state { phase: TEST }
""",
    "input_shapes": """
input: "data" input_shape { dim: 1 dim: 2 } input: "n" input_shape { dim: 3 }
""",
    "input_without_shape": """
input: "data"
layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
""",
    "more_shapes": """
input: "data" input_shape { dim: 1 dim: 2 } input_shape { dim: 4 }
""",
    "fewer_shapes": """
input: "data" input: "b" input_shape { dim: 1 dim: 2 }
""",
    "shapes_and_dims": """
input: "data" input_shape { dim: 1 dim: 2 } input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4
""",
    "batch_norm": """
layer { name: "bn" type: "BatchNorm" bottom: "a" top: "a" param { lr_mult: 1 } param { name:
  "x" decay_mult: 3 } param { lr_mult: 0 } }
layer { name: "bn2" type: "BatchNorm" bottom: "a" top: "a" param { lr_mult: 1 } }

layer { name: "bn4" type: "BatchNorm" param { lr_mult: 1 } param {lr_mult: 1} param { lr_mult:
  1} param { lr_mult: 1 } }

layer { name: "s" type: "Scale" param { lr_mult: 1 } param { lr_mult: 1 } param { lr_mult: 1 } }
""",
    "data_of_now": """
layer { name: "d" type: "Data" top: "d" data_param { source: "s" scale: 0.5 mirror: true } }
layer { name: "r" type: "ReLU" bottom: "d" top: "r" }
""",
    "current": """
name: "new"
layer { name: "r" type: "ReLU" bottom: "data" top: "r" loss_weight: 0.1 loss_weight: 1e10
  loss_weight: 123456.7 loss_weight: 1234567 loss_weight: 0.33333334 loss_weight: 1e-10
  loss_weight: 100000 loss_weight: 1000000 loss_weight: inf loss_weight: nan loss_weight: -0
  loss_weight: 3.4028235e+38 }
layer { name: "q\\"uo\\\\te\\n\\001é tab\\t'" type: "T" }
""",
    "padding_of_innerproduct": """
layers {
layer { name: "p" type: "padding" pad: 1 } bottom: "data" top: "p" }
layers {
layer { name: "ip" type: "innerproduct" } bottom: "p" top: "q" }
input: "data" input_dim: 1 input_dim: 1 input_dim: 1 input_dim: 1
""",
    "v0_unknown_bottom": """
layers {
layer { name: "p" type: "padding" pad: 1 } bottom: "data" top: "p" }
""",
    "v0_unknown_type": """
layers {
layer { name: "p" type: "nothing" } top: "p" }
""",
    "not_a_net": """
layer { nme: "x" }
""",
    "v1_in_v0": A
    + """
layers {
layer { name: "r" type: "relu" } bottom: "a" top: "b" } layers { bottom: "b" top: "c" name: "v1
  inside" type: RELU }
""",
    "v0_blobs": A
    + """
layers {
layer { name: "ip" type: "innerproduct" num_output: 2 blobs { num: 1 channels: 1 height: 2
  width: 2 data: 1 data: 2.5 data: 3 data: 0.1 } blobs { num: 1 channels: 1 height: 1 width: 2
  data: 1e-7 data: 16777217 diff: 0.333333333 diff: 2 } } bottom: "a" top: "b" }
""",
    "v0_in_v1": A
    + """
layers {
layer { name: "r" type: "relu" } bottom: "a" top: "b" name: "keep" type: TANH blobs_lr: 2
  include { phase: TEST } relu_param { negative_slope: 1 } loss_weight: 3 }
""",
    "v0_state": A
    + """
state { phase: TEST } debug_info: true force_backward: false
layers {
layer { name: "r" type: "relu" } bottom: "a" top: "b" }
""",
    "v0_input_shape": """
input: "a" input_shape { dim: 3 }
layers {
layer { name: "r" type: "relu" } bottom: "a" top: "b" }
""",
    "v0_and_layer": A
    + """
layers {
layer { name: "r" type: "relu" } bottom: "a" top: "b" }
layer { name: "q" type: "ReLU" bottom: "a" top: "c" }
""",
    "padding_read_twice": A
    + """
layers {
layer { name: "p" type: "padding" pad: 1 } bottom: "a" top: "p" }
layers {
layer { name: "c" type: "conv" kernelsize: 1 num_output: 1 } bottom: "p" top: "c" }
layers {
layer { name: "d" type: "pool" kernelsize: 3 pool: STOCHASTIC } bottom: "p" top: "d" }
""",
    "v1_parameters": """
layers { name: "m" type: MEMORY_DATA top: "a" top: "b" memory_data_param { batch_size: 1
  channels: 2 height: 3 width: 4 } }
layers { name: "x" type: CONTRASTIVE_LOSS contrastive_loss_param { margin: 2 } }
layers { name: "q" type: ELTWISE eltwise_param { operation: SUM coeff: 1 coeff: -1 } }
layers { name: "d" type: DUMMY_DATA dummy_data_param { num: 1 channels: 1 height: 1 width: 1
  data_filler { value: 2 } } }
layers { name: "dd" type: DECONVOLUTION convolution_param { num_output: 2 } }
layers { name: "t" type: THRESHOLD threshold_param { threshold: 3 } }
layers { name: "e" type: EXP exp_param { base: 2 } }
layers { name: "h" type: HINGE_LOSS hinge_loss_param { norm: L2 } }
layers { name: "am" type: ARGMAX argmax_param { top_k: 2 } }
layers { name: "s" type: SLICE slice_param { slice_dim: 1 slice_point: 2 } }
layers { name: "mvn" type: MVN mvn_param { across_channels: true } }
layers { name: "bn" type: ACCURACY accuracy_param { top_k: 5 } }
layers { type: LRN lrn_param { norm_region: WITHIN_CHANNEL } param: "" blob_share_mode: STRICT }
""",
    "v1_transforms_elsewhere": A
    + """
layers { name: "b" type: RELU bottom: "a" top: "z" transform_param { scale: 0.1 } data_param {
  scale: 3 } }
""",
    "v1_other_data": """
layers { name: "b" type: DATA top: "z" data_param { source: "x" rand_skip: 4 } hdf5_data_param
  { source: "x" batch_size: 3 shuffle: true } }
""",
    "empty": """

""",
    "current_flags": """
layer { name: "x" type: "ReLU" bottom: "q" top: "q" phase: TEST propagate_down: true
  propagate_down: false param { } }
""",
}
for name, text in NETS.items():
    add("upgrade." + name, text, program=upgrade_net)

add(
    "upgrade.v0_parameters",
    """\
num_output: 4
biasterm: true
weight_filler { }
bias_filler { }
pad: 1
kernelsize: 3
group: 2
stride: 2
pool: MAX
dropout_ratio: 0.1
local_size: 3
alpha: 1
beta: 2
k: 3
source: "x"
batchsize: 1
rand_skip: 1
shuffle_images: true
new_height: 1
new_width: 1
concat_dim: 0
det_fg_threshold: 1
det_bg_threshold: 1
det_fg_fraction: 1
det_context_pad: 1
det_crop_mode: "warp"
scale: 2
meanfile: "m"
cropsize: 3
mirror: false
""",
    program=upgrade_v0_parameters,
)

SOLVERS = {
    "old": 'net: "x" solver_type: ADAM base_lr: 0.1 momentum: 0.9',
    "nesterov": "solver_type: NESTEROV",
    "adagrad": "solver_type: ADAGRAD",
    "rmsprop": "solver_type: RMSPROP",
    "adadelta": "solver_type: ADADELTA",
    "sgd": "solver_type: SGD",
    "both": 'net: "x" solver_type: ADAM type: "SGD"',
    "current": 'net: "x" base_lr: 0.001 test_iter: 3 solver_mode: CPU gamma: 0.33333334',
    "not_a_solver": "nt: 4",
}
for name, text in SOLVERS.items():
    add("upgrade.solver_" + name, text, program=upgrade_solver)

CONV = """blobs { num: 2 channels: 1 height: 1 width: 1 data: 1.5 data: -2 }
blobs { num: 1 channels: 1 height: 1 width: 2 data: 0.1 data: 16777217 }"""
IP = "blobs { num: 1 channels: 1 height: 1 width: 32 %s }" % " ".join(
    "data: %g" % (i / 7) for i in range(32)
)
WEIGHTS = {
    "v0": """
input: "data"
layers { layer { name: "pad" type: "padding" pad: 1 } bottom: "data" top: "pad" }
layers { layer { name: "conv" type: "conv" num_output: 2 kernelsize: 1 %s }
  bottom: "pad" top: "c" }
layers { layer { name: "other" type: "innerproduct" blobs { num: 1 channels: 1 height: 1
  width: 1 data: 3 } } bottom: "c" top: "d" }
layers { layer { name: "ip" type: "innerproduct" num_output: 1 %s } bottom: "c" top: "e" }""",
    "v1": """
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "c" %s blobs_lr: 1 blobs_lr: 2
  convolution_param { num_output: 2 pad: 1 kernel_size: 1 } }
layers { bottom: "c" top: "c" name: "relu" type: RELU }
layers { bottom: "c" top: "e" name: "ip" type: INNER_PRODUCT %s }""",
    "current": """
layer { name: "conv" type: "Convolution" bottom: "data" top: "c" %s }
layer { name: "ip" type: "InnerProduct" bottom: "c" top: "e" %s }""",
}
for name, text in WEIGHTS.items():
    add("upgrade.weights_" + name, text % (CONV, IP), program=upgrade_binary)
