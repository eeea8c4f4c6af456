"""Python layers with names of the engine's own layers give the same numbers under BVLC Caffe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oracle import user_layers
from tests.engine.layer_names import FREE_NAMES, RESERVED

pytestmark = pytest.mark.oracle
SCRIPT = Path(user_layers.__file__)


def test_a_layers_own_names_mean_what_they_mean_in_bvlc_caffe(bvlc_caffe):
    names = [*FREE_NAMES, *sorted(RESERVED)]
    theirs = bvlc_caffe(SCRIPT, *names)
    assert theirs.returncode == 0, theirs.stderr
    assert json.loads(theirs.stdout) == user_layers.results(names)
