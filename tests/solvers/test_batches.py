"""A batch of images has the gradient of its images one by one."""

import caffe
import numpy as np
import pytest
from PIL import Image

import net_gen
from fcn_data.class_weights import write_matrix
from fcn_data.folder_layers import PictureSet, write_set
from fcn_data.label_coding import LabelCoding
from net_gen import VARIANTS
from surgery import interp, interp_layers
from tests.fcn_data import own_folders

IDS = ("a", "b")


@pytest.fixture
def data_set(tmp_path):
    """A function that writes a set of two pictures of some sizes, and returns its record."""

    def write(sizes):
        files = {}
        for k, (idx, (width, height)) in enumerate(zip(IDS, sizes)):
            pixels, label = own_folders.picture(k)
            Image.fromarray(pixels).resize((width, height)).save(tmp_path / f"{idx}.png")
            Image.fromarray(label).resize((width, height), 0).save(tmp_path / f"{idx}-label.png")
            files[idx] = (f"{idx}.png", f"{idx}-label.png")
        pictures = PictureSet(
            *("set", str(tmp_path), files, own_folders.NAMES, own_folders.COLOURS),
            *(LabelCoding(), (40.0, 50.0, 60.0)),
        )
        write_set(str(tmp_path), pictures, {"train": IDS, "val": IDS})
        return pictures.data_set({"train": IDS, "val": IDS})

    return write


def gradients(tmp_path, record, passes, weighted=False, **settings):
    """The mean loss and gradients of some passes of a small FCN-16s, whose weights are fixed."""
    variant = VARIANTS["voc-fcn16s"]._replace(data_set=record)
    arguments = {"width": 1 / 32, "dropout": 0, "set_dir": str(tmp_path), **settings}
    if weighted:
        write_matrix(str(tmp_path / "w.binaryproto"), (0.5, 2, 3))
        arguments["class_weights"] = str(tmp_path / "w.binaryproto")
    message = net_gen.fcn(variant, "train", **arguments)
    layer = message.layer[0].python_param
    layer.param_str = layer.param_str[:-1] + ", 'randomize': False}"
    net_gen.write(message, tmp_path / "train.prototxt")
    net = caffe.Net(str(tmp_path / "train.prototxt"), caffe.TRAIN)
    rng = np.random.RandomState(0)
    for blobs in net.params.values():
        blobs[0].data[...] = rng.randn(*blobs[0].data.shape) * (2 / blobs[0].data[0].size) ** 0.5
    interp(net, interp_layers(net))
    losses = []
    for _ in range(passes):
        losses.append(float(net.forward()["loss"]))
        net.backward()  # adds to the gradients, as a solver's iter_size has it
    return np.mean(losses), {k: blobs[0].diff / passes for k, blobs in net.params.items()}


def largest_error(single, batch):
    """The largest difference of two gradients, as a share of the largest value of a layer."""
    errors = [
        np.abs(single[name] - batch[name]).max() / np.abs(single[name]).max()
        for name in single
        if single[name].any()
    ]
    assert len(errors) > 15
    return max(errors)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("crop", [0, 48])
def test_a_batch_has_the_gradient_of_its_images_one_by_one(tmp_path, data_set, crop, weighted):
    """With a crop, smaller images are filled up in a batch as they are alone."""
    record = data_set([(40, 32), (40, 32)] if not crop else [(40, 32), (64, 50)])
    single = gradients(tmp_path, record, 2, weighted, crop=crop)
    batch = gradients(tmp_path, record, 1, weighted, crop=crop, batch=2)
    assert np.isclose(single[0], batch[0], rtol=1e-5)
    assert largest_error(single[1], batch[1]) < 1e-4


def test_pixels_that_fill_up_a_batch_have_no_loss(tmp_path, data_set):
    """The surroundings of a smaller image are larger in a batch, but no label of them counts."""
    record = data_set([(40, 32), (64, 50)])
    single = gradients(tmp_path, record, 2)
    batch = gradients(tmp_path, record, 1, batch=2)
    assert np.isclose(single[0], batch[0], rtol=1e-3)
    assert largest_error(single[1], batch[1]) < 0.01
