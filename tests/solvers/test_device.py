from __future__ import annotations

import caffe
import pytest

from solvers import device


@pytest.fixture
def calls(monkeypatch):
    """The calls of Caffe's functions that choose a device, none of which is carried out."""
    calls = []
    for name in ("set_mode_cpu", "set_mode_gpu", "set_device"):
        monkeypatch.setattr(caffe, name, lambda *a, name=name: calls.append((name, *a)))
    return calls


def pretend(monkeypatch, names, usable=True):
    """Pretend that the machine has devices of these names."""
    monkeypatch.setattr(device, "devices", lambda: names)
    code = "" if usable else "raise SystemExit('Cannot use GPU in CPU-only Caffe: check mode.')"
    monkeypatch.setattr(device, "USE_DEVICE", code + "#{}")


def test_without_a_cuda_device_the_default_is_the_cpu(monkeypatch, calls):
    pretend(monkeypatch, [])
    assert device.use() == "the CPU (no CUDA device found)"
    assert calls == [("set_mode_cpu",)]


def test_the_first_device_is_the_default_if_it_is_usable(monkeypatch, calls):
    pretend(monkeypatch, ["Card"])
    assert device.use() == "GPU 0 (Card)"
    assert calls == [("set_device", 0), ("set_mode_gpu",)]


def test_a_named_device_is_used(monkeypatch, calls):
    pretend(monkeypatch, ["A", "B"])
    assert device.use("1") == device.use(1) == "GPU 1 (B)"
    assert ("set_device", 1) in calls


def test_the_cpu_is_used_on_request(monkeypatch, calls):
    pretend(monkeypatch, ["Card"])
    assert device.use("cpu") == "the CPU (as requested)"
    assert calls == [("set_mode_cpu",)]


def test_a_named_device_that_does_not_exist_is_refused(monkeypatch, calls):
    pretend(monkeypatch, [])
    with pytest.raises(ValueError, match="GPU 0 cannot be used: no CUDA device found"):
        device.use(0)
    pretend(monkeypatch, ["Card"])
    with pytest.raises(ValueError, match="GPU 3 cannot be used: found 1 CUDA device, numbered"):
        device.use(3)
    assert calls == []


def test_a_caffe_without_cuda_is_distinguished_from_a_machine_without_a_device(monkeypatch, calls):
    pretend(monkeypatch, ["Card"], usable=False)
    assert "cannot use it (Cannot use GPU in CPU-only Caffe" in device.use()
    with pytest.raises(ValueError, match="cannot use it"):
        device.use(0)
    assert calls == [("set_mode_cpu",)]


@pytest.mark.parametrize("word", ["gpu", "-1", "0.5"])
def test_a_word_that_names_no_device_is_refused(word):
    with pytest.raises(ValueError, match="is neither a device number nor `cpu`"):
        device.use(word)


def test_the_name_of_the_engine_has_its_version():
    assert caffe.__version__ in device.engine()


@pytest.mark.cuda
def test_the_first_device_is_usable():
    assert device.use().startswith("GPU 0 (")
    caffe.set_mode_cpu()
