"""What a trunk is: the record that each file of this package fills in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Mapping, NamedTuple, Tuple

from caffe.net_spec import Top

from ..classifier import Classifier

#: Pixels around the image in the published nets. The crop offset is then 0 or more for an image
#: of any size.
PAD = 100


class Skip(NamedTuple):
    """A blob that a finer head scores.

    name: what the head's layers call the blob, as in `score_pool4`. blob: its name in the net.
    """

    name: str
    blob: str


class Features(NamedTuple):
    """A trunk in a net.

    trunk: the record of the trunk. n: the NetSpec or Names that the trunk was added to.
    top: the blob that is scored. pad: pixels around the image, in the first layer.
    """

    trunk: Trunk
    n: Any
    top: Top
    pad: int

    def skip(self, stride: int) -> Tuple[str, Top]:
        """Return the name and the blob of the skip with `stride` pixels between its values."""
        skip = self.trunk.skips[stride]
        return skip.name, self.n[skip.blob]


@dataclass(frozen=True)
class Trunk:
    """A classifier's layers up to the blob that a fully convolutional net scores.

    name: the key in `TRUNKS`, which variants name.
    build: function of (n, image, width, pad, dropout ratio) that adds the layers to `n`, a NetSpec
        or Names, and returns the blob that is scored.
    stride: pixels between two values of that blob.
    skips: stride -> the finer blob that a head may score too.
    dropout: ratio of the Dropout layers.
    classifiers: the classifiers that share the layers of the trunk.
    classifier: name of the one whose weights the trunk starts from.
    weights: file of these weights in ilsvrc-nets/. cast: file of the weights that surgery makes
        from them, in ilsvrc-nets/.
    title: name of the trunk in the names of its nets: GoogLeNet in FCN-GoogLeNet; "" for VGG16.
    """

    name: str
    build: Callable[[Any, Top, Any, int, float], Top]
    stride: int
    skips: Mapping[int, Skip]
    dropout: float
    classifiers: Tuple[Classifier, ...]
    classifier: str
    weights: str
    cast: str
    title: str

    @property
    def strides(self) -> Tuple[int, ...]:
        """The strides of the blobs that a head can score, from coarse to fine."""
        return (self.stride, *sorted(self.skips, reverse=True))

    def __call__(
        self, n: Any, image: Top, width: Any = 1, pad: int = PAD, ratio: float = 0.0
    ) -> Features:
        """Add the trunk to a net and return its blobs.

        n: NetSpec or Names. image: blob N x C x H x W. width: fraction of every channel count.
        pad: pixels around the image. ratio: of the Dropout layers; 0 leaves them out.

        Raises ValueError for a width that leaves no channels.
        """
        return Features(self, n, self.build(n, image, width, pad, ratio), pad)
