"""The exceptions that the engine raises. Every message is one line that says what to change.

    CaffeError (RuntimeError)      anything that cannot be used
    ├── FileError                  a file that is missing, cannot be read or written, or is damaged
    │   └── PrototxtError          a text file whose syntax or field names are wrong
    ├── NetError                   a NetParameter or SolverParameter that makes no net or solver
    │   ├── UnknownLayerError      a name that no layer of the net has; also a ValueError
    │   └── LayerError             a layer's parameters; has `layer` and `layer_type`
    │       ├── ShapeError         the shapes of a layer's bottoms, tops or parameters
    │       ├── LayerFileError     a file that a layer reads or writes; also a FileError
    │       └── NoMemoryError      no memory for a layer; also a MemoryError
    ├── WeightsError               weights or a solver state that do not fit the net
    ├── DeviceError                a device, a precision or a place among workers
    ├── UsageError                 a call or a command line with unusable arguments
    │   ├── ArgumentTypeError      an argument of another type; also a TypeError
    │   └── ArgumentRangeError     a number that the argument cannot have; also an OverflowError
    └── WorkerLostError            another worker of a training run has ended

Callers decide by the type of an exception, never by its text. Where pycaffe raises another type
than RuntimeError, the exception here has that type as well, for scripts that catch the type.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .printable import printable


class CaffeError(RuntimeError):
    """Base of the engine's exceptions: a file, layer or value that cannot be used.

    As text it is one line, with escapes for the control characters that names in files may have.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class FileError(CaffeError):
    """A file that is missing, cannot be read or written, is damaged, or is of another kind."""


class PrototxtError(FileError):
    """A text file with a syntax error, an unknown field, or a value that the field cannot have."""


class NetError(CaffeError):
    """A NetParameter or SolverParameter from which no net or solver can be built."""


class UnknownLayerError(NetError, ValueError):
    """A name that no layer of the net has."""


class LayerError(NetError):
    """A layer that cannot be built or run as its parameters say.

    layer: the layer's name. layer_type: its type, such as "Convolution".
    """

    def __init__(self, layer: str, layer_type: str, reason: str) -> None:
        super().__init__(f"layer {layer!r} ({layer_type}): {reason}")
        self.layer, self.layer_type, self.reason = layer, layer_type, reason

    def __reduce__(self) -> tuple:
        return type(self), (self.layer, self.layer_type, self.reason)


class ShapeError(LayerError):
    """A layer whose bottoms, tops or parameters have shapes that it cannot work with."""


class LayerFileError(LayerError, FileError):
    """A file that a layer reads or writes, such as the source of a data layer."""


class NoMemoryError(LayerError, MemoryError):
    """A layer for whose values the machine or the device has no memory."""


class WeightsError(CaffeError):
    """Weights or a solver state that do not fit the net."""


class DeviceError(CaffeError):
    """A device, a precision or a place among workers that this process cannot have."""


class UsageError(CaffeError):
    """A call or a command line with arguments that cannot be used."""


class ArgumentTypeError(UsageError, TypeError):
    """An argument of a type that the call cannot use."""


class ArgumentRangeError(UsageError, OverflowError):
    """A number outside the range that the argument has."""


class WorkerLostError(CaffeError):
    """Another worker of a training run has ended, so this one ends too."""


@contextmanager
def in_file(path: str) -> Iterator[None]:
    """Put `path` before the message of a CaffeError that is raised inside; its type stays."""
    try:
        yield
    except CaffeError as error:
        error.args = (f"{path}: {error}",)
        raise
