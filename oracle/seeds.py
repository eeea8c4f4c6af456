"""Weights, dropout masks and trainings that seeds draw, under BVLC Caffe or the engine.

oracle/caffe-python oracle/seeds.py FILE    writes name -> array to an .npz file
"""

import os
import sys
import tempfile
from typing import Any, Dict, List

import caffe
import numpy as np

FILLERS = (
    'type: "uniform" min: 0 max: 1',
    'type: "uniform" min: -2 max: 5',
    'type: "gaussian" std: 1',
    'type: "gaussian" std: 0.01 mean: 3',
    'type: "gaussian" std: 1 sparse: 100',
    'type: "xavier"',
    'type: "xavier" variance_norm: FAN_OUT',
    'type: "msra"',
    'type: "msra" variance_norm: AVERAGE',
    'type: "positive_unitball"',
)
#: 200,000 weights, of which about 100 fall into the tail of the normal distribution.
FILLED = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 40 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param {
  num_output: 5000 weight_filler { %s } bias_filler { type: "uniform" } } }"""
DROPPED = """layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 1000 }
  data_filler { type: "constant" value: 1 } } }
layer { name: "d" type: "Dropout" bottom: "x" top: "y" dropout_param { dropout_ratio: 0.4 } }
layer { name: "e" type: "Dropout" bottom: "y" top: "z" }"""

#: A recurrent layer of 3 steps, and a layer that is filled after it.
RECURRENT = """layer { name: "x" type: "DummyData" top: "x" top: "cont" dummy_data_param {
  shape { dim: 3 dim: 2 dim: 5 } shape { dim: 3 dim: 2 } data_filler { type: "gaussian" }
  data_filler { type: "constant" value: 1 } } }
layer { name: "r" type: "%s" bottom: "x" bottom: "cont" top: "r" recurrent_param { num_output: 4
  weight_filler { type: "gaussian" std: 0.3 } bias_filler { type: "uniform" min: -1 max: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "r" top: "y" inner_product_param {
  num_output: 6 weight_filler { type: "xavier" } } }"""

#: Layers that read images, with the settings that make them draw numbers.
SOURCES = {
    "ImageData": """image_data_param { source: "list.txt" batch_size: 2 shuffle: true rand_skip: 2 }
  transform_param { mirror: true crop_size: 3 }""",
    "ImageData, plain": 'image_data_param { source: "list.txt" batch_size: 2 }',
    "WindowData": """window_data_param { source: "windows.txt" batch_size: 2 fg_fraction: 0.5 }
  transform_param { mirror: true crop_size: 3 }""",
    "MemoryData": """memory_data_param { batch_size: 2 channels: 3 height: 4 width: 4 }
  transform_param { mirror: true crop_size: 3 }""",
}
READ = """layer { name: "x" type: "%s" top: "x" top: "label" %s }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param {
  num_output: 6 weight_filler { type: "xavier" } } }"""

#: A solver whose seed draws the order of images, crops, mirrors, weights and masks of dropout.
TRAINED = """net_param {
layer { name: "x" type: "ImageData" top: "x" top: "label" image_data_param {
  source: "FOLDER/list.txt" batch_size: 2 shuffle: true }
  transform_param { mirror: true crop_size: 4 scale: 0.01 } }
layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 4
  kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
layer { name: "d" type: "Dropout" bottom: "c" top: "c" }
layer { name: "ip" type: "InnerProduct" bottom: "c" top: "y" inner_product_param { num_output: 3
  weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "label" top: "loss" } }
base_lr: 0.1 momentum: 0.9 lr_policy: "fixed" max_iter: 10 random_seed: 6
snapshot_after_train: false"""


def losses(folder: str) -> Any:
    """Return the losses of the first iterations of `TRAINED`, over the images in a folder."""
    path = os.path.join(folder, "solver.prototxt")
    with open(path, "w") as file:
        file.write(TRAINED.replace("FOLDER", folder))
    solver, values = caffe.get_solver(path), []
    for _ in range(10):
        solver.step(1)
        values.append(float(solver.net.blobs["loss"].data))
    return np.array(values)


def write_images(folder: str) -> None:
    """Write images of 5 x 6 pixels, a list of them, and windows in them."""
    lists: Dict[str, List[str]] = {"list.txt": [], "windows.txt": []}
    for number in range(3):
        path = os.path.join(folder, f"{number}.ppm")
        with open(path, "wb") as file:
            file.write(b"P6 6 5 255\n" + bytes(range(number, number + 90)))
        lists["list.txt"].append(f"{path} {number}\n")
        windows = "2\n1 0.9 0 0 4 4\n0 0.1 1 1 5 4\n"
        lists["windows.txt"].append(f"# {number}\n{path}\n3\n5\n6\n{windows}")
    for name, parts in lists.items():
        with open(os.path.join(folder, name), "w") as file:
            file.write("".join(parts))


def draw(folder: str) -> Dict[str, Any]:
    """Name -> array of what the seeds draw."""
    path, arrays = os.path.join(folder, "net.prototxt"), {}

    def build(text: str, phase: int) -> Any:
        with open(path, "w") as file:
            file.write(text)
        return caffe.Net(path, phase)

    for seed, filler in enumerate(FILLERS):
        caffe.set_random_seed(seed)
        weights, bias = build(FILLED % filler, caffe.TEST).params["ip"]
        arrays[filler], arrays[filler + ", bias"] = weights.data.copy(), bias.data.copy()
    for layer_type in ("RNN", "LSTM"):
        caffe.set_random_seed(4)
        net = build(RECURRENT % layer_type, caffe.TRAIN)
        net.forward()
        arrays[f"{layer_type}, next layer"] = net.params["ip"][0].data.copy()
        arrays[f"{layer_type}, data"] = net.blobs["x"].data.copy()
    write_images(folder)
    for source, settings in SOURCES.items():
        caffe.set_random_seed(5)
        text = READ % (source.partition(",")[0], settings)
        net = build(text.replace('source: "', f'source: "{folder}/'), caffe.TRAIN)
        arrays[f"{source}, next layer"] = net.params["ip"][0].data.copy()
    arrays["losses"] = losses(folder)
    caffe.set_random_seed(3)
    net = build(DROPPED, caffe.TRAIN)
    for iteration in range(3):
        net.forward()
        for name in "yz":
            arrays[f"dropout {name} {iteration}"] = net.blobs[name].data.copy()
    return arrays


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        np.savez(sys.argv[1], **draw(place))
