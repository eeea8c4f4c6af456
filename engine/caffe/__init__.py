"""Caffe's Python interface on PyTorch: `import caffe` as with BVLC Caffe."""

from . import start  # isort: skip  # noqa: F401  (an interrupt of the imports leaves one line)
from . import _torch  # isort: skip
from . import _caffe, pycaffe
from ._caffe import __version__ as __version__
from .api import *  # noqa: F403
from .api import __all__ as __all__

__all__ += ("_caffe", "pycaffe")
_torch.code.close()
