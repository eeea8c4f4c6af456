"""Train the nets in stages, score them, look at what they see."""

from fcn_common.command import run as main

__all__ = ["main"]
