"""Caffe's layer catalogue, in files named after its headings."""

from . import activation, common, data, loss, normalization, recurrent, utility, vision
from .base import Function, Layer, create, layer_type_list, register

__all__ = [
    "Function",
    "Layer",
    "activation",
    "common",
    "create",
    "data",
    "layer_type_list",
    "loss",
    "normalization",
    "recurrent",
    "register",
    "utility",
    "vision",
]
