"""The names of pycaffe's module of this name. Scripts use the functions that it gives to Net."""

from .api import *  # noqa: F403
from .api import PYCAFFE
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
