import re

import caffe
import numpy as np
import pytest
from caffe import CaffeError
from caffe.errors import LayerError
from caffe.proto import caffe_pb2
from caffe.train import policies

from tests.engine.nets import TRAINED, solver, write


def feed(solver, seed=0):
    rng = np.random.RandomState(seed)
    solver.net.blobs["data"].data[...] = rng.randn(4, 5)
    solver.net.blobs["label"].data[...] = rng.randint(3, size=4)


def weights(solver):
    return np.concatenate([b.data.ravel() for blobs in solver.net.params.values() for b in blobs])


def gradient(s):
    """The gradient of the layer's parameters at their present values."""
    s.net.clear_param_diffs()
    s.net.forward()
    s.net.backward()
    return np.concatenate([b.diff.ravel() for b in s.net.params["ip"]]).astype(np.float64)


def test_one_step_is_momentum_times_history_plus_rate_times_gradient(tmp_path):
    s = solver(tmp_path, 'base_lr: 0.5 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.1')
    feed(s)
    w, history = weights(s).astype(np.float64), 0
    for _ in range(3):
        grad = gradient(s)
        rate = np.where(np.arange(18) < 15, 0.5, 1.0)  # the bias learns twice as fast,
        decay = np.where(np.arange(18) < 15, 0.1, 0.0)  # and does not decay
        history = 0.9 * history + rate * (grad + decay * w)
        w = w - history
        s.step(1)
        np.testing.assert_allclose(weights(s), w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "policy, at, rate",
    [
        ('lr_policy: "fixed"', 7, 1.0),
        ('lr_policy: "step" gamma: 0.1 stepsize: 3', 7, 0.01),
        ('lr_policy: "exp" gamma: 0.9', 7, 0.9**7),
        ('lr_policy: "inv" gamma: 0.5 power: 2', 7, (1 + 0.5 * 7) ** -2),
        ('lr_policy: "multistep" gamma: 0.1 stepvalue: 2 stepvalue: 5', 7, 0.01),
        ('lr_policy: "poly" power: 2 max_iter: 10', 7, 0.3**2),
        ('lr_policy: "sigmoid" gamma: 1 stepsize: 7', 7, 0.5),
        ('lr_policy: "multifixed" stagelr: [2, 3, 4] stageiter: [5, 8, 9]', 7, 3),
        ('lr_policy: "multifixed" stagelr: [2, 3] stageiter: [5, 7]', 7, 3),
        ('lr_policy: "fixed" rampup_interval: 10 rampup_lr: 0.5', 5, 0.75),
        ('lr_policy: "fixed" warmup_iter: 4 warmup_start_lr: 0.5', 5, 1.0),
        ('lr_policy: "exp" gamma: 0.1 min_lr: 0.01', 7, 0.01),
        ('lr_policy: "triangular" max_lr: 5 stepsize: 4', 7, 2.0),
        ('lr_policy: "triangular" max_lr: 5 stepsize: 2 start_lr_policy: 1', 7, 5.0),
        ('lr_policy: "triangular2" max_lr: 5 stepsize: 2', 6, 3.0),
    ],
)
def test_a_policy_gives_the_learning_rate_of_an_iteration(tmp_path, policy, at, rate):
    s = solver(tmp_path, f"base_lr: 1 {policy}")
    feed(s)
    s.step(at)
    assert s.lr == pytest.approx(rate)


@pytest.mark.parametrize("kind", ["SGD", "Nesterov"])
@pytest.mark.parametrize(
    "policy, momentum",
    [
        (
            '"poly" max_iter: 8 max_momentum: 0.9 momentum_power: 2',
            lambda t: 0.1 + 0.8 * (t / 8) ** 2,
        ),
        ('"opt"', lambda t: (1 - np.sqrt(0.04) / 2) ** 2),
        ('"opt" max_momentum: 0.6', lambda t: 0.6),
    ],
)
def test_a_momentum_policy_changes_the_momentum(tmp_path, kind, policy, momentum):
    text = (
        f'type: "{kind}" base_lr: 0.04 lr_policy: "fixed" momentum: 0.1 momentum_policy: {policy}'
    )
    s = solver(tmp_path, text, cls=caffe.get_solver)
    feed(s)
    w, v = weights(s).astype(np.float64), 0
    for iteration in range(4):
        grad = gradient(s)
        rate, m, last = np.where(np.arange(18) < 15, 0.04, 0.08), momentum(iteration), v
        v = m * v + rate * grad
        w = w - (v if kind == "SGD" else (1 + m) * v - m * last)
        s.step(1)
        np.testing.assert_allclose(weights(s), w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "fields, words",
    [
        ('momentum_policy: "linear"', "momentum_policy is 'linear'; it needs to be one of fixed"),
        ('momentum_policy: "poly"', "momentum_policy 'poly' has max_iter 0; set max_iter"),
        ('type: "Adam" momentum_policy: "opt"', "Adam has no momentum that changes"),
        ('base_lr: 1 lr_policy: "triangular" stepsize: 2', "lr_policy 'triangular' has no max_lr"),
        ('base_lr: 1 lr_policy: "triangular" max_lr: 2', "lr_policy 'triangular' has stepsize 0"),
    ],
)
def test_policies_without_their_settings_are_refused(tmp_path, fields, words):
    with pytest.raises(CaffeError, match=words):
        solver(tmp_path, fields, cls=caffe.get_solver)


def test_a_clipped_gradient_keeps_its_direction(tmp_path):
    text = 'base_lr: 1 lr_policy: "fixed" '
    free = solver(tmp_path, text)
    clipped = solver(tmp_path, text + "clip_gradients: 0.01")
    start = weights(free)
    for s in (free, clipped):
        feed(s)
        s.step(1)
    long, short = weights(free) - start, weights(clipped) - start
    gradient = short / np.where(np.arange(18) < 15, 1, 2)
    assert np.linalg.norm(gradient) == pytest.approx(0.01, rel=1e-4)
    np.testing.assert_allclose(short / np.linalg.norm(short), long / np.linalg.norm(long), 1e-4)


def test_iter_size_averages_the_gradients(tmp_path):
    one = solver(tmp_path, "")
    two = solver(tmp_path, "iter_size: 2")
    two.share_weights(one.net)
    for s in (one, two):
        feed(s)
    start = weights(one)
    one.step(1)
    after_one = weights(one)
    two.net.params["ip"][0].data[...] = start[:15].reshape(3, 5)
    two.net.params["ip"][1].data[...] = start[15:]
    two.step(1)
    np.testing.assert_allclose(weights(two), after_one, rtol=1e-6)


@pytest.mark.parametrize("kind", ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"])
@pytest.mark.parametrize("form", ["BINARYPROTO", "HDF5"])
def test_a_restored_run_reaches_the_weights_of_an_uninterrupted_run(tmp_path, kind, form):
    momentum = "momentum: 0.9 " if kind not in ("AdaGrad", "RMSProp") else ""
    text = (
        f'type: "{kind}" base_lr: 0.05 lr_policy: "multistep" gamma: 0.5 stepvalue: 2 '
        f"stepvalue: 5 delta: 1e-4 snapshot_format: {form} {momentum}"
    )
    uninterrupted = solver(tmp_path, text, cls=caffe.get_solver)
    assert uninterrupted.type == kind
    feed(uninterrupted)
    uninterrupted.step(3)
    uninterrupted.snapshot()
    uninterrupted.step(4)
    suffix = ".h5" if form == "HDF5" else ""
    restored = solver(tmp_path, text, cls=caffe.get_solver)
    restored.restore(str(tmp_path / f"snap_iter_3.solverstate{suffix}"))
    feed(restored)
    assert restored.iter == 3
    restored.step(4)
    np.testing.assert_array_equal(weights(restored), weights(uninterrupted))


def test_snapshots_are_written_at_their_interval_and_after_training(tmp_path):
    s = solver(tmp_path, "snapshot: 2 max_iter: 5")
    feed(s)
    s.solve()
    names = sorted(p.name for p in tmp_path.glob("snap_iter_*"))
    assert names == [
        f"snap_iter_{n}.{kind}"
        for n in (2, 4, 5)
        for kind in ("caffemodel", "resume.json", "solverstate")
    ]


def test_weights_that_were_moved_are_found_beside_their_state(tmp_path):
    s = solver(tmp_path)
    feed(s)
    s.step(1)
    s.snapshot()
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in tmp_path.glob("snap_iter_1.*"):
        path.rename(moved / path.name)
    s.restore(str(moved / "snap_iter_1.solverstate"))
    (moved / "snap_iter_1.caffemodel").unlink()
    with pytest.raises(CaffeError, match="its weights .* are neither there nor beside the state"):
        s.restore(str(moved / "snap_iter_1.solverstate"))


def test_restoring_a_truncated_state_changes_nothing(tmp_path):
    s = solver(tmp_path)
    feed(s)
    s.step(1)
    s.snapshot()
    state = tmp_path / "snap_iter_1.solverstate"
    state.write_bytes(state.read_bytes()[:-20])
    s.step(1)
    before = weights(s)
    with pytest.raises(CaffeError, match=r"snap_iter_1\.solverstate: .*truncated"):
        s.restore(str(state))
    np.testing.assert_array_equal(weights(s), before)
    assert s.iter == 2


def test_the_log_has_the_lines_that_log_readers_look_for(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("GLOG_minloglevel", "0")
    s = solver(
        tmp_path, "display: 1 max_iter: 2 test_iter: 1 test_interval: 2 test_compute_loss: true"
    )
    feed(s)
    s.test_nets[0].blobs["data"].data[...] = 1
    capfd.readouterr()
    s.solve()
    lines = capfd.readouterr().err.splitlines()
    stamp = r"I\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ [a-z_]+\.cpp:\d+\] "
    assert all(re.match(stamp, line) for line in lines)
    text = "\n".join(re.sub(stamp, "", line) for line in lines)
    assert re.search(r"Iteration 0 \(0 iter/s, \S+s/1 iters\), loss = \d", text)
    assert re.search(r"    Train net output #0: loss = \S+ \(\* 1 = \S+ loss\)", text)
    assert "Iteration 1, lr = 0.1" in text
    assert "Iteration 0, Testing net (#0)" in text and "Iteration 2, Testing net (#0)" in text
    assert re.search(r"    Test net output #0: loss = \S+ \(\* 1 = \S+ loss\)", text)
    assert text.count("Optimization Done.") == 1


def test_callbacks_are_called_before_and_after_each_gradient(tmp_path):
    s = solver(tmp_path)
    feed(s)
    calls = []
    s.add_callback(lambda: calls.append("start"), lambda: calls.append("ready"))
    s.step(2)
    assert calls == ["start", "ready"] * 2


@pytest.mark.parametrize(
    "text, message",
    [
        ('base_lr: 1 lr_policy: "linear"', "lr_policy is 'linear'; it needs .* fixed, step"),
        ('base_lr: 1 lr_policy: "step"', "stepsize 0; it needs at least 1"),
        *(
            (
                f'base_lr: 1 lr_policy: "{policy}" gamma: -0.5 stepsize: 1',
                f"lr_policy '{policy}' has gamma -0.5; it needs at least 0",
            )
            for policy in ("step", "exp", "inv", "multistep", "sigmoid")
        ),
        ('type: "Adma"', "type is 'Adma'; it needs .* SGD, Nesterov"),
        ('regularization_type: "L3"', "regularization_type is 'L3'"),
        (
            'base_lr: 1 lr_policy: "fixed" type: "RMSProp" rms_decay: 1.5 momentum: 0',
            "rms_decay is 1.5; RMSProp needs",
        ),
        (
            'base_lr: 1 lr_policy: "fixed" type: "RMSProp" rms_decay: 1 momentum: 0',
            "rms_decay is 1; .* less than 1",
        ),
        (
            'base_lr: 1 lr_policy: "fixed" type: "RMSProp" rms_decay: -0.5 momentum: 0',
            "rms_decay is -0.5; .* at least 0",
        ),
        (
            'base_lr: 1 lr_policy: "fixed" type: "Adam" momentum: 1',
            "momentum is 1; Adam divides by",
        ),
        ('type: "Adam" momentum2: 2', "momentum2 is 2; .* at most 1"),
        ("test_iter: 1", "test_interval is 0"),
        ("test_iter: 1 test_iter: 2 test_interval: 1 test_state { }", "1 test_state for 2"),
        ('train_net: "x"', r"given by \['train_net', 'net'\]; it needs exactly one"),
        ("max_itr: 3", "max_itr"),
        ('type: "AdaGrad"', "momentum is 0.9; AdaGrad uses none"),
    ],
)
def test_an_error_in_a_solver_prototxt_is_one_line(tmp_path, text, message):
    with pytest.raises(CaffeError, match=message) as caught:
        solver(tmp_path, text, cls=caffe.get_solver)
    assert "\n" not in str(caught.value) and "solver.prototxt" in str(caught.value)


@pytest.mark.parametrize("policy", ["fixed", "poly"])
def test_a_policy_that_ignores_gamma_accepts_any_gamma(tmp_path, policy):
    text = f'base_lr: 1 lr_policy: "{policy}" gamma: -0.5 max_iter: 2 power: 1'
    assert solver(tmp_path, text, cls=caffe.get_solver).param.gamma == -0.5


def test_the_strict_mode_refuses_snapshots_outside_the_working_folder_before_training(
    tmp_path, monkeypatch
):
    net = write(tmp_path, TRAINED)
    text = f'net: "{net}" base_lr: 1 lr_policy: "fixed" snapshot_prefix: "{tmp_path}/s"'
    path = write(tmp_path, text, "solver.prototxt")
    caffe.SGDSolver(path)
    monkeypatch.setenv("CAFFE_STRICT", "1")
    with pytest.raises(CaffeError, match="s: is not written: CAFFE_STRICT allows files in"):
        caffe.SGDSolver(path)


def test_a_missing_snapshot_folder_is_an_error_before_training(tmp_path):
    net = write(tmp_path, TRAINED)
    path = write(
        tmp_path,
        f'net: "{net}" base_lr: 1 lr_policy: "fixed" '
        f'snapshot: 5 snapshot_prefix: "{tmp_path}/no/s"',
        "solver.prototxt",
    )
    with pytest.raises(CaffeError, match=r"no/s.*is not a folder that can be written; make it"):
        caffe.SGDSolver(path)


def test_a_sigmoid_far_below_its_step_is_zero():
    param = caffe_pb2.SolverParameter(base_lr=1, lr_policy="sigmoid", gamma=1, stepsize=5000)
    assert policies.learning_rate(param, 0, 0) == pytest.approx(0)


def test_multistep_passes_one_step_value_in_an_iteration():
    param = caffe_pb2.SolverParameter(lr_policy="multistep", stepvalue=[2, 2, 5])
    drops = 0
    counts = [drops := policies.count_drops(param, i, drops) for i in range(7)]
    assert counts == [0, 0, 1, 2, 2, 3, 3]


def test_the_last_line_of_the_log_averages_the_last_losses(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("GLOG_minloglevel", "0")
    s = solver(tmp_path, "display: 1 average_loss: 3 max_iter: 4")
    feed(s)
    losses = []
    s.net.after_forward(lambda layer: losses.append(float(s.net.blobs["loss"].data)))
    s.solve()
    last = [line for line in capfd.readouterr().err.splitlines() if "Iteration 4, loss" in line]
    per_pass = losses[len(s.net.layers) - 1 :: len(s.net.layers)]
    assert float(last[0].split("= ")[1]) == pytest.approx(np.mean(per_pass[-3:]), rel=1e-4)


@pytest.mark.parametrize("rule, moves", [("SGD", True), ("Nesterov", True), ("Adam", False)])
def test_momentum_moves_weights_whose_learning_rate_has_become_zero(tmp_path, rule, moves):
    s = solver(
        tmp_path,
        f'type: "{rule}" base_lr: 0.1 lr_policy: "fixed" momentum: 0.5',
        TRAINED.replace("lr_mult: 1 ", "lr_mult: 0 "),
        caffe.get_solver,
    )
    feed(s)
    memory = s.net.params["ip"][0].values
    s.step(1)
    before, version = weights(s)[:15], memory.version
    s.history[0].data[...] = 1
    s.step(1)
    assert (memory.version > version) == moves
    assert np.array_equal(weights(s)[:15], before) != moves


def test_a_shared_test_net_has_the_trained_weights(tmp_path):
    s = solver(tmp_path, "test_iter: 1 test_interval: 1")
    feed(s)
    s.step(2)
    tested = s.test_nets[0].params["ip"][0].data
    np.testing.assert_array_equal(tested, s.net.params["ip"][0].data)


def test_errors_keep_their_type_behind_the_name_of_the_solver_file(tmp_path):
    with pytest.raises(LayerError, match=r"solver\.prototxt: .*train\.prototxt: layer 'ip'"):
        solver(tmp_path, net=TRAINED.replace("num_output: 3", ""))
