"""A file system that loses what was not synced, for tests of what survives a power failure.

The stand-in watches the calls of a process that change a folder. A file's content is on disk once
`os.fsync` was called on it, a name once `os.fsync` was called on its folder. That is the least that
a file system promises; real ones often keep more.
"""

from __future__ import annotations

import os
from pathlib import Path


class Disk:
    """What would be in a folder after a power failure.

    after_each: is called after each change with files that may be there, name -> content, and with
        whether they are surely there.
    """

    def __init__(self, folder, after_each):
        self.folder, self._after_each = os.path.realpath(folder), after_each
        # Inode -> synced content; synced names -> inode. The inodes are kept open, so that the
        # system gives their numbers to no other file.
        self._content, self._names, self._open = {}, {}, {}
        self._busy, self._reported = False, set()

    def install(self, monkeypatch):
        real_fsync = os.fsync

        def fsync(handle):
            real_fsync(handle)
            path = os.path.realpath(f"/proc/self/fd/{getattr(handle, 'fileno', lambda: handle)()}")
            if not self._busy and os.path.dirname(path) == self.folder and os.path.isfile(path):
                self._sync_file(path)
            elif not self._busy and path == self.folder:
                self._sync_names()

        monkeypatch.setattr(os, "fsync", fsync)
        for name in ("replace", "rename", "remove", "unlink"):
            monkeypatch.setattr(os, name, self._watched(getattr(os, name)))

    def _watched(self, call):
        """A name may reach the disk before it is synced, so each change may be seen, or not."""

        def change(*paths, **options):
            result = call(*paths, **options)
            if not self._busy and os.path.dirname(os.path.realpath(paths[-1])) == self.folder:
                self._report(self._present_names())
            return result

        return change

    def _sync_file(self, path):
        inode = os.stat(path).st_ino
        self._open.setdefault(inode, open(path, "rb"))  # noqa: SIM115
        self._content[inode] = Path(path).read_bytes()
        self._report(self._names)

    def _sync_names(self):
        self._names = self._present_names()
        self._report(self._names)

    def _present_names(self):
        return {e.name: e.stat().st_ino for e in os.scandir(self.folder) if e.is_file()}

    def _report(self, names):
        """Show what is surely there, and what is there if some of the later changes are too.

        These are all changes, the removals alone, and the new names alone.
        """
        removals = {n: inode for n, inode in self._names.items() if n in names}
        self._busy = True
        try:
            for version in (self._names, names, removals, {**self._names, **names}):
                files = {n: self._content.get(inode, b"") for n, inode in version.items()}
                key = (frozenset(version.items()), sum(map(len, files.values())))
                if key not in self._reported or version is self._names:
                    self._reported.add(key)
                    self._after_each(files, version is self._names)
        finally:
            self._busy = False
