"""Python layers with names of the engine's own layers give the same numbers under BVLC Caffe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oracle import user_layers
from tests.engine.layer_names import FREE_NAMES, RESERVED

pytestmark = pytest.mark.oracle
SCRIPT = Path(user_layers.__file__)


def test_attributes_and_methods_of_a_user_layer_act_as_in_bvlc_caffe(bvlc_caffe):
    names = [*FREE_NAMES, *sorted(RESERVED)]
    bvlc = bvlc_caffe(SCRIPT, *names)
    assert bvlc.returncode == 0, bvlc.stderr
    assert json.loads(bvlc.stdout) == user_layers.results(names)
