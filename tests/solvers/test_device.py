from __future__ import annotations

import caffe
import pytest

from solvers import device


@pytest.fixture
def calls(monkeypatch):
    """What is asked of Caffe, with no device touched."""
    made = []
    for name in ("set_mode_cpu", "set_mode_gpu", "set_device"):
        monkeypatch.setattr(caffe, name, lambda *a, name=name: made.append((name, *a)))
    return made


def pretend(monkeypatch, names, usable=True):
    monkeypatch.setattr(device, "devices", lambda: names)
    probe = "" if usable else "raise SystemExit('Cannot use GPU in CPU-only Caffe: check mode.')"
    monkeypatch.setattr(device, "_PROBE", probe + "#{}")


def test_without_a_cuda_device_the_default_is_the_cpu_and_says_so(monkeypatch, calls):
    pretend(monkeypatch, [])
    assert device.use() == "the CPU (no CUDA device found)"
    assert calls == [("set_mode_cpu",)]


def test_a_usable_device_is_the_default(monkeypatch, calls):
    pretend(monkeypatch, ["Card"])
    assert device.use() == "GPU 0 (Card)"
    assert calls == [("set_device", 0), ("set_mode_gpu",)]


def test_the_device_that_is_named_is_used(monkeypatch, calls):
    pretend(monkeypatch, ["A", "B"])
    assert device.use("1") == device.use(1) == "GPU 1 (B)"
    assert ("set_device", 1) in calls


def test_cpu_is_used_when_asked_for(monkeypatch, calls):
    pretend(monkeypatch, ["Card"])
    assert device.use("cpu") == "the CPU (as asked)"
    assert calls == [("set_mode_cpu",)]


def test_a_device_that_is_not_there_is_an_error_when_asked_for(monkeypatch, calls):
    pretend(monkeypatch, [])
    with pytest.raises(ValueError, match="GPU 0 was asked for: no CUDA device found"):
        device.use(0)
    pretend(monkeypatch, ["Card"])
    with pytest.raises(ValueError, match="GPU 3 was asked for: found 1 CUDA device, numbered"):
        device.use(3)
    assert calls == []


def test_a_caffe_without_cuda_is_told_from_a_machine_without_it(monkeypatch, calls):
    pretend(monkeypatch, ["Card"], usable=False)
    assert "cannot use it (Cannot use GPU in CPU-only Caffe" in device.use()
    with pytest.raises(ValueError, match="cannot use it"):
        device.use(0)
    assert calls == [("set_mode_cpu",)]


@pytest.mark.parametrize("word", ["gpu", "-1", "0.5"])
def test_a_word_that_is_no_device_is_refused(word):
    with pytest.raises(ValueError, match="neither a device number nor `cpu`"):
        device.use(word)


def test_the_engine_is_named_with_its_version():
    assert caffe.__version__ in device.engine()


@pytest.mark.cuda
def test_the_first_device_is_usable():
    assert device.use().startswith("GPU 0 (")
    caffe.set_mode_cpu()
