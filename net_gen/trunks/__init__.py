"""The trunks: one file each, whose `TRUNK` is a record. A new file is listed below."""

from __future__ import annotations

from typing import Dict

from ..classifier import Classifier
from . import alexnet, googlenet, vgg16
from .base import PAD, Features, Skip, Trunk

__all__ = ["CLASSIFIERS", "PAD", "TRUNKS", "Features", "Skip", "Trunk"]

#: Name of a trunk -> its record.
TRUNKS: Dict[str, Trunk] = {
    module.TRUNK.name: module.TRUNK for module in (vgg16, alexnet, googlenet)
}
#: Name of a classifier -> the function that makes its NetParameter.
CLASSIFIERS: Dict[str, Classifier] = {
    classifier.name: classifier for trunk in TRUNKS.values() for classifier in trunk.classifiers
}
