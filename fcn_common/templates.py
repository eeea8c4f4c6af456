"""The Jinja templates of HTML pages, which lie beside the modules that fill them."""

from __future__ import annotations

import os
from typing import Any


def environment(module: str) -> Any:
    """Return the `jinja2.Environment` of the templates beside a module, whose file is `module`.

    Names that a template lacks are errors, and values are escaped.
    """
    # Optional beside BVLC Caffe.
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(os.path.abspath(module))),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
