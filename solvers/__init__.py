"""Train the nets in stages, score them, and segment photographs."""

import importlib.util
import sys

from fcn_common import command

if sys.argv[:1] == ["-m"]:  # runpy sets this while it loads the package of a program.
    command.end_at_interrupt()
command.limit_log()
# Found but not imported, because the number of threads is set before the import (`threads`).
if importlib.util.find_spec("caffe") is None:
    raise ImportError(command.NO_CAFFE, name=__name__)
