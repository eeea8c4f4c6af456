"""The registry of published data sets and weights: addresses, checksums, and places."""

from __future__ import annotations

import os
from typing import Dict, Mapping, NamedTuple, Optional, Tuple

from .sift_flow import SCENES

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
#: Where archives lie until they are unpacked, relative to the repository's root.
DOWNLOADS = os.path.join("data", "downloads")


class Published(NamedTuple):
    """A published file.

    urls: addresses of the file, the preferred one first.
    checksum: "md5:..." or "sha1:..."; None if none is published.
    target: where the file lies, or, for an archive, the folder `inside` it; relative to the
        repository's root.
    inside: for an archive, the folder in it that is unpacked; "" for all of it, "*" for the folder
        that holds the first of `folders`.
    folders: the folders of the unpacked archive with a file for each image, and the files' suffix,
        or their name with {} for the id.
    lists: the split files of the unpacked archive.
    variant: for weights without a published checksum, the variant whose net they must fit.
    classes: for a list of classes, its number of lines `NUMBER: NAME`.
    """

    urls: Tuple[str, ...]
    checksum: Optional[str]
    target: str
    inside: Optional[str] = None
    folders: Mapping[str, str] = {}
    lists: Tuple[str, ...] = ()
    variant: Optional[str] = None
    classes: Optional[int] = None

    @property
    def file(self) -> str:
        """The name of the file itself."""
        return self.urls[0].rsplit("/", 1)[-1]

    @property
    def download(self) -> str:
        """Where the file itself is downloaded to, relative to the repository's root."""
        return self.target if self.inside is None else os.path.join(DOWNLOADS, self.file)

    @property
    def parts(self) -> Tuple[str, ...]:
        """The paths in place when the file is, relative to the repository's root."""
        names = (*self.folders, *self.lists)
        return tuple(os.path.join(self.target, name) for name in names) or (self.target,)


_VOC = "http://host.robots.ox.ac.uk/pascal/VOC/"
_BVLC = "http://dl.caffe.berkeleyvision.org/"
_SBD = (
    "www{}.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz"
)
_VGG = "http://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe/VGG_ILSVRC_16_layers.caffemodel"
_CONTEXT = "https://cs.stanford.edu/~roozbeh/pascal-context/"
_SIFT_FLOW = "http://www.cs.unc.edu/~jtighe/Papers/ECCV10/siftflow/SiftFlowDataset.zip"
_VOC_FOLDERS = {"JPEGImages": ".jpg", "SegmentationClass": ".png"}
_VOC_LISTS = ("ImageSets/Segmentation/train.txt", "ImageSets/Segmentation/val.txt")


def _net(url: str, checksum: Optional[str], folder: str = "ilsvrc-nets") -> Published:
    return Published((url,), checksum, os.path.join(folder, url.rsplit("/", 1)[-1]))


def _fcn(name: str, checksum: Optional[str] = None, variant: Optional[str] = None) -> Published:
    entry = _net(f"{_BVLC}{name}.caffemodel", checksum, os.path.join("data", "fcn"))
    return entry._replace(variant=variant)


def _context_list(name: str, classes: int) -> Published:
    return Published((_CONTEXT + name,), None, f"data/pascal-context/{name}", classes=classes)


#: The nets of the other data sets with published weights; early fusion (color-d) has none.
_OTHER_NETS = (
    *(
        f"{data_set}-fcn{stride}s"
        for data_set in ("pascalcontext", "siftflow")
        for stride in (32, 16, 8)
    ),
    *(f"nyud-fcn32s-{inputs}" for inputs in ("color", "hha", "color-hha")),
)
#: The published files by name.
PUBLISHED: Dict[str, Published] = {
    "voc2011": Published(
        (_VOC + "voc2011/VOCtrainval_25-May-2011.tar",),
        "md5:6c3384ef61512963050cb5d687e5bf1e",
        "data/pascal/VOC2011",
        "TrainVal/VOCdevkit/VOC2011",
        _VOC_FOLDERS,
        _VOC_LISTS,
    ),
    "voc2012": Published(
        (_VOC + "voc2012/VOCtrainval_11-May-2012.tar",),
        "md5:6cd6e144f989b92b3379bac3b3de84fd",
        "data/pascal/VOC2012",
        "VOCdevkit/VOC2012",
        _VOC_FOLDERS,
        _VOC_LISTS,
    ),
    "sbd": Published(
        ("http://" + _SBD.format(""), "https://" + _SBD.format("2")),
        "md5:82b4d87ceb2ed10f6038a1cba92111cb",
        "data/sbdd/dataset",
        "benchmark_RELEASE/dataset",
        {"img": ".jpg", "cls": ".mat"},
        ("train.txt", "val.txt"),
    ),
    "voc2010": Published(
        (_VOC + "voc2010/VOCtrainval_03-May-2010.tar",),
        None,
        "data/pascal/VOC2010",
        "VOCdevkit/VOC2010",
        {"JPEGImages": ".jpg"},
        ("ImageSets/Main/train.txt", "ImageSets/Main/val.txt"),
    ),
    "pascal-context": Published(
        (_CONTEXT + "trainval.tar.gz",),
        None,
        "data/pascal-context/trainval",
        "trainval",
    ),
    "pascal-context-labels": _context_list("labels.txt", 459),
    "pascal-context-59": _context_list("59_labels.txt", 59),
    "siftflow": Published(
        (_SIFT_FLOW,),
        None,
        "data/sift-flow",
        "*",
        {
            f"Images/{SCENES}": ".jpg",
            f"SemanticLabels/{SCENES}": ".mat",
            f"GeoLabels/{SCENES}": ".mat",
        },
        ("trainval.txt", "test.txt"),
    ),
    "nyud": Published(
        (_BVLC + "nyud.tar.gz",),
        None,
        "data/nyud",
        "*",
        {
            "data/images": "img_{}.png",
            "data/depth": "img_{}.png",
            "data/hha": "img_{}.png",
            "segmentation": "img_{}.mat",
        },
        ("trainval.txt", "test.txt"),
    ),
    "vgg16": _net(_VGG, "sha1:9363e1f6d65f7dba68c4f27a1e62105cdf6c4e24"),
    "alexnet": _net(
        _BVLC + "bvlc_alexnet.caffemodel", "sha1:9116a64c0fbe4459d18f4bb6b56d647b63920377"
    ),
    "caffenet": _net(
        _BVLC + "bvlc_reference_caffenet.caffemodel",
        "sha1:4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46",
    ),
    "googlenet": _net(
        _BVLC + "bvlc_googlenet.caffemodel", "sha1:405fc5acd08a3bb12de8ee5e23a96bec22f08204"
    ),
    "fcn32s": _fcn("fcn32s-heavy-pascal", "sha1:05eb922d7829c39448f57e5ab9d8cd75d6c0be6d"),
    "fcn16s": _fcn("fcn16s-heavy-pascal", variant="voc-fcn16s"),
    "fcn8s": _fcn("fcn8s-heavy-pascal", "sha1:c449ea74dd7d83751d1357d6a8c323fcf4038962"),
    "fcn8s-atonce": _fcn("fcn8s-atonce-pascal", variant="voc-fcn8s-atonce"),
    "fcn-alexnet": _fcn("fcn-alexnet-pascal", variant="voc-fcn-alexnet"),
    **{name: _fcn(f"{name}-heavy", variant=name) for name in _OTHER_NETS},
}

#: The validation split of the published scores: the images of VOC2011's val that are not in SBD's
#: train, in val's order.
SEG11VALID = "data/pascal/VOC2011/ImageSets/Segmentation/seg11valid.txt"
SEG11VALID_IMAGES = 736
SEG11VALID_SHA256 = "4ca991bd72c251fd2485eaa9e29536502ea3800d1b1c17c151fd6a04bcfbc2cc"
#: All names that can be fetched. seg11valid is computed from voc2011 and sbd.
NAMES = (*PUBLISHED, "seg11valid")


def check_name(name: str) -> None:
    """Raise ValueError for a name that is none of `NAMES`."""
    if name not in NAMES:
        raise ValueError(f"no published file is called {name!r}, there are: {', '.join(NAMES)}")


def entry(name: str) -> Published:
    """Return the published file of a name. Raises ValueError if there is none."""
    check_name(name)
    if name not in PUBLISHED:
        raise ValueError(f"{name}: is computed from other files, not published")
    return PUBLISHED[name]
