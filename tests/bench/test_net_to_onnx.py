"""The benchmark's nets as ONNX, run by ONNX Runtime and OpenVINO: the engine's numbers."""

from __future__ import annotations

import caffe
import numpy as np
import pytest
from caffe.tools import net_to_onnx
from caffe.tools import onnx as writer

from zoo.export.nets import NETS, SHAPE, param_of


def assert_same(net, run, shapes=(SHAPE,)):
    for shape in shapes:
        net.blobs["data"].reshape(*shape)
        net.reshape()
        x = np.random.RandomState(1).randn(*shape).astype(np.float32)
        net.blobs["data"].data[...] = x
        ours = {name: value.copy() for name, value in net.forward().items()}
        theirs = run(x)
        assert set(theirs) == set(ours)
        for name, value in ours.items():
            assert theirs[name].shape == value.shape, name
            np.testing.assert_allclose(
                theirs[name], value, rtol=1e-4, atol=1e-5 * np.abs(value).max(), err_msg=name
            )


def onnxruntime_of(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda x: dict(zip(names, session.run(names, {"data": x})))


def openvino_of(path):
    import openvino

    core = openvino.Core()
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    model = core.compile_model(core.read_model(str(path)), "CPU", options)
    return lambda x: {o.get_any_name(): value for o, value in model({"data": x}).items()}


@pytest.mark.bench
@pytest.mark.parametrize("name", ["convolutions", "activations", "sums"])
def test_openvino_computes_the_numbers_of_the_engine_at_any_size(name, tmp_path):
    (tmp_path / "net.prototxt").write_text(str(param_of(NETS[name])))
    caffe.set_mode_cpu()
    caffe.set_random_seed(5)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    writer.write(net, str(tmp_path / "net.onnx"))
    shapes = [SHAPE, (2, 6, 16, 9), (2, 6, 23, 40)]
    assert_same(net, openvino_of(tmp_path / "net.onnx"), shapes)


@pytest.mark.bench
@pytest.mark.parametrize("of", [onnxruntime_of, openvino_of], ids=["onnxruntime", "openvino"])
def test_the_scores_of_fcn8s_are_those_of_the_engine_at_any_size(of, folder):
    from bench import nets

    net = caffe.Net(
        str(folder / "fcn8s.prototxt"), caffe.TEST, weights=str(folder / "fcn8s.caffemodel")
    )
    sizes = [(1, 3, 40, 56), (1, 3, 91, 64)]
    assert_same(net, of(folder / "fcn8s.onnx"), sizes)
    assert_same(net, of(nets.fixed_onnx(folder, "fcn8s", (40, 56))), sizes[:1])


@pytest.mark.bench
def test_the_command_writes_a_model_and_its_weights(folder, tmp_path):
    out = tmp_path / "net.onnx"
    files = [str(folder / name) for name in ("fcn8s.prototxt", "fcn8s.caffemodel")]
    assert net_to_onnx.main([*files, str(out)]) == 0
    size = (folder / "fcn8s.caffemodel").stat().st_size
    assert (tmp_path / "net.onnx.data").stat().st_size == pytest.approx(size, rel=0.01)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "net.onnx.data"]
