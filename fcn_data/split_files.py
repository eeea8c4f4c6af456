"""Split files: text files with the id of one image in each line."""

from __future__ import annotations

import os
from typing import List


def read_ids(path: str) -> List[str]:
    """Return the ids in the split file `path`, in its order.

    An id may contain spaces; spaces around it, empty lines and a byte order mark are not part of
    an id. Raises OSError if the file is missing, ValueError if it holds no id or is not UTF-8.
    """
    if not os.path.isfile(path):
        raise OSError(f"{path}: no such split file, needs the id of one image in each line")
    try:
        with open(path, encoding="utf-8-sig") as file:
            ids = [line.strip() for line in file]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not a UTF-8 text file ({error})") from None
    ids = [idx for idx in ids if idx]
    if not ids:
        raise ValueError(f"{path}: is empty, needs the id of one image in each line")
    return ids
