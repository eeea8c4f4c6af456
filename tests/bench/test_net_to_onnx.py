"""Nets written as ONNX, run by ONNX Runtime and OpenVINO: the engine's numbers."""

from __future__ import annotations

import sys

import caffe
import numpy as np
import pytest
from caffe import layers as L
from caffe import params as P
from caffe.tools import net_to_onnx
from caffe.tools import onnx as writer

FILL = {"type": "gaussian", "std": 0.5}
BOTH = {"weight_filler": FILL, "bias_filler": FILL}
SHAPE = (2, 6, 11, 13)


def convolutions(n):
    n.a = L.Convolution(n.data, num_output=8, kernel_size=3, pad=2, stride=2, group=2, **BOTH)
    n.b = L.Convolution(n.a, num_output=4, kernel_h=3, kernel_w=1, dilation=2, pad=3, **BOTH)
    n.c = L.Deconvolution(
        n.b, convolution_param={"num_output": 6, "kernel_size": 4, "stride": 3, "pad": 1, **BOTH}
    )
    n.d = L.Deconvolution(
        n.b, convolution_param={"num_output": 4, "kernel_size": 4, "group": 4, "bias_term": False,
                                "weight_filler": FILL}
    )  # fmt: skip


def pools(n):
    n.a = L.Pooling(n.data, kernel_size=3, stride=2, pool=P.Pooling.MAX)
    n.b = L.Pooling(n.data, kernel_size=3, stride=2, pad=1, pool=P.Pooling.MAX)
    n.c = L.Pooling(n.data, kernel_size=3, stride=2, pad=1, pool=P.Pooling.AVE)
    n.d = L.Pooling(n.data, kernel_h=3, kernel_w=4, stride=3, pool=P.Pooling.AVE)
    n.e = L.Pooling(n.data, global_pooling=True, pool=P.Pooling.AVE)
    n.f = L.Pooling(n.data, global_pooling=True, pool=P.Pooling.MAX)
    n.g = L.Pooling(n.data, kernel_size=4, stride=3, pool=P.Pooling.MAX, round_mode=1)


def activations(n):
    n.r = L.ReLU(n.data)
    n.l = L.ReLU(n.data, negative_slope=0.1)
    n.p = L.PReLU(n.data, prelu_param={"filler": FILL})
    n.e = L.ELU(n.data, alpha=0.7)
    n.s = L.Sigmoid(n.data)
    n.t = L.TanH(n.data)
    n.a = L.AbsVal(n.data)
    n.b = L.BNLL(n.data)
    n.w = L.Swish(n.data, beta=0.6)
    n.c = L.Clip(n.data, min=-0.5, max=0.25)
    n.h = L.Threshold(n.data, threshold=0.2)
    n.positive = L.Power(n.a, power=1.5, scale=2, shift=0.5)
    n.x = L.Exp(n.data, base=2, scale=0.5, shift=0.1)
    n.o = L.Log(n.positive, base=10, scale=2, shift=1)
    n.d = L.Dropout(n.data)


def normalisations(n):
    n.l = L.LRN(n.data, local_size=3, alpha=0.2, beta=0.75, k=2)
    n.s = L.Softmax(n.data)
    n.b = L.BatchNorm(n.data)
    n.c = L.Scale(n.b, bias_term=True, scale_param={"filler": FILL, "bias_filler": FILL})
    n.d = L.Bias(n.c, bias_param={"filler": FILL})
    n.gate = L.Pooling(n.data, global_pooling=True, pool=P.Pooling.AVE)
    n.flat = L.Flatten(n.gate)
    n.e = L.Scale(n.data, n.flat, axis=0)
    n.f = L.Bias(n.data, n.flat, axis=0)


def sums(n):
    n.a = L.AbsVal(n.data)
    n.b = L.Eltwise(n.data, n.a, n.data, operation=P.Eltwise.SUM, coeff=[1, -2, 0.5])
    n.c = L.Eltwise(n.data, n.a, operation=P.Eltwise.PROD)
    n.d = L.Eltwise(n.data, n.b, operation=P.Eltwise.MAX)
    n.e = L.Concat(n.data, n.c)
    n.f, n.g, n.h = L.Slice(n.e, ntop=3, slice_point=[2, 7])
    n.i, n.j = L.Slice(n.data, ntop=2)
    for i, operation in enumerate(("SUM", "ASUM", "SUMSQ", "MEAN")):
        fields = {"operation": getattr(P.Reduction, operation), "axis": i, "coeff": 0.5}
        n[f"k{i}"] = L.Reduction(n.data, **fields)
    n.t = L.Tile(n.data, axis=2, tiles=3)
    n.m = L.ArgMax(n.data, axis=1)


def shapes(n):
    n.a = L.InnerProduct(n.data, num_output=5, **BOTH)
    n.b = L.InnerProduct(n.a, num_output=3, transpose=True, bias_term=False, weight_filler=FILL)
    n.c = L.Flatten(n.data, axis=2)
    n.d = L.Reshape(n.data, reshape_param={"shape": {"dim": [0, 3, -1]}})
    n.small = L.Pooling(n.data, kernel_size=3, stride=2, pool=P.Pooling.MAX)
    n.e = L.Crop(n.data, n.small, axis=2, offset=[1, 3])
    n.f = L.ReLU(n.e, in_place=True)
    n.s = L.Silence(n.c, ntop=0)


NETS = [convolutions, pools, activations, normalisations, sums, shapes]


def engine(folder, add, shape=SHAPE):
    """Return a net of an Input layer and the layers that `add(net_spec)` adds."""
    n = caffe.NetSpec()
    n.data = L.Input(shape={"dim": list(shape)})
    add(n)
    (folder / "net.prototxt").write_text(str(n.to_proto()))
    caffe.set_mode_cpu()
    caffe.set_random_seed(5)
    net = caffe.Net(str(folder / "net.prototxt"), caffe.TEST)
    for name, blobs in net.params.items():
        if net.layer_dict[name].type == "BatchNorm":
            for blob, value in zip(blobs, (0.3, 2.0, 2.0)):
                blob.data[...] = value
    return net


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
@pytest.mark.parametrize("add", NETS, ids=lambda f: f.__name__)
def test_onnx_runtime_computes_the_numbers_of_the_engine_at_any_size(add, tmp_path):
    import onnx

    net = engine(tmp_path, add)
    writer.write(net, str(tmp_path / "net.onnx"))
    onnx.checker.check_model(str(tmp_path / "net.onnx"), full_check=True)
    fixed = any(layer.type == "InnerProduct" for layer in net.layers)
    assert_same(net, onnxruntime_of(tmp_path / "net.onnx"), [SHAPE] if fixed else
                [SHAPE, (2, 6, 16, 9), (2, 6, 23, 40)])  # fmt: skip


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


@pytest.mark.bench
@pytest.mark.parametrize(
    ("add", "message"),
    [
        (lambda n: setattr(n, "a", L.MVN(n.data)), "a layer of type MVN is not written as ONNX"),
        (lambda n: setattr(n, "a", L.Pooling(n.data, kernel_size=2, stride=3)),
         r"stride \(3, 3\) above kernel \(2, 2\), rounded up, is not written"),
        (lambda n: setattr(n, "a", L.LRN(n.data, norm_region=1)), "WITHIN_CHANNEL"),
    ],
)  # fmt: skip
def test_a_setting_that_onnx_cannot_express_is_refused_with_its_layer(add, message, tmp_path):
    net = engine(tmp_path, add)
    with pytest.raises(caffe.CaffeError, match=f"'a'.*{message}"):
        writer.write(net, str(tmp_path / "net.onnx"))
    assert not (tmp_path / "net.onnx").exists()


def test_without_the_package_onnx_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    net = engine(tmp_path, activations)
    with pytest.raises(caffe.CaffeError, match="pip install onnx"):
        writer.write(net, str(tmp_path / "net.onnx"))
