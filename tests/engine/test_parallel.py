"""Solvers that train together, in two processes on the CPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import caffe
import h5py
import numpy as np
import pytest
import torch
from caffe import CaffeError, launch
from caffe import __main__ as command
from caffe.train import parallel

from tests.engine import workers


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(workers.NET)
    return tmp_path


def alone(iters=5, **fields):
    """The weights that one process reaches which sees the batches of two."""
    return workers.train(workers.solver(iter_size=2, **fields), iters)


def saved(name):
    with np.load(name) as found:
        return [found[k] for k in found.files]


def close(ours, theirs):
    """Equal but for the order of float32 sums."""
    return all(np.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in zip(ours, theirs))


def succeeded(ended):
    assert [status for status, _ in ended] == [0, 0], ended


KINDS = {
    "sgd": {},
    "adam": {"type": "Adam", "momentum2": 0.999},
    "clipped": {"clip_gradients": 1e6},
    "steps": {"lr_policy": "step", "stepsize": 2, "gamma": 0.5},
}


def test_two_processes_reach_the_weights_of_one_with_iter_size_2(folder):
    code = f"""
for name, fields in {KINDS!r}.items():
    # Small buckets: every parameter travels by itself, or two in one.
    parallel.BUCKET = 12 if name == "adam" else 14 if name == "steps" else 1 << 22
    np.savez(f"{{name}}{{rank}}.npz", *train(solver(**fields), 5))
"""
    succeeded(workers.run(code, folder))
    for name, fields in KINDS.items():
        ours = saved(f"{name}0.npz")
        assert all(np.array_equal(a, b) for a, b in zip(ours, saved(f"{name}1.npz"))), name
        assert close(ours, alone(**fields)), name
        assert not close(ours, alone(iters=4, **fields)), name


@pytest.mark.slow
def test_worker_0_gives_its_weights_and_alone_writes_and_tells(folder):
    code = """
made = solver(display=1, snapshot=2, test_iter=1, test_interval=2, random_seed=7)
np.savez(f"own{rank}.npz", *weights(made))
made.step(0)
np.savez(f"start{rank}.npz", *weights(made))
made.step(2)
if rank:
    try:
        made.snapshot()
    except caffe.CaffeError as error:
        open("refused", "w").write(str(error))
"""
    ended = workers.run(code, folder, GLOG_minloglevel="0")
    succeeded(ended)
    own = [saved(f"own{r}.npz")[0] for r in (0, 1)]
    caffe.set_random_seed(8)
    filled = caffe.Net("net.prototxt", caffe.TRAIN).params["ip1"][0].data
    assert np.array_equal(own[1], filled) and not np.array_equal(*own)
    assert np.array_equal(saved("start1.npz")[0], own[0])
    assert "Testing net" in ended[0][1] and "Snapshotting" in ended[0][1]
    assert "]" not in ended[1][1]
    assert sorted(p.name for p in folder.glob("train_iter*")) == [
        "train_iter_2.caffemodel",
        "train_iter_2.solverstate",
    ]
    assert "worker 1" in (folder / "refused").read_text()


def test_workers_that_start_at_different_iterations_are_refused(folder):
    workers.train(workers.solver(), 2)
    made = workers.solver()
    made.step(2)
    made.snapshot()
    code = """
made = solver()
if rank == 0:
    made.restore("train_iter_2.solverstate")
try:
    made.step(1)
except caffe.CaffeError as error:
    open(f"said{rank}", "w").write(str(error))
"""
    succeeded(workers.run(code, folder))
    for rank, at in ((0, 2), (1, 0)):
        said = (folder / f"said{rank}").read_text()
        assert f"worker {rank} is at iteration {at}" in said and "between 0 and 2" in said


@pytest.mark.slow
def test_bvlc_s_way_with_nccl_gives_the_same(folder):
    uid = caffe.NCCL.new_uid()
    code = f"""
rank = int(os.environ["WORKER"])
caffe.set_solver_count(2)
caffe.set_solver_rank(rank)
caffe.set_multiprocess(True)
made = solver()
nccl = caffe.NCCL(made, {uid!r})
nccl.bcast()
made.add_callback(nccl)
made.net.after_backward(nccl)
np.savez(f"nccl{{rank}}.npz", *train(made, 5))
"""
    succeeded(workers.run(code, folder, launch=False))
    assert close(saved("nccl0.npz"), alone()) and close(saved("nccl1.npz"), alone())


#: A net of layers that keep channels last on a device, trained there without callbacks, so that
#: passes are replayed once they have come a few times.
ON_A_GPU = """
PATCHES = NET.replace("dim: 2 dim: 3", "dim: 2 dim: 3 dim: 6 dim: 6").replace(
    'type: "InnerProduct"', 'type: "Convolution"').replace(
    "inner_product_param {", "convolution_param { kernel_size: 3")
open(f"net{os.getpid()}.prototxt", "w").write(PATCHES)
caffe.set_device(0)
caffe.set_mode_gpu()
caffe.set_precision("tf32")

def on_a_gpu(iters, count, rank, company=None):
    made = solver(net=f"net{os.getpid()}.prototxt")
    made.company = company or made.company
    for i in range(iters):
        batch = np.random.RandomState(i * count + rank).randn(2, 3, 6, 6)
        made.net.blobs["data"].data[...] = batch
        made.step(1)
    return weights(made)
"""


@pytest.mark.cuda
def test_two_workers_on_one_gpu_average_their_gradients(folder):
    code = f"""{ON_A_GPU}
np.savez(f"two{{rank}}.npz", *on_a_gpu(6, 2, rank))
assert parallel._group.backend == "gloo"
"""
    succeeded(workers.run(code, folder))
    ours = saved("two0.npz")
    assert all(np.array_equal(a, b) for a, b in zip(ours, saved("two1.npz")))
    # Gradients are linear in the batch: means over two workers are those of one with both batches.
    code = f"""{ON_A_GPU}
made = solver(net=f"net{{os.getpid()}}.prototxt", iter_size=2)
batches = iter(range(12))

def feed(layer):
    if layer == 0:
        batch = np.random.RandomState(next(batches)).randn(2, 3, 6, 6)
        made.net.blobs["data"].data[...] = batch

made.net.before_forward(feed)
made.step(6)
np.savez("one.npz", *weights(made))
"""
    assert [status for status, _ in workers.run(code, folder, 1, launch=False)] == [0]
    one = saved("one.npz")
    assert all(np.allclose(a, b, rtol=2e-3, atol=2e-4) for a, b in zip(ours, one))


@pytest.mark.cuda
def test_gradients_pass_through_nccl(folder):
    code = f"""{ON_A_GPU}
import torch.distributed as dist
alone = on_a_gpu(6, 1, 0)
store = dist.TCPStore("localhost", parallel.free_port(), is_master=True)
group = parallel.Group(0, 1, store, "localhost")
assert group.backend == "nccl"
together = on_a_gpu(6, 1, 0, group)
assert all(np.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(alone, together))
"""
    ended = workers.run(code, folder, 1, launch=False)
    assert [status for status, _ in ended] == [0], ended


def test_gradients_are_laid_out_as_the_values_before_they_travel():
    values = torch.randn(4, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    blob = caffe.blob.Blob((4, 3, 2, 2))
    blob.values.set(values)
    gradient = torch.randn(4, 3, 2, 2)
    blob.gradient.set(gradient.clone())
    found = parallel._gradient(blob, torch.device("cpu"))
    assert found.stride() == values.stride() and torch.equal(found, gradient)
    row = parallel._as_it_lies(found)
    assert torch.equal(row, gradient.permute(0, 2, 3, 1).flatten())
    row.zero_()
    assert not blob.gradient.tensor().any()


DIES = """
made = solver(snapshot=2)
before = made.net.before_backward
def die(layer):
    if made.iter == 3 and rank == {rank}:
        {how}
made.net.before_backward(die)
try:
    train(made, 6)
except caffe.CaffeError as error:
    sys.exit(f"error: {{error}}")
"""


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_worker_that_dies_ends_the_run_with_a_line_and_a_snapshot_to_continue_from(folder, rank):
    started = time.monotonic()
    ended = workers.run(DIES.format(rank=rank, how="os.kill(os.getpid(), signal.SIGKILL)"), folder)
    assert time.monotonic() - started < 60
    assert ended[rank][0] == -signal.SIGKILL
    status, said = ended[1 - rank]
    assert status == 1
    assert said.strip().splitlines()[-1] == (
        f"error: worker {rank} died, so all 2 workers end; continue from train_iter_3"
    )
    assert sorted(p.name for p in folder.glob("*iter*")) == [
        f"train_iter_{n}.{kind}" for n in (2, 3) for kind in ("caffemodel", "solverstate")
    ]
    # One process continues as well as two would: the batches of both, averaged.
    made = workers.solver(iter_size=2)
    made.restore("train_iter_3.solverstate")
    assert close(workers.train(made, 3), alone(6))


@pytest.mark.slow
def test_a_worker_with_an_error_of_its_own_ends_the_others(folder):
    ended = workers.run(DIES.format(rank=1, how='raise ValueError("a bad label")'), folder)
    assert [status for status, _ in ended] == [1, 1]
    assert "a bad label" in ended[1][1]
    assert ended[0][1].strip().splitlines()[-1] == (
        "error: worker 1 has ended, so all 2 workers end; continue from train_iter_3"
    )


@pytest.mark.slow
def test_a_worker_that_hangs_is_taken_for_dead(folder):
    code = "parallel.BEAT, parallel.SILENCE = 0.5, 3"
    code += DIES.format(rank=1, how="os.kill(os.getpid(), signal.SIGSTOP)")
    started = time.monotonic()
    status, said = workers.run(code, folder, hangs=1)[0]
    assert time.monotonic() - started < 60
    assert status == 1
    assert said.strip().splitlines()[-1] == (
        "error: worker 1 has been silent for 3 s, so all 2 workers end; continue from train_iter_3"
    )
    assert (folder / "train_iter_3.solverstate").is_file()


@pytest.mark.slow
def test_sigterm_ends_all_with_a_snapshot(folder):
    ended = workers.run(DIES.format(rank=0, how="os.kill(os.getpid(), signal.SIGTERM)"), folder)
    assert [status for status, _ in ended] == [1, 1]
    assert (
        "worker 0 was told to stop (SIGTERM), so all 2 workers end; continue from " in ended[0][1]
    )
    assert (folder / "train_iter_3.solverstate").is_file()


SHARED = """name: "net"
layer { name: "data" type: "HDF5Data" top: "data" hdf5_data_param { source: "list" batch_size: 1 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 2 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "loss" type: "Reduction" bottom: "ip" top: "loss" loss_weight: 1
  reduction_param { operation: SUMSQ } }"""


@pytest.fixture
def shared(folder):
    """A solver prototxt over seven records."""
    (folder / "shared.prototxt").write_text(SHARED)
    with h5py.File(folder / "data.h5", "w") as file:
        file["data"] = np.random.RandomState(3).randn(7, 3).astype(np.float32)
    (folder / "list").write_text("data.h5\n")
    fields = {**workers.FIELDS, "net": "shared.prototxt", "max_iter": 6}

    def write(name, **more):
        lines = [f"{k}: {v!r}" for k, v in {**fields, **more}.items()]
        (folder / name).write_text("\n".join(lines).replace("'", '"') + "\nsolver_mode: CPU\n")
        return name

    return write


def of_file(path):
    return workers.weights(_Loaded(path))


class _Loaded:
    def __init__(self, path):
        self.net = caffe.Net("shared.prototxt", path, caffe.TEST)


def test_caffe_train_in_two_processes_shares_the_records_out(shared, folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOG_minloglevel", "0")
        status = parallel.spawn(["train", "-solver", shared("two", display=1)], 2)
    assert status == 0
    made = caffe.get_solver(shared("one", iter_size=2))
    made.step(6)
    assert close(of_file("train_iter_6.caffemodel"), workers.weights(made))


@pytest.mark.slow
def test_an_interrupt_stops_all_workers_at_one_iteration(shared, folder):
    shared("long", max_iter=10**9, display=10)
    code = "from caffe.train import parallel; import sys; "
    code += "sys.exit(parallel.spawn(['train', '-solver=long'], 2))"
    run = subprocess.Popen(
        [sys.executable, "-c", code],
        env=dict(os.environ, GLOG_minloglevel="0"),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in run.stderr:
            if "Iteration 20 " in line:
                break
        run.send_signal(signal.SIGINT)
        said = run.communicate(timeout=60)[1]
    finally:
        run.kill()
        run.wait()
    assert run.returncode == 0, said
    assert "Optimization stopped early." in said
    (state,) = folder.glob("*.solverstate")
    assert int(state.name[len("train_iter_") : -len(".solverstate")]) >= 20


@pytest.mark.slow
def test_caffe_train_ends_when_a_worker_cannot_go_on(shared, folder, capfd):
    (folder / "list").write_text("missing.h5\n")
    assert parallel.spawn(["train", "-solver", shared("two")], 2) == 1
    assert "missing.h5" in capfd.readouterr().err


@pytest.mark.parametrize(
    "environment, why",
    [
        ({"RANK": "0"}, "WORLD_SIZE is None"),
        ({"WORLD_SIZE": "2"}, "RANK is None"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK is 'x'"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2 of WORLD_SIZE 2"),
    ],
)
def test_a_launcher_s_words_that_do_not_go_together_are_refused(monkeypatch, environment, why):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CaffeError, match=why):
        caffe.solver_count()


def test_the_launcher_says_how_many_solvers_there_are_unless_the_script_does(monkeypatch):
    assert (caffe.solver_rank(), caffe.solver_count()) == (0, 1)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (caffe.solver_rank(), caffe.solver_count()) == (3, 4)
    assert launch.place() == (3, 4, 3)
    with pytest.raises(CaffeError, match="MASTER_ADDR is not"):
        caffe.NCCL.new_uid()


@pytest.mark.skipif(caffe.mode.torch.cuda.is_available(), reason="there is a GPU")
def test_a_worker_s_own_gpu_that_is_not_there_is_an_error(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CaffeError, match="GPU 1 was asked for, .* finds 0 CUDA devices"):
        caffe.set_mode_gpu()


def test_each_worker_takes_its_device_of_those_named(monkeypatch):
    for name, value in {"RANK": "5", "WORLD_SIZE": "6", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert command._own_device("2,3", [2, 3]) == 3
    with pytest.raises(CaffeError, match="-gpu 2 names 1 devices; worker 1 on this host"):
        command._own_device("2", [2])


@pytest.mark.slow
def test_workers_that_do_not_come_are_waited_for_only_so_long(folder):
    code = """
parallel.JOIN = 2
if rank == 0:
    try:
        solver()
    except caffe.CaffeError as error:
        open("said", "w").write(str(error))
"""
    succeeded(workers.run(code, folder))
    said = (folder / "said").read_text()
    assert (
        "worker 0 of 2 did not find all the others at localhost:" in said and "within 2 s" in said
    )
