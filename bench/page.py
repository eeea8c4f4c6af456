"""docs/performance.md, written from kept measurements and the remarks in this folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import List, Optional, Sequence

from bench import kept
from bench.peers import CASES, PEERS, base_name, find_peer
from bench.sections import areas, details, engines, floor, overview, title
from bench.settings import Json
from bench.statistics import Summaries, summaries
from bench.text import size
from fcn_common.files import write_text

DOCS = Path(__file__).resolve().parents[1] / "docs"
HERE = Path(__file__).resolve().parent
#: Remarks on the kept results, by device, and what was tried without success; written by hand.
REMARKS = {"cpu": HERE / "cpu.md", "cuda": HERE / "gpu.md"}
TRIED = HERE / "tried.md"
#: The results that the page shows, by device.
KEPT = {"cpu": DOCS / "performance.json", "cuda": DOCS / "performance-cuda.json"}
#: Bytes of weights; FCN-8s has more at full width.
FULL = 4 * 134_000_000
HEADINGS = {"cpu": "On the processor", "cuda": "On a GPU"}

HEAD = """\
# Performance

`make bench DOCS=1` writes this page from what `make bench` measured.

The net is FCN-8s on VGG16, unless a row names another net, with 21 classes, batch 1 and drawn
weights. On the processor every measurement is a process of its own, which warms up and then times
itself. On a GPU one process measures all cases of a peer in a round, except loading and the first
label map. The peers take turns, and each round begins with another peer.

| column | meaning |
| --- | --- |
| time | the median of all passes; of a round with more than 101, 101 evenly chosen times count |
| ± | half the distance between the medians of the fastest and the slowest round |
| times | a peer's time over this engine's in the same precision; above 1, this engine is faster |
| memory | the peak of the process, weights and libraries included |
| differs | the largest difference of a score from the reference's, divided by the largest score |
| labels | the share of pixels whose highest score belongs to another class than the reference's |
"""
#: Further remarks on the columns of a kind of cases.
NOTES = {
    "train": "*differs* compares the change of five layers' weights in a step.",
    "learn": "*differs* compares the change of all weights in the first step.",
    "load": "*with one pass* ends with the scores of a small image, which reads every weight. Some "
    "programs map the file into memory, or read parts of it, only in that pass.",
}


def conditions(results: Json) -> List[str]:
    """Return where, when and with which programs the results were measured."""
    machine, key, weights = results["machine"], results["key"], results["weights"]
    trial = f": **a net of {weights / FULL:.1%} of the weights, a trial**" if weights < FULL else ""
    quick = ", a quick trial: single passes, 2 images scored" if key["quick"] else ""
    unfinished = "" if results["finished"] else ", not finished"
    lines = [
        f"{size(weights)} of weights{trial}",
        f"{machine['processor']} ({machine['instructions']}), {machine['cores']} cores, "
        f"{size(machine['memory'])}",
        *([f"{machine['device']}, CUDA {machine['cuda']}"] if "device" in machine else []),
        f"{machine['system']}, Python {machine['python']}, threads a process: {key['threads']}",
        f"{results['started']}, rounds: {key['rounds']}{quick}{unfinished}",
        "; ".join(_versions(results)),
    ]
    rates = results.get("core_types")
    if rates:
        best = max(rates, key=lambda name: rates[name])
        lines.append(
            f"BVLC Caffe's OpenBLAS runs with the kernels for {best}, the fastest of "
            + ", ".join(rates)
        )
    busy = max((run["load"] for run in results["runs"]), default=0)
    return [*lines, f"load average up to {busy:.1f} before a measurement"]


def _versions(results: Json) -> List[str]:
    names = dict.fromkeys(
        f"{find_peer(name).title} ({version})" if find_peer(name).runner == "pycaffe" else version
        for name, version in results["versions"].items()
    )
    return list(names)


def section(results: Json) -> str:
    """Return what was measured on one device."""
    cases = summaries(results)
    lines = "\n".join(f"- {line}" for line in conditions(results))
    parts = [f"## {HEADINGS[results['key']['device']]}", lines, overview(cases)]
    parts += case_sections(results, cases)
    for heading, text in (
        ("This engine and that of another checkout", engines(results, cases)),
        ("How far from the floor", floor(results, cases)),
        ("Against the area of the image", areas(cases)),
    ):
        parts += [f"### {heading}", text] if text else []
    if results["left_out"]:
        entries = [
            f"- {title(e['peer'])}{' in ' + e['case'] if e['case'] else ''}: {e['why']}"
            for e in results["left_out"]
            if base_name(e["peer"]) in PEERS
        ]
        parts += ["### Left out", "\n".join(entries)]
    return "\n\n".join(part for part in parts if part)


def case_sections(results: Json, cases: Summaries) -> List[str]:
    """Return the heading, the table and the notes of each case but those of growing area."""
    parts: List[str] = []
    for name, peers in cases.items():
        if name in CASES and not name.startswith("area-"):
            parts += [f"### {CASES[name].title}", details(results, name, peers)]
            parts.append(NOTES.get(CASES[name].kind, ""))
    return parts


def page(measured: Sequence[Json]) -> str:
    """Return the page, from the results of one device each."""
    parts = [HEAD.strip()]
    for results in measured:
        parts.append(section(results))
        remarks = REMARKS[results["key"]["device"]]
        if remarks.exists():
            parts += ["### Remarks", remarks.read_text().strip()]
    if TRIED.exists():
        parts += ["## What was tried without success", TRIED.read_text().strip()]
    return "\n\n".join(parts) + "\n"


def write(results: Optional[Json] = None) -> Path:
    """Keep results in docs/, and write the page from the kept results of every device.

    Raises ValueError if there are no results.
    """
    if results is not None:
        write_text(KEPT[results["key"]["device"]], kept.text(results))
    measured = [json.loads(path.read_text()) for path in KEPT.values() if path.exists()]
    if not measured:
        raise ValueError("no results in docs/; run make bench")
    write_text(DOCS / "performance.md", page(measured))
    return DOCS / "performance.md"
