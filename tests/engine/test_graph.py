"""NetParameters before a net is built: the phase filter, Split layers, nets of older forms."""

import pytest
from caffe import graph
from caffe.errors import FileError, LayerError, NetError
from caffe.proto import caffe_pb2
from google.protobuf import text_format


def net(text):
    return text_format.Parse(text, caffe_pb2.NetParameter())


def layers(param):
    return [(layer.name, list(layer.bottom), list(layer.top)) for layer in param.layer]


def test_a_top_with_two_readers_gets_a_split_layer():
    param = graph.insert_splits(
        net("""
        name: "net" state { phase: TEST }
        layer { name: "data" type: "Input" top: "data" }
        layer { name: "a" type: "ReLU" bottom: "data" top: "a" }
        layer { name: "b" type: "ReLU" bottom: "data" top: "b" }
        """)
    )
    assert (param.name, param.state.phase) == ("net", caffe_pb2.TEST)
    assert layers(param) == [
        ("data", [], ["data"]),
        ("data_data_0_split", ["data"], ["data_data_0_split_0", "data_data_0_split_1"]),
        ("a", ["data_data_0_split_0"], ["a"]),
        ("b", ["data_data_0_split_1"], ["b"]),
    ]


def test_the_layer_that_last_wrote_a_blob_is_split():
    param = graph.insert_splits(
        net("""
        layer { name: "data" type: "Input" top: "x" }
        layer { name: "relu" type: "ReLU" bottom: "x" top: "x" }
        layer { name: "a" type: "ReLU" bottom: "x" top: "a" }
        layer { name: "b" type: "ReLU" bottom: "x" top: "b" }
        """)
    )
    assert [layer.name for layer in param.layer] == ["data", "relu", "x_relu_0_split", "a", "b"]
    assert list(param.layer[1].bottom) == ["x"]


def test_a_loss_weight_moves_to_the_first_top_of_the_split_layer():
    param = graph.insert_splits(
        net("""
        layer { name: "data" type: "Input" top: "data" }
        layer { name: "loss" type: "Reduction" bottom: "data" top: "loss" loss_weight: 3 }
        layer { name: "silence" type: "Silence" bottom: "loss" }
        """)
    )
    _, loss, split, silence = param.layer
    assert not loss.loss_weight and list(split.loss_weight) == [3, 0]
    assert list(silence.bottom) == [split.top[1]]


def test_a_bottom_that_no_layer_produces_is_an_error_of_its_layer():
    message = r"layer 'a' \(ReLU\): no layer before it makes its bottom 'y'; .* so far: 'x'"
    with pytest.raises(LayerError, match=message) as error:
        graph.insert_splits(
            net("""
            layer { name: "data" type: "Input" top: "x" }
            layer { name: "a" type: "ReLU" bottom: "y" top: "a" }
            """)
        )
    assert (error.value.layer, error.value.layer_type) == ("a", "ReLU")


@pytest.mark.parametrize(
    ("rule", "included"),
    [
        ("include { phase: TEST }", True),
        ("include { phase: TRAIN }", False),
        ("include { phase: TRAIN } include { stage: 'deploy' }", True),
        ("exclude { stage: 'deploy' }", False),
        ("exclude { min_level: 3 }", True),
        ("include { max_level: 1 }", False),
        ("include { not_stage: 'other' }", True),
    ],
)
def test_the_state_of_a_net_selects_its_layers(rule, included):
    param = net(f"""
        state {{ phase: TEST level: 2 stage: "deploy" }}
        layer {{ name: "a" type: "Input" {rule} }}
    """)
    filtered = graph.filter_net(param)
    assert bool(filtered.layer) is included and filtered.state == param.state


def test_a_layer_with_both_include_and_exclude_is_refused():
    with pytest.raises(LayerError, match=r"layer 'a' \(Input\): has both include and exclude"):
        graph.filter_net(net('layer { name: "a" type: "Input" include {} exclude {} }'))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('layer { name: "a" } layers { name: "b" type: RELU }', "has both `layer` and `layers`"),
        ('layers { layer { name: "a" type: "fold" } }', "layer 'a' has the unknown V0 type 'fold'"),
        ('input: "data" input_dim: 1', "1 inputs with 0 input_shape and 1 input_dim"),
        (
            'input: "a" input: "b" ' + 5 * "input_dim: 1 ",
            "2 inputs with 0 input_shape and 5 input_dim",
        ),
    ],
)
def test_a_net_that_cannot_be_upgraded_is_an_error_that_names_its_file(tmp_path, text, reason):
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    with pytest.raises(NetError, match=rf"net\.prototxt: .*{reason}") as error:
        graph.read_net(path)
    assert not isinstance(error.value, FileError)


def test_a_solver_with_both_forms_of_its_type_is_refused(tmp_path):
    path = tmp_path / "solver.prototxt"
    path.write_text('type: "SGD" solver_type: ADAM')
    with pytest.raises(NetError, match=r"solver\.prototxt: solver_type is the old form of type"):
        graph.read_solver(path)


def test_snapshots_are_named_after_the_solver_file_unless_it_names_them(tmp_path):
    path = tmp_path / "solver.prototxt"
    path.write_text("")
    assert graph.read_solver(path).snapshot_prefix == str(tmp_path / "solver")
    path.write_text(f"snapshot_prefix: '{tmp_path}'")
    assert graph.read_solver(path).snapshot_prefix == str(tmp_path / "solver")
    path.write_text("snapshot_prefix: 'snap/net'")
    assert graph.read_solver(path).snapshot_prefix == "snap/net"
