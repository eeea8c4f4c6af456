"""Scripts in the form of the published FCNs find `score`, `surgery` and `vis` at the root."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vis
from fcn_common.voc import PALETTE
from tests import prefork

ROOT = Path(__file__).resolve().parents[1]


def run_script(run, folder, start):
    """Call `run(arguments, folder, environment)` for a copy of the script in `folder`."""
    shutil.copy(ROOT / "tests/published_script.py", Path(folder) / "solve.py")
    ids = start / "voc/ImageSets/Segmentation/seg11valid.txt"
    environment = dict(os.environ, PYTHONPATH=str(ROOT), GLOG_minloglevel="2")
    arguments = ["solve.py", str(start / "start.caffemodel"), str(ids), str(ROOT)]
    os.makedirs(Path(folder) / "snapshot", exist_ok=True)
    return run(arguments, str(folder), environment)


def check(result, folder):
    assert result.returncode == 0, result.stderr
    assert result.stdout.rstrip().endswith("done")
    lines = [line for line in result.stdout.splitlines() if line.startswith(">>>")]
    assert [" ".join(line.split()[3:6]) for line in lines[:2]] == [
        "Begin seg tests",
        "Iteration 2 loss",
    ]
    assert [line for line in lines if "Iteration 4 mean IU" in line]
    for iteration in (2, 4):
        names = sorted(os.listdir(Path(folder) / f"seg.{iteration}"))
        assert names == ["val0.png", "val1.png"]
        with Image.open(Path(folder) / f"seg.{iteration}" / "val0.png") as image:
            assert np.asarray(image).max() < 21


def test_a_training_script_of_the_published_form_runs(tiny_stage, tiny_start):
    folder = tiny_stage()
    check(run_script(prefork.server().run, folder, tiny_start), folder)


@pytest.mark.oracle
def test_a_training_script_of_the_published_form_runs_under_bvlc_caffe(tiny_stage, tiny_start):
    folder = tiny_stage()

    def run(arguments, cwd, env):
        command = [str(ROOT / "oracle/caffe-python"), *arguments]
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)

    result = run_script(run, folder, tiny_start)
    if result.returncode == 127:
        pytest.skip(result.stderr.strip())
    check(result, folder)


def test_label_maps_have_the_colours_of_voc():
    seg = np.array([[0, 1], [20, 255]], np.uint8)
    palette = vis.make_palette(21)
    assert (palette == PALETTE[:21]).all()
    assert (vis.color_seg(seg, palette) == PALETTE[seg]).all()
    image = np.full((2, 2, 3), 100, np.uint8)
    blend = vis.vis_seg(image, seg, palette, alpha=0.25)
    assert (blend[0, 0] == 100).all()
    assert (blend[0, 1] == [107, 75, 75]).all()
    with pytest.raises(ValueError, match=r"num_classes is 257, needs 1\.\.256"):
        vis.make_palette(257)
