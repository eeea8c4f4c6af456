"""OpenCV under its own names, imported when one is first used: most nets read no images."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    return getattr(importlib.import_module("cv2"), name)
