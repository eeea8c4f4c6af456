"""Split files: text files with the id of one image in each line."""

from __future__ import annotations

import os
from typing import List

from fcn_common.files import read_text


def read_ids(path: str) -> List[str]:
    """Return the ids in the split file `path`, in its order.

    An id may contain spaces; spaces around it, empty lines and a byte order mark are not part of
    an id. Raises OSError if the file is missing, ValueError if it holds no id or is not UTF-8.
    """
    if not os.path.isfile(path):
        raise OSError(f"{path}: no such split file, needs the id of one image in each line")
    ids = [line.strip() for line in read_text(path).split("\n") if line.strip()]
    if not ids:
        raise ValueError(f"{path}: is empty, needs the id of one image in each line")
    return ids
