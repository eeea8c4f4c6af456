"""The build backend: setuptools' own, whose wheels also have caffe_source_tree.pth and a C library.

Python runs the lines of a .pth file in site-packages at its start. setuptools has no setting for
such a file, so it is added to each wheel that setuptools builds. The library of small layers is
compiled first (native_library.py); a wheel without it runs on any machine.
"""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import zipfile
from typing import Any, Optional

import native_library
from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  the other hooks are setuptools' own

NAME = "caffe_source_tree.pth"
#: The module may be missing where a folder was moved; a start of Python must not fail then.
LINE = (
    "import importlib.util; importlib.util.find_spec('caffe_source_tree') "
    "and __import__('caffe_source_tree')\n"
)


def add_hook(wheel: str) -> None:
    """Add the .pth file and its line of the RECORD to a wheel, in place."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(LINE.encode()).digest()).rstrip(b"=").decode()
    temporary = wheel + ".part"
    with (
        zipfile.ZipFile(wheel) as old,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        new.writestr(NAME, LINE)
        for item in old.infolist():
            data = old.read(item)
            if item.filename.endswith(".dist-info/RECORD"):
                data += f"{NAME},sha256={digest},{len(LINE)}\n".encode()
            new.writestr(item, data)
    os.replace(temporary, wheel)


def build_wheel(
    wheel_directory: str,
    config_settings: Optional[Any] = None,
    metadata_directory: Optional[str] = None,
) -> str:
    """Build a wheel; return its name."""
    reason = native_library.compile_library()
    print(native_library.report(reason), file=sys.stderr)
    if not reason:
        config_settings = native_library.options_of_wheel(config_settings)
    name = build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
    add_hook(os.path.join(wheel_directory, name))
    return name


def build_editable(
    wheel_directory: str,
    config_settings: Optional[Any] = None,
    metadata_directory: Optional[str] = None,
) -> str:
    """Build the wheel of an editable installation; return its name."""
    print(native_library.report(native_library.compile_library()), file=sys.stderr)
    name = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    add_hook(os.path.join(wheel_directory, name))
    return name
