"""Key-value databases of Datum messages: LMDB."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any
from weakref import WeakValueDictionary

from .. import glog
from ..errors import CaffeError

NO_LEVELDB = (
    "LevelDB has no Python package that is still maintained, so this engine reads and writes LMDB "
    "only; make the database anew with backend lmdb (convert_imageset -backend lmdb)"
)


def _lmdb() -> Any:
    try:
        import lmdb
    except ImportError:
        raise CaffeError(
            "LMDB databases need the Python package lmdb; install it with `pip install lmdb`"
        ) from None
    return lmdb


class _Environment:
    """An open database; LMDB lets a process open one once, so that its readers share it."""

    def __init__(self, path: str) -> None:
        lmdb = _lmdb()
        try:
            self.lmdb = lmdb.open(path, readonly=True, lock=False, subdir=os.path.isdir(path))
        except lmdb.Error as error:
            raise CaffeError(f"{path}: is no LMDB database that can be read: {error}") from None


def _opened(path: str) -> None:
    glog.write("db_lmdb.cpp:35", f"Opened lmdb {path}")


_open: WeakValueDictionary[str, _Environment] = WeakValueDictionary()


class Reader:
    """The values of an LMDB database in the order of their keys, with a place in it."""

    def __init__(self, path: str) -> None:
        if not os.path.exists(path):
            raise CaffeError(f"{path}: there is no LMDB database")
        key, self.path = os.path.realpath(path), path
        environment = _open.get(key)
        if environment is None:
            environment = _open[key] = _Environment(path)
        self._environment = environment
        _opened(path)
        self._cursor = environment.lmdb.begin(buffers=False).cursor()
        if not self._cursor.first():
            raise CaffeError(f"{path}: the database is empty")

    @property
    def value(self) -> bytes:
        return self._cursor.value()

    def next(self) -> bool:
        """Go to the next value; False, and to the first, behind the last."""
        if self._cursor.next():
            return True
        self._cursor.first()
        return False

    def __iter__(self) -> Iterator[bytes]:
        """All values, from the first."""
        for _, value in self._cursor.iternext() if self._cursor.first() else ():
            yield value


class Writer:
    """A new LMDB database, which appears whole, by rename, where `with` ends without an error."""

    #: Values between two commits.
    BATCH = 1000

    def __init__(self, path: str) -> None:
        self.path, self.count, self._lmdb = path, 0, _lmdb()
        if os.path.exists(path):
            raise CaffeError(f"{path}: is there already; remove it or name another")
        folder = os.path.dirname(os.path.abspath(path))
        if not os.path.isdir(folder):
            raise CaffeError(f"{path}: its folder {folder} does not exist; make it first")

    def __enter__(self) -> Writer:
        folder, name = os.path.split(os.path.abspath(self.path))
        self._part = tempfile.mkdtemp(prefix=name + ".", dir=folder)
        # The file is sparse: it takes up only what is written.
        self._env = self._lmdb.open(self._part, map_size=1 << 40, sync=False)
        self._transaction = self._env.begin(write=True)
        _opened(self.path)
        return self

    def put(self, key: bytes, value: bytes) -> None:
        """Write a value; what a key already had is replaced."""
        self._transaction.put(key, value)
        self.count += 1
        if self.count % self.BATCH == 0:
            self._transaction.commit()
            self._transaction = self._env.begin(write=True)

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            self._transaction.commit()
            self._env.sync(True)
            self._env.close()
            if kind is None:
                os.chmod(self._part, 0o755)
                os.rename(self._part, self.path)
        finally:
            shutil.rmtree(self._part, ignore_errors=True)


def check_backend(name: str) -> None:
    """Raise CaffeError for a database that is not LMDB."""
    if name == "leveldb":
        raise CaffeError(NO_LEVELDB)
    if name != "lmdb":
        raise CaffeError(f"backend is {name!r}; it needs to be lmdb")
