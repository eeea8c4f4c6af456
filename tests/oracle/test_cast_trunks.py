"""Every classifier is cast to the same net and the same weights under BVLC Caffe."""

from __future__ import annotations

from pathlib import Path

import pytest

import surgery

pytestmark = pytest.mark.oracle
SCRIPT = Path(__file__).with_name("cast_trunks.py")


def test_every_trunk_is_cast_to_the_same_net_and_weights(bvlc_caffe, program, tmp_path):
    engine, bvlc = program(SCRIPT, tmp_path), bvlc_caffe(SCRIPT, tmp_path)
    assert engine.returncode == bvlc.returncode == 0, engine.stderr + bvlc.stderr
    assert engine.stdout.splitlines() == bvlc.stdout.splitlines()
    for trunk, base in surgery.BASES.items():
        assert f"{trunk} {base.variant}\n" in engine.stdout and f"{trunk} whole\n" in engine.stdout
    assert engine.stdout.count("not filled: score_fr, upscore") == len(surgery.BASES)
