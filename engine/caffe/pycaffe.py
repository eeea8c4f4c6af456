"""The names of pycaffe's module of this name. Scripts use the functions that it gives to Net."""

import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np  # noqa: F401

from .api import *  # noqa: F403
from .api import PYCAFFE
from .late_names import late_names
from .net import Net

__all__ = list(PYCAFFE)

_Net_backward = Net.backward
_Net_batch = Net._batch
_Net_blob_loss_weights = Net.blob_loss_weights
_Net_blobs = Net.blobs
_Net_forward = Net.forward
_Net_forward_all = Net.forward_all
_Net_forward_backward_all = Net.forward_backward_all
_Net_inputs = Net.inputs
_Net_layer_dict = Net.layer_dict
_Net_outputs = Net.outputs
_Net_params = Net.params
_Net_set_input_arrays = Net.set_input_arrays

izip_longest = itertools.zip_longest


def _Net_get_id_name(func: Callable[[Net, int], Sequence[int]], field: str) -> property:
    """Return a property of a Net: for each layer name the blobs whose numbers `func` gives.

    field: as in pycaffe, where the property keeps its value under this name; here it keeps none.
    """

    def names(net: Net) -> "OrderedDict[str, list[str]]":
        blobs = net.wiring.blob_names
        return OrderedDict(
            (layer, [blobs[number] for number in func(net, i)])
            for i, layer in enumerate(net.layer_names)
        )

    return property(names)


__getattr__, __dir__ = late_names(__name__, {"caffe": "caffe", "six": "six"})
