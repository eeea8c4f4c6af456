"""What the layers of forks are compared with: OpenCV's importer, and finite differences."""

from __future__ import annotations

import caffe
import cv2
import numpy as np


def build(folder, spec, phase=caffe.TEST, name="net.prototxt"):
    """The net of a NetSpec, and the path of its prototxt."""
    path = str(folder / name)
    with open(path, "w") as file:
        file.write(str(spec.to_proto()))
    return caffe.Net(path, phase), path


def fill(net, inputs):
    """Set input blobs, by name."""
    for name, value in inputs.items():
        net.blobs[name].data[...] = value


def opencv_outputs(folder, net, path, inputs, tops):
    """The arrays that OpenCV computes for some tops of a net with these inputs."""
    weights = str(folder / "net.caffemodel")
    net.save(weights)
    peer = cv2.dnn.readNetFromCaffe(path, weights)
    for name, value in inputs.items():
        peer.setInput(np.ascontiguousarray(value, np.float32), name)
    return dict(zip(tops, peer.forward(list(tops))))


def assert_close(ours, theirs, tolerance=1e-4):
    """Assert that arrays differ by at most `tolerance` of the largest value."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    largest = np.abs(theirs).max(initial=1e-30)
    assert np.abs(ours - theirs).max(initial=0) <= tolerance * largest


def assert_as_opencv(folder, spec, inputs, tops, tolerance=1e-4):
    """Assert that the engine computes what OpenCV computes; return the net."""
    net, path = build(folder, spec)
    fill(net, inputs)
    net.forward()
    theirs = opencv_outputs(folder, net, path, inputs, tops)
    for top in tops:
        assert_close(net.blobs[top].data, theirs[top].reshape(net.blobs[top].shape), tolerance)
    return net


def assert_same_detections(ours, theirs, tolerance=1e-4):
    """Assert that the rows of two tops of DetectionOutput are the same, in any order.

    OpenCV orders all detections of an image by score, and fills its top up with zeros.
    """
    ours, theirs = (rows.reshape(-1, 7) for rows in (ours, theirs))
    theirs = theirs[theirs[:, 2] > 0]
    ours, theirs = (
        rows[np.lexsort((-rows[:, 2], rows[:, 1], rows[:, 0]))] for rows in (ours, theirs)
    )
    assert_close(ours, theirs, tolerance)


def assert_gradients(net, loss, blobs, step=1e-3, tolerance=2e-2, samples=12):
    """Assert that backward agrees with finite differences of `loss`, a scalar top.

    blobs: the blobs whose gradients are compared, at some of their values.
    """
    draw = np.random.RandomState(0)
    net.forward()
    net.clear_param_diffs()
    net.backward()
    gradients = [blob.diff.copy() for blob in blobs]
    for blob, gradient in zip(blobs, gradients):
        scale = max(np.abs(gradient).max(), 1e-3)
        assert np.abs(gradient).max() > 0
        for index in draw.permutation(gradient.size)[:samples]:
            place = np.unravel_index(index, gradient.shape)
            value = blob.data[place].copy()
            sides = []
            for sign in (1, -1):
                blob.data[place] = value + sign * step
                net.forward()
                sides.append(float(net.blobs[loss].data))
            blob.data[place] = value
            numeric = (sides[0] - sides[1]) / (2 * step)
            assert abs(numeric - gradient[place]) <= tolerance * scale, (place, numeric)
