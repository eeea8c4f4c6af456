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
def outputs(bvlc_caffe):
    """BVLC Caffe's and the engine's output of oracle/language.py."""
    script = str(CHECKOUT / "oracle" / "language.py")
    bvlc = bvlc_caffe(script)
    assert bvlc.returncode == 0, bvlc.stderr
    engine = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    return json.loads(bvlc.stdout), json.loads(engine.stdout)


@pytest.mark.parametrize("part", ["schema", "param_name_dict"])
def test_the_engine_has_every_message_that_bvlc_caffe_has(outputs, part):
    """The engine's schema also has the messages of Caffe's forks."""
    bvlc, engine = outputs
    assert len(bvlc[part]) > 10
    assert [line for line in bvlc[part] if line not in engine[part]] == []


def test_nets_of_both_engines_are_equal(outputs):
    bvlc, engine = outputs
    assert len(bvlc["nets"]) > 10
    assert engine["nets"] == bvlc["nets"]


def test_coordinate_maps_of_both_engines_are_equal(outputs):
    bvlc, engine = (side["maps"] for side in outputs)
    assert engine.keys() == bvlc.keys()
    for name, (axis, *numbers) in bvlc.items():
        assert engine[name][0] == axis, name
        for expected, actual in zip(numbers, engine[name][1:]):
            np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12, err_msg=name)


def test_arrays_of_both_engines_are_equal(outputs):
    bvlc, engine = (side["arrays"] for side in outputs)
    assert engine.keys() == bvlc.keys()
    for name, array in bvlc.items():
        if isinstance(array, str):
            assert engine[name] == array, name
            continue
        assert engine[name][:2] == array[:2], name
        # scikit-image 0.18 interpolates in double, later releases in the image's own type.
        atol = 1e-5 * np.abs(array[2]).max()
        np.testing.assert_allclose(engine[name][2], array[2], rtol=0, atol=atol, err_msg=name)


def test_the_generators_write_the_same_files(bvlc_caffe, tmp_path):
    result = bvlc_caffe("-m", "net_gen", "--out", tmp_path, cwd=CHECKOUT)
    assert result.returncode == 0, result.stderr
    paths = sorted(tmp_path.glob("*/*.prototxt"))
    assert len(paths) == 4 * len(net_gen.VARIANTS)
    for path in paths:
        assert path.read_bytes() == (CHECKOUT / path.relative_to(tmp_path)).read_bytes(), path


def test_every_option_of_the_generators_works_under_bvlc_caffe(bvlc_caffe, tmp_path):
    script = (
        "import net_gen; source = net_gen.PythonData('module', 'Layer', {'a': 1});"
        "nets = [make(split, 20, 1 / 8, 1, 96, source, 0) for split in net_gen.SPLITS"
        " for make in net_gen.CLASSIFIERS.values()];"
        "voc = [name for name, v in net_gen.VARIANTS.items() if v.data_set == 'voc'];"
        "nets += [net_gen.fcn(v, s, 5, 1 / 8, data=source) for v in voc for s in net_gen.SPLITS];"
        "others = [name for name in net_gen.VARIANTS if name not in voc];"
        "nets += [net_gen.fcn(v, s, width=1 / 8) for v in others for s in net_gen.SPLITS];"
        "print(''.join(map(net_gen.to_text, nets)))"
    )
    bvlc = bvlc_caffe("-c", script, cwd=CHECKOUT)
    engine = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert engine.returncode == bvlc.returncode == 0, bvlc.stderr + engine.stderr
    assert engine.stdout == bvlc.stdout
