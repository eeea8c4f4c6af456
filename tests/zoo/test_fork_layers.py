"""Every layer of a fork agrees with what it can be compared with."""

from __future__ import annotations

import pytest

from zoo.layers import CASES, gradient_error, numpy_error, opencv_error


def title(case):
    return case.title.replace(" ", "-")


@pytest.mark.parametrize("case", [c for c in CASES if c.reference], ids=title)
def test_a_layer_agrees_with_its_second_implementation(case):
    assert numpy_error(case) < 1e-5


@pytest.mark.parametrize("case", [c for c in CASES if c.opencv], ids=title)
def test_a_layer_agrees_with_opencv(case):
    assert opencv_error(case) < 1e-4


@pytest.mark.parametrize("case", [c for c in CASES if c.smooth or c.learns], ids=title)
def test_the_gradient_of_a_layer_agrees_with_finite_differences(case):
    assert gradient_error(case) < 2e-2


def test_every_case_is_compared_with_something():
    assert all(case.reference or case.opencv for case in CASES)
