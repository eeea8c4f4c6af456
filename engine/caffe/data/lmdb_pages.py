"""The pages of an LMDB data file, read without the library.

The library maps the file into memory and follows the numbers in its pages. A truncated file then
ends the process with SIGBUS, and a damaged page with SIGSEGV. This reader reads each page with a
call of its own and checks every number, so that damage is a FileError.

A file has two meta pages, of which the one of the later transaction counts; a tree of branch pages
over leaf pages; and runs of overflow pages for large values. Numbers are little-endian. See mdb.c
of LMDB 0.9.
"""

from __future__ import annotations

import os
import struct
import weakref
from collections.abc import Iterator

from .. import files
from ..errors import FileError

MAGIC, VERSION = 0xBEEFC0DE, 1
#: Flags of pages.
BRANCH, LEAF, OVERFLOW, META = 1, 2, 4, 8
#: Flags of a node: its value lies in overflow pages; its value is a database; its values are many.
BIG_DATA, SUB_DATA, DUPLICATES = 1, 2, 4
HEADER, NODE_HEADER = 16, 8
#: A tree that is deeper is damaged; LMDB's own cursors have this many places.
MAX_DEPTH = 32
NO_PAGE = 2**64 - 1
_HEADER = struct.Struct("<QHHHH")
_NODE = struct.Struct("<HHHH")
#: magic, version, address, size of the map; the free and the main database; last page, transaction.
_META = struct.Struct("<IIQQ" + "IHHQQQQQ" * 2 + "QQ")


class PageFile:
    """An LMDB data file, open for reading at any place, also in a process that was forked.

    path: the file, or the folder of a data.mdb. Raises FileError for a file that is no LMDB
    database or is truncated.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        name = os.path.join(path, "data.mdb") if os.path.isdir(path) else path
        with files.reading(path):
            self._file = files.open_regular(name)
        weakref.finalize(self, self._file.close)
        self._size = os.fstat(self._file.fileno()).st_size
        self.page_size, self.root, self.last_page, self.entries = self._read_meta()
        if (self.last_page + 1) * self.page_size > self._size:
            raise FileError(
                f"{path}: is truncated: has {self._size} bytes, its pages need "
                f"{(self.last_page + 1) * self.page_size}; copy it again"
            )

    def _read_meta(self) -> tuple[int, int, int, int]:
        """Return the size of pages, the root of the main database, the last page, the entries."""
        metas = []
        first = self._meta(0)
        if first is None:
            raise FileError(
                f"{self.path}: is not an LMDB database; its first page has another form"
            )
        page_size = first[4]
        if not 256 <= page_size <= 1 << 16 or page_size & (page_size - 1):
            raise self.damage(f"pages of {page_size} bytes")
        metas = [meta for meta in (first, self._meta(page_size)) if meta is not None]
        meta = max(metas, key=lambda fields: fields[-1])
        *_, entries, root, last_page, _ = meta
        flags = meta[13]
        if flags & ~0x08:
            raise FileError(
                f"{self.path}: its keys have several values (flags {flags}); a database of Caffe's "
                "has one value for each key"
            )
        return page_size, root, last_page, entries

    def _meta(self, offset: int) -> tuple | None:
        content = os.pread(self._file.fileno(), HEADER + _META.size, offset)
        if len(content) < HEADER + _META.size:
            return None
        fields = _META.unpack_from(content, HEADER)
        is_meta = _HEADER.unpack_from(content)[2] & META
        return fields if is_meta and fields[:2] == (MAGIC, VERSION) else None

    def damage(self, reason: str) -> FileError:
        """Return the FileError of a damaged page."""
        return FileError(f"{self.path}: is a damaged LMDB database ({reason}); make it again")

    def read(self, page: int, offset: int, size: int) -> bytes:
        """Return bytes that begin in a page. Raises FileError where they are not in the file."""
        start = page * self.page_size + offset
        pages = (start + size - 1) // self.page_size
        if page < 2 or pages > self.last_page or size > self._size:
            raise self.damage(f"{size} bytes at page {page} of {self.last_page + 1}")
        with files.reading(self.path):
            content = os.pread(self._file.fileno(), size, start)
        if len(content) < size:
            raise FileError(f"{self.path}: was truncated while it was read; copy it again")
        return content

    def nodes(self, page: int) -> tuple[int, bytes, list[int]]:
        """Return the flags of a branch or leaf page, its content, and the places of its nodes."""
        content = self.read(page, 0, self.page_size)
        number, _, flags, lower, upper = _HEADER.unpack_from(content)
        kind = flags & (BRANCH | LEAF | OVERFLOW | META)
        if number != page or kind not in (BRANCH, LEAF):
            raise self.damage(f"page {page} has the number {number} and the flags {flags}")
        if not HEADER <= lower <= upper <= self.page_size or (lower - HEADER) % 2:
            raise self.damage(f"page {page} is free from {lower} to {upper}")
        places = list(struct.unpack_from(f"<{(lower - HEADER) // 2}H", content, HEADER))
        if not places:
            raise self.damage(f"page {page} is empty")
        for place in places:
            if place < upper or place + NODE_HEADER > self.page_size:
                raise self.damage(f"page {page} has a node at {place}")
        return kind, content, places

    def child(self, content: bytes, place: int) -> int:
        """Return the page that a node of a branch page leads to."""
        low, high, flags, _ = _NODE.unpack_from(content, place)
        return int(low | high << 16 | flags << 32)

    def value(self, content: bytes, place: int) -> bytes:
        """Return the value of a node of a leaf page."""
        low, high, flags, key_size = _NODE.unpack_from(content, place)
        size, start = low | high << 16, place + NODE_HEADER + key_size
        if flags & (SUB_DATA | DUPLICATES):
            raise self.damage("a value that is a database; the main database has values alone")
        end = start + (8 if flags & BIG_DATA else size)
        if end > len(content):
            raise self.damage(f"a value of {size} bytes behind its page")
        if not flags & BIG_DATA:
            return content[start:end]
        (page,) = struct.unpack_from("<Q", content, start)
        number, _, kind, *_ = _HEADER.unpack(self.read(page, 0, HEADER))
        if number != page or not kind & OVERFLOW:
            raise self.damage(f"page {page} holds no large value")
        return self.read(page, HEADER, size)


class Cursor:
    """A position among the values of a PageFile, in the order of the keys."""

    def __init__(self, pages: PageFile) -> None:
        self.pages = pages
        #: The pages from the root to the leaf: content, the places of nodes, the present one.
        self._path: list[tuple[bytes, list[int], int]] = []

    def first(self) -> bool:
        """Go to the first value; return whether there is one."""
        self._path = []
        if self.pages.root == NO_PAGE:
            return False
        self._descend(self.pages.root)
        return True

    def next(self) -> bool:
        """Go to the next value; return False at the last, where the position stays."""
        for depth in range(len(self._path) - 1, -1, -1):
            content, places, at = self._path[depth]
            if at + 1 < len(places):
                del self._path[depth + 1 :]
                self._path[depth] = content, places, at + 1
                if depth + 1 < self._depth:
                    self._descend(self.pages.child(content, places[at + 1]))
                return True
        return False

    def value(self) -> bytes:
        """Return the value at the position."""
        content, places, at = self._path[-1]
        return self.pages.value(content, places[at])

    def place(self) -> tuple[int, int]:
        """Return the page and the place in the page of the position."""
        content, places, at = self._path[-1]
        return _HEADER.unpack_from(content)[0], places[at]

    def __iter__(self) -> Iterator[bytes]:
        """Yield all values, from the first."""
        there, count = self.first(), 0
        while there:
            count += 1
            if count > self.pages.entries:
                raise self.pages.damage(f"more values than its {self.pages.entries}")
            yield self.value()
            there = self.next()

    def _descend(self, page: int) -> None:
        """Extend the path by a page, and by the first page below, down to a leaf."""
        while True:
            if len(self._path) > MAX_DEPTH:
                raise self.pages.damage("a tree that leads into itself")
            kind, content, places = self.pages.nodes(page)
            self._path.append((content, places, 0))
            if kind == LEAF:
                self._depth = len(self._path)
                return
            page = self.pages.child(content, places[0])
