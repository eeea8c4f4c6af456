"""What a prototxt has that the engine does not: unknown types, fields and values."""

import os

import caffe
import numpy as np
import pytest
from caffe import CaffeError, forks, inspect, text, unknown
from caffe import __main__ as command_line
from caffe.errors import NetError, PrototxtError, UsageError
from caffe.proto import caffe_pb2

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } }\n'


@pytest.fixture
def build(tmp_path):
    """Return a function that builds the TEST net of a text, or the net of another phase."""

    def make(layers, phase=caffe.TEST, head=INPUT):
        path = tmp_path / "net.prototxt"
        path.write_text(head + layers)
        return caffe.Net(str(path), phase)

    return make


def test_one_message_names_all_unknown_types_and_fields(build):
    with pytest.raises(PrototxtError) as error:
        build(
            'layer { name: "a" type: "BatchReduction" bottom: "data" top: "a"\n'
            "  batch_reduction_param { pos: true } }\n"
            'layer { name: "b" type: "Whirl" bottom: "data" top: "b" }\n'
            'layer { name: "c" type: "Whirl" bottom: "data" top: "c" relu_param { slope: 1 } }\n'
            'layer { name: "d" type: "ReLU" bottom: "data" top: "d" relu_param { slope: 1 } }\n'
        )
    (line,) = str(error.value).splitlines()
    assert "unknown type 'BatchReduction' (layer a; from the fork yjxiong/caffe" in line
    assert "unknown type 'Whirl' (layers b, c) with field slope; " in line
    assert 'ReLUParameter has no field named "slope" (line 6, layer d)' in line
    assert ") with field batch_reduction_param; " in line
    assert "batch_reduction_param" not in line.split("batch_reduction_param", 1)[1]
    assert "caffe.register_layer(class, type) and correct or remove the fields" in line


def test_fields_of_v1_in_a_present_layer_name_the_present_fields(build):
    with pytest.raises(PrototxtError) as error:
        build('layer { name: "r" type: "ReLU" bottom: "data" blobs_lr: 1 weight_decay: 0 }\n')
    assert "(line 2, layer r; in a block `layer` it is param { lr_mult: ... })" in str(error.value)
    assert "in a block `layer` it is param { decay_mult: ... })" in str(error.value)


def test_the_message_about_an_unknown_data_layer_names_another_way_to_bring_data(build):
    advice = "register_layer.class, type., or bring the data by another layer, such as HDF5Data$"
    with pytest.raises(NetError, match=advice):
        build('layer { name: "d" type: "WhirlData" top: "d" }\n')
    advice = "such as HDF5Data, and correct or remove the fields$"
    with pytest.raises(PrototxtError, match=advice):
        build(
            'layer { name: "d" type: "WhirlData" top: "d" }\n'
            'layer { name: "r" type: "ReLU" bottom: "d" relu_param { slope: 1 } }\n'
        )


def test_one_message_names_the_unknown_types_of_a_net_parameter():
    net = caffe_pb2.NetParameter(layer=[{"name": n, "type": n.upper()} for n in ("aa", "bb")])
    with pytest.raises(NetError, match="unknown type 'AA' .*unknown type 'BB'"):
        caffe.Net.from_param(net)


@pytest.mark.parametrize(
    "layers, words",
    [
        ('layer { name: "x" type: "Convolutoin" bottom: "data" }', "did you mean 'Convolution'"),
        (
            'layer { name: "x" type: "Pooling" pooling_param { kernal_size: 3 } }',
            "no field named \"kernal_size\" .*did you mean 'kernel_size'",
        ),
        (
            'layer { name: "x" type: "Pooling" pooling_param { pool: MAXI } }',
            "PoolingParameter.pool has no value MAXI .*did you mean 'MAX'",
        ),
        ("forse_backward: true", "did you mean 'force_backward'"),
        ('layer { name: "x" type: "CONVOLUTION" bottom: "data" }', "did you mean 'Convolution'"),
        (
            'layer { name: "x" type: "SOFTMAX_LOSS" bottom: "data" }',
            "did you mean 'SoftmaxWithLoss'[?][)]; correct the type, or write a class",
        ),
        (
            'layer { name: "x" type: "Data" data_param { batch_sise: 3 } }',
            "no field named \"batch_sise\" .*did you mean 'batch_size'",
        ),
    ],
)
def test_a_misspelt_word_gets_a_suggestion(build, layers, words):
    with pytest.raises(CaffeError, match=words):
        build(layers)


def test_fields_that_only_tune_a_fork_are_left_out_with_a_warning(build, capfd, monkeypatch):
    monkeypatch.setenv("GLOG_minloglevel", "1")
    net = build(
        'default_forward_type: FLOAT16 layer { name: "r" type: "ReLU" bottom: "data" top: "r"\n'
        "  forward_math: FLOAT relu_param { engine: MKL2017 negative_slope: 0.5 fuse: true } }"
    )
    net.blobs["data"].data[...] = -2
    assert (net.forward()["r"] == -1).all()
    warnings = [line for line in capfd.readouterr().err.splitlines() if "left out" in line]
    assert len(warnings) == 4 and all(line.startswith("W") for line in warnings)
    assert any("left out engine: MKL2017 of layer 'r'" in line for line in warnings)


def test_unknown_fields_of_layers_that_are_not_in_the_net_are_left_out(build, capfd, monkeypatch):
    monkeypatch.setenv("GLOG_minloglevel", "1")
    data = 'layer { name: "train" type: "Wild" include { phase: TRAIN } wild_param { a: [1, 2] } }'
    build(data)
    assert "left out wild_param of layer 'train'" in capfd.readouterr().err
    with pytest.raises(PrototxtError, match="wild_param"):
        build(data, caffe.TRAIN)


def test_words_of_unknown_forks_in_data_layers_are_left_out_with_a_warning(
    build, capfd, monkeypatch
):
    monkeypatch.setenv("GLOG_minloglevel", "1")
    with pytest.raises(CaffeError, match="layer 'd' .ImageData.: source is 'none'"):
        build(
            'layer { name: "d" type: "ImageData" top: "d" top: "l" pose_param { a: 1 }\n'
            '  image_data_param { source: "none" batch_size: 1 weather: 20 } }'
        )
    log = capfd.readouterr().err
    assert "left out weather of layer 'd'" in log
    assert "left out pose_param of layer 'd'" in log


def test_random_changes_of_colours_are_left_out_with_a_warning(build, capfd, monkeypatch):
    monkeypatch.setenv("GLOG_minloglevel", "1")
    build(
        'layer { name: "i" type: "Input" top: "i" input_param { shape { dim: [1, 3, 4, 4] } } }\n'
        'layer { name: "a" type: "DataAugmentation" bottom: "i" top: "a"\n'
        "  augmentation_param { crop_width: 4 crop_height: 4 lmult_pow { mean: 1 } } }",
        phase=caffe.TRAIN,
    )
    assert "left out lmult_pow of layer 'a'" in capfd.readouterr().err


def test_what_only_shows_or_quantises_is_left_out_with_a_warning(build, capfd, monkeypatch):
    monkeypatch.setenv("GLOG_minloglevel", "1")
    net = build(
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r"\n'
        "  quantization_param { bw_layer_in: 8 scale_in: 1.5 } visualize: true }"
    )
    assert net.blobs["r"].shape == (1, 2)
    log = capfd.readouterr().err
    assert "left out visualize of layer 'r': it only writes or shows detections" in log
    assert "left out scale_in of layer 'r': it only tunes how a fork computes" in log


def test_the_inspector_shows_layers_of_unknown_types_without_their_fields(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "d" type: "PoseData" top: "data" pose_param { sigma: 7 } }\n' + INPUT
    )
    assert [row.type for row in inspect.inspect_net(path).rows] == ["PoseData", "Input"]
    path.write_text(INPUT + 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" pose: 1 }')
    with pytest.raises(PrototxtError, match='no field named "pose"'):
        inspect.inspect_net(path)


def test_a_v1_layer_may_have_a_present_type_in_quotes_and_present_settings(build):
    head = 'input: "data" input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4\n'
    net = build(
        'layers { name: "r" type: "Reshape" bottom: "data" top: "r"\n'
        "  reshape_param { shape { dim: 0 dim: -1 } } }\n"
        'layers { name: "p" type: PRELU bottom: "r" top: "p" prelu_param { channel_shared: 1 } }',
        head=head,
    )
    assert net.blobs["p"].shape == (1, 24) and net.params["p"][0].shape == ()


def test_a_v1_type_of_a_fork_is_the_present_type_of_that_name(build):
    head = 'input: "data" input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4\n'
    net = build('layers { name: "n" type: CHANNEL_NORM bottom: "data" top: "n" }', head=head)
    assert net.layers[1].type == "ChannelNorm" and net.blobs["n"].shape == (1, 1, 3, 4)


def test_the_message_names_the_unknown_types_of_layers_without_names(build):
    with pytest.raises(NetError, match="unknown type 'AA' .*unknown type 'BB'"):
        build('layer { type: "AA" bottom: "data" } layer { type: "BB" bottom: "data" }')


def test_an_unknown_v1_type_is_named(build):
    head = 'input: "data" input_dim: 1 input_dim: 2 input_dim: 1 input_dim: 1\n'
    with pytest.raises(NetError, match="unknown type 'WHIRL' .layer w."):
        build('layers { name: "w" type: WHIRL bottom: "data" top: "w" }', head=head)


def test_v1_types_and_fields_of_forks_are_read(build):
    head = 'input: "data" input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4\n'
    net = build(
        'layers { name: "p" type: PERMUTE bottom: "data" top: "p" '
        "permute_param { order: 0 order: 2 } }",
        head=head,
    )
    assert net.blobs["p"].shape == (1, 3, 2, 4)


class Doubling(caffe.Layer):
    """A user's layer; reads a factor from its own settings."""

    def setup(self, bottom, top):
        self.factor = 3 if "factor: 3" in self.param_str else 2

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = self.factor * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = self.factor * top[0].diff


def test_a_registered_python_layer_runs_under_its_own_type(build):
    assert caffe.register_layer(Doubling, "Whirlpool") is Doubling
    assert "Whirlpool" in caffe.layer_type_list()
    net = build(
        'force_backward: true layer { name: "w" type: "Whirlpool" bottom: "data" top: "w" }\n'
        'layer { name: "v" type: "Whirlpool" bottom: "w" top: "v"\n  whirl_param { factor: 3 } }\n'
    )
    net.blobs["data"].data[...] = 1
    assert (net.forward()["v"] == 6).all()
    net.blobs["v"].diff[...] = 1
    net.backward()
    assert (net.blobs["data"].diff == 6).all()


def test_only_layers_can_be_registered():
    with pytest.raises(TypeError, match="subclass of caffe.Layer"):
        caffe.register_layer(np.ndarray)


@pytest.mark.parametrize(
    "written", ["a { b: 1 }", "a: < b: [1, -2e3] >; c: 'x' \"y\"", "a { } # }\nb: -inf, c: 1"]
)
def test_the_scanner_reads_what_protobuf_reads(written):
    names = {node.name for node in unknown.parse(written)}
    assert "a" in names
    assert {item.name for item in unknown.scan(written, caffe_pb2.BlobShape.DESCRIPTOR)} == names


@pytest.mark.parametrize("written", ["a {", "a: }", "a: 'x", "1 { } }", "a: \x01"])
def test_malformed_text_is_a_syntax_error(written, tmp_path):
    with pytest.raises(unknown.MalformedTextError):
        unknown.parse(written)
    path = tmp_path / "net.prototxt"
    path.write_text("name: 'n'\n" + written)
    with pytest.raises(PrototxtError, match="net.prototxt:2"):
        text.read_text(path, caffe_pb2.NetParameter())


def test_a_fork_is_set_by_name(monkeypatch):
    assert forks.current_fork() is None
    monkeypatch.setenv("CAFFE_FORK", "yolo")
    assert forks.current_fork() == "yolo"
    caffe.set_fork("segnet")
    assert forks.current_fork() == "segnet"
    caffe.set_fork(None)
    with pytest.raises(UsageError, match="did you mean 'segnet'"):
        caffe.set_fork("segnt")


def test_the_command_line_sets_the_fork(tmp_path, capsys):
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT)
    names = []

    class Fork(Doubling):
        def setup(self, bottom, top):
            names.append(forks.current_fork())

    caffe.register_layer(Fork)
    path.write_text(INPUT + 'layer { name: "f" type: "Fork" bottom: "data" top: "f" }')
    main = ["time", "--model", str(path), "--iterations", "1", "--fork", "segnet"]
    Fork.factor = 1
    assert command_line.main(main) == 0
    assert names == ["segnet"] and forks.current_fork() is None


def test_the_command_line_imports_modules_of_layer_types(tmp_path, monkeypatch, capfd):
    (tmp_path / "tripling_layers.py").write_text(
        "import caffe\n@caffe.register_layer\nclass Tripling(caffe.Layer):\n"
        "    def setup(self, bottom, top): self.factor = int(self.param_str.split()[3])\n"
        "    def reshape(self, bottom, top): top[0].reshape(*bottom[0].shape)\n"
        "    def forward(self, bottom, top): top[0].data[...] = self.factor * bottom[0].data\n"
        "    def backward(self, top, propagate_down, bottom): pass\n"
    )
    path = tmp_path / "net.prototxt"
    layer = 'layer { name: "t" type: "Tripling" bottom: "data" top: "t" tripling_param { by: 3 } }'
    path.write_text(INPUT + layer)
    main = ["time", "-model", str(path), "-iterations", "1", "-layers"]
    assert command_line.main([*main, "no_such_layers"]) == 1
    message = "CAFFE_LAYERS: module 'no_such_layers' cannot be imported: ModuleNotFoundError"
    assert message in capfd.readouterr().err
    assert command_line.main([*main, "tripling_layers"]) == 0
    assert "CAFFE_LAYERS" not in os.environ


def test_a_filler_of_an_unknown_fork_leaves_zeros_in_a_net_that_reads_its_weights(
    build, capfd, monkeypatch
):
    monkeypatch.setenv("GLOG_minloglevel", "1")
    text = (
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } } '
        'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { '
        'num_output: 2 weight_filler { type: "orthogonal" num_groups: 2 } } }'
    )
    net = build(text)
    assert not net.params["ip"][0].data.any()
    log = capfd.readouterr().err
    assert "layer 'ip' (InnerProduct): unknown filler type 'orthogonal'" in log
    assert "left out num_groups of layer 'ip'" in log
    with pytest.raises(CaffeError, match="did you mean 'value'"):
        build(text.replace("num_groups", "vallue"))
    with pytest.raises(CaffeError, match="unknown filler type 'orthogonal'; known types"):
        build(text, caffe.TRAIN)
    with pytest.raises(CaffeError, match="'gausian'.*did you mean 'gaussian'"):
        build(text.replace("orthogonal", "gausian"))
