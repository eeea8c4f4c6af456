"""Files that appear whole, by rename, and a progress bar where tqdm is installed."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any, Iterator


@contextlib.contextmanager
def whole(path: str) -> Iterator[str]:
    """Gives a name to write to; what was written becomes `path` when the block ends well."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    part = f"{path}.{os.getpid()}.tmp"
    try:
        yield part
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.remove(part)


def write_text(path: str, text: str) -> None:
    with whole(path) as part, open(part, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def write_json(path: str, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def progress(total: int, desc: str, unit: str = "it"):
    """A progress bar of `total` units, moved by `update(n)`; a context manager."""
    try:
        from tqdm import tqdm
    except ImportError:
        return _NoBar()
    return tqdm(total=total, desc=desc, unit=unit, unit_scale=unit == "B", leave=False)


class _NoBar:
    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def update(self, n: int = 1) -> None:
        pass
