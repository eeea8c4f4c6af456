"""NetSpec: names, settings and errors. Agreement with BVLC Caffe: tests/oracle/test_language.py."""

import copy

import numpy as np
import pytest
from caffe import net_spec
from caffe.net_spec import NetSpec, assign_proto, param_name_dict, to_proto
from caffe.net_spec import layers as L
from caffe.net_spec import params as P
from caffe.proto import caffe_pb2


def wiring(net):
    return [(x.name, x.type, list(x.bottom), list(x.top)) for x in net.layer]


def test_attributes_name_tops_and_layers():
    n = NetSpec()
    n.data, n.label = L.Data(ntop=2)
    n["conv/1"] = L.Convolution(n.data)
    n.loss = L.SoftmaxWithLoss(n["conv/1"], n.label)
    assert wiring(n.to_proto()) == [
        ("data", "Data", [], ["data", "label"]),
        ("conv/1", "Convolution", ["data"], ["conv/1"]),
        ("loss", "SoftmaxWithLoss", ["conv/1", "label"], ["loss"]),
    ]


def test_a_layer_without_a_name_is_named_by_its_type_and_a_number():
    data = L.DummyData(ntop=2)
    net = to_proto(L.Eltwise(L.ReLU(data[0]), L.ReLU(data[1])))
    assert wiring(net) == [
        ("DummyData1", "DummyData", [], ["DummyData1", "DummyData2"]),
        ("ReLU1", "ReLU", ["DummyData1"], ["ReLU1"]),
        ("ReLU2", "ReLU", ["DummyData2"], ["ReLU2"]),
        ("Eltwise1", "Eltwise", ["ReLU1", "ReLU2"], ["Eltwise1"]),
    ]


def test_a_name_that_the_net_has_already_is_skipped():
    n = NetSpec()
    n.ReLU1 = L.ReLU(L.Input())
    n.last = L.ReLU(L.ReLU(n.ReLU1))
    assert [name for name, *_ in wiring(n.to_proto())] == ["Input1", "ReLU1", "ReLU2", "last"]


def test_in_place_layers_write_to_their_bottom():
    n = NetSpec()
    n.x = L.Input()
    n.relu = L.ReLU(n.x, in_place=True)
    n.drop = L.Dropout(n.relu, in_place=True)
    n.y = L.TanH(n.drop)
    assert wiring(n.to_proto())[1:] == [
        ("relu", "ReLU", ["x"], ["x"]),
        ("drop", "Dropout", ["x"], ["x"]),
        ("y", "TanH", ["x"], ["y"]),
    ]


def test_a_layer_without_tops_is_kept_under_a_name():
    n = NetSpec()
    n.x = L.Input()
    n.silence = L.Silence(n.x, ntop=0)
    assert wiring(n.to_proto())[1] == ("silence", "Silence", ["x"], [])
    assert wiring(to_proto(L.Silence(L.Input(), ntop=0)))[1] == (
        "Silence1",
        "Silence",
        ["Input1"],
        [],
    )


def test_only_tops_that_the_spec_holds_are_in_the_net():
    n = NetSpec()
    n.x, n.y = L.Input(), L.Input()
    L.ReLU(n.x)
    del n.x
    n["z"] = L.ReLU(n.y)
    del n["z"]
    assert [name for name, *_ in wiring(n.to_proto())] == ["y"]
    assert not hasattr(n, "x") and getattr(n, "z", None) is None


def test_a_chain_of_thousands_of_unnamed_layers_is_written():
    top = L.Input()
    for _ in range(5000):
        top = L.ReLU(top)
    assert len(to_proto(top).layer) == 5001


def test_settings_go_to_the_message_of_the_type_or_to_the_layer():
    net = to_proto(
        L.Convolution(
            kernel_size=[3, 5],
            weight_filler={"type": "gaussian", "std": 0.01},
            param=[{"lr_mult": 1}, {"lr_mult": 2, "decay_mult": 0}],
            include={"phase": 0},
            loss_weight=3,
            name="c",
        )
    )
    layer = net.layer[0]
    assert layer.name == "c" and layer.top[0] == "Convolution1"
    assert list(layer.convolution_param.kernel_size) == [3, 5]
    assert layer.convolution_param.weight_filler.type == "gaussian"
    assert [p.lr_mult for p in layer.param] == [1, 2]
    assert layer.include[0].phase == caffe_pb2.TRAIN
    assert list(layer.loss_weight) == [3]


@pytest.mark.parametrize(
    "value", [P.Pooling.AVE, "AVE", np.int64(1), caffe_pb2.PoolingParameter.AVE]
)
def test_an_enum_is_set_by_number_or_by_name(value):
    assert to_proto(L.Pooling(pool=value)).layer[0].pooling_param.pool == 1


@pytest.mark.parametrize("value", [(3, 4), [3, 4], np.array([3, 4])])
def test_a_repeated_field_is_set_from_a_list_tuple_or_array(value):
    net = to_proto(L.Convolution(kernel_size=value))
    assert list(net.layer[0].convolution_param.kernel_size) == [3, 4]


def test_a_message_may_replace_a_dict():
    param = caffe_pb2.PoolingParameter(kernel_size=3)
    net = to_proto(L.Pooling(pooling_param=param))
    assert net.layer[0].pooling_param == param and net.layer[0].pooling_param is not param


def test_settings_may_change_after_the_call():
    n = NetSpec()
    n.relu = L.ReLU(L.Input())
    n.relu.fn.params["negative_slope"] = 0.5
    assert n.to_proto().layer[1].relu_param.negative_slope == 0.5


def test_a_call_leaves_its_settings_unchanged():
    settings = {"ntop": 2, "in_place": False, "batch_size": 3}
    net_spec.Function("Data", [], settings)
    assert settings == {"ntop": 2, "in_place": False, "batch_size": 3}


def test_every_settings_message_belongs_to_a_layer_type():
    names = param_name_dict()
    assert names["InnerProduct"] == "inner_product" and names["ReLU"] == "relu"
    for layer_type, stem in names.items():
        message = type(getattr(caffe_pb2.LayerParameter(), f"{stem}_param"))
        assert message.DESCRIPTOR.name == f"{layer_type}Parameter"


@pytest.mark.parametrize(
    "make, error, words",
    [
        (
            lambda: L.Pooling(kernal_size=3),
            AttributeError,
            ["'pool' (Pooling)", "'kernal_size' (given 3)", "did you mean 'kernel_size'?"],
        ),
        (
            lambda: L.Pooling(kernel_size="3x3"),
            TypeError,
            ["'pool' (Pooling)", "PoolingParameter.kernel_size = '3x3'", "whole number from 0"],
        ),
        (lambda: L.Pooling(kernel_size=-1), ValueError, ["'pool'", "kernel_size = -1", "from 0"]),
        (lambda: L.Pooling(kernel_size=2.5), TypeError, ["'pool'", "kernel_size = 2.5"]),
        (lambda: L.Pooling(kernel_size=[2]), TypeError, ["'pool'", "kernel_size = [2]", "one"]),
        (lambda: L.Pooling(kernel_size=None), TypeError, ["'pool'", "kernel_size = None"]),
        (lambda: L.Pooling(pool=7), ValueError, ["'pool'", "pool = 7", "one of MAX, AVE"]),
        (lambda: L.Pooling(pool="MEAN"), ValueError, ["'pool'", "pool = 'MEAN'", "MAX, AVE"]),
        (lambda: L.Python(module=3), TypeError, ["(Python)", "module = 3", "text is needed"]),
        (lambda: L.Dropout(dropout_ratio="half"), TypeError, ["(Dropout)", "= 'half': a number"]),
        (
            lambda: L.Convolution(weight_filler={"tpye": "xavier"}),
            AttributeError,
            ["'pool' (Convolution)", "FillerParameter has no field 'tpye'", "'type'"],
        ),
        (
            lambda: L.Convolution(weight_filler="xavier"),
            TypeError,
            ["weight_filler = 'xavier'", "a dict is needed"],
        ),
        (lambda: L.Convolution(param=[{}, 2]), TypeError, ["LayerParameter.param = 2", "a dict"]),
        (lambda: L.SoftmaxWithLoss(ignore=3), AttributeError, ["(SoftmaxWithLoss)", "'ignore'"]),
        (lambda: L.Foo(size=3), AttributeError, ["'pool' (Foo)", "'size' (given 3)"]),
        (lambda: L.ReLU(in_place=True), ValueError, ["ReLU", "1 tops, 0 bottoms"]),
    ],
)
def test_a_setting_that_does_not_fit_is_refused_with_layer_and_value(make, error, words):
    n = NetSpec()
    n.pool = make()
    with pytest.raises(error) as refusal:
        n.to_proto()
    for word in words:
        assert word in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("value", [3, None, "data", [L.Input()]])
def test_an_input_that_is_not_a_top_is_refused_by_the_call(value):
    with pytest.raises(TypeError, match="ReLU input 1 is not a Top"):
        L.ReLU(L.Input(), value)


def test_a_value_that_is_no_top_cannot_be_named():
    n = NetSpec()
    with pytest.raises(TypeError, match="'x' is set to tuple, a Top is needed; give 2 names"):
        n.x = L.Data(ntop=2)
    with pytest.raises(TypeError, match="'x' is set to int, a Top is needed$"):
        n["x"] = 3


def test_a_missing_top_is_refused_by_name():
    n = NetSpec()
    n.score = L.Input()
    with pytest.raises(AttributeError, match="no top 'scroe'; did you mean 'score'"):
        _ = n.scroe
    with pytest.raises(KeyError, match="no top 'scroe'"):
        n["scroe"]
    with pytest.raises(AttributeError, match="no top 'scroe'"):
        del n.scroe


def test_a_missing_constant_is_refused_by_name():
    with pytest.raises(AttributeError, match="'MEAN'; known: MAX, AVE"):
        _ = P.Pooling.MEAN
    with pytest.raises(AttributeError, match="no message PolingParameter; did you mean 'Pooling'"):
        _ = P.Poling


def test_a_spec_can_be_copied():
    n = NetSpec()
    n.x = L.Input()
    assert copy.deepcopy(n).to_proto() == n.to_proto()


def test_assign_proto_fills_any_message():
    solver = caffe_pb2.SolverParameter()
    assign_proto(solver, "test_iter", 3)
    assign_proto(solver, "solver_mode", "CPU")
    assign_proto(solver, "train_state", {"stage": ["a"]})
    assert (list(solver.test_iter), solver.solver_mode) == ([3], 0)
    assert list(solver.train_state.stage) == ["a"]
