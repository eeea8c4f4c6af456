"""Unpacking of archives: a folder of a tar or zip file, which appears when it is complete."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
import zlib
from typing import Any, Dict, Iterator, Optional

from fcn_common.places import writable
from fcn_common.progress import ProgressBar

#: Python releases before 2023 have no filters. `_relative` keeps every path below the target.
_FILTER: Dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


def unpack(archive: str, inside: str, target: str) -> None:
    """Unpack the folder `inside` of a tar or zip file as the folder `target`.

    inside: "" for the whole archive. Only regular files and folders below `inside` are written;
    links and devices are left out. Raises OSError if `target` exists, or if the archive is
    truncated or has no such folder; then there is no `target`.
    """
    if os.path.exists(target):
        raise OSError(f"{target} is there but not complete: move it away and fetch again")
    part = writable(target + ".part")
    shutil.rmtree(part, ignore_errors=True)
    os.makedirs(writable(part))
    try:
        (_unpack_zip if zipfile.is_zipfile(archive) else _unpack_tar)(archive, inside, part)
        if not os.listdir(part):
            raise OSError(f"{archive}: holds no folder {inside}")
        os.replace(part, writable(target))
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise OSError(f"{archive}: is not a readable archive ({error})") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def folder_of(archive: str, inside: str) -> str:
    """Return the folder of a tar or zip file that holds the path `inside`; "" for its root.

    Raises OSError if the archive is not readable or has no such path.
    """
    try:
        for name in _names(archive):
            path = "/" + os.path.normpath(name).replace(os.sep, "/") + "/"
            before, middle, _ = path.partition(f"/{inside.strip('/')}/")
            if middle:
                return before.strip("/")
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise OSError(f"{archive}: is not a readable archive ({error})") from None
    raise OSError(f"{archive}: holds no folder {inside}")


def _names(archive: str) -> Iterator[str]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            yield from file.namelist()
    else:
        with tarfile.open(archive) as tar:
            for member in tar:
                yield member.name


def _unpack_tar(archive: str, inside: str, folder: str) -> None:
    with (
        open(archive, "rb") as raw,
        _bar(archive, os.path.getsize(archive)) as bar,
        tarfile.open(fileobj=raw, mode="r|*") as tar,
    ):
        for member in tar:
            bar.update(raw.tell() - bar.count)
            name = _relative(member.name, inside)
            if name and (member.isdir() or member.isfile()):
                member.name = name
                tar.extract(member, writable(folder), set_attrs=False, **_FILTER)


def _unpack_zip(archive: str, inside: str, folder: str) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        with _bar(archive, sum(member.compress_size for member in members)) as bar:
            for member in members:
                bar.update(member.compress_size)
                name = _relative(member.filename, inside)
                if name:
                    # Without the slash that marks a folder, a folder would become a file.
                    member.filename = name + ("/" if member.is_dir() else "")
                    file.extract(member, writable(folder))


def _relative(name: str, inside: str) -> Optional[str]:
    """Return a member's path below the folder `inside`, or None if the path is not below it."""
    path = os.path.normpath(name).replace(os.sep, "/")
    prefix = inside.strip("/") + "/" if inside.strip("/") else ""
    if not path.startswith(prefix) or path.startswith(("/", "../")) or path in (".", ".."):
        return None
    return path[len(prefix) :]


def _bar(archive: str, total: int) -> ProgressBar:
    return ProgressBar(total, f"unpacking {os.path.basename(archive)}", unit="B", leave=False)
