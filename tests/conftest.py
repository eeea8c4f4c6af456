"""Fixtures and settings of all tests: a quiet engine, one thread, a few small pictures."""

from __future__ import annotations

import gc
import itertools
import os
import re
import signal
import sys

os.environ.setdefault("GLOG_minloglevel", "2")
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# The tests start about a hundred programs, and each would compile the project's modules anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell starts programs in the background with SIGINT ignored, and programs inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No test survives a power failure; those of the order of syncs put their own in its place.
os.fsync = os.sync = lambda *handle: None

import subprocess  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests import prefork  # noqa: E402

# The modules and tests of a collection stay: there is nothing to collect among them.
gc.disable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """One process more than cores: a test often waits for a program that it runs."""
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else None


def pytest_collection_finish():
    """Take the imported modules out of the garbage collector's sight: it would walk them often."""
    gc.collect()
    gc.freeze()
    gc.enable()


_folders = itertools.count()


@pytest.fixture
def tmp_path(request, tmp_path_factory):
    """An empty folder for the test.

    pytest's own fixture looks through the folders of all tests for the next free number.
    """
    name = re.sub(r"\W", "_", request.node.name)[:30]
    path = tmp_path_factory.getbasetemp() / f"{name}{next(_folders)}"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture(scope="session", autouse=True)
def temporary_files(tmp_path_factory):
    """All temporary files lie in pytest's own folder, those of programs and libraries too."""
    # BVLC Caffe sees TMPDIR, so the folders of the tests have to lie in it.
    os.environ["TMPDIR"] = tempfile.tempdir = str(tmp_path_factory.getbasetemp())


@pytest.fixture(autouse=True)
def single_solver():
    """After each test, Caffe is a single solver again."""
    yield
    launch = sys.modules.get("caffe.launch")
    if launch is not None:
        launch.reset_place()


@pytest.fixture(scope="session")
def tiny():
    """The module `tests.tiny`, of which the process that deals out the tests has no need."""
    # It imports PyTorch, for which the workers would wait two seconds.
    from tests import tiny

    return tiny


@pytest.fixture(scope="session")
def tiny_start(tiny, tmp_path_factory):
    """A folder with a data set of five small pictures and the weights of a cast classifier."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny.data(str(folder))
    tiny.start(str(folder), str(folder))
    return folder


@pytest.fixture
def tiny_stage(tiny, tiny_start, tmp_path):
    """Writes a stage's folder over the small pictures: `tiny_stage(variant, **solver_fields)`."""

    def make(variant="voc-fcn32s", **solver):
        return tiny.nets(str(tmp_path / variant), str(tiny_start), variant, **solver)

    return make


@pytest.fixture
def program():
    """Runs `python ARGUMENTS`; the result has returncode, stdout and stderr as text."""

    def run(*arguments, cwd=ROOT, **environment):
        env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        env.pop("FCN_TRACEBACK", None)
        words = [str(argument) for argument in arguments]
        if prefork.starts_alike(words, env):
            return prefork.server().run(words, str(cwd), env)
        return subprocess.run(
            [sys.executable, *words],
            cwd=str(cwd),
            env=env,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    return run
