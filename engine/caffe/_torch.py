"""Loads PyTorch, with no search for garbage among the many objects that it makes.

The search would take 0.2 s of 1.3.
"""

import gc
import sys

if "torch" not in sys.modules and gc.isenabled() and not gc.get_freeze_count():
    gc.disable()
    try:
        import torch  # noqa: F401
    finally:
        # Both together pass everything on to the oldest generation, which is looked through seldom.
        gc.freeze()
        gc.unfreeze()
        gc.enable()
