"""All results as one page: index.html and experiments.md in a folder, and docs/experiments.md."""

from __future__ import annotations

import os
import re
import shutil
from typing import List, Sequence

from markupsafe import Markup, escape
from PIL import Image

from experiments import report
from fcn_common import files, templates
from fcn_common.places import make_folder, writable
from solvers.folders import ROOT

TEMPLATE = "page.html.jinja"


def write_page(results: Sequence[report.Result], out: str) -> List[str]:
    """Write OUT/index.html and OUT/experiments.md, and return their paths."""
    paths = [os.path.join(out, name) for name in ("index.html", "experiments.md")]
    files.write_text(paths[0], html(results))
    files.write_text(paths[1], report.document(results, [result.name for result in results]))
    return paths


def html(results: Sequence[report.Result]) -> str:
    """Return all results as HTML; the figures lie in NAME/FILE beside the page."""
    environment = templates.environment(__file__)
    environment.filters["inline"] = inline
    return environment.get_template(TEMPLATE).render(
        title=report.TITLE,
        introduction=report.INTRODUCTION,
        results=results,
        number_class=number_class,
    )


def inline(text: object) -> Markup:
    """Return text as HTML, with the parts between backquotes as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(str(text)))))


def number_class(numeric: bool) -> Markup:
    """Return the attribute of a cell in a column of numbers."""
    return Markup(' class="number"' if numeric else "")


def write_docs(results: Sequence[report.Result], out: str, root: str = ROOT) -> str:
    """Write docs/experiments.md, with the figures in docs/experiments, and return the path."""
    folder = os.path.join(root, "docs", "experiments")
    shutil.rmtree(writable(folder), ignore_errors=True)
    make_folder(folder)
    renamed: List[report.Result] = []
    for result in results:
        figures = []
        for figure in result.figures:
            file = f"{result.name}-{figure.file}"
            _copy_in_256_colours(
                os.path.join(out, result.name, figure.file), os.path.join(folder, file)
            )
            figures.append(figure._replace(file=file))
        renamed.append(result._replace(figures=figures))
    path = os.path.join(root, "docs", "experiments.md")
    files.write_text(path, report.document(renamed, ["experiments"] * len(renamed)))
    return path


def _copy_in_256_colours(source: str, target: str) -> None:
    with Image.open(source) as image:
        image.convert("RGB").quantize(256).save(writable(target), optimize=True)
