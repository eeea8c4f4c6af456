"""The size that the head of an image file claims, checked before a decoder takes the memory."""

from __future__ import annotations

import struct

from ..errors import FileError

#: Pixels for each byte of a file that no PNG or JPEG reaches: deflate packs 1032 bytes of 8 pixels
#: into one, and a block of 64 pixels in a JPEG takes at least one bit.
MOST_PIXELS = 10_000
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
#: The markers of JPEG segments that have the size: SOF0 to SOF15 without DHT, JPG and DAC.
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def check_claim(content: bytes, path: str) -> None:
    """Raise FileError for a PNG or JPEG image that claims more pixels than its bytes can hold.

    content: the file. path: its name, for the message.
    """
    size = _claimed_size(content)
    if size is not None and size[0] * size[1] > MOST_PIXELS * len(content):
        raise FileError(
            f"{path}: claims {size[0]} x {size[1]} pixels in {len(content)} bytes; the file is "
            "damaged, get it again"
        )


def _claimed_size(content: bytes) -> tuple[int, int] | None:
    """Return height and width from the head of a PNG or JPEG file; None for other files."""
    if content.startswith(_PNG) and len(content) >= 24:
        width, height = struct.unpack_from(">II", content, 16)
        return height, width
    at = 2
    while content.startswith(_JPEG) and at + 9 <= len(content) and content[at] == 0xFF:
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", content, at + 5)
            return height, width
        at += 2 + length if marker != 0xFF else 1
    return None
