"""torchvision's weights as a .caffemodel: the nets compute the same numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction

import caffe
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from caffe.tools import export as caffe_export

import net_gen
import surgery
from fcn_common.voc import MEAN
from net_gen.arguments import scale_channels
from net_gen.trunks.googlenet import INCEPTIONS
from net_gen.trunks.vgg16 import BLOCKS
from solvers.first_weights import write_first_weights
from solvers.train_options import Options
from surgery import tensor_files, torchvision
from surgery.torchvision import MEAN_OF_TORCHVISION, NAMES, convert

safetensors_numpy = pytest.importorskip("safetensors.numpy")
#: The divisor of the channel counts.
NARROW = 16


def draw(state, name, *shape):
    scale = 1.4 / np.prod(shape[1:]) ** 0.5
    state[f"{name}.weight"] = torch.randn(*shape) * scale
    state[f"{name}.bias"] = torch.randn(shape[0]) * 0.1


def vgg16_state():
    """The state dict of torchvision.models.vgg16 with 1/16 of the channels and 7 classes."""
    torch.manual_seed(0)
    state, place, channels = {}, 0, 3
    for convolutions, width in BLOCKS:
        for _ in range(convolutions):
            draw(state, f"features.{place}", width // NARROW, channels, 3, 3)
            place, channels = place + 2, width // NARROW
        place += 1
    draw(state, "classifier.0", 4096 // NARROW, channels * 49)
    draw(state, "classifier.3", 4096 // NARROW, 4096 // NARROW)
    draw(state, "classifier.6", 7, 4096 // NARROW)
    return state


def vgg16_scores(state, x):
    """The forward pass of torchvision.models.vgg16 in evaluation."""
    place = 0
    for convolutions, _ in BLOCKS:
        for _ in range(convolutions):
            weight, bias = state[f"features.{place}.weight"], state[f"features.{place}.bias"]
            x = F.relu(F.conv2d(x, weight, bias, padding=1))
            place += 2
        x, place = F.max_pool2d(x, 2, 2), place + 1
    x = F.adaptive_avg_pool2d(x, 7).flatten(1)
    for i in (0, 3, 6):
        x = F.linear(x, state[f"classifier.{i}.weight"], state[f"classifier.{i}.bias"])
        x = x if i == 6 else F.relu(x)
    return x


def googlenet_state():
    """The state dict of torchvision.models.googlenet, narrow, with 7 classes."""
    torch.manual_seed(0)
    state = {}

    def add(name, outputs, inputs, kernel):
        outputs = scale_channels(outputs, Fraction(1, NARROW))
        weight = torch.randn(outputs, inputs, kernel, kernel)
        state[f"{name}.conv.weight"] = weight * (2 / (inputs * kernel * kernel)) ** 0.5
        for key in ("weight", "running_var"):
            state[f"{name}.bn.{key}"] = torch.rand(outputs) + 0.5
        for key in ("bias", "running_mean"):
            state[f"{name}.bn.{key}"] = torch.randn(outputs) * 0.1
        return outputs

    channels = add("conv3", 192, add("conv2", 64, add("conv1", 64, 3, 7), 1), 3)
    for module, (one, reduce3, three, reduce5, five, projection) in INCEPTIONS.items():
        name = f"inception{module}"
        first = add(f"{name}.branch1", one, channels, 1)
        second = add(f"{name}.branch2.1", three, add(f"{name}.branch2.0", reduce3, channels, 1), 3)
        third = add(f"{name}.branch3.1", five, add(f"{name}.branch3.0", reduce5, channels, 1), 3)
        channels = first + second + third + add(f"{name}.branch4.1", projection, channels, 1)
    draw(state, "fc", 7, channels)
    return state


def googlenet_scores(state, x, transform_input):
    """The forward pass of torchvision.models.googlenet in evaluation."""
    if transform_input:
        statistics = (torchvision.INPUT_MEAN, torchvision.INPUT_STD)
        mean, std = (torch.tensor(values)[:, None, None] for values in statistics)
        x = x * (std / 0.5) + (mean - 0.5) / 0.5

    def conv(name, x, **how):
        x = F.conv2d(x, state[f"{name}.conv.weight"], **how)
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.relu(F.batch_norm(x, *(state[f"{name}.bn.{key}"] for key in keys), eps=0.001))

    def pool(x, kernel):
        return F.max_pool2d(x, kernel, 2, ceil_mode=True)

    x = pool(conv("conv1", x, stride=2, padding=3), 3)
    x = pool(conv("conv3", conv("conv2", x), padding=1), 3)
    for module in INCEPTIONS:
        x = {"4a": lambda x: pool(x, 3), "5a": lambda x: pool(x, 2)}.get(module, lambda x: x)(x)
        name = f"inception{module}"
        pooled = F.max_pool2d(x, 3, 1, 1, ceil_mode=True)
        x = torch.cat(
            [
                conv(f"{name}.branch1", x),
                conv(f"{name}.branch2.1", conv(f"{name}.branch2.0", x), padding=1),
                conv(f"{name}.branch3.1", conv(f"{name}.branch3.0", x), padding=1),
                conv(f"{name}.branch4.1", pooled),
            ],
            1,
        )
    x = F.adaptive_avg_pool2d(x, 1).flatten(1)
    return F.linear(x, state["fc.weight"], state["fc.bias"])


def save(state, path):
    safetensors_numpy.save_file({name: value.numpy() for name, value in state.items()}, str(path))


def images(mean, size=224):
    """An image as torchvision reads it, and as Caffe does with a mean of B, G, R."""
    rgb = np.random.RandomState(1).randint(0, 256, (1, 3, size, size)).astype(np.float32)
    ours = rgb[:, ::-1] - np.array(mean, np.float32)[:, None, None]
    statistics = (torchvision.INPUT_MEAN, torchvision.INPUT_STD)
    mean, std = (np.array(values, np.float32)[:, None, None] for values in statistics)
    return torch.from_numpy((rgb / 255 - mean) / std), ours


def caffe_scores(folder, x, blob):
    net = caffe.Net(str(folder / "net.prototxt"), caffe.TEST, weights=str(folder / "w.caffemodel"))
    net.blobs["data"].data[...] = x
    net.forward()
    return net.blobs[blob].data.copy()


def assert_close(ours, theirs):
    assert np.abs(ours - theirs).max() < 2e-5 * np.abs(theirs).max()


def test_vgg16_has_the_scores_of_torchvision(tmp_path):
    state = vgg16_state()
    save(state, tmp_path / "w.safetensors")
    arguments = [str(tmp_path / "w.safetensors"), "--mean", "torchvision"]
    torchvision.main([*arguments, "--net", str(tmp_path / "net.prototxt")])
    theirs, ours = images(MEAN_OF_TORCHVISION)
    assert_close(caffe_scores(tmp_path, ours, "fc8"), vgg16_scores(state, theirs).numpy())


@pytest.mark.parametrize("transformed", [False, True])
def test_googlenet_has_the_scores_of_torchvision(transformed, tmp_path):
    state = googlenet_state()
    save(state, tmp_path / "w.safetensors")
    # The mean for which the padding has torchvision's value.
    mean = (127.5, 127.5, 127.5) if transformed else MEAN_OF_TORCHVISION
    done = convert(
        *(str(tmp_path / name) for name in ("w.safetensors", "w.caffemodel")),
        mean,
        None if transformed else False,
        str(tmp_path / "net.prototxt"),
    )
    assert (done.classifier, done.classes, str(done.width)) == ("googlenet", 7, "1/16")
    theirs, ours = images(mean)
    expected = googlenet_scores(state, theirs, transformed).numpy()
    assert_close(caffe_scores(tmp_path, ours, "loss3/classifier"), expected)


def test_another_mean_changes_only_where_the_first_kernel_reaches_the_padding():
    state = vgg16_state()
    weight, bias = state["features.0.weight"], state["features.0.bias"]
    theirs, ours = images((104.0, 117.0, 123.0), size=12)
    expected = F.conv2d(theirs, weight, bias, padding=1).numpy()
    w, b = torchvision.fold_input(
        *(weight.numpy(), bias.numpy(), torchvision.INPUT_MEAN, torchvision.INPUT_STD),
        (104.0, 117.0, 123.0),
    )
    result = F.conv2d(torch.from_numpy(ours.copy()), torch.from_numpy(w.copy()),
                      torch.from_numpy(b), padding=1).numpy()  # fmt: skip
    assert_close(result[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1])
    assert np.abs(result - expected).max() > 1e-4


@pytest.mark.parametrize("apart", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_pth_file_gives_the_same_weights_as_safetensors(apart, tmp_path, monkeypatch):
    """apart: in a process of its own, as it is outside the tests."""

    def run(command, **how):
        assert command[:4] == [sys.executable, "-m", "caffe", "export"]
        return subprocess.CompletedProcess(command, caffe_export.main(command[4:]))

    if not apart:
        monkeypatch.setattr(tensor_files.subprocess, "run", run)
    state = vgg16_state()
    save(state, tmp_path / "a.safetensors")
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "b.pth")
    for name in ("a.safetensors", "b.pth"):
        convert(str(tmp_path / name), str(tmp_path / f"{name[0]}.caffemodel"))
    assert (tmp_path / "a.caffemodel").read_bytes() == (tmp_path / "b.caffemodel").read_bytes()


def test_the_tables_name_each_tensor_of_torchvision_once():
    for name, state in (("vgg16", vgg16_state()), ("googlenet", googlenet_state())):
        layers = {key.rsplit(".", 1)[0] for key in state}
        layers = {key[: -len(".conv")] if key.endswith(".conv") else key for key in layers}
        assert set(NAMES[name].values()) == {key for key in layers if not key.endswith(".bn")}


@pytest.mark.parametrize("change", ["vgg16_bn", "vgg19", "resnet"])
def test_weights_of_another_net_are_refused(change, tmp_path):
    state = vgg16_state()
    if change == "resnet":
        state = {f"layer1.{key}": value for key, value in state.items()}
    else:
        state["features.1.weight" if change == "vgg16_bn" else "features.34.weight"] = torch.ones(1)
    save(state, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"needs those of torchvision's vgg16 or googlenet"):
        convert(str(tmp_path / "w.safetensors"), str(tmp_path / "w.caffemodel"))
    assert os.listdir(tmp_path) == ["w.safetensors"]


@pytest.mark.parametrize("text", ["1,2", "a,b,c"])
def test_a_mean_that_is_no_three_numbers_is_refused(text):
    with pytest.raises(ValueError, match="needs three numbers"):
        torchvision.parse_mean(text)


@pytest.fixture
def deploy(tmp_path):
    """The prototxt of a fully convolutional VGG16 for 3 classes, narrow."""
    path = tmp_path / "deploy.prototxt"
    net_gen.write(net_gen.fcn("voc-fcn32s", "deploy", width=1 / NARROW, classes=3), path)
    return str(path)


def test_weights_of_torchvision_fill_a_fully_convolutional_net(deploy, tmp_path):
    save(vgg16_state(), tmp_path / "w.safetensors")
    report = surgery.adapt(str(tmp_path / "w.safetensors"), deploy, str(tmp_path / "o.caffemodel"))
    assert len(report.copied) == 13 and report.reshaped == ["fc6", "fc7"]
    convert(str(tmp_path / "w.safetensors"), str(tmp_path / "w.caffemodel"))
    again = surgery.adapt(str(tmp_path / "w.caffemodel"), deploy, str(tmp_path / "p.caffemodel"))
    assert again == report
    assert (tmp_path / "o.caffemodel").read_bytes() == (tmp_path / "p.caffemodel").read_bytes()


def test_tensors_named_by_layer_and_index_are_weights_as_they_are(deploy, tmp_path):
    values = {
        "conv1_1/0": np.full((4, 3, 3, 3), 2, np.float32),
        "conv1_1/1": np.ones(4, np.float32),
    }
    safetensors_numpy.save_file(values, str(tmp_path / "w.safetensors"))
    out = str(tmp_path / "o.caffemodel")
    assert surgery.adapt(str(tmp_path / "w.safetensors"), deploy, out).copied == ["conv1_1"]
    net = caffe.Net(deploy, caffe.TEST, weights=out)
    assert (net.params["conv1_1"][0].data == 2).all()


def test_a_run_starts_from_weights_of_torchvision_for_its_own_mean(deploy, tmp_path):
    save(vgg16_state(), tmp_path / "w.safetensors")
    biases = []
    for mean in ("", "0,0,0"):
        options = Options(variant="voc-fcn32s", width="1/16", single=True, mean=mean)
        options = options._replace(weights=str(tmp_path / "w.safetensors"))
        write_first_weights(str(tmp_path), deploy, options)
        net = caffe.Net(deploy, caffe.TEST, weights=str(tmp_path / "base.caffemodel"))
        biases.append(net.params["conv1_1"][1].data.copy())
    w, b = (vgg16_state()[f"features.0.{key}"].numpy() for key in ("weight", "bias"))
    for bias, mean in zip(biases, (MEAN, (0.0, 0.0, 0.0))):
        statistics = (torchvision.INPUT_MEAN, torchvision.INPUT_STD)
        np.testing.assert_array_equal(bias, torchvision.fold_input(w, b, *statistics, mean)[1])
