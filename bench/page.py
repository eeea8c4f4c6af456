"""docs/performance.md, written from the measurements and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .peers import CASES, ENGINE, PEERS, SIDES
from .statistics import Summary, line, slope, summaries

Json = dict[str, Any]
DOCS = Path(__file__).resolve().parents[1] / "docs"
HERE = Path(__file__).resolve().parent
#: Written by hand: what to know of the runs that are kept, by device, and what did not pay.
REMARKS = {"cpu": HERE / "cpu.md", "cuda": HERE / "gpu.md"}
TRIED = HERE / "tried.md"
#: The measurements that the page is made from, by device; they lie beside it.
KEPT = {"cpu": DOCS / "performance.json", "cuda": DOCS / "performance-cuda.json"}
FULL = 4 * 134_000_000  # bytes, less than FCN-8s has at full width
PRECISIONS = ("float32", "tf32", "bfloat16")
HEADINGS = {"cpu": "On the processor", "cuda": "On a GPU"}

HEAD = """\
# Performance

Written by `make bench DOCS=1` from what `make bench` measured.

The net is FCN-8s on VGG16, unless another is named, 21 classes, batch 1, with drawn weights. Every
measurement is a process of its own, which warms up and then times itself; on a GPU a peer measures
all cases of a round in one process, but for loading and the first label map. Peers take turns, and
each round begins with another one. A time is the median of all passes, ± half the distance between
the medians of the fastest and the slowest round. Memory is the process's peak, weights and
libraries included. *times* is a peer's time over this engine's in the same precision: above 1, the
engine is faster. *differs* is the largest difference of the scores from the reference's, of its
largest score; *labels*, the share of pixels whose highest score is another class.
"""


def seconds(value: float) -> str:
    """A time in three digits."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 0.9995 or unit == "µs":
            return f"{_digits(value * factor)} {unit}"
    raise AssertionError


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def size(value: float) -> str:
    """Bytes in GB or MB (powers of ten)."""
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def share(value: float | None) -> str:
    if value is None:
        return "-"
    return "0" if value == 0 else f"{value:.1e}".replace("e-0", "e-")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are set to the right."""
    lines = [list(head), ["---", *["---:"] * (len(head) - 1)], *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def own(peer: str) -> str:
    """This engine's entry in the precision of a peer."""
    alike = (n for n, p in PEERS.items() if p.runner == "pycaffe" and p.own)
    return next((n for n in alike if PEERS[n].precision == PEERS[peer].precision), ENGINE)


def title(peer: str) -> str:
    precision = PEERS[peer].precision
    return PEERS[peer].title + ("" if precision == "float32" else f", {precision}")


def ratio(case: dict[str, Summary], peer: str) -> str:
    base = case.get(own(peer))
    return f"{case[peer].seconds / base.seconds:.2f}" if base else "-"


def overview(results: Json, found: dict[str, dict[str, Summary]]) -> str:
    """A row a case: this engine's time in each precision, and every other's times over it.

    Lower precisions are compared with BVLC Caffe's float32 as well.
    """
    parts = []
    for precision in PRECISIONS:
        peers = [n for n, p in PEERS.items() if p.precision == precision and n in _ran(found)]
        if not peers:
            continue
        engine = own(peers[0])
        others = [n for n in peers if n != engine]
        others += ["bvlc"] if precision != "float32" and "bvlc" in _ran(found) else []
        rows = [
            [
                CASES[case].title,
                seconds(of[engine].seconds),
                *(f"{of[n].seconds / of[engine].seconds:.2f}" if n in of else "" for n in others),
            ]
            for case, of in found.items()
            if case in CASES and engine in of and not case.startswith("area-")
        ]
        if rows:
            words = [
                PEERS[n].title + ("" if PEERS[n].precision == precision else ", float32")
                for n in others
            ]
            head = [precision, "this engine", *words]
            parts.append(table(head, rows))
    note = "Other columns: how many times as long the others take."
    return "\n\n".join([note, *parts]) if parts else ""


def _ran(found: dict[str, dict[str, Summary]]) -> set[str]:
    return {peer for of in found.values() for peer in of}


def details(results: Json, case: str, of: dict[str, Summary]) -> str:
    """The table of one case."""
    differences = results["differences"].get(case, {})
    reference = differences.get("reference", "")
    extra = sorted({name for s in of.values() for name in s.extra})
    words = {"first": "first time", "touched": "with one pass"}
    labels = any(isinstance(d, dict) and d["labels"] is not None for d in differences.values())
    head = ["", "time", "±", *(words[n] for n in extra), "times", "memory"]
    head += ["differs"] if differences else []
    head += ["labels"] if labels else []
    rows = []
    for peer in (name for name in PEERS if name in of):
        s = of[peer]
        spread = f"{100 * s.spread:.0f} %" if s.rounds > 1 else "-"
        row = [title(peer), seconds(s.seconds), spread]
        row += [seconds(s.extra[n]) if n in s.extra else "" for n in extra]
        row += [ratio(of, peer), size(s.memory)]
        d = differences.get(peer)
        if differences:
            row.append("reference" if peer == reference else share(d["scores"]) if d else "")
        if labels:
            row.append(share(d["labels"]) if d else "")
        rows.append(row)
    return table(head, rows)


def floor(results: Json, found: dict[str, dict[str, Summary]]) -> str:
    """How far from the rate of a plain matrix product everybody is."""
    rates: dict[str, float] = {}
    for run in results["runs"]:
        if run["case"] == "floor":
            rate = run["operations"] / min(run["times"])
            rates[run["peer"]] = max(rate, rates.get(run["peer"], 0.0))
    if not rates:
        return ""
    said = ", ".join(f"{rate / 1e9:,.0f} billion in {p}" for p, rate in rates.items())
    lines = [
        f"The fastest of several large matrix products in PyTorch reaches {said} multiply-adds a "
        "second. At that rate the multiply-adds of the whole net, its padding included, take the "
        "time in the column *floor*; the others say how many times that each needs. Below 1 is "
        "what a program reaches that skips operations whose result it knows."
    ]
    cases = [c for c in found if c in CASES and CASES[c].kind == "forward" and "area" not in c]
    for precision, best in rates.items():
        peers = [n for n in PEERS if n in _ran(found) and PEERS[n].precision == precision]
        rows = []
        for case in cases:
            operations = results["operations"][CASES[case].of(CASES[case].sizes[0])]
            least = operations / best
            needed = [
                f"{found[case][n].seconds / least:.2f}" if n in found[case] else "" for n in peers
            ]
            rows.append(
                [CASES[case].title, f"{operations / 1e9:.1f} billion", seconds(least), *needed]
            )
        if rows and peers:
            head = [precision, "multiply-adds", "floor", *(PEERS[n].title for n in peers)]
            lines.append(table(head, rows))
    return "\n\n".join(lines)


def areas(results: Json, found: dict[str, dict[str, Summary]]) -> str:
    """Time and memory against the image's area."""
    sides = [side for side in SIDES if f"area-{side}" in found]
    peers = [n for n in PEERS if any(n in found[f"area-{s}"] for s in sides)]
    if len(sides) < 2 or not peers:
        return ""
    rows = []
    for side in sides:
        of = found[f"area-{side}"]
        row = [f"{side} x {side}"]
        for peer in peers:
            row += [seconds(of[peer].seconds), size(of[peer].memory)] if peer in of else ["", ""]
        rows.append(row)
    head = ["", *(f"{title(n)}: {what}" for n in peers for what in ("time", "memory"))]
    fits = []
    for peer in peers:
        ran = [s for s in sides if peer in found[f"area-{s}"]]
        if len(ran) > 1:
            times = [found[f"area-{s}"][peer].seconds for s in ran]
            power = slope([float(s * s) for s in ran], times)
            memory = [float(found[f"area-{s}"][peer].memory) for s in ran]
            least, more = line([s * s / 1e6 for s in ran], memory)
            fits.append(
                f"- {title(peer)}: time grows as area to the power of {power:.2f}; memory is "
                f"{size(least)} and {size(more)} more a million pixels"
            )
    return table(head, rows) + "\n\n" + "\n".join(fits)


def section(results: Json) -> str:
    """What was measured on one device."""
    found = summaries(results)
    m, key = results["machine"], results["key"]
    bytes_ = results["weights"]
    narrow = "" if bytes_ > FULL else f": **a net of {bytes_ / FULL:.1%} of the weights, a trial**"
    where = [
        f"{size(bytes_)} of weights{narrow}",
        f"{m['processor']} ({m['instructions']}), {m['cores']} cores, {size(m['memory'])}",
        *([f"{m['device']}, CUDA {m['cuda']}"] if "device" in m else []),
        f"{m['system']}, Python {m['python']}, threads a process: {key['threads']}",
        f"{results['started']}, rounds: {key['rounds']}"
        + (", a quick trial: single passes, 2 images scored" if key["quick"] else "")
        + ("" if results["finished"] else ", not finished"),
    ]
    versions = dict.fromkeys(
        v if PEERS[n].runner != "pycaffe" else f"{PEERS[n].title} ({v})"
        for n, v in results["versions"].items()
    )
    busy = max((r["load"] for r in results["runs"]), default=0)
    where.append("; ".join(versions))
    if "core_types" in results:
        best = max(results["core_types"], key=lambda n: results["core_types"][n])
        where.append(
            f"BVLC Caffe's OpenBLAS takes the processor for {best}, the fastest of "
            + ", ".join(results["core_types"])
        )
    where.append(f"load average up to {busy:.1f} before a measurement")
    parts = [f"## {HEADINGS[key['device']]}", "\n".join(f"- {line}" for line in where)]
    parts.append(overview(results, found))
    for name, of in found.items():
        if name in CASES and not name.startswith("area-"):
            parts += [f"### {CASES[name].title}", details(results, name, of)]
            if CASES[name].kind == "train":
                parts.append("*differs* compares the change of five layers' weights in a step.")
            if CASES[name].kind == "load":
                parts.append(
                    "*with one pass* goes on to the scores of a small image, for which every "
                    "weight is read; some map the file, or read parts of it, only then."
                )
    for heading, text in (
        ("How far from the floor", floor(results, found)),
        ("Against the area of the image", areas(results, found)),
    ):
        if text:
            parts += [f"### {heading}", text]
    if results["left_out"]:
        left = (
            f"- {title(e['peer'])}{' in ' + e['case'] if e['case'] else ''}: {e['why']}"
            for e in results["left_out"]
        )
        parts += ["### Left out", "\n".join(left)]
    return "\n\n".join(part for part in parts if part)


def page(measured: Sequence[Json]) -> str:
    """The whole page, from the results of one device each."""
    parts = [HEAD.strip()]
    for results in measured:
        parts.append(section(results))
        remarks = REMARKS[results["key"]["device"]]
        if remarks.exists():
            parts += ["### Remarks", remarks.read_text().strip()]
    if TRIED.exists():
        parts += ["## What was tried and did not pay", TRIED.read_text().strip()]
    return "\n\n".join(parts) + "\n"


def write(results: Json | None = None) -> Path:
    """Keep `results` beside the page, and write the page from what is kept for every device."""
    if results is not None:
        _whole(KEPT[results["key"]["device"]], json.dumps(results, indent=1) + "\n")
    kept = [json.loads(path.read_text()) for path in KEPT.values() if path.exists()]
    if not kept:
        raise ValueError("nothing was measured yet; run make bench")
    _whole(DOCS / "performance.md", page(kept))
    return DOCS / "performance.md"


def _whole(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)
