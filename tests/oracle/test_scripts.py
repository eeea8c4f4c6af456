"""oracle/caffe-python and oracle/build: what they pass on to a script, and their error messages."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SHOW = """
import json, os, sys
print(json.dumps([os.getcwd(), sys.argv[1:], os.environ['PYTHONPATH'], dict(os.environ)]))
"""


@pytest.mark.oracle
def test_the_working_directory_and_the_arguments_are_kept(bvlc_caffe, tmp_path):
    script = tmp_path / "show.py"
    script.write_text(SHOW)
    result = bvlc_caffe(script, "a b", "--c", cwd=tmp_path)
    folder, arguments, python_path, _ = json.loads(result.stdout)
    assert (folder, arguments, python_path) == (str(tmp_path), ["a b", "--c"], str(CHECKOUT))


@pytest.mark.oracle
def test_import_caffe_gives_bvlc_caffe_in_the_checkout_too(bvlc_caffe):
    result = bvlc_caffe("-c", "import caffe; print(caffe.__file__)", cwd=CHECKOUT)
    assert result.stdout.startswith("/usr/lib/python3/dist-packages/caffe/")


@pytest.mark.oracle
def test_the_exit_status_is_the_scripts(bvlc_caffe):
    assert bvlc_caffe("-c", "raise SystemExit(7)").returncode == 7


@pytest.mark.oracle
def test_files_that_a_script_writes_stay(bvlc_caffe, tmp_path):
    assert bvlc_caffe("-c", "open('output', 'w').write('x')", cwd=tmp_path).returncode == 0
    assert (tmp_path / "output").read_text() == "x"


@pytest.mark.oracle
def test_the_number_of_threads_passes_through(bvlc_caffe):
    environment = dict(os.environ, OMP_NUM_THREADS="3")
    result = bvlc_caffe("-c", "import os; print(os.environ['OMP_NUM_THREADS'])", env=environment)
    assert result.stdout.strip() == "3"


@pytest.mark.oracle
def test_nothing_stays_mounted(bvlc_caffe):
    before = Path("/proc/self/mounts").read_text()
    bvlc_caffe("-c", "pass")
    assert Path("/proc/self/mounts").read_text() == before


@pytest.fixture
def without_mounts(tmp_path):
    """The environment of a machine on which `unshare` fails."""
    if os.getuid() != 0:
        pytest.skip("only root can run BVLC Caffe without mounts")
    shims = tmp_path / "shims"
    shims.mkdir()
    (shims / "unshare").write_text("#!/bin/sh\nexit 1\n")
    (shims / "unshare").chmod(0o755)
    return dict(os.environ, PATH=f"{shims}:{os.environ['PATH']}")


@pytest.mark.oracle
def test_without_mounts_a_script_runs_in_a_copy_and_its_files_are_copied_back(
    bvlc_caffe, without_mounts, tmp_path
):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "input").write_text("x")
    script = "import caffe, oracle.cases; open('output', 'w').write(open('input').read() + 'y')"
    result = bvlc_caffe("-c", script + "; raise SystemExit(5)", cwd=folder, env=without_mounts)
    assert result.returncode == 5, result.stderr
    assert (folder / "output").read_text() == "xy"


@pytest.mark.oracle
@pytest.mark.parametrize("mounts", [True, False])
def test_programs_of_bvlc_caffe_leave_no_log_files(bvlc_caffe, without_mounts, tmp_path, mounts):
    folder = tmp_path / "temporary"
    folder.mkdir()
    environment = {**(os.environ if mounts else without_mounts), "TMPDIR": str(folder)}
    script = "import subprocess; print(subprocess.call(['compute_image_mean', 'none']))"
    result = bvlc_caffe("-c", script, env=dict(environment, GLOG_minloglevel="0"))
    assert "Could not open" in result.stderr or "Check failed" in result.stderr
    assert list(folder.iterdir()) == []


@pytest.mark.oracle
def test_a_copy_leaves_the_folder_of_a_script_that_runs_beside_it(bvlc_caffe, without_mounts):
    # All folders below TMPDIR lie in one mount, which a copy cannot remove.
    script = "import os; print(flush=True); input(); print(len(os.listdir(os.getcwd())))"
    with tempfile.TemporaryDirectory(dir=Path.home()) as folder:
        command = [str(CHECKOUT / "oracle" / "caffe-python"), "-c", script]
        beside = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert beside.stdout.readline() == "\n"
        Path(folder, "file").touch()
        assert bvlc_caffe("-c", "pass", cwd=folder, env=without_mounts).returncode == 0
        assert beside.communicate("\n", timeout=60)[0] == "1\n"


def test_a_missing_root_is_reported_with_its_path_and_the_command_that_builds_one(
    caffe_python, tmp_path
):
    environment = dict(os.environ, FCN_ORACLE_ROOT=str(tmp_path / "none"))
    result = caffe_python("-c", "pass", env=environment)
    assert result.returncode == 127
    assert str(tmp_path / "none") in result.stderr and "make oracle" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def build(root, **kwargs):
    environment = dict(os.environ, FCN_ORACLE_ROOT=str(root))
    return subprocess.run(
        [str(CHECKOUT / "oracle" / "build")],
        env=environment,
        capture_output=True,
        text=True,
        **kwargs,
    )


def test_building_a_finished_root_does_nothing(tmp_path):
    (tmp_path / ".complete").touch()
    result = build(tmp_path)
    assert result.returncode == 0 and str(tmp_path) in result.stdout
    assert os.listdir(tmp_path) == [".complete"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can run a program as another user")
def test_only_root_can_build_and_nothing_is_written(tmp_path):
    script = (CHECKOUT / "oracle" / "build").read_text()
    result = subprocess.run(
        ["bash", "-s"],
        input=script,
        env=dict(os.environ, FCN_ORACLE_ROOT=str(tmp_path / "root")),
        capture_output=True,
        text=True,
        cwd="/",
        user=65534,
    )
    assert result.returncode == 1
    assert "needs root" in result.stderr and len(result.stderr.splitlines()) == 1
    assert os.listdir(tmp_path) == []
