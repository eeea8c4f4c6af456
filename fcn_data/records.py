"""What a data set is to the nets, the solvers and the data layers: one record.

A new data set needs a `DataSet` in `fcn_data.catalogue` and a reader class, a subclass of
`fcn_data.layers.SegmentationDataLayer`.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

import numpy as np

#: Seed of the order of the training images in the published prototxts.
SEED = 1337
#: What a data layer does with an image that cannot be read; the first is the default.
ON_ERROR = ("stop", "skip")
#: Keys of param_str that only a train split has, and their values in the papers.
TRAINING: Mapping[str, Any] = {"mirror": False, "crop": 0, "scale": (1.0, 1.0), "batch": 1}


class Input(NamedTuple):
    """An image that a net reads: the name of its top and the mean of each channel.

    The mean is subtracted from the image. Its values are in the order of the channels: B, G, R for
    colour images.
    """

    name: str
    mean: Tuple[float, ...]


class Labels(NamedTuple):
    """A truth that a net learns: the name of its top, its classes, and their colours.

    classes: names by index. palette: N x 3, uint8, RGB, with N at least the number of classes.
    ignore_label: the label of the pixels that neither training nor scoring counts.
    """

    name: str
    classes: Tuple[str, ...]
    palette: np.ndarray
    ignore_label: int = 255


class Split(NamedTuple):
    """A part of a data set, and the Python layer that reads it.

    name: the value of `split` in param_str, which names the file with the image ids.
    prototxt: the stem of the prototxt that reads the split: "train" for train.prototxt.
    module, layer: the Python module and class of the data layer.
    folders: for each key of param_str that names a folder, the folder below the set's root.
    keys: the keys of param_str in the order of the published prototxts.
    images: the number of images that are scored (test_iter); None for a split that trains.
    """

    name: str
    prototxt: str
    module: str
    layer: str
    folders: Mapping[str, str]
    keys: Tuple[str, ...]
    images: Optional[int] = None


class DataSet(NamedTuple):
    """A data set: what its images and labels mean, its splits, and where its files come from.

    root: the folder of the files, relative to the repository.
    splits: `train`, `val`, and more if there are more.
    archives: names of `fcn_data.published`, to be fetched; empty for a set that is drawn.
    title: the name in prose.
    """

    name: str
    root: str
    inputs: Tuple[Input, ...]
    labels: Tuple[Labels, ...]
    splits: Mapping[str, Split]
    archives: Tuple[str, ...] = ()
    title: str = ""

    @property
    def classes(self) -> Tuple[str, ...]:
        """The class names of the first labels."""
        return self.labels[0].classes

    @property
    def palette(self) -> np.ndarray:
        """The colours of the first labels, N x 3, uint8, RGB."""
        return self.labels[0].palette

    @property
    def ignore_label(self) -> int:
        """The ignored label of the first labels."""
        return self.labels[0].ignore_label

    @property
    def mean(self) -> Tuple[float, ...]:
        """The mean of the first input."""
        return self.inputs[0].mean

    @property
    def tops(self) -> Tuple[str, ...]:
        """The names of the tops of a data layer: the inputs, then the labels."""
        return (*(top.name for top in self.inputs), *(top.name for top in self.labels))

    def parameters(self, split: str, root: str = "../data", **settings: Any) -> Dict[str, Any]:
        """Return the dict whose `repr` is the param_str of the layer that reads `split`.

        root: the folder of the set, as seen from the folder of the prototxt.
        settings: values by key of param_str. `classes` is the number of classes. A folder that
            is None has its default; the folders of other splits are ignored.

        The keys are those of the published prototxts, in their order. Keys that the published
        prototxts lack follow if they were set to another value than the default. Only train
        splits have the keys in `TRAINING`. Raises ValueError for a key that no layer of the set
        has.
        """
        record = self.splits[split]
        defaults: Dict[str, Any] = {
            **{key: f"{root}/{folder}" for key, folder in record.folders.items()},
            "split": record.name,
            "seed": SEED,
            "mean": self.mean,
            "tops": list(self.tops),
            "classes": len(self.classes),
            "on_error": ON_ERROR[0],
            **TRAINING,
        }
        elsewhere = {key for other in self.splits.values() for key in other.folders}
        unknown = set(settings) - set(defaults) - elsewhere
        if unknown:
            raise ValueError(
                f"data set {self.name}: no data layer has {sorted(unknown)[0]!r}, "
                f"needs one of {', '.join(sorted({*defaults, *elsewhere}))}"
            )
        values = dict(defaults)
        if "train" not in record.name:
            settings = {key: value for key, value in settings.items() if key not in TRAINING}
        for key in set(settings) & set(defaults):
            if settings[key] is not None or key not in record.folders:
                values[key] = settings[key]
        further = [key for key in defaults if key not in record.keys]
        changed = [key for key in further if values[key] != defaults[key]]
        return {key: values[key] for key in (*record.keys, *changed)}
