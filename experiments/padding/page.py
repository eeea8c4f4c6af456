"""docs/padding.md, from the numbers of `net_gen.padding` and the result of the experiment."""

from __future__ import annotations

import os
import textwrap
from typing import Any, Dict, List, Sequence

import jinja2

from experiments import report
from experiments.padding import settings
from experiments.padding.drawings import HEAD, LIMITS, PLACES, draw
from experiments.padding.experiment import SCENES_DRAWING
from experiments.padding.positions import blob_rows, drawn_paddings, paddings
from fcn_common import files, tables
from fcn_common.places import make_folder
from net_gen import CLASSIFIERS, VARIANTS, fcn, padding
from solvers.folders import ROOT

DOCS = os.path.join(ROOT, "docs")
#: Characters in a line of the page's paragraphs.
LINE_LENGTH = 100
LIMIT_HEAD = (
    "net",
    "classifier's own padding: smallest input with scores",
    "least that aligns: smallest input",
    "least for every size",
    "smallest input at 100",
)

#: The nets of the page. Those of the other data sets have the same trunks and heads.
NETS = {name: variant for name, variant in VARIANTS.items() if variant.data_set == "voc"}


def page(result: report.Result) -> str:
    """Return the page as Markdown."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(os.path.abspath(__file__))),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("page.md.jinja").render(table=table, **values(result))
    return "\n\n".join(map(fill, text.strip().split("\n\n"))) + "\n"


def values(result: report.Result) -> Dict[str, Any]:
    """Return the values that the template shows."""
    alexnet_least = padding.least_padding("voc-fcn-alexnet", 1000)
    bare, least, published = (
        padding.limits(settings.DRAWN_NET, pad)[0] for pad in drawn_paddings()
    )
    return {
        "result": result,
        "bare": bare,
        "least": least,
        "published": published,
        "size": settings.DRAWN_SIZE,
        "head_net": settings.HEAD_NET,
        "fields": padding.Geometry(settings.HEAD_NET).fields,
        "maps": padding.rows(settings.HEAD_NET),
        "offsets": offset_rows(),
        "limit_head": LIMIT_HEAD,
        "limits": limit_rows(),
        "alexnet_zero": int(-padding.Geometry("voc-fcn-alexnet", 0).offsets["score"]),
        "alexnet_least": alexnet_least,
        "missed": padding.limits("voc-fcn-alexnet", alexnet_least - 1)[0],
        "first_scores": first_score_rows(),
        "usage": usage(),
        "places": PLACES,
        "head": HEAD,
        "limits_drawing": LIMITS,
        "scenes_drawing": SCENES_DRAWING,
    }


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table, without padding so that a change of one row changes one line."""
    return "\n".join(tables.markdown(head, rows, right=[False] * len(head), padded=False))


def fill(block: str) -> str:
    """Return a paragraph with new line breaks; tables, code and headings stay as they are."""
    if block.startswith(("#", "|", "!", "*", "    ", "\n")):
        return block
    return textwrap.fill(
        " ".join(block.split()), LINE_LENGTH, break_long_words=False, break_on_hyphens=False
    )


def offset_rows() -> List[List[Any]]:
    """Return a row for each Crop of every variant: its offset as a function of the padding."""
    rows = []
    for net in NETS:
        unpadded, published = padding.Geometry(net, 0), padding.Geometry(net)
        for crop, offset in published.offsets.items():
            without = unpadded.offsets[crop]
            grows = offset - without == published.pad
            rows.append([net, crop, f"pad - {-without}" if grows else "any pad", offset])
    return rows


def limit_rows() -> List[List[Any]]:
    """Return a row for each variant: the inputs that its paddings allow."""
    rows = []
    for net, variant in NETS.items():
        classifier = CLASSIFIERS[variant.trunk]("deploy")
        pads = padding.first_convolution(classifier).convolution_param.pad
        bare = padding.limits(net, pads[0] if pads else 0)[0]
        least = padding.least_padding(net, bare.period * 100)
        rows.append(
            [
                net,
                f"{bare.pad}: {bare.smallest}, {'not aligned' if bare.fault else 'aligned'}",
                f"{least}: {padding.smallest_input(net, least)[0]}",
                padding.least_padding(net),
                max(padding.smallest_input(net)),
            ]
        )
    return rows


def first_score_rows() -> List[List[str]]:
    """Return a row for each variant: the pixel of the first coarse score, by padding."""
    rows = []
    for net in NETS:
        pads = sorted(set(paddings(net, settings.DRAWN_SIZE)), reverse=True)
        firsts = (
            blob_rows(net, pad, settings.DRAWN_SIZE, ("score_fr",))[0][0].first for pad in pads
        )
        rows.append([net, ", ".join(f"{pad}: {first}" for pad, first in zip(pads, firsts))])
    return rows


def usage() -> str:
    """Return calls of `net_gen.padding` as code, with the results as comments."""
    net, size = settings.HEAD_NET, settings.DRAWN_SIZE
    calls = [
        f'padding.least_padding("{net}")',
        f'padding.least_padding("{net}", {size})',
        f'padding.smallest_input("{settings.DRAWN_NET}", {drawn_paddings()[1]})',
        f'padding.limits("{settings.DRAWN_NET}", 1)[0].smallest',
        f'padding.Geometry("{net}").fields["fc7"]',
        f'padding.coordinate_maps("{net}")["conv1_1"]',
    ]
    # Evaluating the text of the calls keeps the page true.
    names = {"fcn": fcn, "padding": padding}
    lines = [
        "from net_gen import fcn, padding",
        "",
        *(f"{call:<56}# {_comment(eval(call, names))}" for call in calls),
        f'net = fcn("{net}", "deploy", pad={padding.least_padding(net, size)})',
    ]
    return "\n".join(f"    {line}".rstrip() for line in lines)


def _comment(value: Any) -> str:
    return f"({', '.join(map(str, value))})" if isinstance(value, tuple) else str(value)


def write_docs(result: report.Result, out: str, folder: str = DOCS) -> str:
    """Write padding.md into a folder, with its drawings and the result in padding/.

    Return the path of the page.
    """
    drawings = os.path.join(folder, "padding")
    make_folder(drawings)
    draw(drawings)
    for name in (SCENES_DRAWING, report.RESULT):
        with open(os.path.join(out, "padding", name), "rb") as source:
            content = source.read()
        with files.atomic_write(os.path.join(drawings, name)) as copy:
            copy.write(content)
    path = os.path.join(folder, "padding.md")
    files.write_text(path, page(result))
    return path
