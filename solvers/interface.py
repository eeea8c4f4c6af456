"""What a trained net reads and gives: channels, mean, scale, size limit, and its maps.

For a net of a run, run.json says so. For other nets, the data layer of a prototxt beside the net,
the variant, or printed assumptions say so.
"""

from __future__ import annotations

import ast
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import caffe

from fcn_common.voc import MEAN
from fcn_data import VOC, DataSet, Labels
from fcn_data.readers import COLOURS
from net_gen import VARIANTS
from net_gen.arguments import check_integer
from solvers import outputs
from solvers.available import Model
from solvers.outputs import Head
from solvers.run_record import Output, RunRecord, read_run
from surgery import check_weights
from surgery.cast import read_net

#: Pixels of the long side of PASCAL VOC's photographs, the scale that its nets were trained at.
LONG_SIDE = 500
#: Prototxts beside a deploy net whose data layer says what the net reads.
TRAINING_PROTOTXTS = ("train", "trainval", "train_val", "val", "test")


class Settings(NamedTuple):
    """What a user says about a net; None leaves the choice to the program.

    mean: a value for each channel. scale: the net reads (pixel - mean) * scale. classes: the names
    of the first head's classes. long_side: pixels to which the long side of larger pictures is
    reduced; 0: never.
    """

    mean: Optional[Tuple[float, ...]] = None
    scale: Optional[float] = None
    classes: Optional[Tuple[str, ...]] = None
    long_side: Optional[int] = None


class Interface(NamedTuple):
    """What a net reads and gives.

    channels: of the pictures. mean: a value for each channel, in the order of
    `fcn_data.readers.read_channels`. scale: the net reads (pixel - mean) * scale. long_side: as for
    `Settings`. heads: the maps. notes: lines about what was assumed.
    """

    channels: int
    mean: Tuple[float, ...]
    scale: float
    long_side: int
    heads: Tuple[Head, ...]
    notes: Tuple[str, ...] = ()


class _Reading(NamedTuple):
    """Mean and scale, and where they come from, in words."""

    mean: Tuple[float, ...]
    scale: float
    source: str


def load(net: str, weights: str) -> Any:
    """Return a deploy net with its weights, from a prototxt and a .caffemodel.

    Raises FileNotFoundError for a missing file, and ValueError if the weights do not fill the net
    or the net has not exactly one input.
    """
    for path in (net, weights):
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{path}: no such file")
    loaded = caffe.Net(net, caffe.TEST)
    check_weights(loaded, weights, need=list(loaded.params))
    loaded.copy_from(weights)
    if len(loaded.inputs) != 1:
        raise ValueError(f"{net}: has the inputs {list(loaded.inputs)}, needs one, the image")
    return loaded


def interface_of(model: Model, net: Any, settings: Optional[Settings] = None) -> Interface:
    """Return what a loaded pycaffe net of a model reads and gives.

    Raises ValueError if the net contradicts its run.json or the settings, or if nothing says what
    the mean of its channels is.
    """
    settings = settings or Settings()
    if settings.long_side is not None:
        check_integer("long_side", settings.long_side, least=0)
    message = read_net(model.net)
    if model.run:
        return _of_run(model, net, message, read_run(model.run), settings)
    channels = _channels(net)
    data_set = VARIANTS[model.variant].data if model.variant in VARIANTS else VOC
    reading = _reading(model, channels, settings)
    heads, named = _heads(model, net, message, data_set)
    certain = model.variant and named
    certain = certain or (settings.mean is not None and settings.classes is not None)
    notes = [] if certain else [_assumption(model, reading, heads, named)]
    heads = _rename(model.weights, heads, settings.classes)
    long_side = settings.long_side
    if long_side is None:
        long_side = LONG_SIDE if named and channels == COLOURS else 0
    return Interface(channels, reading.mean, reading.scale, long_side, heads, tuple(notes))


def _of_run(
    model: Model, net: Any, message: Any, record: RunRecord, settings: Settings
) -> Interface:
    """Return the interface that run.json describes, checked against the net."""
    channels = _channels(net)
    if channels != record.channels:
        raise ValueError(
            f"{model.net}: reads {channels} channels, its run {model.run} says {record.channels}; "
            "the prototxt belongs to another run"
        )
    heads: List[Head] = []
    for output in record.outputs:
        if output.blob not in net.blobs:
            raise ValueError(
                f"{model.net}: lacks the blob {output.blob} that its run {model.run} names; "
                f"has {', '.join(net.blobs)}"
            )
        count = outputs.class_count(net, message, output.blob)
        if output.meaning != "labels" and count != len(output.classes):
            raise ValueError(
                f"{model.net}: {output.blob} has {count} classes, its run {model.run} says "
                f"{len(output.classes)}"
            )
        heads.append(Head(output, outputs.places_of(message, output.blob)))
    mean = settings.mean or record.mean
    _check_mean(mean, channels)
    return Interface(
        channels=channels,
        mean=mean,
        scale=record.scale if settings.scale is None else settings.scale,
        long_side=record.long_side if settings.long_side is None else settings.long_side,
        heads=_rename(model.weights, heads, settings.classes),
    )


def _channels(net: Any) -> int:
    """Return the number of channels of a net's input."""
    shape = tuple(net.blobs[net.inputs[0]].shape)
    if len(shape) != 4:
        raise ValueError(
            f"input {net.inputs[0]}: has shape {shape}, needs 1 x channels x height x width"
        )
    return int(shape[1])


def _check_mean(mean: Sequence[float], channels: int) -> None:
    if len(mean) != channels:
        raise ValueError(
            f"mean has {len(mean)} values, the net reads {channels} channels: needs one for each"
        )


def _reading(model: Model, channels: int, settings: Settings) -> _Reading:
    """Return the mean and the scale of a net without a run.

    The first of these that exists is used: the user's values, the data layer of a prototxt beside
    the net, the mean of the variant's input, ILSVRC's mean for three channels.
    """
    stored = _stored_reading(os.path.dirname(os.path.abspath(model.net)), channels)
    if settings.mean is not None:
        _check_mean(settings.mean, channels)
        reading = _Reading(settings.mean, 1.0, "as named")
    elif stored:
        reading = stored
    else:
        reading = _assumed_reading(model, channels)
    return reading if settings.scale is None else reading._replace(scale=settings.scale)


def _assumed_reading(model: Model, channels: int) -> _Reading:
    if model.variant in VARIANTS:
        variant = VARIANTS[model.variant]
        means = {source.name: source.mean for source in variant.data.inputs}
        mean = means.get(variant.images[0].input, variant.data.mean)
        if len(mean) == channels:
            return _Reading(mean, 1.0, f"that of {model.variant}")
    if channels != COLOURS:
        raise ValueError(
            f"{model.weights}: the net reads {channels} channels and has no run.json beside it; "
            f"name the mean of its channels: --mean with {channels} values, or --run"
        )
    return _Reading(tuple(MEAN), 1.0, "ILSVRC's, assumed")


def _stored_reading(folder: str, channels: int) -> Optional[_Reading]:
    """Return the mean and scale of the data layer in a training prototxt of a folder."""
    for stem in TRAINING_PROTOTXTS:
        path = os.path.join(folder, stem + ".prototxt")
        if not os.path.isfile(path):
            continue
        try:
            layers = read_net(path).layer
        except (OSError, ValueError):
            continue  # Caffe reads more than this parser, and the file is only a hint.
        for layer in layers:
            mean, scale = _layer_reading(layer)
            if len(mean) == 1:
                mean *= channels
            if len(mean) == channels:
                return _Reading(mean, scale, f"that of {stem}.prototxt")
    return None


def _layer_reading(layer: Any) -> Tuple[Tuple[float, ...], float]:
    """Return the mean and the scale that a layer names; no mean if it names none."""
    if layer.type == "Python":
        try:
            values = ast.literal_eval(layer.python_param.param_str)
            return tuple(float(value) for value in values["mean"]), 1.0
        except (SyntaxError, ValueError, TypeError, KeyError):
            return (), 1.0
    transform = layer.transform_param
    return tuple(transform.mean_value), float(transform.scale)


def _heads(
    model: Model, net: Any, message: Any, data_set: DataSet
) -> Tuple[Tuple[Head, ...], bool]:
    """Return the heads of a net without a run, and whether all have class names of a data set."""
    labels = {record.name: record for record in data_set.labels}
    records: Dict[str, Optional[Labels]] = {"score": data_set.labels[0]}
    if model.variant in VARIANTS:
        heads = VARIANTS[model.variant].heads
        records = {f"score{head.suffix}": labels.get(head.label) for head in heads}
    blobs = [blob for blob in records if blob in net.blobs] or outputs.map_blobs(net)
    if len(blobs) == 1 and blobs[0] not in records:
        records[blobs[0]] = data_set.labels[0]
    pairs = [_head(net, message, blob, records.get(blob)) for blob in blobs]
    return tuple(head for head, _ in pairs), all(named for _, named in pairs)


def _head(net: Any, message: Any, blob: str, labels: Optional[Labels]) -> Tuple[Head, bool]:
    """Return the head of a blob, and whether its classes have the names of `labels`."""
    channels = int(tuple(net.blobs[blob].shape)[1])
    meaning = outputs.meaning_of(message, blob, channels)[0]
    count = outputs.class_count(net, message, blob)
    if count > outputs.MOST_CLASSES:
        raise ValueError(
            f"blob {blob}: has {count} classes, label maps hold up to {outputs.MOST_CLASSES}"
        )
    named = labels is not None and len(labels.classes) == count
    if named and labels is not None:
        names = labels.classes
        palette = tuple((int(r), int(g), int(b)) for r, g, b in labels.palette[:count])
    else:
        names, palette = tuple(f"class {k}" for k in range(count)), outputs.palette_of(count)
    output = Output(blob, meaning, names, palette)
    return Head(output, outputs.places_of(message, blob)), named


def _rename(
    weights: str, heads: Sequence[Head], classes: Optional[Tuple[str, ...]]
) -> Tuple[Head, ...]:
    """Return the heads with the class names that the user gives to the first one."""
    if classes is None:
        return tuple(heads)
    first = heads[0].output
    if len(classes) != len(first.classes):
        raise ValueError(
            f"{weights}: {first.blob} has {len(first.classes)} classes, "
            f"--classes has {len(classes)} names"
        )
    return heads[0]._replace(output=first._replace(classes=classes)), *heads[1:]


def _assumption(model: Model, reading: _Reading, heads: Sequence[Head], named: bool) -> str:
    """Return the line about a net of which no run.json says what it reads."""
    mean = ", ".join(f"{value:g}" for value in reading.mean)
    counts = " and ".join(str(len(head.output.classes)) for head in heads)
    classes = "VOC's, assumed" if named else f"{counts}, without names"
    binary = [head.output.blob for head in heads if head.output.meaning == "logit"]
    more = f"; {binary[0]} above 0 is class 1" if binary else ""
    scale = "" if reading.scale == 1 else f"; scale: {reading.scale:g}"
    return (
        f"warning: {model.weights} belongs to no run. Mean: {mean} ({reading.source}){scale}; "
        f"classes: {classes}{more}. --run, --mean and --classes say otherwise"
    )
