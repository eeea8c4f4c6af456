"""Small archives, in memory."""

import io
import tarfile


def tar(members, mode="w"):
    """Return a tar file of (name: bytes); None is a link to /etc/passwd."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode=mode) as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                file.addfile(info)
            else:
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    return raw.getvalue()
