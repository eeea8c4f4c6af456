"""Downloads that continue where they were interrupted, with checksums.

A data set's archive has 1.7 GB. The `pooch` package starts again from the beginning after a broken
connection; here the bytes that arrived stay in `path`.part, also after the program was killed.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any, Callable, Optional, Sequence

from fcn_common.places import make_folder, writable
from fcn_common.progress import ProgressBar

#: Seconds to wait for a connection and for each block of bytes.
TIMEOUT = (15, 60)
#: Attempts in a row that bring no new bytes before a download fails.
TRIES = 5
BLOCK = 1 << 16


#: Raises ValueError or OSError for a file that is not the one that is needed.
Check = Callable[[str], None]


def download(
    urls: Sequence[str], path: str, checksum: Optional[str] = None, check: Optional[Check] = None
) -> None:
    """Download the first of `urls` that can be reached to `path`, continuing `path`.part.

    checksum: "md5:..." or "sha1:...". check: a test of the file's content where no checksum is
    known. Raises OSError with the reason of each address if none has the file.
    """
    make_folder(os.path.dirname(path))
    part = path + ".part"
    reasons = []
    for url in urls:
        try:
            _download_checked(url, part, checksum, check)
            os.replace(part, writable(path))
            return
        except OSError as error:
            reasons.append(str(error))
    raise OSError("; ".join(reasons))


def verify(path: str, checksum: Optional[str], source: Optional[str] = None) -> None:
    """Raise OSError if the file `path` (named `source` in the message) has another checksum."""
    if checksum is None:
        return
    kind, needed = checksum.split(":")
    digest = hashlib.new(kind)
    with open(path, "rb") as file, _bar(os.path.getsize(path), f"{kind} of {path}") as bar:
        for block in iter(lambda: file.read(1 << 22), b""):
            digest.update(block)
            bar.update(len(block))
    if digest.hexdigest() != needed:
        raise OSError(f"{source or path}: its {kind} is {digest.hexdigest()}, needs {needed}")


def _download_checked(url: str, part: str, checksum: Optional[str], check: Optional[Check]) -> None:
    """Download `url` to `part`; remove `part` if its checksum or its content is wrong."""
    continued = _size(part) > 0
    _download(url, part)
    try:
        _verify_content(part, checksum, check, url)
        return
    except OSError:
        os.remove(part)
        if not continued:
            raise
    # The part was of another file, perhaps of another address: once more from the start.
    _download(url, part)
    try:
        _verify_content(part, checksum, check, url)
    except OSError:
        os.remove(part)
        raise


def _verify_content(part: str, checksum: Optional[str], check: Optional[Check], url: str) -> None:
    """Raise OSError if a download has another checksum or other content than needed."""
    verify(part, checksum, url)
    if check is not None:
        try:
            check(part)
        except ValueError as error:
            raise OSError(f"{url}: is not the published file: {error}") from None


def _download(url: str, part: str) -> None:
    """Download `url` to `part` from where `part` ends, again after each broken connection."""
    # Takes 0.1 s to import, and is optional beside BVLC Caffe.
    import requests

    tries, largest = 0, _size(part)
    while True:
        try:
            if _transfer(requests, url, part):
                return
            error: Exception = EOFError(f"the connection ended after {_size(part)} bytes")
        except requests.HTTPError as refusal:
            reply = refusal.response
            raise OSError(f"{url}: {reply.status_code} {reply.reason}") from None
        except requests.RequestException as failure:
            error = failure
        if _size(part) > largest:
            tries, largest = 0, _size(part)
            continue
        tries += 1
        unreachable = isinstance(error, requests.ConnectTimeout) or not os.path.exists(part)
        if unreachable or tries >= TRIES:
            raise OSError(f"{url}: {_reason(error)}") from None


def _transfer(requests: Any, url: str, part: str) -> bool:
    """Append what follows `part` of the file at `url`; return whether `part` is complete then."""
    start = _size(part)
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as reply:
        if start and reply.status_code == 416:
            return True  # Nothing follows: the part is complete, or its checksum is wrong.
        reply.raise_for_status()
        continues = reply.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        if not (reply.status_code == 206 and continues):
            start = 0
        total = start + int(reply.headers.get("Content-Length", 0))
        title = os.path.basename(part)[: -len(".part")]
        with (
            open(writable(part), "ab" if start else "wb") as file,
            _bar(total, title, start) as bar,
        ):
            for block in reply.iter_content(BLOCK):
                file.write(block)
                bar.update(len(block))
    return "Content-Length" not in reply.headers or _size(part) >= total


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0


def _bar(total: int, title: str, initial: int = 0) -> ProgressBar:
    return ProgressBar(total, title, initial, unit="B", leave=False)


def _reason(error: BaseException) -> str:
    """Return the innermost of a chain of wrapped network errors in one line."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return f"{type(error).__name__}: {error}".replace("\n", " ")
