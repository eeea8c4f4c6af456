"""The variants: one line of a table each. `python -m net_gen NAME` writes the folder of one."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple, Union

from fcn_data import DATA_SETS, VOC, DataSet

from .arguments import check_choice
from .trunks import TRUNKS


class Image(NamedTuple):
    """A blob that a net reads images from, and the name of that input in the data set."""

    blob: str = "data"
    input: str = "data"


class Branch(NamedTuple):
    """A trunk of a net; a net with several averages their scores.

    images: the blobs that the trunk reads. Several are joined along the channels, as `data`.
    suffix: is put behind the names of the trunk's layers and blobs.
    renamed: name of a layer of the trunk -> its name in this net, before the suffix.
    init: the variant whose trained weights the branch starts from, with the suffix behind the
        names of its layers; None for those of `Variant.init` or the classifier.
    """

    images: Tuple[Image, ...] = (Image(),)
    suffix: str = ""
    renamed: Mapping[str, str] = MappingProxyType({})
    init: Optional[str] = None


class Head(NamedTuple):
    """A map of scores for every pixel, and its loss.

    suffix: is put behind the names of the head's layers and blobs.
    label: the blob of the labels, and the name of these labels in the data set.
    loss: the name of the loss.
    """

    suffix: str = ""
    label: str = "label"
    loss: str = "loss"


class Variant(NamedTuple):
    """A net of the family, and how it is trained.

    stride: of the last upsampling, in pixels; one below the trunk's stride takes skips.
    base_lr: the learning rate.
    init: the variant whose trained weights it starts from; None for those of the classifier.
    data_root: the folder of the data, as seen from the variant's folder.
    trunk: a key of `TRUNKS`.
    at_once: trained in one stage from the classifier, with scaled skips.
    normalize: the loss is the mean over the pixels, not the sum.
    solver: the fields that differ from `net_gen.solver.PUBLISHED`, beside the learning rate.
    data_set: a key of `fcn_data.DATA_SETS`, or the record of another data set.
    branches, heads: the trunks and the maps of scores of the net.
    score_every: iterations between two scores.
    """

    stride: int
    base_lr: float
    init: Optional[str] = None
    data_root: str = "../data"
    trunk: str = "vgg16"
    at_once: bool = False
    normalize: bool = False
    solver: Mapping[str, Any] = MappingProxyType({})
    data_set: Union[str, DataSet] = "voc"
    branches: Tuple[Branch, ...] = (Branch(),)
    heads: Tuple[Head, ...] = (Head(),)
    score_every: int = 4000

    @property
    def data(self) -> DataSet:
        """The record of the data set."""
        return DATA_SETS[self.data_set] if isinstance(self.data_set, str) else self.data_set

    @property
    def title(self) -> str:
        """The name of the net in prose: FCN-8s, FCN-8s on SIFT Flow, FCN-GoogLeNet-16s."""
        trunk = TRUNKS[self.trunk]
        stride = f"-{self.stride}s" if self.stride < trunk.stride or not trunk.title else ""
        name = f"FCN{trunk.title and '-' + trunk.title}{stride}{' at once' * self.at_once}"
        if self.data.name == VOC.name or not self.data.title:
            return name
        inputs = [image.input for image in self.images]
        images = f" from {' and '.join(inputs)}" if inputs != ["data"] else ""
        return f"{name} on {self.data.title}{images}"

    @property
    def parents(self) -> Tuple[str, ...]:
        """The variants whose trained weights the net starts from; none for the classifier's."""
        parents = (self.init, *(branch.init for branch in self.branches))
        return tuple(parent for parent in parents if parent is not None)

    @property
    def images(self) -> Tuple[Image, ...]:
        """The blobs that the net reads images from."""
        return tuple(image for branch in self.branches for image in branch.images)


#: Momentum and batch of FCN-AlexNet (arXiv 1411.4038, section 4.3).
_BATCHES = MappingProxyType({"momentum": 0.9, "iter_size": 20})
#: The solvers of the other data sets. Those of SIFT Flow name no snapshots.
_LONG = MappingProxyType({"max_iter": 300000})
_LONG_2000 = MappingProxyType({"max_iter": 300000, "snapshot": 2000})
_LONG_UNSAVED = MappingProxyType({"max_iter": 300000, "snapshot": None, "snapshot_prefix": None})
_CONTEXT = Variant(
    *(32, 1e-10), data_root="../../data", solver=_LONG, data_set="pascalcontext", score_every=8000
)
#: Two heads on one trunk: semantic and geometric classes (arXiv 1605.06211, section 5).
_SIFT_FLOW = Variant(
    *(32, 1e-10),
    solver=_LONG_UNSAVED,
    data_set="siftflow",
    heads=(Head("_sem", "sem"), Head("_geo", "geo", "loss_geo")),
    score_every=2000,
)
_NYUD = Variant(32, 1e-10, solver=_LONG_2000, data_set="nyud", score_every=2000)
_COLOR, _DEPTH, _HHA = (Image(name, name) for name in ("color", "depth", "hha"))
#: The published nets of VOC, those of GoogLeNet, and the published nets of the other data sets.
#: For a loss averaged over the pixels of 20 images, the papers' learning rates are 1e-4 for VGG16
#: and 5e-5 for GoogLeNet (arXiv 1411.4038, section 4.3). So each stage of GoogLeNet has half the
#: rate of the same stage of VGG16.
#: The published files of voc-fcn16s look for the data one folder further up than all others.
VARIANTS: Dict[str, Variant] = {
    "voc-fcn32s": Variant(32, 1e-10),
    "voc-fcn16s": Variant(16, 1e-12, "voc-fcn32s", data_root="../../data"),
    "voc-fcn8s": Variant(8, 1e-14, "voc-fcn16s"),
    "voc-fcn8s-atonce": Variant(8, 1e-10, at_once=True, solver={"max_iter": 300000}),
    "voc-fcn-alexnet": Variant(32, 1e-4, trunk="alexnet", normalize=True, solver=_BATCHES),
    "voc-fcn-googlenet": Variant(32, 5e-11, trunk="googlenet"),
    "voc-fcn-googlenet16s": Variant(16, 5e-13, "voc-fcn-googlenet", trunk="googlenet"),
    "voc-fcn-googlenet8s": Variant(8, 5e-15, "voc-fcn-googlenet16s", trunk="googlenet"),
    "pascalcontext-fcn32s": _CONTEXT,
    "pascalcontext-fcn16s": _CONTEXT._replace(
        stride=16, base_lr=1e-12, init="pascalcontext-fcn32s"
    ),
    "pascalcontext-fcn8s": _CONTEXT._replace(stride=8, base_lr=1e-14, init="pascalcontext-fcn16s"),
    "siftflow-fcn32s": _SIFT_FLOW,
    "siftflow-fcn16s": _SIFT_FLOW._replace(stride=16, base_lr=1e-12, init="siftflow-fcn32s"),
    "siftflow-fcn8s": _SIFT_FLOW._replace(stride=8, base_lr=1e-12, init="siftflow-fcn16s"),
    "nyud-fcn32s-color": _NYUD._replace(branches=(Branch((Image("data", "color"),)),)),
    "nyud-fcn32s-hha": _NYUD._replace(branches=(Branch((Image("data", "hha"),)),)),
    # Early fusion: one trunk, whose first layer reads colour and depth.
    "nyud-fcn32s-color-d": _NYUD._replace(
        branches=(Branch((_COLOR, _DEPTH), renamed={"conv1_1": "conv1_1_bgrd"}),)
    ),
    # Late fusion: the mean of the scores of two trained nets.
    "nyud-fcn32s-color-hha": _NYUD._replace(
        base_lr=1e-12,
        branches=(
            Branch((_COLOR,), "color", init="nyud-fcn32s-color"),
            Branch((_HHA,), "hha", init="nyud-fcn32s-hha"),
        ),
    ),
}
#: The stages of the papers' staged training: 32s, 16s and 8s on VGG16.
STAGES: Dict[str, Variant] = {
    name: VARIANTS[name] for name in ("voc-fcn32s", "voc-fcn16s", "voc-fcn8s")
}


def resolve_variant(variant: Union[str, Variant]) -> Variant:
    """Return the `Variant` of a name; a `Variant` is returned as it is.

    Raises ValueError for a name that is not in `VARIANTS`, for a trunk that is not in `TRUNKS` and
    for the name of a data set that is not in `DATA_SETS`.
    """
    if isinstance(variant, str):
        check_choice("variant", variant, VARIANTS)
        return VARIANTS[variant]
    check_choice("trunk", variant.trunk, TRUNKS)
    if isinstance(variant.data_set, str):
        check_choice("data_set", variant.data_set, DATA_SETS)
    return variant
