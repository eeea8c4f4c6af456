"""A folder as a power failure may leave it: without what was not synced, or with parts of it.

A `Disk` plays the changes that `disk_record` recorded. The content of a file is on disk once the
file was synced, and a name once its folder was. That is the least that a file system promises. Of
the later changes, any may be on disk too:

    contents    lost: what was synced    kept: everything    cut: everything up to a moment
                holes: some writes, with zeros where others are missing
    names       lost, kept, cut: as contents    removals, additions: these alone
                some: any of the changes, a rename being one change
"""

from __future__ import annotations

import functools
import hashlib
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Union

from tests.disk_record import Change

CONTENTS = ("lost", "kept", "cut", "holes")
NAMES = ("lost", "kept", "cut", "removals", "additions", "some")

RANDOM_MOMENTS = 20
#: The time of the last change of files that survive, in seconds since 1970.
AGE = 1_600_000_000

Tree = dict[str, Union["Tree", "Content"]]


class Content(bytes):
    """The bytes of a file; many states share them."""

    @functools.cached_property
    def digest(self) -> bytes:
        return hashlib.sha1(self).digest()


class File:
    """The content of a file: as the process sees it, and as it is on disk."""

    def __init__(self, content: bytes = b"") -> None:
        self._live, self._safe = bytearray(content), Content(content)
        self._kept: Content | None = self._safe
        # Offset and bytes of the writes since the last sync; None for bytes: the new size.
        self._later: list[tuple[int, bytes | None]] = []

    def change(self, offset: int, content: bytes | None) -> None:
        """Write bytes at an offset, or cut the file there."""
        _apply(self._live, offset, content)
        self._kept = None
        self._later.append((offset, content))

    def write_safely(self, offset: int, content: bytes) -> None:
        """Write bytes that are on disk at once."""
        _apply(self._live, offset, content)
        self._kept, safe = None, bytearray(self._safe)
        _apply(safe, offset, content)
        self._safe = Content(safe)

    def sync(self) -> None:
        self._safe, self._later = self.survivor("kept"), []

    def survivor(self, way: str, rng: random.Random | None = None) -> Content:
        """Return the content after a power failure."""
        if way == "kept":
            self._kept = Content(self._live) if self._kept is None else self._kept
            return self._kept
        if way == "lost" or not self._later or rng is None:
            return self._safe
        content, later = bytearray(self._safe), self._later
        if way == "holes":
            later = [change for change in later if rng.random() < 0.5]
        else:
            later = later[: rng.randint(1, len(later))]
            offset, last = later[-1]
            if last:
                later = [*later[:-1], (offset, last[: rng.randint(0, len(last))])]
        for offset, part in later:
            _apply(content, offset, part)
        return Content(content)


def _apply(content: bytearray, offset: int, part: bytes | None) -> None:
    end = offset + len(part or b"")
    if part is None:
        del content[offset:]
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if part is not None:
        content[offset:end] = part


class _Renaming(NamedTuple):
    """A change of the names of a folder: names that go, and names that come."""

    gone: tuple[str, ...]
    new: tuple[tuple[str, File | Folder], ...]

    def moves_folder(self) -> bool:
        return any(isinstance(node, Folder) for _, node in self.new)


class Folder:
    """The names in a folder: as the process sees them, and as they are on disk."""

    def __init__(self) -> None:
        self.live: dict[str, File | Folder] = {}
        self.safe: dict[str, File | Folder] = {}
        self._later: list[_Renaming] = []

    def change(self, gone: Sequence[str] = (), new: dict[str, File | Folder] | None = None) -> None:
        """Remove names and add others, as one change."""
        renaming = _Renaming(tuple(gone), tuple((new or {}).items()))
        _rename(self.live, renaming)
        self._later.append(renaming)

    def sync(self) -> None:
        self.safe, self._later = dict(self.live), []

    def survivor(self, way: str, rng: random.Random) -> dict[str, File | Folder]:
        """Return the names after a power failure."""
        later = self._later
        if way == "lost":
            later = []
        elif way == "cut":
            later = later[: rng.randint(0, len(later))]
        elif way == "some":
            later = [renaming for renaming in later if rng.random() < 0.5]
        elif way == "removals":
            later = [renaming._replace(new=()) for renaming in later if not renaming.new]
        elif way == "additions":  # A folder has one name at any time.
            later = [r if r.moves_folder() else r._replace(gone=()) for r in later if r.new]
        names = dict(self.safe)
        for renaming in later:
            _rename(names, renaming)
        return names


def _rename(names: dict[str, File | Folder], renaming: _Renaming) -> None:
    for name in renaming.gone:
        names.pop(name, None)
    names.update(renaming.new)


class Disk:
    """The files below a folder, from its content before the changes, all of which is on disk."""

    def __init__(self, folder: Path) -> None:
        self.root = Folder()
        self._nodes: dict[int, File | Folder] = {os.stat(folder).st_ino: self.root}
        self._read(folder, self.root)

    def _read(self, path: Path, folder: Folder) -> None:
        for entry in os.scandir(path):
            is_folder = entry.is_dir(follow_symlinks=False)
            node = Folder() if is_folder else File(Path(entry.path).read_bytes())
            self._nodes[entry.stat().st_ino] = folder.live[entry.name] = node
            if isinstance(node, Folder):
                self._read(Path(entry.path), node)
        folder.sync()

    def play(self, change: Change) -> None:
        """Make a recorded change."""
        node = self._nodes.get(change.inode)
        if change.kind in ("create", "folder"):
            assert change.path
            parent, name = self._place(change.path)
            node = self._nodes[change.inode] = Folder() if change.kind == "folder" else File()
            parent.change(new={name: node})
        elif change.kind in ("write", "safe", "cut") and isinstance(node, File):
            if change.kind == "safe":
                node.write_safely(change.offset, change.content)
            else:
                node.change(change.offset, None if change.kind == "cut" else change.content)
        elif change.kind == "sync" and node is not None:
            node.sync()
        elif change.kind == "sync_all":
            for node in self._nodes.values():
                node.sync()
        elif change.kind in ("remove", "remove_folder") and change.path:
            parent, name = self._place(change.path)
            parent.change([name])
        elif change.kind in ("rename", "link"):
            self._rename(change)

    def _rename(self, change: Change) -> None:
        node = self._nodes.get(change.inode)
        source = self._place(change.path) if change.path else None
        target = self._place(change.other) if change.other else None
        gone = [source[1]] if source and change.kind == "rename" else []
        if source and target and source[0] is target[0] and node:
            target[0].change(gone, {target[1]: node})
            return
        if target and node:
            target[0].change(new={target[1]: node})
        if source and gone:
            source[0].change(gone)

    def _place(self, path: str) -> tuple[Folder, str]:
        *parents, name = path.split("/")
        folder = self.root
        for parent in parents:
            node = folder.live[parent]
            assert isinstance(node, Folder)
            folder = node
        return folder, name

    def survivor(self, names: str, contents: str, rng: random.Random) -> Tree:
        """Return the files by name, and those of folders in dictionaries."""

        def tree(folder: Folder) -> Tree:
            return {
                name: tree(node) if isinstance(node, Folder) else node.survivor(contents, rng)
                for name, node in sorted(folder.survivor(names, rng).items())
            }

        return tree(self.root)


#: A moment, as the number of changes before it, and the number of what was promised then.
Promise = tuple[int, int]


class Survivor(NamedTuple):
    """What is left of a folder if the power fails before change number `moment`.

    way: which of the changes that were not synced are there. promised: the last promise; 0: none.
    """

    moment: int
    way: str
    promised: int
    tree: Tree


def survivors(
    disk: Disk, changes: Sequence[Change], promises: Sequence[Promise], rng: random.Random
) -> Iterator[Survivor]:
    """Yield each different state that a power failure may leave after each promise.

    The moments are before and after each sync, the end, and random ones. disk: the folder as it
    was before the changes, which are made to it.
    """
    count = len(changes)
    syncs = [i for i, change in enumerate(changes) if change.kind.startswith("sync")]
    moments = {count, *syncs, *(i + 1 for i in syncs), *(moment for moment, _ in promises)}
    moments |= {rng.randrange(count) for _ in range(RANDOM_MOMENTS if count else 0)}
    digests = set()
    for moment in range(count + 1):
        if moment in moments:
            promised = max((number for at, number in promises if at <= moment), default=0)
            for way, tree in states(disk, rng):
                key = (digest(tree), promised)
                if key not in digests:
                    digests.add(key)
                    yield Survivor(moment, way, promised, tree)
        if moment < count:
            disk.play(changes[moment])


def states(disk: Disk, rng: random.Random) -> Iterator[tuple[str, Tree]]:
    """Yield a folder as a power failure may leave it now, once for each way."""
    for names in NAMES:
        for contents in CONTENTS:
            way = f"names {names}, contents {contents}"
            yield way, disk.survivor(names, contents, rng)


def digest(tree: Tree) -> bytes:
    """Return a checksum of a folder's names and contents."""
    total = hashlib.sha1()
    for name, content in tree.items():
        total.update(repr(name).encode())
        total.update(digest(content) if isinstance(content, dict) else content.digest)
    return total.digest()


def write(tree: Tree, folder: Path) -> None:
    """Write a state into a new folder. The files are old: a machine takes a while to start."""
    folder.mkdir(parents=True)
    for name, content in tree.items():
        if isinstance(content, dict):
            write(content, folder / name)
        else:
            (folder / name).write_bytes(content)
            os.utime(folder / name, (AGE, AGE))
    os.utime(folder, (AGE, AGE))
