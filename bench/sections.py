"""The tables of docs/performance.md, from the results of one device."""

from __future__ import annotations

from typing import Dict, Iterable, List, Sequence, Set

from bench.peers import CASES, ENGINE, PEERS, SIDES, base_name, find_peer, in_order
from bench.settings import Json
from bench.statistics import Summaries, Summary, line, power, round_ratios
from bench.text import seconds, share, size
from fcn_common import tables

PRECISIONS = ("float32", "tf32", "bfloat16")
#: Heads of the columns of a case's further measurements.
EXTRA = {"first": "first time", "touched": "with one pass"}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are right-aligned."""
    right = [False, *[True] * (len(head) - 1)]
    return "\n".join(tables.markdown(head, rows, right, padded=False))


def engine_of(peer: str) -> str:
    """Return the name of this engine in the precision of a peer."""
    precision = find_peer(peer).precision
    engines = (n for n, p in PEERS.items() if p.is_engine and p.precision == precision)
    return next(engines, ENGINE)


def title(peer: str) -> str:
    """Return a peer's title, with its precision unless that is float32."""
    precision = find_peer(peer).precision
    return find_peer(peer).title + ("" if precision == "float32" else f", {precision}")


def peers_that_ran(cases: Summaries, precision: str = "") -> List[str]:
    """Return the peers with a result in any case, of one precision or of all."""
    ran: Set[str] = {peer for peers in cases.values() for peer in peers}
    listed = (peer for peer in ran if base_name(peer) in PEERS)
    return [n for n in in_order(listed) if not precision or find_peer(n).precision == precision]


def overview(cases: Summaries) -> str:
    """Return a table for each precision: one row for each case.

    A row has this engine's time, and the factors by which the other programs take longer. Lower
    precisions are compared with BVLC Caffe's float32, too.
    """
    parts = []
    for precision in PRECISIONS:
        peers = peers_that_ran(cases, precision)
        if not peers:
            continue
        engine = engine_of(peers[0])
        others = [peer for peer in peers if peer != engine]
        if precision != "float32" and "bvlc" in peers_that_ran(cases):
            others.append("bvlc")
        rows = [
            [CASES[case].title, seconds(peers[engine].seconds), *_times(peers, engine, others)]
            for case, peers in cases.items()
            if case in CASES and engine in peers and not case.startswith("area-")
        ]
        if rows:
            titles = [
                find_peer(n).title + ("" if find_peer(n).precision == precision else ", float32")
                for n in others
            ]
            parts.append(table([precision, find_peer(ENGINE).title, *titles], rows))
    note = "The other columns say how many times as long the other programs take."
    return "\n\n".join([note, *parts]) if parts else ""


def _times(peers: Dict[str, Summary], engine: str, others: Sequence[str]) -> List[str]:
    """Return the times of peers over this engine's; "" for those without a result."""
    base = peers[engine].seconds
    return [f"{peers[n].seconds / base:.2f}" if n in peers else "" for n in others]


def details(results: Json, case: str, peers: Dict[str, Summary]) -> str:
    """Return the table of one case, with a row a peer."""
    differences = results["differences"].get(case, {})
    extra = sorted({name for summary in peers.values() for name in summary.extra})
    labels = any(isinstance(d, dict) and d["labels"] is not None for d in differences.values())
    head = ["", "time", "±", *(EXTRA[name] for name in extra), "times", "memory"]
    head += ["differs"] if differences else []
    head += ["labels"] if labels else []
    rows = []
    for peer in in_order(peers):
        summary = peers[peer]
        spread = f"{100 * summary.spread:.0f} %" if summary.rounds > 1 else "-"
        row = [title(peer), seconds(summary.seconds), spread]
        row += [seconds(summary.extra[n]) if n in summary.extra else "" for n in extra]
        base = peers.get(engine_of(peer))
        row += [f"{summary.seconds / base.seconds:.2f}" if base else "-", size(summary.memory)]
        values = differences.get(peer)
        if differences:
            reference = "reference" if peer == differences.get("reference", "") else ""
            row.append(share(values["scores"]) if isinstance(values, dict) else reference)
        if labels:
            row.append(share(values["labels"]) if isinstance(values, dict) else "")
        rows.append(row)
    return table(head, rows)


def engines(results: Json, cases: Summaries) -> str:
    """Return a table with this engine beside the engines of other checkouts; "" without any."""
    rows = []
    for case, peers in cases.items():
        for peer in in_order(name for name in peers if base_name(name) in PEERS):
            engine = base_name(peer)
            if peer == engine or engine not in peers:
                continue
            runs = [run for run in results["runs"] if run["case"] == case]
            ours = [run for run in runs if run["peer"] == engine]
            ratios = round_ratios(ours, [run for run in runs if run["peer"] == peer])
            apart = results.get("between_engines", {}).get(case, {}).get(peer)
            rows.append(
                [
                    CASES[case].title,
                    find_peer(peer).precision,
                    seconds(peers[engine].seconds),
                    seconds(peers[peer].seconds),
                    f"{peers[engine].seconds / peers[peer].seconds:.3f}",
                    f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else "-",
                    size(peers[engine].memory),
                    size(peers[peer].memory),
                    share(apart["scores"]) if apart else "-",
                ]
            )
    if not rows:
        return ""
    head = ["", "precision", "this engine", "the other", "ratio", "ratio of a round"]
    return table([*head, "memory", "memory of the other", "scores differ"], rows)


def floor(results: Json, cases: Summaries) -> str:
    """Return how far every peer is from the rate of a plain matrix product."""
    rates: Dict[str, float] = {}
    for run in results["runs"]:
        if run["case"] == "floor":
            rate = run["operations"] / min(run["times"])
            rates[run["peer"]] = max(rate, rates.get(run["peer"], 0.0))
    if not rates:
        return ""
    text = ", ".join(f"{rate / 1e9:,.0f} billion in {p}" for p, rate in rates.items())
    parts = [
        "Multiply-adds a second of the fastest of several large matrix products in PyTorch: "
        f"{text}. The column *floor* is the time in which that rate computes all multiply-adds of "
        "the net, those with its padding included. The columns of the programs say how many times "
        "the floor they take. A program that skips products with a known result can be below 1."
    ]
    forward = [c for c in cases if c in CASES and CASES[c].kind == "forward" and "area" not in c]
    for precision, rate in rates.items():
        peers = peers_that_ran(cases, precision)
        rows = []
        for case in forward:
            operations = results["operations"][CASES[case].key(CASES[case].sizes[0])]
            least = operations / rate
            times = [
                f"{cases[case][n].seconds / least:.2f}" if n in cases[case] else "" for n in peers
            ]
            row = [CASES[case].title, f"{operations / 1e9:.1f} billion", seconds(least), *times]
            rows.append(row)
        if rows and peers:
            head = [precision, "multiply-adds", "floor", *(find_peer(n).title for n in peers)]
            parts.append(table(head, rows))
    return "\n\n".join(parts)


def areas(cases: Summaries) -> str:
    """Return time and memory against the area of the image, with the lines that fit best."""
    sides = [side for side in SIDES if f"area-{side}" in cases]
    peers = in_order({peer for side in sides for peer in cases[f"area-{side}"]})
    if len(sides) < 2 or not peers:
        return ""
    rows = []
    for side in sides:
        summaries = cases[f"area-{side}"]
        row = [f"{side} x {side}"]
        for peer in peers:
            summary = summaries.get(peer)
            row += [seconds(summary.seconds), size(summary.memory)] if summary else ["", ""]
        rows.append(row)
    head = ["", *(f"{title(n)}: {column}" for n in peers for column in ("time", "memory"))]
    fits = [_fit(cases, peer, sides) for peer in peers]
    return table(head, rows) + "\n\n" + "\n".join(filter(None, fits))


def _fit(cases: Summaries, peer: str, sides: Sequence[int]) -> str:
    """Return how a peer's time and memory grow with the area, "" for a single size."""
    measured = [side for side in sides if peer in cases[f"area-{side}"]]
    if len(measured) < 2:
        return ""
    summaries = [cases[f"area-{side}"][peer] for side in measured]
    exponent = power([float(s * s) for s in measured], [s.seconds for s in summaries])
    least, more = line([s * s / 1e6 for s in measured], [float(s.memory) for s in summaries])
    return (
        f"- {title(peer)}: the time grows as the area to the power of {exponent:.2f}; the memory "
        f"is {size(least)} and {size(more)} more for each million pixels"
    )
