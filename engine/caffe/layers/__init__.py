"""Caffe's layer catalogue, in files named after its headings."""

from . import activation, common, data, loss, normalization, python, recurrent, utility, vision
from .base import EngineLayer, Layer
from .function import Function
from .registry import create, layer_type_list, register

__all__ = [
    "EngineLayer",
    "Function",
    "Layer",
    "activation",
    "common",
    "create",
    "data",
    "layer_type_list",
    "loss",
    "normalization",
    "python",
    "recurrent",
    "register",
    "utility",
    "vision",
]
