"""Lines of old Caffe scripts run with the NumPy that constraints.txt pins."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.engine import nets

CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
#: NumPy from 2.3 on has no `tostring` and no binary `fromstring`.
OLD = np.lib.NumpyVersion(np.__version__) < "2.3.0"


def test_the_pinned_numpy_is_one_on_which_old_scripts_run():
    pins = re.findall(r"^numpy==(.*?); (.*)$", CONSTRAINTS.read_text(), re.M)
    assert pins == [
        ("2.2.6", 'python_version >= "3.11" and python_version < "3.14"'),
        ("2.4.6", 'python_version >= "3.14"'),
    ]


@pytest.mark.skipif(not OLD, reason="needs NumPy below 2.3, which constraints.txt pins")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_lines_of_old_scripts_run(tmp_path):
    net = nets.build(tmp_path, nets.SCORER.replace("num_output: 3", "num_output: 1"))
    net.blobs["data"].reshape(1, 3, 2, 2)
    net.forward()
    score, kept = net.blobs["score"].data, np.zeros(3)
    kept[0] = score
    assert float(score) == kept[0] and int(score) == int(kept[0])
    assert "score %f" % score == f"score {kept[0]:f}"  # noqa: UP031  (the line that is tested)
    pixels = np.arange(3, dtype=np.uint8)
    assert np.fromstring(pixels.tostring(), dtype=np.uint8).tolist() == [0, 1, 2]
