"""Build every net of the zoo and compare it: `make zoo`."""

from __future__ import annotations

import argparse
import sys

from fcn_common.command import run
from fcn_common.tables import plain

from .compare import Comparison, compare
from .nets import NETS

#: The largest error, relative to the largest value, with which two engines agree.
LIMIT = 1e-4
HEAD = ("net", "layers", "forks' layers", "error, NumPy", "error, OpenCV", "seconds")


def row(result: Comparison) -> list[str]:
    """Return the cells of a comparison under HEAD."""
    forks = ", ".join(f"{count} {kind}" for kind, count in result.forks.items())
    opencv = "" if result.opencv is None else f"{result.opencv:.1e}"
    error = f"{result.layer_error:.1e}"
    return [result.name, str(result.layers), forks, error, opencv, f"{result.seconds:.1f}"]


def agrees(result: Comparison) -> bool:
    """Return whether no error of a net is over LIMIT; not-a-number is."""
    return all(error <= LIMIT for error in (result.layer_error, result.opencv or 0.0))


def main() -> None:
    """Print a line for each net. Exits with 1 where a net disagrees."""
    parser = argparse.ArgumentParser(prog="python -m zoo", description=__doc__)
    parser.add_argument("nets", nargs="*", metavar="NET", help=f"of {', '.join(NETS)}; all")
    names = parser.parse_args().nets
    unknown = [name for name in names if name not in NETS]
    if unknown:
        parser.error(f"no net has the name {unknown[0]!r}; use {', '.join(NETS)}")
    results = []
    for name in names or NETS:
        results.append(compare(name))
        print("  ".join(cell for cell in row(results[-1]) if cell), flush=True)
    wrong = [result.name for result in results if not agrees(result)]
    print("\n" + "\n".join(plain(HEAD, [row(result) for result in results])))
    if wrong:
        sys.exit(f"error: an error over {LIMIT:g} in {', '.join(wrong)}")


if __name__ == "__main__":
    run(main)
