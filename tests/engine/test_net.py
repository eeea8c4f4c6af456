import caffe
import numpy as np
import pytest
from caffe import CaffeError

from tests.engine.nets import SCORER, TRAINED, build, write


@pytest.fixture
def net(tmp_path):
    caffe.set_random_seed(1)
    net = build(tmp_path, SCORER)
    net.blobs["data"].data[...] = np.random.RandomState(0).randn(1, 3, 8, 8)
    return net


def test_all_constructor_forms_build_the_same_net(tmp_path, net):
    path, model = write(tmp_path, SCORER), str(tmp_path / "w.caffemodel")
    net.save(model)
    for other in (
        caffe.Net(path, caffe.TEST, weights=model),
        caffe.Net(path, model, caffe.TEST),
        caffe.Net(path, phase=caffe.TEST, weights=model),
    ):
        np.testing.assert_array_equal(other.params["conv"][0].data, net.params["conv"][0].data)


def test_levels_and_stages_choose_layers(tmp_path):
    text = SCORER + (
        'layer { name: "prob" type: "Softmax" bottom: "score" top: "prob" '
        'include { stage: "deploy" min_level: 1 } }'
    )
    assert "prob" not in build(tmp_path, text).blobs
    assert "prob" not in build(tmp_path, text, stages=["deploy"]).blobs
    assert "prob" in build(tmp_path, text, stages=["deploy"], level=1).blobs


def test_names_are_listed_in_the_order_of_the_prototxt(net):
    assert list(net.blobs) == ["data", "conv", "pool", "score"]
    assert list(net.params) == ["conv", "score"]
    assert (net.inputs, net.outputs) == (["data"], ["score"])
    assert net.bottom_names["relu"] == ["conv"] and net.top_names["relu"] == ["conv"]
    assert net.layer_dict["pool"].type == "Pooling" and net.layers[1].type == "Convolution"


def test_writing_into_a_parameter_changes_the_next_forward(net):
    net.params["score"][0].data[...] = 0
    net.params["score"][1].data[...] = [1, 2, 3]
    np.testing.assert_array_equal(net.forward()["score"][0, :, 0, 0], [1, 2, 3])


def test_an_output_array_that_is_held_shows_each_new_result(net):
    held = net.forward()["score"]
    first = held.copy()
    net.blobs["data"].data[...] *= 2
    net.forward()
    assert not np.array_equal(held, first)
    np.testing.assert_array_equal(held, net.blobs["score"].data)


def test_the_input_may_take_another_size_from_one_image_to_the_next(net):
    for size in (8, 13, 6, 13):
        net.blobs["data"].reshape(1, 3, size, size)
        net.blobs["data"].data[...] = 1
        assert net.forward()["score"].shape == (1, 3, (size + 1) // 2, (size + 1) // 2)
    net.blobs["data"].reshape(2, 3, 10, 12)
    net.reshape()
    assert net.blobs["score"].shape == (2, 3, 5, 6)


def test_forward_from_a_layer_uses_what_the_blob_holds(net):
    net.forward()
    net.blobs["pool"].data[...] = 0
    out = net.forward(start="score")
    np.testing.assert_array_equal(out["score"][0, :, 0, 0], net.params["score"][1].data)
    assert set(net.forward(end="pool")) == {"pool"}
    assert set(net.forward(["conv"])) == {"conv", "score"}


def test_keyword_inputs_are_checked(net):
    data = np.zeros((1, 3, 8, 8))
    np.testing.assert_array_equal(net.forward(data=data)["score"], net.blobs["score"].data)
    with pytest.raises(CaffeError, match="do not match net inputs"):
        net.forward(image=data)
    with pytest.raises(CaffeError, match="not batch sized"):
        net.forward(data=np.zeros((2, 3, 8, 8)))


def test_forward_all_runs_in_batches_and_drops_the_padding(net):
    net.blobs["data"].reshape(2, 3, 8, 8)
    data = np.random.RandomState(1).randn(5, 3, 8, 8).astype(np.float32)
    together = net.forward_all(data=data)["score"]
    assert together.shape == (5, 3, 4, 4)
    net.blobs["data"].reshape(1, 3, 8, 8)
    for one, expected in zip(data, together):
        np.testing.assert_allclose(
            net.forward(data=one[None])["score"][0], expected, rtol=1e-5, atol=1e-6
        )


def test_backward_reaches_the_input_of_a_net_that_forces_it(tmp_path):
    net = build(tmp_path, "force_backward: true\n" + SCORER)
    net.blobs["data"].data[...] = 1
    net.forward()
    grads = net.backward(score=np.ones((1, 3, 4, 4)))
    assert grads["data"].shape == (1, 3, 8, 8) and grads["data"].any()
    once = net.params["conv"][0].diff.copy()
    net.backward(score=np.ones((1, 3, 4, 4)))
    np.testing.assert_allclose(net.params["conv"][0].diff, 2 * once, rtol=1e-6)
    net.clear_param_diffs()
    assert not net.params["conv"][0].diff.any()


def test_gradients_are_those_of_finite_differences(tmp_path):
    caffe.set_random_seed(3)
    net = build(tmp_path, TRAINED, caffe.TRAIN)
    rng = np.random.RandomState(0)
    net.blobs["data"].data[...] = rng.randn(4, 5)
    net.blobs["label"].data[...] = [0, 1, 2, 1]
    net.forward()
    net.backward()
    weight = net.params["ip"][0]
    for index in ((0, 0), (1, 3), (2, 4)):
        losses = []
        for step in (1e-2, -2e-2):
            weight.data[index] += step
            losses.append(float(net.forward()["loss"]))
        weight.data[index] += 1e-2
        assert (losses[0] - losses[1]) / 2e-2 == pytest.approx(weight.diff[index], abs=1e-4)


def test_a_test_net_with_a_loss_can_run_backward(tmp_path):
    caffe.set_random_seed(3)
    nets = [build(tmp_path, TRAINED, phase) for phase in (caffe.TRAIN, caffe.TEST)]
    nets[1].share_with(nets[0])
    for net in nets:
        net.blobs["data"].data[...] = np.arange(20).reshape(4, 5) / 20
        net.forward()
        net.backward()
    # The net of phase TEST runs forward by bound calls, which round otherwise.
    diffs = [net.params["ip"][0].diff for net in nets]
    np.testing.assert_allclose(*diffs, rtol=0, atol=1e-6 * abs(diffs[0]).max())


def test_shared_weights_follow_their_owner(tmp_path, net):
    other = build(tmp_path, SCORER)
    other.share_with(net)
    net.params["conv"][0].data[...] = 4
    assert (other.params["conv"][0].data == 4).all()


def test_callbacks_come_before_and_after_each_layer(net):
    calls = []
    net.before_forward(lambda i: calls.append(("before", i)))
    net.after_forward(lambda i: calls.append(("after", i)))
    net.forward(end="conv")
    assert calls == [("before", 0), ("after", 0), ("before", 1), ("after", 1)]


class Doubler(caffe.Layer):
    def setup(self, bottom, top):
        self.factor = float(self.param_str or 2)

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = self.factor * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            bottom[0].diff[...] = self.factor * top[0].diff


DOUBLED = """
force_backward: true
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 } } }
layer { name: "double" type: "Python" bottom: "data" top: "double"
  python_param { module: "tests.engine.test_net" layer: "Doubler" param_str: "3" } }
"""


def test_a_python_layer_runs_forward_and_backward(tmp_path):
    net = build(tmp_path, DOUBLED)
    net.blobs["data"].data[...] = [1, 2]
    np.testing.assert_array_equal(net.forward()["double"], [3, 6])
    np.testing.assert_array_equal(net.backward(double=np.array([1, 5]))["data"], [3, 15])
    assert net.layers[1].factor == 3


@pytest.mark.parametrize(
    "change, message",
    [
        (("kernel_size: 3", "kernel_sise: 3"), "kernel_sise"),
        (('type: "ReLU"', 'type: "RelU"'), "unknown type 'RelU' .*did you mean 'ReLU'"),
        (('bottom: "pool"', 'bottom: "pol"'), "layer 'score'.*no layer before it makes.*'pol'"),
        (("num_output: 4", "num_output: 0"), "layer 'conv'.*num_output is 0; it needs.*at least 1"),
        (
            ('bottom: "conv" top: "pool"', 'bottom: "conv" top: "conv" top: "pool"'),
            "layer 'pool'.*in place",
        ),
        (
            ('bottom: "conv" top: "conv"', 'bottom: "conv" top: "data"'),
            "layer 'relu'.*'data' is already made",
        ),
        (("kernel_size: 2 stride: 2", "kernel_size: 20"), "layer 'pool'.*8 .*smaller.*20"),
        (('type: "xavier"', 'type: "xaver"'), "layer 'score'.*unknown filler type 'xaver'"),
        (('type: "xavier"', 'type: "gaussian" sparse: 4'), "sparse is 4; .* at most 3"),
        (("dim: 8 dim: 8", "dim: 8"), "layer 'pool'.*needs 4 or 5 axes"),
        (("pad: 1", "pad: 1 group: 2"), "group 2 does not divide 3 channels"),
    ],
)
def test_a_mistake_in_a_prototxt_is_one_line_that_names_the_place(tmp_path, change, message):
    assert change[0] in SCORER
    with pytest.raises(CaffeError, match=message) as caught:
        build(tmp_path, SCORER.replace(*change))
    assert "\n" not in str(caught.value) and "net.prototxt" in str(caught.value)


def test_a_label_that_is_not_a_class_is_refused(tmp_path):
    net = build(tmp_path, TRAINED, caffe.TRAIN)
    net.blobs["label"].data[...] = [0, 1, 2, 3]
    with pytest.raises(CaffeError, match=r"layer 'loss'.*a label is 3; it needs to be 0 \.\. 2"):
        net.forward()


def test_a_missing_prototxt_is_said(tmp_path):
    with pytest.raises(CaffeError, match="Could not open file .*nothing"):
        caffe.Net(str(tmp_path / "nothing"), caffe.TEST)


def test_an_unknown_layer_name_lists_the_known_names(net):
    with pytest.raises(CaffeError, match="no layer 'conv9'; it has data, conv"):
        net.forward(end="conv9")


def test_gpu_mode_without_a_device_is_an_error_that_says_so(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(CaffeError, match="GPU 0 was asked for, but .* finds 0 CUDA devices"):
        caffe.set_mode_gpu()
    with pytest.raises(CaffeError, match="GPU 3"):
        caffe.set_device(3)


def test_the_values_that_a_pass_replaces_are_freed_before_the_pass(tmp_path):
    net = build(tmp_path, SCORER)
    net.blobs["data"].data[...] = 1
    expected = net.forward()["score"].copy()
    net.executor.free_last_pass()
    memories = [net.blobs[name].values for name in ("conv", "pool", "score")]
    assert all(memory.is_zero() for memory in memories)
    assert (net.blobs["data"].data == 1).all()
    np.testing.assert_array_equal(net.forward()["score"], expected)


def test_an_array_that_is_held_outlasts_the_freed_memory(tmp_path):
    net = build(tmp_path, SCORER)
    net.blobs["data"].data[...] = 1
    held = net.forward()["score"]
    before = held.copy()
    net.executor.free_last_pass()
    np.testing.assert_array_equal(held, before)
    net.blobs["data"].data[...] = 2
    net.forward()
    assert not np.array_equal(held, before)
