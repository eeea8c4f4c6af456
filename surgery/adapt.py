"""Start a net from any weights: copy the layers that fit, and initialize the others.

python -m surgery adapt WEIGHTS DEPLOY OUT [--layers conv*,fc6]
"""

from __future__ import annotations

import fnmatch
import os
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence

import caffe
import numpy as np

import net_gen
from fcn_common import arguments
from fcn_common.places import temporary_folder
from surgery.cast import read_net, save
from surgery.shapes import Shape, names_text, shape_text
from surgery.upsampling import interp, interp_layers
from surgery.weight_files import read_values


@dataclass
class Adaptation:
    """What became of the layers of a net that started from a weights file.

    copied: layers of the same shape. reshaped: layers of the same numbers in another shape, such
    as InnerProduct layers that became convolutions. averaged: first layers whose kernels are the
    mean over the colours, because the images have another number of channels. fresh: layer ->
    why the layer is new. unused: layers of the file that the net lacks.
    """

    copied: List[str] = field(default_factory=list)
    reshaped: List[str] = field(default_factory=list)
    averaged: List[str] = field(default_factory=list)
    fresh: Dict[str, str] = field(default_factory=dict)
    unused: List[str] = field(default_factory=list)

    @property
    def filled(self) -> List[str]:
        """The layers that have weights of the file."""
        return self.copied + self.reshaped + self.averaged

    @property
    def random(self) -> List[str]:
        """The new layers below the scores, which start from random numbers."""
        return [name for name in self.fresh if not (name.startswith("score") or "up" in name)]

    def lines(self) -> List[str]:
        """Return the report as lines of text."""
        fresh = [f"{name} ({reason})" for name, reason in self.fresh.items()]
        parts = (
            ("copied", self.copied),
            ("reshaped", self.reshaped),
            ("averaged over the colours", self.averaged),
            ("new", fresh),
            ("not used", self.unused),
        )
        return [f"{title}: {', '.join(names)}" for title, names in parts if names]


def adapt(
    weights: Optional[str], deploy: str, out: str, layers: Sequence[str] = ("*",), seed: int = 1
) -> Adaptation:
    """Write to `out` the weights with which the net `deploy` starts from a weights file.

    weights: path of a .caffemodel or HDF5 file of any net; None initializes every layer.
    layers: patterns of the names of the layers that are copied, such as "conv*".
    seed: of the random numbers of new layers below the scores (He initialisation).

    A layer of the same name is copied if its blobs have the shapes, or the numbers, that the net
    needs. New layers that score are zero, new layers that upsample are bilinear. Returns what
    became of each layer. Raises OSError for a missing file, ValueError if no layer fits.
    """
    values = read_values(weights) if weights else {}
    net = _filled_net(deploy, seed)
    report = Adaptation(unused=[name for name in values if name not in net.params])
    first = next(iter(net.params), "")
    for name, blobs in net.params.items():
        chosen = any(fnmatch.fnmatch(name, pattern) for pattern in layers)
        if name not in values or not chosen:
            report.fresh[name] = "not in the weights" if name not in values else "not chosen"
            continue
        _copy_layer(report, name, blobs, values[name], name == first)
    if weights and not report.filled:
        needed = names_text(net.params)
        reasons = [f"{name} {reason}" for name, reason in report.fresh.items()]
        more = f"; and {len(reasons) - 4} more" if len(reasons) > 4 else ""
        raise ValueError(
            f"{weights}: no layer fits this net: has {names_text(values)}, needs {needed} "
            f"({'; '.join(reasons[:4])}{more})"
        )
    save(net, out)
    return report


def _filled_net(deploy: str, seed: int) -> Any:
    """Return the net with He's random numbers, zero scores, and bilinear kernels."""
    message = read_net(deploy)
    for layer in message.layer:
        if layer.type == "Convolution" and not layer.name.startswith("score"):
            layer.convolution_param.weight_filler.type = "msra"
    with temporary_folder() as folder:
        prototxt = os.path.join(folder, "filled.prototxt")
        net_gen.write(message, prototxt)
        caffe.set_random_seed(seed)
        net = caffe.Net(prototxt, caffe.TEST)
    interp(net, interp_layers(net))
    return net


def _copy_layer(
    report: Adaptation, name: str, blobs: Sequence[Any], values: List[np.ndarray], first: bool
) -> None:
    """Copy the blobs of a layer into a net if all of them fit, and report what was done."""
    shapes: List[Shape] = [tuple(blob.data.shape) for blob in blobs]
    stored_shapes = [value.shape for value in values]
    mismatch = next((k for k, v in enumerate(values[: len(shapes)]) if v.shape != shapes[k]), None)
    if len(values) != len(shapes):
        report.fresh[name] = f"{len(values)} blobs, needs {len(shapes)}"
        return
    if mismatch is None:
        report.copied.append(name)
    elif first and _other_colours(stored_shapes[0], shapes[0]):
        channels = shapes[0][1]
        mean = values[0].sum(axis=1, keepdims=True) / channels
        values = [np.repeat(mean, channels, axis=1), *values[1:]]
        report.averaged.append(name)
    elif all(v.size == int(np.prod(s)) for v, s in zip(values, shapes)):
        report.reshaped.append(name)
    else:
        size, needed = shape_text(stored_shapes[mismatch]), shape_text(shapes[mismatch])
        report.fresh[name] = f"{size}, needs {needed}"
        return
    for blob, value, shape in zip(blobs, values, shapes):
        blob.data[...] = value.reshape(shape)


def _other_colours(shape: Shape, needed: Shape) -> bool:
    """Return whether two kernels differ only in the number of channels that they read."""
    same_windows = len(shape) == len(needed) == 4 and shape[2:] == needed[2:]
    return same_windows and shape[0] == needed[0] and shape[1] != needed[1]


def main(argv: Optional[Sequence[str]] = None) -> None:
    """The command line of `adapt`: print what became of each layer."""
    option = arguments.option
    parser = arguments.Parser(
        prog="python -m surgery adapt",
        description="Write the first weights of a net from those of any other net: what fits is "
        "copied, scores are zero, upsampling is bilinear, other new layers are random.",
        parents=[
            option("weights", metavar="WEIGHTS", help=".caffemodel or HDF5 file to copy from"),
            option("deploy", metavar="DEPLOY", help="deploy.prototxt of the net"),
            option("out", metavar="OUT", help=".caffemodel to write"),
            option(
                "--layers",
                default="*",
                metavar="NAMES",
                help="layers to copy: conv*,fc6 (default: all that fit)",
            ),
            arguments.seed(1, "random numbers"),
        ],
    )
    options = vars(parser.parse_args(argv))
    options["layers"] = options["layers"].split(",")
    print("\n".join(adapt(**options).lines()))
    print(f"wrote {options['out']}")
