"""Times, sizes and shares as text."""

from __future__ import annotations

from typing import Optional


def seconds(value: float) -> str:
    """Return a time in three digits, with its unit."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 0.9995 or unit == "µs":
            return f"{_three_digits(value * factor)} {unit}"
    raise AssertionError


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def size(value: float) -> str:
    """Return a number of bytes in GB or MB, powers of ten."""
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def share(value: Optional[float]) -> str:
    """Return a share in two digits, "-" for None."""
    if value is None:
        return "-"
    return "0" if value == 0 else f"{value:.1e}".replace("e-0", "e-")
