"""The process that reads .mat files for `mat_files`: one request and one answer after another.

A request is a line with the kind, the name of an array, and the path. The answer is a line with the
type and the shape of an array and then its bytes, or a line with the reason why there is none.
"""

from __future__ import annotations

import json
import os
import sys
from typing import IO, Any, Dict

import numpy as np

#: Bytes of memory that the process may take: a damaged file can ask for any number.
MEMORY = 1 << 33
#: The kinds of requests: the classes in SBD's cls layout, and the array of a name.
SEGMENTATION, ARRAY = "segmentation", "array"


class LayoutError(Exception):
    """A readable file without the array of a request; the message names the file."""


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until their pipe is closed."""
    _limit_memory()
    from scipy.io import loadmat  # 0.3 s, which the program itself need not spend

    for line in requests:
        kind, name, path = json.loads(line)
        try:
            array = _select(loadmat(path), kind, name, path)
        except Exception as error:  # a damaged file raises any of a dozen types
            reason = f"{path}: is not a readable .mat file ({error})"
            if isinstance(error, LayoutError):
                reason = str(error)
            answers.write(json.dumps({"error": _one_line(reason)}).encode() + b"\n")
        else:
            head = {"type": array.dtype.str, "shape": array.shape}
            answers.write(json.dumps(head).encode() + b"\n")
            answers.write(np.ascontiguousarray(array).data)
        answers.flush()


def _one_line(text: str) -> str:
    """Return a text in one line; damaged names have characters that a terminal obeys."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def _select(arrays: Dict[str, Any], kind: str, name: str, path: str) -> np.ndarray:
    """Return the array that a request asks for. Raises LayoutError where there is none."""
    if kind == SEGMENTATION:
        try:
            array = np.asarray(arrays["GTcls"][0]["Segmentation"][0])
        except (KeyError, IndexError, ValueError, TypeError):
            raise LayoutError(
                f"{path}: has no GTcls Segmentation, needs SBD's cls layout"
            ) from None
    elif name in arrays:
        array = np.asarray(arrays[name])
    else:
        names = ", ".join(sorted(key for key in arrays if not key.startswith("__")))
        raise LayoutError(f"{path}: has {names or 'no array'}, needs the array {name}")
    if array.dtype.kind not in "fiub" or array.ndim == 0:
        raise LayoutError(
            f"{path}: has {array.dtype} of {array.ndim} axes, needs an array of numbers"
        )
    return array


def _limit_memory() -> None:
    try:
        import resource  # Unix alone has it.
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or hard > MEMORY:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Serve on the standard streams; what libraries print goes nowhere."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
