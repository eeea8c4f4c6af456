"""The messages, NetSpec, coord_map, io and the generators under BVLC Caffe and under the engine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import net_gen

pytestmark = pytest.mark.oracle
CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def both(bvlc_caffe):
    """(BVLC Caffe's, the engine's) output of oracle/language.py."""
    script = str(CHECKOUT / "oracle" / "language.py")
    theirs = bvlc_caffe(script)
    assert theirs.returncode == 0, theirs.stderr
    ours = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    return json.loads(theirs.stdout), json.loads(ours.stdout)


@pytest.mark.parametrize("part", ["schema", "param_name_dict"])
def test_the_engine_has_every_message_that_bvlc_caffe_has(both, part):
    """The engine's schema also has the messages of Caffe's forks."""
    theirs, ours = both
    assert len(theirs[part]) > 10
    assert [line for line in theirs[part] if line not in ours[part]] == []


def test_nets_are_the_same(both):
    theirs, ours = both
    assert len(theirs["nets"]) > 10
    assert ours["nets"] == theirs["nets"]


def test_coordinate_maps_are_the_same(both):
    theirs, ours = (side["maps"] for side in both)
    assert ours.keys() == theirs.keys()
    for name, (axis, *numbers) in theirs.items():
        assert ours[name][0] == axis, name
        for number, mine in zip(numbers, ours[name][1:]):
            np.testing.assert_allclose(mine, number, rtol=1e-12, atol=1e-12, err_msg=name)


def test_arrays_are_the_same(both):
    theirs, ours = (side["arrays"] for side in both)
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        if isinstance(array, str):
            assert ours[name] == array, name
            continue
        assert ours[name][:2] == array[:2], name
        # scikit-image 0.18 interpolates in double, later releases in the image's own type.
        atol = 1e-5 * np.abs(array[2]).max()
        np.testing.assert_allclose(ours[name][2], array[2], rtol=0, atol=atol, err_msg=name)


def test_the_generators_write_the_same_files(bvlc_caffe, tmp_path):
    result = bvlc_caffe("-m", "net_gen", "--out", tmp_path, cwd=CHECKOUT)
    assert result.returncode == 0, result.stderr
    written = sorted(tmp_path.glob("*/*.prototxt"))
    assert len(written) == 4 * len(net_gen.VARIANTS)
    for path in written:
        assert path.read_bytes() == (CHECKOUT / path.relative_to(tmp_path)).read_bytes(), path


def test_every_option_of_the_generators_works_there(bvlc_caffe, tmp_path):
    script = (
        "import net_gen; source = net_gen.PythonData('module', 'Layer', {'a': 1});"
        "nets = [make(split, 20, 1 / 8, 1, 96, source, 0) for split in net_gen.SPLITS"
        " for make in net_gen.CLASSIFIERS.values()];"
        "nets += [net_gen.fcn(v, s, 5, 1 / 8, data=source) for v in net_gen.VARIANTS"
        " for s in net_gen.SPLITS];"
        "print(''.join(map(net_gen.to_text, nets)))"
    )
    theirs = bvlc_caffe("-c", script, cwd=CHECKOUT)
    ours = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ours.returncode == theirs.returncode == 0, theirs.stderr + ours.stderr
    assert ours.stdout == theirs.stdout
