"""Counts and numbers as people read them: `1,200 seeds`, `0.0512`."""

import functools
import math


def plural(number: int, noun: str) -> str:
    """`1 seed`, `1,200 seeds`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def listed(words: list[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    *start, end = words
    return f"{', '.join(start)} {last} {end}" if start else end


def significant_digits(x: float, digits: int) -> str:
    """`0.012`, `1.2e-05` or `1,234` with two digits; whole numbers are not rounded."""
    if x == 0 or not math.isfinite(x):
        return "0" if x == 0 else "-"
    if not 1e-3 <= abs(x) < 1e5:
        return f"{x:.{digits - 1}e}"
    return f"{x:,.{max(0, places(x, digits))}f}"


def places(x: float, digits: int) -> int:
    """How many places after the point show `digits` significant digits of x."""
    exact = f"{abs(x):.{digits - 1}e}"  # rounds 0.0999 to 1.0e-01 first
    return digits - 1 - int(exact.partition("e")[2])


two_digits = functools.partial(significant_digits, digits=2)
three_digits = functools.partial(significant_digits, digits=3)
