"""The Jinja templates of HTML pages, which lie beside the modules that fill them."""

from __future__ import annotations

import os
from typing import Any

from fcn_common.command import printable


def environment(module: str) -> Any:
    """Return the `jinja2.Environment` of the templates beside a module, whose file is `module`.

    Names that a template lacks are errors, values are escaped, and control characters in them too.
    """
    # Optional beside BVLC Caffe.
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(os.path.abspath(module))),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown(value: Any) -> Any:
    """Return a value of a template; of a text, or text of HTML, without control characters."""
    if isinstance(value, str) and not value.isprintable():
        return type(value)(printable(value, keep="\n\t"))
    return value
