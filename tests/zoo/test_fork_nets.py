"""Every net of the zoo builds, and its forks' layers agree with NumPy and OpenCV."""

from __future__ import annotations

import numpy as np
import pytest

from zoo import compare
from zoo.__main__ import agrees
from zoo.nets import NETS

#: The nets of the short run; together they have every family of layers.
QUICK = (
    "MobileNet-SSD",
    "R-FCN",
    "SegNet",
    "ShuffleNet",
    "FlowNetC",
    "C3D",
    "DeconvNet",
    "DeepLab v1",
    "DeepLab v2",
)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NETS]
)
def test_a_net_of_the_zoo_agrees_with_its_references(name):
    result = compare.compare(name)
    assert result.forks and agrees(result), result
    assert (result.opencv is not None) == (name in compare.OPENCV)


def test_an_error_in_a_fork_layer_is_seen(monkeypatch):
    reference = compare.reference_of

    def wrong(layer):
        right = reference(layer)
        return right and (lambda *arguments: 1.01 * right(*arguments))

    monkeypatch.setattr(compare, "reference_of", wrong)
    result = compare.compare("DeepLab v2")
    assert not agrees(result) and result.layer_error == pytest.approx(0.01, rel=0.1)


def test_nan_in_an_output_counts_as_a_disagreement():
    result = compare.compare("DeepLab v2")._replace(layer_error=float(np.nan))
    assert not agrees(result)


def test_detections_are_compared_in_any_order():
    rows = np.random.RandomState(0).rand(5, 7)
    filled = np.concatenate([rows[::-1], np.zeros((3, 7))])
    assert compare.detections_error(rows, filled) == 0
    assert compare.detections_error(rows[:4], filled) == float("inf")
    rows[2, 4] += 0.5
    assert compare.detections_error(rows, filled) > 0.05
