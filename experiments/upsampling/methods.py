"""The ways to upsample: their nets, and how each predicts the scores of an image."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import Any, Dict, NamedTuple, Sequence

import numpy as np

import net_gen
import surgery
from experiments import demo_run, training
from experiments.upsampling import settings
from solvers import available, shift_stitch
from solvers.device import Gpu


class Method(NamedTuple):
    """A way to upsample, which is a row of the table.

    kind: "score" if the net gives the scores of pixels, "coarse" if the net's map is interpolated,
    "stitch" if the maps of several passes are interlaced. scenes: how many scenes are scored.
    """

    title: str
    kind: str
    scenes: int
    stride: int
    passes: int = 1


def all_methods(scenes: int, dense: int, stitched: int) -> Dict[str, Method]:
    """Return the methods by name, with the numbers of scenes that are scored."""
    dense, stitched = min(scenes, dense), min(scenes, dense, stitched)
    part, passes = settings.PART, (32 // settings.PART) ** 2
    return {
        "bilinear": Method("bilinear interpolation", "coarse", scenes, 32),
        "fixed": Method("Deconvolution, fixed", "score", scenes, 32),
        "control": Method("Deconvolution, fixed, trained on", "score", scenes, 32),
        "learned": Method("Deconvolution, learned", "score", scenes, 32),
        "stitched_part": Method(
            f"shift-and-stitch to stride {part}", "stitch", scenes, part, passes
        ),
        "rarefied_part": Method(f"filter rarefaction to stride {part}", "coarse", scenes, part),
        "stitched": Method("shift-and-stitch", "stitch", stitched, 1, 32**2),
        "rarefied": Method("filter rarefaction", "score", dense, 1),
    }


def with_learned_kernels(net: Any) -> Any:
    """Make the Deconvolution `upscore` of a training net learn at the rate of other weights."""
    layers = {layer.name: layer for layer in net.layer}
    if settings.UP in layers and layers[settings.UP].param:
        layers[settings.UP].param[0].lr_mult = 1
    return net


def fcn32s(folder: str, demo: demo_run.Demo, learned: bool) -> training.Net:
    """Return FCN-32s by split, with learned or fixed kernels."""
    net = training.fcn(settings.VARIANT, folder, demo)
    return (lambda split: with_learned_kernels(net(split))) if learned else net


def train(folder: str, demo: demo_run.Demo, iters: int, gpu: Gpu) -> Dict[str, Any]:
    """Train FCN-32s on with learned and with fixed kernels; return the scores of both."""
    scores = {}
    for name in ("control", "learned"):
        place = os.path.join(folder, name)
        scores[name] = training.train(
            place,
            fcn32s(place, demo, learned=name == "learned"),
            dict(demo.solver(settings.VARIANT), max_iter=demo.iters(iters)),
            demo.stage(settings.VARIANT),
            demo.seed,
            gpu,
        )
    return scores


class Files(NamedTuple):
    """The files of a method, and the places of its scores.

    net, weights: paths. lines: (stride, origin) of the scores in pixels, down and across.
    """

    net: str
    weights: str
    lines: Sequence[Sequence[float]]


def write_nets(folder: str, demo: demo_run.Demo) -> Dict[str, Files]:
    """Write the prototxt of each method."""
    part, blob = settings.PART, settings.BLOB
    net = training.fcn(settings.VARIANT, folder, demo)("deploy")
    # Dense maps are equal only if all padding is in the first layer and covers the shifts.
    padded = shift_stitch.reaching(net, blob)
    messages = {
        "bilinear": surgery.rarefy(net, blob, 32),
        "fixed": net,
        "control": net,
        "learned": net,
        "stitched_part": surgery.rarefy(padded, blob, 32),
        "rarefied_part": surgery.rarefy(padded, blob, part),
        "stitched": surgery.rarefy(padded, blob, 32),
        "rarefied": shift_stitch.dense_net(padded, blob),
    }
    # The first position of a rarefied net lies where the strided net's first position lies.
    strides = {"rarefied_part": part, "rarefied": 1}
    method_files = {}
    for name, message in messages.items():
        dense = name in ("stitched_part", "stitched", "rarefied_part", "rarefied")
        lines = shift_stitch.places(padded if dense else net, blob)
        trained = os.path.join(folder, name) if name in ("control", "learned") else None
        method_files[name] = Files(
            os.path.join(folder, name + ".prototxt"),
            available.weights_of(trained) if trained else demo.weights(settings.VARIANT),
            [[float(strides.get(name, line.stride)), float(line.origin)] for line in lines],
        )
        # The net is reshaped before a pass; a small input saves memory until then.
        message.layer[0].input_param.shape[0].dim[2:] = [64, 64]
        net_gen.write(message, method_files[name].net)
    return method_files


def predict(
    net: Any, lines: Sequence[Sequence[float]], method: Method, data: np.ndarray
) -> np.ndarray:
    """Return the scores, K x H x W, of an image C x H x W in the form of the net's input."""
    rows, columns = (shift_stitch.Line(*map(Fraction, line)) for line in lines)
    if method.kind == "score":
        return shift_stitch.forward(net, data, "score")
    if method.kind == "coarse":
        scores = shift_stitch.one_pass(net, (rows, columns), data, settings.BLOB)
    else:
        scores = shift_stitch.shift_and_stitch(
            net, (rows, columns), data, settings.BLOB, method.stride, method.title
        )
        if method.stride == 1:
            return shift_stitch.to_pixels(scores, *data.shape[1:])
    return shift_stitch.interpolate(scores, *data.shape[1:])
