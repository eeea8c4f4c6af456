"""Load PyTorch with garbage collection off.

PyTorch creates so many objects on import that collections among them would take 0.2 s of 1.3 s.
"""

import gc
import sys

if "torch" not in sys.modules and gc.isenabled() and not gc.get_freeze_count():
    gc.disable()
    try:
        import torch  # noqa: F401
    finally:
        # Together these calls move all objects to the oldest generation, which is seldom examined.
        gc.freeze()
        gc.unfreeze()
        gc.enable()
