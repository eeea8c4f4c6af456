"""Names of files do not bring control characters to a terminal or into a page."""

from __future__ import annotations

import jinja2

from fcn_common import templates
from fcn_data.checking import Finding, Report
from solvers.results import HeadShares, Result, Share

NAME = "a\x1b[31m\nb.png"
SHOWN = "a\\x1b[31m\\nb.png"


def test_the_line_of_a_result_shows_escapes():
    heads = (HeadShares("score", (Share(0, "sky", 1.0),)),)
    assert Result(f"folder/{NAME}", heads=heads).line() == f"{SHOWN}: sky 100.0 %"


def test_the_lines_of_a_check_show_escapes():
    finding = Finding("error", "is not an image", (NAME,))
    report = Report((finding,), 3, (0.0, 0.0, 0.0), (1, 1), 1.0, {}, 1)
    assert report.lines([]) == [f"error: is not an image: {SHOWN}"]


def test_a_page_shows_escapes_and_keeps_line_breaks_of_its_own():
    environment = templates.environment(__file__)
    environment.loader = jinja2.DictLoader({"page": "<p>{{ name }}</p>\n{{ part|safe }}"})
    text = environment.get_template("page").render(name="<\x1b>", part="<b>\x07\n</b>")
    assert text == "<p>&lt;\\x1b&gt;</p>\n<b>\\x07\n</b>"
