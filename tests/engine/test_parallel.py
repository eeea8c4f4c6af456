"""Solvers that train together, in two processes on the CPU."""

from __future__ import annotations

import json
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
from caffe.tools import train as train_command
from caffe.train import averaging, spawn

from tests.engine import workers


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(workers.NET)
    return tmp_path


def train_alone(iters=5, **fields):
    """Return the weights that one process reaches on the batches of two."""
    return workers.train(workers.solver(iter_size=2, **fields), iters)


def load(name):
    with np.load(name) as arrays:
        return [arrays[k] for k in arrays.files]


def close(ours, theirs):
    """Return whether weights are equal but for the order of float32 sums."""
    return all(np.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in zip(ours, theirs))


def assert_success(results):
    assert [status for status, _ in results] == [0, 0], results


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
    averaging.BUCKET = 12 if name == "adam" else 14 if name == "steps" else 1 << 22
    np.savez(f"{{name}}{{rank}}.npz", *train(solver(**fields), 5))
"""
    assert_success(workers.run(code, folder))
    for name, fields in KINDS.items():
        ours = load(f"{name}0.npz")
        assert all(np.array_equal(a, b) for a, b in zip(ours, load(f"{name}1.npz"))), name
        assert close(ours, train_alone(**fields)), name
        assert not close(ours, train_alone(iters=4, **fields)), name


@pytest.mark.slow
def test_worker_0_gives_its_weights_and_is_the_only_one_to_log_and_write_snapshots(folder):
    code = """
trainer = solver(display=1, snapshot=2, test_iter=1, test_interval=2, random_seed=7)
np.savez(f"filled{rank}.npz", *weights(trainer))
trainer.step(0)
np.savez(f"start{rank}.npz", *weights(trainer))
trainer.step(2)
if rank:
    try:
        trainer.snapshot()
    except caffe.CaffeError as error:
        open("refusal", "w").write(str(error))
"""
    results = workers.run(code, folder, GLOG_minloglevel="0")
    assert_success(results)
    filled = [load(f"filled{r}.npz")[0] for r in (0, 1)]
    caffe.set_random_seed(8)
    expected = caffe.Net("net.prototxt", caffe.TRAIN).params["ip1"][0].data
    assert np.array_equal(filled[1], expected) and not np.array_equal(*filled)
    assert np.array_equal(load("start1.npz")[0], filled[0])
    assert "Testing net" in results[0][1] and "Snapshotting" in results[0][1]
    assert "]" not in results[1][1]
    assert sorted(p.name for p in folder.glob("train_iter*")) == [
        "train_iter_2.caffemodel",
        "train_iter_2.resume.json",
        "train_iter_2.solverstate",
    ]
    assert "worker 1" in (folder / "refusal").read_text()


def test_workers_that_start_at_different_iterations_are_refused(folder):
    workers.train(workers.solver(), 2)
    solver = workers.solver()
    solver.step(2)
    solver.snapshot()
    code = """
trainer = solver()
if rank == 0:
    trainer.restore("train_iter_2.solverstate")
try:
    trainer.step(1)
except caffe.CaffeError as error:
    open(f"error{rank}", "w").write(str(error))
"""
    assert_success(workers.run(code, folder))
    for rank, iteration in ((0, 2), (1, 0)):
        error = (folder / f"error{rank}").read_text()
        assert f"worker {rank} is at iteration {iteration}" in error
        assert "between 0 and 2" in error


@pytest.mark.slow
def test_a_script_that_uses_nccl_as_bvlc_caffe_s_do_reaches_the_same_weights(folder):
    uid = caffe.NCCL.new_uid()
    code = f"""
rank = int(os.environ["WORKER"])
caffe.set_solver_count(2)
caffe.set_solver_rank(rank)
caffe.set_multiprocess(True)
trainer = solver()
nccl = caffe.NCCL(trainer, {uid!r})
nccl.bcast()
trainer.add_callback(nccl)
trainer.net.after_backward(nccl)
np.savez(f"nccl{{rank}}.npz", *train(trainer, 5))
"""
    assert_success(workers.run(code, folder, launch=False))
    assert close(load("nccl0.npz"), train_alone()) and close(load("nccl1.npz"), train_alone())


#: A net whose layers keep channels last on a device. It is trained there without callbacks, so that
#: passes are replayed after a few iterations.
ON_A_GPU = """
PATCHES = NET.replace("dim: 2 dim: 3", "dim: 2 dim: 3 dim: 6 dim: 6").replace(
    'type: "InnerProduct"', 'type: "Convolution"').replace(
    "inner_product_param {", "convolution_param { kernel_size: 3")
open(f"net{os.getpid()}.prototxt", "w").write(PATCHES)
caffe.set_device(0)
caffe.set_mode_gpu()
caffe.set_precision("tf32")

def train_on_gpu(iters, count, rank, group=None):
    trainer = solver(net=f"net{os.getpid()}.prototxt")
    trainer.company = group or trainer.company
    for i in range(iters):
        batch = np.random.RandomState(i * count + rank).randn(2, 3, 6, 6)
        trainer.net.blobs["data"].data[...] = batch
        trainer.step(1)
    return trainer
"""


@pytest.mark.cuda
def test_two_workers_on_one_gpu_average_their_gradients(folder):
    code = f"""{ON_A_GPU}
trainer = train_on_gpu(6, 2, rank)
np.savez(f"two{{rank}}.npz", *weights(trainer))
assert trainer.company.backend == "gloo"
"""
    assert_success(workers.run(code, folder))
    ours = load("two0.npz")
    assert all(np.array_equal(a, b) for a, b in zip(ours, load("two1.npz")))
    # The mean gradient of two workers is the gradient of one worker with the batches of both.
    code = f"""{ON_A_GPU}
trainer = solver(net=f"net{{os.getpid()}}.prototxt", iter_size=2)
batches = iter(range(12))

def feed(layer):
    if layer == 0:
        batch = np.random.RandomState(next(batches)).randn(2, 3, 6, 6)
        trainer.net.blobs["data"].data[...] = batch

trainer.net.before_forward(feed)
trainer.step(6)
np.savez("one.npz", *weights(trainer))
"""
    assert [status for status, _ in workers.run(code, folder, 1, launch=False)] == [0]
    one = load("one.npz")
    assert all(np.allclose(a, b, rtol=2e-3, atol=2e-4) for a, b in zip(ours, one))


@pytest.mark.cuda
def test_gradients_travel_over_nccl_between_cuda_devices(folder):
    code = f"""{ON_A_GPU}
import torch.distributed as dist
alone = weights(train_on_gpu(6, 1, 0))
store = dist.TCPStore("localhost", meeting.free_port(), is_master=True)
group = company.Group(0, 1, store, "localhost")
assert group.backend == "nccl"
together = weights(train_on_gpu(6, 1, 0, group))
assert all(np.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(alone, together))
"""
    results = workers.run(code, folder, 1, launch=False)
    assert [status for status, _ in results] == [0], results


def test_gradients_are_laid_out_as_the_weights_before_they_travel():
    values = torch.randn(4, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    blob = caffe.blob.Blob((4, 3, 2, 2))
    blob.values.set(values)
    gradient = torch.randn(4, 3, 2, 2)
    blob.gradient.set(gradient.clone())
    laid_out = averaging.gradient(blob, torch.device("cpu"))
    assert laid_out.stride() == values.stride() and torch.equal(laid_out, gradient)
    row = averaging.as_row(laid_out)
    assert torch.equal(row, gradient.permute(0, 2, 3, 1).flatten())
    row.zero_()
    assert not blob.gradient.tensor().any()


DIES = """
trainer = solver(snapshot=2)
def die(layer):
    if trainer.iter == 3 and rank == {rank}:
        {how}
trainer.net.before_backward(die)
try:
    train(trainer, 6)
except caffe.CaffeError as error:
    sys.exit(f"error: {{error}}")
"""


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_worker_that_dies_ends_the_run_with_a_line_and_a_snapshot_to_continue_from(folder, rank):
    start = time.monotonic()
    code = DIES.format(rank=rank, how="os.kill(os.getpid(), signal.SIGKILL)")
    results = workers.run(code, folder)
    assert time.monotonic() - start < 60
    assert results[rank][0] == -signal.SIGKILL
    status, stderr = results[1 - rank]
    assert status == 1
    assert last_line(stderr) == (
        f"error: worker {rank} died, so all 2 workers end; continue from train_iter_3"
    )
    assert sorted(p.name for p in folder.glob("*iter*") if ".resume." not in p.name) == [
        f"train_iter_{n}.{kind}" for n in (2, 3) for kind in ("caffemodel", "solverstate")
    ]
    progress = json.loads((folder / "train_iter_2.resume.json").read_text())
    assert progress["solver"]["worker"] == 0 and progress["workers"]["1"]["worker"] == 1
    # One process can continue in place of two, with the mean over the batches of both.
    solver = workers.solver(iter_size=2)
    solver.restore("train_iter_3.solverstate")
    assert close(workers.train(solver, 3), train_alone(6))


def last_line(stderr):
    return stderr.strip().splitlines()[-1]


@pytest.mark.slow
def test_an_exception_in_one_worker_ends_the_others(folder):
    results = workers.run(DIES.format(rank=1, how='raise ValueError("a bad label")'), folder)
    assert [status for status, _ in results] == [1, 1]
    assert "a bad label" in results[1][1]
    assert last_line(results[0][1]) == (
        "error: worker 1 has ended, so all 2 workers end; continue from train_iter_3"
    )


@pytest.mark.slow
def test_a_worker_that_hangs_is_treated_as_dead(folder):
    code = "watch.BEAT, watch.SILENCE = 0.5, 3"
    code += DIES.format(rank=1, how="os.kill(os.getpid(), signal.SIGSTOP)")
    start = time.monotonic()
    status, stderr = workers.run(code, folder, hangs=1)[0]
    assert time.monotonic() - start < 60
    assert status == 1
    assert last_line(stderr) == (
        "error: worker 1 has sent nothing for 3 s, so all 2 workers end; continue from train_iter_3"
    )
    assert (folder / "train_iter_3.solverstate").is_file()


@pytest.mark.slow
def test_sigterm_to_one_worker_ends_all_workers_with_a_snapshot(folder):
    code = DIES.format(rank=0, how="os.kill(os.getpid(), signal.SIGTERM)")
    results = workers.run(code, folder)
    assert [status for status, _ in results] == [1, 1]
    assert "worker 0 received SIGTERM, so all 2 workers end; continue from " in results[0][1]
    assert (folder / "train_iter_3.solverstate").is_file()


SHARED = """name: "net"
layer { name: "data" type: "HDF5Data" top: "data" hdf5_data_param { source: "list" batch_size: 1 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 2 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "loss" type: "Reduction" bottom: "ip" top: "loss" loss_weight: 1
  reduction_param { operation: SUMSQ } }"""


@pytest.fixture
def shared(folder):
    """Return a function that writes a solver prototxt over a data layer with seven records."""
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


@pytest.mark.long
def test_caffe_train_in_two_processes_deals_out_the_records(shared, folder, monkeypatch):
    monkeypatch.setenv("GLOG_minloglevel", "0")
    status = spawn.spawn(["train", "-solver", shared("two", display=1)], 2)
    assert status == 0
    together = caffe.Net("shared.prototxt", "train_iter_6.caffemodel", caffe.TEST)
    solver = caffe.get_solver(shared("one", iter_size=2))
    solver.step(6)
    assert close(workers.weights_of_net(together), workers.weights(solver))


def test_spawned_workers_import_the_engine_of_their_parent(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    environment = spawn.worker_environment(2)
    first, *others = environment["PYTHONPATH"].split(os.pathsep)
    assert os.path.samefile(os.path.join(first, "caffe", "__init__.py"), caffe.__file__)
    assert others == ["elsewhere"] and environment["WORLD_SIZE"] == "2"


def test_a_system_without_prctl_is_logged_before_workers_start(monkeypatch, capfd, folder, shared):
    monkeypatch.setenv("GLOG_minloglevel", "0")
    monkeypatch.setattr(spawn.ctypes, "CDLL", lambda name: object())
    (folder / "list").write_text("missing.h5\n")
    assert spawn.spawn(["train", "-solver", shared("one")], 1) == 1
    assert "No prctl on this system" in capfd.readouterr().err


@pytest.mark.slow
def test_an_interrupt_stops_all_workers_at_one_iteration(shared, folder):
    shared("long", max_iter=10**9, display=10)
    code = "from caffe.train import spawn; import sys; "
    code += "sys.exit(spawn.spawn(['train', '-solver=long'], 2))"
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
        stderr = run.communicate(timeout=60)[1]
    finally:
        run.kill()
        run.wait()
    assert run.returncode == 0, stderr
    assert "Optimization stopped early." in stderr
    (state,) = folder.glob("*.solverstate")
    assert int(state.name[len("train_iter_") : -len(".solverstate")]) >= 20


@pytest.mark.slow
def test_caffe_train_fails_if_a_worker_cannot_read_its_data(shared, folder, capfd):
    (folder / "list").write_text("missing.h5\n")
    assert spawn.spawn(["train", "-solver", shared("two")], 2) == 1
    assert "missing.h5" in capfd.readouterr().err


@pytest.mark.parametrize(
    "environment, message",
    [
        ({"RANK": "0"}, "WORLD_SIZE is None"),
        ({"WORLD_SIZE": "2"}, "RANK is None"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK is 'x'"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2 and WORLD_SIZE is 2"),
    ],
)
def test_inconsistent_variables_of_a_launcher_are_refused(monkeypatch, environment, message):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CaffeError, match=message):
        caffe.solver_count()


def test_rank_and_count_of_solvers_come_from_the_launcher(monkeypatch):
    assert (caffe.solver_rank(), caffe.solver_count()) == (0, 1)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (caffe.solver_rank(), caffe.solver_count()) == (3, 4)
    assert launch.place() == (3, 4, 3)
    with pytest.raises(CaffeError, match="MASTER_ADDR is not"):
        caffe.NCCL.new_uid()


@pytest.mark.skipif(caffe.mode.torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_of_a_worker_is_an_error(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CaffeError, match="GPU 1 was asked for, .* finds 0 CUDA devices"):
        caffe.set_mode_gpu()


def test_each_worker_uses_its_device_of_the_gpu_flag(monkeypatch):
    for name, value in {"RANK": "5", "WORLD_SIZE": "6", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert train_command.device_of_worker("2,3", [2, 3]) == 3
    with pytest.raises(CaffeError, match="-gpu 2 names 1 devices; worker 1 on this host"):
        train_command.device_of_worker("2", [2])


@pytest.mark.slow
def test_a_worker_that_does_not_come_is_an_error_after_the_time_to_join(folder):
    code = """
hello.JOIN = 2
if rank == 0:
    try:
        solver()
    except caffe.CaffeError as error:
        open("error", "w").write(str(error))
"""
    assert_success(workers.run(code, folder))
    error = (folder / "error").read_text()
    assert "worker 0 of 2 did not find all the others at localhost:" in error
    assert "within 2 s" in error
