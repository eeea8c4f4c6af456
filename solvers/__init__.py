"""Train the nets in stages, score them, and segment photographs."""

import importlib.util

from fcn_common import command

command.end_loading_at_interrupt()
command.limit_log()
# Caffe is located here but not imported, because the number of threads is set before the import
# (`threads`).
if importlib.util.find_spec("caffe") is None:
    raise ImportError(command.NO_CAFFE, name=__name__)
