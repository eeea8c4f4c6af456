"""Classifiers: nets with one score per class for images of one size.

`surgery.cast` turns their weights into those of a fully convolutional net.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Mapping, Optional, Union

from caffe.net_spec import NetSpec, Top
from caffe.net_spec import layers as L

from .arguments import check_choice, check_integer, check_ratio
from .data import SPLITS, Input, PythonData
from .layers import inner_product

#: Function of (n, image, width, dropout ratio, filler, size) -> the blob that is scored.
Body = Callable[[NetSpec, Top, Any, float, Optional[str], int], Top]


@dataclass(frozen=True)
class Classifier:
    """A classifier; calling it returns a NetParameter.

    name: key in `CLASSIFIERS`. title: name in prose.
    body: adds all layers but the last.
    last: name of the layer that scores the classes.
    size: height and width in pixels of the images in its paper.
    ratio: of the Dropout layers in its paper.
    """

    name: str
    title: str
    body: Body
    last: str
    size: int
    ratio: float

    def __call__(
        self,
        split: str,
        classes: int = 1000,
        width: Any = 1,
        channels: int = 3,
        size: Optional[int] = None,
        data: Optional[PythonData] = None,
        dropout: Optional[float] = None,
        batch: int = 1,
        filler: str = "msra",
        fillers: Optional[Mapping[str, Mapping[str, Any]]] = None,
    ) -> Any:
        """Return the NetParameter of one split, with the layer names of the published net.

        split: "train" and "val" read from `data`, fill the weights by `filler` and end in `loss`;
            "val" has `accuracy` too. "deploy" has an Input layer of batch x channels x size x
            size, no Dropout, and ends in `prob`, batch x classes.
        width: fraction of every channel count but the classes, such as 1/8.
        size: height and width of the images in pixels; None is that of the paper.
        data: the Python layer whose tops are `data`, N x channels x size x size, and `label`, N.
        dropout: ratio of the Dropout layers; None is that of the paper, 0 leaves the layers out.
        fillers: layer name -> the fields of its weight filler, in place of `filler`.

        Raises ValueError for an argument that makes no net.
        """
        check_choice("split", split, SPLITS)
        classes, channels = check_integer("classes", classes), check_integer("channels", channels)
        size = check_integer("size", self.size if size is None else size)
        batch = check_integer("batch", batch)
        ratio = check_ratio("dropout", self.ratio if dropout is None else dropout)
        source: Union[Input, PythonData]
        weight_filler: Optional[str] = filler
        if split == "deploy":
            source = Input({"data": (batch, channels, size, size)})
            ratio, weight_filler = 0.0, None
        elif data is None:
            raise ValueError(f"data is None, needs a PythonData for the {split} net")
        else:
            source = PythonData(*data)
        n = NetSpec()
        source.add(n)
        top = self.body(n, n.data, width, ratio, weight_filler, size)
        top = inner_product(n, self.last, top, classes, weight_filler)
        _add_end(n, top, split)
        net = n.to_proto()
        if weight_filler is not None:
            _replace_fillers(net, fillers or {})
        return net


def _replace_fillers(net: Any, fillers: Mapping[str, Mapping[str, Any]]) -> None:
    layers = {layer.name: layer for layer in net.layer}
    for name, fields in fillers.items():
        if name not in layers or layers[name].type not in ("Convolution", "InnerProduct"):
            raise ValueError(f"fillers has {name!r}, needs layers with weights")
        layer = layers[name]
        is_convolution = layer.type == "Convolution"
        param = layer.convolution_param if is_convolution else layer.inner_product_param
        param.weight_filler.Clear()
        for field, value in fields.items():
            setattr(param.weight_filler, field, value)


def _add_end(n: NetSpec, top: Top, split: str) -> None:
    if split == "deploy":
        n.prob = L.Softmax(top)
        return
    n.loss = L.SoftmaxWithLoss(top, n.label)
    if split == "val":
        n.accuracy = L.Accuracy(top, n.label)
