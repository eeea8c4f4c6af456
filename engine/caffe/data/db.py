"""Databases of Datum messages by key: LMDB."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from typing import Any, Protocol

import numpy as np

from .. import files, glog
from ..errors import CaffeError, FileError, UsageError
from .lmdb_pages import Cursor, PageFile

NO_LEVELDB = (
    "LevelDB has no Python package that is still maintained, so this engine reads and writes LMDB "
    "only; make the database again with backend lmdb (convert_imageset -backend lmdb)"
)


def _lmdb() -> Any:
    """Return the package lmdb, which is imported only where a tool writes a database."""
    try:
        import lmdb
    except ImportError:
        raise CaffeError(
            "writing an LMDB database needs the Python package lmdb; install it with "
            "`pip install lmdb`"
        ) from None
    return lmdb


def _log_opened(path: str) -> None:
    glog.write("db_lmdb.cpp:35", f"Opened lmdb {path}")


class Reader:
    """The values of an LMDB database in the order of their keys, with a position at one of them.

    Raises FileError for a database that is missing, damaged or empty.
    """

    def __init__(self, path: str) -> None:
        if not os.path.exists(path):
            raise FileError(f"{path}: there is no LMDB database")
        self.path = path
        self._cursor = Cursor(PageFile(path))
        _log_opened(path)
        if not self._cursor.first():
            raise FileError(f"{path}: the database is empty; it needs at least 1 record")

    @property
    def value(self) -> bytes:
        """The value at the position."""
        return self._cursor.value()

    def next(self) -> bool:
        """Go to the next value. After the last, go to the first and return False."""
        if self._cursor.next():
            return True
        self._cursor.first()
        return False

    def go_to(self, number: int) -> None:
        """Go to the value at which `number` calls of `next` from the first value end."""
        self._cursor.first()
        for _ in range(number % max(1, self._cursor.pages.entries)):
            self._cursor.next()

    def state(self) -> dict[str, Any]:
        """Return the part of the position that `go_to` does not restore, as values and arrays."""
        return {}

    def set_state(self, values: Mapping[str, Any]) -> None:
        """Continue where `state` was called. Raises ValueError for another database's."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield all values, from the first."""
        yield from self._cursor


class Shuffler(Protocol):
    """Random numbers that order a list, and whose state a JSON file can hold."""

    def shuffle(self, items: MutableSequence) -> None: ...
    def state(self) -> list[Any]: ...
    def set_state(self, values: Sequence[Any]) -> None: ...


class ArrangedReader(Reader):
    """Values of an LMDB database in another order than that of the keys.

    choose: returns the numbers of the values in their order, for the number of all values; None is
    all of them in the order of the keys. random: shuffles them before each turn; None keeps the
    order.

    Raises FileError for a database that is missing, damaged or empty.
    """

    def __init__(
        self,
        path: str,
        random: Shuffler | None,
        choose: Callable[[int], np.ndarray] | None = None,
    ) -> None:
        super().__init__(path)
        cursor, places = self._cursor, [self._cursor.place()]
        while cursor.next() and len(places) < cursor.pages.entries:
            places.append(cursor.place())
        self._places, self._random = np.array(places), random
        self._order: np.ndarray = np.arange(len(places)) if choose is None else choose(len(places))
        self._turn = 0
        self._shuffle()

    def _shuffle(self) -> None:
        self._turn = 0
        if self._random is not None:
            order = self._order.tolist()
            self._random.shuffle(order)
            # A new array, because `state` has returned the old one.
            self._order = np.array(order)

    @property
    def value(self) -> bytes:
        page, place = self._places[self._order[self._turn]].tolist()
        return self._cursor.pages.value(self._cursor.pages.nodes(page)[1], place)

    def next(self) -> bool:
        self._turn += 1
        if self._turn < len(self._order):
            return True
        self._shuffle()
        return False

    def go_to(self, number: int) -> None:
        """Go to the value after `number` calls of `next`; with `random`, `set_state` does."""
        if self._random is None:
            self._turn = number % len(self._order)

    def state(self) -> dict[str, Any]:
        if self._random is None:
            return {}
        return {"turn": self._turn, "order": self._order, "shuffler": self._random.state()}

    def set_state(self, values: Mapping[str, Any]) -> None:
        if self._random is None:
            return
        order = np.asarray(values["order"])
        if len(order) != len(self._order) or not 0 <= values["turn"] < len(order):
            raise ValueError(f"a position in {len(order)} records; there are {len(self._order)}")
        self._order, self._turn = order, int(values["turn"])
        self._random.set_state(values["shuffler"])


class Writer:
    """A new LMDB database, written in a `with` block.

    The database appears by a rename when the block ends without an error; an error leaves nothing
    behind. Raises FileError for a path that exists or whose folder does not.
    """

    #: The number of values between two commits.
    BATCH = 1000
    #: The largest size of the file, in bytes. The file is sparse: unwritten parts take no space.
    MAP_SIZE = 1 << 40

    def __init__(self, path: str) -> None:
        self.path, self.count, self._lmdb = files.writable(path), 0, _lmdb()
        if os.path.exists(path):
            raise FileError(f"{path}: is there already; remove it or name another")
        folder = os.path.dirname(os.path.abspath(path))
        if not os.path.isdir(folder):
            raise FileError(f"{path}: its folder {folder} does not exist; make it first")

    def __enter__(self) -> Writer:
        folder, name = os.path.split(os.path.abspath(self.path))
        files.remove_abandoned(folder, re.escape(name[: files.NAME_LENGTH]))
        with contextlib.ExitStack() as resources:
            part = resources.enter_context(files.atomic_folder(self.path))
            self._env = self._lmdb.open(part, map_size=self.MAP_SIZE, sync=False)
            self._resources = resources.pop_all()
        self._transaction = self._env.begin(write=True)
        _log_opened(self.path)
        return self

    def put(self, key: bytes, value: bytes) -> None:
        """Write a value. The value replaces one that the key already has."""
        self._transaction.put(key, value)
        self.count += 1
        if self.count % self.BATCH == 0:
            self._transaction.commit()
            self._transaction = self._env.begin(write=True)

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        with self._resources:
            self._transaction.commit()
            self._env.sync(True)
            self._env.close()
            if error is not None:
                raise error


def check_backend(name: str) -> None:
    """Raise UsageError for a database backend other than lmdb."""
    if name == "leveldb":
        raise UsageError(NO_LEVELDB)
    if name != "lmdb":
        raise UsageError(f"backend is {name!r}; it needs to be lmdb")
