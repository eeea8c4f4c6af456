"""The time of a net grows in proportion to its layers, and to the readers of a blob."""

from __future__ import annotations

import time

import caffe
import pytest

INPUT = 'force_backward: true layer { name: "in" type: "Input" top: "b0" input_param '
SHAPE = "{ shape { dim: 4 } } }\n"
#: A quadratic time is 16 times as long for 4 times as many layers.
SMALL, LARGE, MOST = 1000, 4000, 8


def row(count):
    """Layers that each read the layer before."""
    layers = (
        f'layer {{ name: "l{i}" type: "AbsVal" bottom: "b{i}" top: "b{i + 1}" }}\n'
        for i in range(count)
    )
    return INPUT + SHAPE + "".join(layers)


def readers(count):
    """Layers that all read one blob, and their sum."""
    layers = (
        f'layer {{ name: "l{i}" type: "AbsVal" bottom: "b0" top: "y{i}" }}\n' for i in range(count)
    )
    bottoms = " ".join(f'bottom: "y{i}"' for i in range(count))
    total = f'layer {{ name: "sum" type: "Eltwise" {bottoms} top: "y" }}'
    return INPUT + SHAPE + "".join(layers) + total


def seconds(path, text):
    """Return the processor time of the build, and of a second forward and backward pass."""
    path.write_text(text)
    marks = [time.process_time()]
    net = caffe.Net(str(path), caffe.TRAIN)
    marks.append(time.process_time())
    net.forward()
    net.backward()
    marks.append(time.process_time())
    net.forward()
    net.backward()
    marks.append(time.process_time())
    return marks[1] - marks[0], marks[3] - marks[2]


@pytest.mark.slow
@pytest.mark.parametrize("make", [row, readers])
def test_the_time_of_a_net_is_in_proportion_to_its_layers(tmp_path, make):
    path = tmp_path / "net.prototxt"
    seconds(path, make(10))  # what the first net loads
    small = [min(times) for times in zip(*(seconds(path, make(SMALL)) for _ in range(3)))]
    large = [min(times) for times in zip(*(seconds(path, make(LARGE)) for _ in range(2)))]
    ratios = [b / a for a, b in zip(small, large)]
    assert max(ratios) < MOST, f"{LARGE} layers take {ratios} times as long as {SMALL}"
