"""What defines a training on own pictures: its options, their checks, and their command line."""

from __future__ import annotations

import argparse
import math
import re
from fractions import Fraction
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from caffe.proto import caffe_pb2
from google.protobuf import text_format

from fcn_common import arguments
from fcn_data.augmentation import Augmentation
from fcn_data.records import ON_ERROR
from net_gen import VARIANTS
from solvers import chain

DEFAULT_VARIANT = "voc-fcn8s"
#: The value of `weights` for a net that starts from random numbers.
RANDOM = "random"


class Options(NamedTuple):
    """What defines a run; a later command has to repeat it to continue the run.

    variant: the net of the last stage. width: fraction of the channel counts, as text. single:
    train only that net, straight from the first weights. weights: path of the first weights,
    `RANDOM`, or "" for the trunk's classifier. layers: patterns of the layers that are copied from
    them. mean: values with commas, or "". lr: of the first stage. seed: of the splits, the random
    weights and the solver. class_weights: as for `fcn_data.class_weights`, or "" for none. mirror,
    crop, scale: how the training pictures are changed; scale is "0.5:2", or "". batch: pictures in
    a pass. on_error: what becomes of a picture that cannot be read, "stop" or "skip". solver:
    fields of the solver prototxts, as text, which replace the computed ones.
    """

    variant: str = DEFAULT_VARIANT
    width: str = "1"
    single: bool = False
    weights: str = ""
    layers: str = "*"
    mean: str = ""
    lr: Optional[float] = None
    seed: int = 1
    class_weights: str = ""
    mirror: bool = False
    crop: int = 0
    scale: str = ""
    batch: int = 1
    on_error: str = ON_ERROR[0]
    solver: str = ""

    @property
    def stages(self) -> List[str]:
        """The names of the variants that are trained, in their order."""
        return [self.variant] if self.single else chain.stages(self.variant)

    @property
    def pretrained(self) -> bool:
        """Whether the trunk starts from trained weights."""
        return self.weights != RANDOM

    @property
    def augmentation(self) -> Augmentation:
        """How the training pictures are changed. Raises ValueError for bad values."""
        factors = self.scale.split(":") if self.scale else ["1"]
        try:
            low, high = float(factors[0]), float(factors[-1])
        except ValueError:
            low = high = 0.0
        if len(factors) > 2 or not 0 < low <= high:
            raise ValueError(f"scale is {self.scale!r}, needs a factor or two with a colon: 0.5:2")
        augmentation = Augmentation(self.mirror, self.crop, (low, high))
        augmentation.check("the options")
        return augmentation

    @property
    def data_settings(self) -> Dict[str, Any]:
        """The keys of the data layers that the options set; some are the train split's alone."""
        return {**self.augmentation._asdict(), "batch": self.batch, "on_error": self.on_error}

    @property
    def solver_fields(self) -> Dict[str, Any]:
        """The fields of `solver`. Raises ValueError for text that is no solver."""
        message = caffe_pb2.SolverParameter()
        try:
            text_format.Parse(self.solver, message)
        except text_format.ParseError as error:
            raise ValueError(
                f"solver is {self.solver!r}, needs fields of a solver prototxt, such as "
                f"'momentum: 0.9 snapshot: 100' ({error})"
            ) from None
        return {field.name: _plain(value) for field, value in message.ListFields()}


def checked(options: Options) -> Options:
    """Return the options with the variant's full name and the width as a fraction.

    Raises ValueError for an unknown variant, one that needs several images or labels a picture,
    and values out of range.
    """
    name = options.variant if options.variant in VARIANTS else f"voc-{options.variant}"
    if name not in VARIANTS:
        raise ValueError(f"variant is {options.variant!r}, needs one of {', '.join(variants())}")
    if name not in variants():
        variant = VARIANTS[name]
        kinds = [image.input for image in variant.images] + [head.label for head in variant.heads]
        raise ValueError(
            f"variant {name}: reads {', '.join(kinds)}, and a folder has a picture and one label "
            f"file each; needs one of {', '.join(variants())}"
        )
    try:
        width = Fraction(options.width)
    except (ValueError, ZeroDivisionError):
        width = Fraction(0)
    if not 0 < width <= 1:
        raise ValueError(f"width is {options.width!r}, needs a fraction such as 1/8, at most 1")
    if options.batch < 1:
        raise ValueError(f"batch is {options.batch}, needs 1 or more pictures")
    if options.lr is not None and not (options.lr > 0 and math.isfinite(options.lr)):
        raise ValueError(f"lr is {options.lr:g}, needs a number above 0")
    options.augmentation, options.solver_fields  # noqa: B018 - both refuse bad values
    return options._replace(variant=name, width=str(width))


def variants() -> Tuple[str, ...]:
    """Return the variants with one trunk that read one picture and one label."""
    return tuple(
        name
        for name, variant in VARIANTS.items()
        if len(variant.branches) == 1
        and [image.input for image in variant.images] == ["data"]
        and [head.label for head in variant.heads] == ["label"]
    )


def option_arguments() -> List[argparse.ArgumentParser]:
    """Return the parents of the options on the command line, but the seed."""
    option = arguments.option
    return [
        option(
            "--variant",
            default=DEFAULT_VARIANT,
            metavar="NAME",
            help=f"{', '.join(variants())} (default: {DEFAULT_VARIANT})",
        ),
        option("--width", default="1", metavar="W", help="fraction of every channel count: 1/8"),
        option(
            "--single",
            action="store_true",
            help="train only this variant, not the stages before it",
        ),
        arguments.weights(
            "first weights: any .caffemodel, HDF5 or safetensors file, torchvision's vgg16 or "
            "googlenet (.pth or .safetensors), the folder of a run or stage, the name "
            "of published weights (vgg16, fcn8s, ...), or random (default: the trunk's "
            "classifier; random for narrow nets)"
        ),
        option(
            "--layers",
            default="*",
            metavar="NAMES",
            help="layers that are copied from the weights: conv*,fc6 (default: all that fit)",
        ),
        option("--mean", metavar="VALUES", help="of each channel, with commas"),
        option("--lr", type=float, metavar="RATE", help="learning rate of the first stage"),
        option(
            "--solver",
            metavar="FIELDS",
            help="fields of the solver: 'momentum: 0.9 snapshot: 100'",
        ),
        *_training_arguments(),
    ]


def _training_arguments() -> List[argparse.ArgumentParser]:
    """Return the parents of the options that the papers do without."""
    option = arguments.option
    return [
        option(
            "--class-weights",
            metavar="WEIGHTS",
            help="of the classes in the loss: balanced, median-frequency, numbers with commas, or "
            "a file (default: none)",
        ),
        option("--mirror", action="store_true", help="mirror half of the training pictures"),
        option("--crop", type=int, default=0, metavar="N", help="train on random windows, N x N"),
        option(
            "--scale",
            metavar="A:B",
            help="scale the training pictures by a random factor between two, such as 0.5:2",
        ),
        option("--batch", type=int, default=1, metavar="N", help="pictures in a pass (default: 1)"),
        option(
            "--on-error",
            choices=ON_ERROR,
            default=ON_ERROR[0],
            help="what becomes of a picture that cannot be read: stop with a snapshot, or skip the "
            f"picture (default: {ON_ERROR[0]})",
        ),
    ]


def _plain(value: Any) -> Any:
    return list(value) if re.search("Repeated|RepeatedScalar", type(value).__name__) else value
