"""Small nets of BVLC Caffe's layers, each with several settings, for their ONNX forms.

Each is a function that adds layers to a NetSpec with the top `data`, N x 6 x H x W.
"""

from __future__ import annotations

from typing import Any, Callable

import caffe
from caffe import layers as L
from caffe import params as P

#: The shape of `data`.
SHAPE = (2, 6, 11, 13)
FILL = {"type": "gaussian", "std": 0.5}
BOTH = {"weight_filler": FILL, "bias_filler": FILL}


def convolutions(n: Any) -> None:
    """Convolutions and deconvolutions with groups, dilation, strides and pads."""
    n.a = L.Convolution(n.data, num_output=8, kernel_size=3, pad=2, stride=2, group=2, **BOTH)
    n.b = L.Convolution(n.a, num_output=4, kernel_h=3, kernel_w=1, dilation=2, pad=3, **BOTH)
    n.c = L.Deconvolution(
        n.b, convolution_param={"num_output": 6, "kernel_size": 4, "stride": 3, "pad": 1, **BOTH}
    )
    n.d = L.Deconvolution(
        n.b,
        convolution_param={
            **{"num_output": 4, "kernel_size": 4, "group": 4, "bias_term": False},
            "weight_filler": FILL,
        },
    )
    n.e = L.Im2col(n.data, convolution_param={"kernel_size": 3, "stride": 2, "pad": 1})


def pools(n: Any) -> None:
    """Poolings of all kinds, rounded up and down."""
    n.a = L.Pooling(n.data, kernel_size=3, stride=2, pool=P.Pooling.MAX)
    n.b = L.Pooling(n.data, kernel_size=3, stride=2, pad=1, pool=P.Pooling.MAX)
    n.c = L.Pooling(n.data, kernel_size=3, stride=2, pad=1, pool=P.Pooling.AVE)
    n.d = L.Pooling(n.data, kernel_h=3, kernel_w=4, stride=3, pool=P.Pooling.AVE)
    n.e = L.Pooling(n.data, global_pooling=True, pool=P.Pooling.AVE)
    n.f = L.Pooling(n.data, global_pooling=True, pool=P.Pooling.MAX)
    n.g = L.Pooling(n.data, kernel_size=4, stride=3, pool=P.Pooling.MAX, round_mode=1)
    n.h, n.places = L.Pooling(n.data, ntop=2, kernel_size=3, stride=2, pool=P.Pooling.MAX)
    n.positive = L.ReLU(n.data)
    n.i = L.Pooling(n.positive, kernel_size=2, stride=2, pool=P.Pooling.STOCHASTIC)


def pyramids(n: Any) -> None:
    """Spatial pyramids, whose windows depend on the size of the image."""
    n.a = L.SPP(n.data, pyramid_height=3, pool=P.SPP.MAX)
    n.b = L.SPP(n.data, pyramid_height=2, pool=P.SPP.AVE)
    n.c = L.SPP(n.data, pyramid_height=1, pool=P.SPP.AVE)


def activations(n: Any) -> None:
    """Functions of single values."""
    n.r = L.ReLU(n.data)
    n.l = L.ReLU(n.data, negative_slope=0.1)
    n.r6 = L.ReLU6(n.data, negative_slope=0.1)
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


def normalizations(n: Any) -> None:
    """Layers that normalize, scale and shift."""
    n.l = L.LRN(n.data, local_size=3, alpha=0.2, beta=0.75, k=2)
    n.w = L.LRN(n.data, local_size=3, alpha=0.2, beta=0.75, norm_region=P.LRN.WITHIN_CHANNEL)
    n.s = L.Softmax(n.data)
    n.m = L.MVN(n.data)
    n.o = L.MVN(n.data, across_channels=True, normalize_variance=False)
    n.b = L.BatchNorm(n.data)
    n.batch = L.BatchNorm(n.data, use_global_stats=False)
    n.c = L.Scale(n.b, bias_term=True, scale_param={"filler": FILL, "bias_filler": FILL})
    n.d = L.Bias(n.c, bias_param={"filler": FILL})
    n.gate = L.Pooling(n.data, global_pooling=True, pool=P.Pooling.AVE)
    n.flat = L.Flatten(n.gate)
    n.e = L.Scale(n.data, n.flat, axis=0)
    n.f = L.Bias(n.data, n.flat, axis=0)


def sums(n: Any) -> None:
    """Layers that join, cut, add and reduce."""
    n.a = L.AbsVal(n.data)
    n.b = L.Eltwise(n.data, n.a, n.data, operation=P.Eltwise.SUM, coeff=[1, -2, 0.5])
    n.c = L.Eltwise(n.data, n.a, operation=P.Eltwise.PROD)
    n.d = L.Eltwise(n.data, n.b, operation=P.Eltwise.MAX)
    n.e = L.Concat(n.data, n.c)
    n.f, n.g, n.h = L.Slice(n.e, ntop=3, slice_point=[2, 7])
    n.i, n.j = L.Slice(n.data, ntop=2)
    n.u, n.v = L.Slice(n.data, ntop=2, axis=2, slice_point=4)
    for i, operation in enumerate(("SUM", "ASUM", "SUMSQ", "MEAN")):
        fields = {"operation": getattr(P.Reduction, operation), "axis": i, "coeff": 0.5}
        n[f"k{i}"] = L.Reduction(n.data, **fields)
    n.mean = L.Reduction(n.data, operation=P.Reduction.MEAN, axis=0)
    n.t = L.Tile(n.data, axis=2, tiles=3)


def maxima(n: Any) -> None:
    """Indices and values of maxima."""
    n.m = L.ArgMax(n.data, axis=1)
    n.n = L.ArgMax(n.data, axis=1, top_k=2)
    n.o = L.ArgMax(n.data, axis=2, out_max_val=True)
    n.p = L.ArgMax(n.data)
    n.q = L.ArgMax(n.data, top_k=3, out_max_val=True)


def shapes(n: Any) -> None:
    """Layers that move no value, and Crop."""
    n.c = L.Flatten(n.data, axis=2)
    n.f = L.Flatten(n.data, axis=1, end_axis=2)
    n.d = L.Reshape(n.data, reshape_param={"shape": {"dim": [0, 3, -1]}})
    n.r = L.Reshape(n.data, reshape_param={"shape": {"dim": [2, 3]}, "axis": 1, "num_axes": 1})
    n.small = L.Pooling(n.data, kernel_size=3, stride=2, pool=P.Pooling.MAX)
    n.e = L.Crop(n.data, n.small, axis=2, offset=[1, 3])
    n.g = L.ReLU(n.e, in_place=True)
    n.s = L.Silence(n.c, ntop=0)


def products(n: Any) -> None:
    """Layers whose weights fix the size of the image, and layers of constants."""
    n.a = L.InnerProduct(n.data, num_output=5, **BOTH)
    n.b = L.InnerProduct(n.a, num_output=3, transpose=True, bias_term=False, weight_filler=FILL)
    n.c = L.InnerProduct(n.data, num_output=4, axis=3, **BOTH)
    n.constant = L.DummyData(shape={"dim": [2, 6, 11, 13]}, data_filler={"value": 2.5})
    n.d = L.Eltwise(n.data, n.constant)


def rows(n: Any) -> None:
    """Layers that select rows by indices."""
    n.index = L.Input(shape={"dim": [5]})
    n.words = L.Input(shape={"dim": [3, 2]})
    n.selector = L.Input(shape={"dim": [2, 1]})
    n.a = L.BatchReindex(n.data, n.index)
    n.b = L.Embed(n.words, input_dim=7, num_output=4, **BOTH)
    n.c = L.Filter(n.data, n.selector)
    n.d = L.Pooling(n.c, kernel_size=3, pool=P.Pooling.AVE)
    n.e = L.Flatten(n.d)


def recurrent(n: Any) -> None:
    """Recurrent layers whose state is blobs; `data` only joins at the end."""
    for name, shape in (
        *(("x", (3, 2, 5)), ("cont", (3, 2)), ("static", (2, 4))),
        *(("h", (1, 2, 4)), ("c", (1, 2, 4))),
        *(("gates", (1, 2, 16)), ("mark", (1, 2))),
    ):
        n[name] = L.Input(shape={"dim": list(shape)})
    p = {"num_output": 4, "weight_filler": FILL, "bias_filler": FILL, "expose_hidden": True}
    n.l, n.lh, n.lc = L.LSTM(n.x, n.cont, n.static, n.h, n.c, ntop=3, recurrent_param=p)
    n.r, n.rh = L.RNN(n.x, n.cont, n.h, ntop=2, recurrent_param=p)
    n.uc, n.uh = L.LSTMUnit(n.c, n.gates, n.mark, ntop=2)
    n.end = L.Silence(n.data, ntop=0)


#: Name -> the function that adds the layers.
NETS: dict[str, Callable[[Any], None]] = {
    function.__name__: function
    for function in (
        *(convolutions, pools, pyramids, activations, normalizations, sums, maxima, shapes),
        *(products, rows, recurrent),
    )
}


def param_of(add: Callable[[Any], None], shape: tuple[int, ...] = SHAPE) -> Any:
    """Return the NetParameter of `data` and the layers that `add(net_spec)` adds."""
    n = caffe.NetSpec()
    n.data = L.Input(shape={"dim": list(shape)})
    add(n)
    return n.to_proto()
