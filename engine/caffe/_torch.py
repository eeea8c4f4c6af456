"""Load PyTorch: its library in a thread, without garbage collection, and only the parts in use.

PyTorch creates so many objects on import that collections among them would take 0.2 s of 1.3 s.
"""

import sys

from . import cores  # noqa: F401  (measures from here on)
from .code_ahead import CodeAhead
from .garbage import collection_off
from .torch_library import LibraryThread

#: The code of modules that PyTorch and this package import.
code = CodeAhead()
if "torch" not in sys.modules:
    with collection_off():
        library = LibraryThread()
        # Its imports take 20 ms, so they come after the thread's start.
        from . import late_torch

        library.import_modules(code)
        late_torch.load()
        library.join()
