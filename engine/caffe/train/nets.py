"""The nets that a SolverParameter names: one to train, and any number to test."""

from __future__ import annotations

from typing import Any

from .. import glog, graph, module_search, upgrade
from ..errors import NetError, in_file
from ..layers import import_users_types, layer_type_list, users_types
from ..net import Net
from ..proto import caffe_pb2

#: The fields that give the train net -> where BVLC Caffe logs that it builds the net, and how.
_TRAIN_FIELDS = {
    "train_net_param": (88, "specified in train_net_param."),
    "train_net": (92, "from train_net file: {}"),
    "net_param": (97, "specified in net_param."),
    "net": (102, "from net file: {}"),
}


def train_net(param: Any) -> Net:
    """Build the net to train, with the solver's weights.

    Raises NetError unless exactly one of the fields for the train net is set.
    """
    fields = [name for name in _TRAIN_FIELDS if param.HasField(name)]
    if len(fields) != 1:
        raise NetError(
            f"the train net is given by {fields or 'nothing'}; it needs exactly one of net, "
            "net_param, train_net, train_net_param"
        )
    source = getattr(param, fields[0])
    line, origin = _TRAIN_FIELDS[fields[0]]
    glog.write(f"solver.cpp:{line}", f"Creating training net {origin.format(source)}")
    net = _build(source, caffe_pb2.TRAIN, param.train_state)
    _finetune(net, param)
    return net


def test_nets(param: Any) -> list[Net]:
    """Build the nets to test, with the solver's weights.

    As in BVLC Caffe, these are test_net_param, test_net, then net_param and net for what remains
    of test_iter. Raises NetError if test_iter, test_state or test_interval do not fit the nets.
    """
    sources: list[Any] = [*param.test_net_param, *param.test_net]
    test_only = len(sources)
    shared = [getattr(param, name) for name in ("net_param", "net") if param.HasField(name)]
    missing = len(param.test_iter) - test_only
    if shared and missing > 0:
        sources += shared * missing
    _check_tests(param, len(sources))
    states = list(param.test_state) or [None] * len(sources)
    nets = []
    for i, (source, state) in enumerate(zip(sources, states)):
        origin = f"net file: {source}" if isinstance(source, str) else "net_param"
        if i < test_only:
            origin = "test_" + origin
        glog.write("solver.cpp:190", f"Creating test net (#{i}) specified by {origin}")
        net = _build(source, caffe_pb2.TEST, state)
        net.executor.observers.debug_info = param.debug_info
        _finetune(net, param)
        nets.append(net)
    return nets


def _check_tests(param: Any, count: int) -> None:
    if len(param.test_iter) != count:
        raise NetError(
            f"{len(param.test_iter)} test_iter for {count} test nets; each test net needs one"
        )
    if count and param.test_interval < 1:
        raise NetError(
            f"test_interval is {param.test_interval}; with a test net it needs to be at least 1"
        )
    if len(param.test_state) not in (0, count):
        raise NetError(
            f"{len(param.test_state)} test_state for {count} test nets; give none, or one for "
            "each test net"
        )


def _build(source: Any, phase: Any, state: Any) -> Net:
    """Build the net of a file name or a NetParameter, in `phase` and with the rest of `state`."""
    file = graph.read_net_file(source) if isinstance(source, str) else None
    if file:
        param = file.net
    else:
        param = caffe_pb2.NetParameter()
        param.CopyFrom(source)
        upgrade.upgrade_net(param)
    net_state = caffe_pb2.NetState()
    net_state.phase = phase
    net_state.MergeFrom(param.state)
    if state is not None:
        net_state.MergeFrom(state)
    param.state.CopyFrom(net_state)
    if file is None:
        return Net.from_param(param)
    with module_search.beside(source):
        import_users_types()
    file.check(param.state, layer_type_list(), users_types())
    with in_file(source), module_search.beside(source):
        return Net.from_param(param)


def _finetune(net: Net, param: Any) -> None:
    """Copy the weights that the solver names, in order; one entry may name several files."""
    for path in ",".join(param.weights).split(","):
        if path.strip():
            glog.write("solver.cpp:72", f"Finetuning from {path.strip()}")
            net.copy_from(path.strip())
