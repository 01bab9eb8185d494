"""Numbers as people read them, and tables as Markdown, LaTeX and plain text."""

import math
import re
from collections.abc import Callable, Sequence

import numpy as np

from normjax.numerals import places, three_digits, two_digits
from normjax.statistics import Interval

MINUS = "\u2212"
PLACES = 4  # the most after the point: one of 10,000 test images is 0.0001
LATEX: dict[int, str] = str.maketrans(
    {x: f"\\{x}" for x in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
    | {"²": "$^2$", "±": r"$\pm$", "<": "$<$", ">": "$>$", MINUS: "$-$"}
)


def by_width(interval: Interval) -> str:
    """`0.8765 [0.8751, 0.8779]`: the places that show two digits of the half-width."""
    if abs(interval.estimate) >= 1e6:
        return by_three_digits(interval)
    places = _places_of(interval)
    return _bounds(interval, lambda x: fixed(x, places))


def plus_minus(interval: Interval) -> str:
    """`0.8765 ± 0.0014`: like `by_width`, with the half-width in place of bounds."""
    estimate, low, high = interval[:3]
    if math.isnan(low):
        return by_width(interval)
    places = _places_of(interval)
    return f"{fixed(estimate, places)} ± {(high - low) / 2:.{places}f}"


def by_digits(interval: Interval) -> str:
    """`1.2e-05 [6.1e-06, 4.0e-05]`: two digits each, for numbers on a log scale."""
    return _bounds(interval, two_digits)


def by_three_digits(interval: Interval) -> str:
    """`1.02 [0.981, 1.06]`: three digits each, for seconds and ratios."""
    return _bounds(interval, three_digits)


def steps(interval: Interval) -> str:
    """`1,200 [800, never]`: a whole number of steps."""
    return _bounds(interval, whole_number).replace("never [never, never]", "never")


def percent(interval: Interval) -> str:
    """`90% [60, 98]`, for a share in [0, 1]."""
    return _bounds(interval, whole_percent).replace("%,", ",").replace("%]", "]")


def whole_number(x: float) -> str:
    """`1,200`, or `never` for inf."""
    return "never" if math.isinf(x) else f"{x:,.0f}"


def whole_percent(x: float) -> str:
    """`90%`, for a share in [0, 1]."""
    return f"{100 * x:.0f}%"


def number(x: float) -> str:
    """A setting or a count in the fewest digits: `0.001`, `10`."""
    return "-" if math.isnan(x) else f"{x:g}"


def p_value(p: float) -> str:
    """`0.004`, with three places; `<0.001` below the last of them."""
    if math.isnan(p):
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def fixed(x: float, places: int) -> str:
    """`-0.04`, with so many places after the point; a zero has no sign."""
    text = f"{x:.{places}f}"
    return text if float(text) else text.removeprefix("-")


def signed(interval: Interval) -> str:
    """`+1.64 [1.03, 2.25]`, `−0.31 [−0.90, 0.28]`: a difference, with minus signs.

    Places are those of `by_width`.
    """
    text = true_minus(by_width(interval))
    return f"+{text}" if re.match("[0.,]*[1-9]", text) else text


def true_minus(text: str) -> str:
    """The text with a minus sign in place of each hyphen before a number.

    So it is in exponents, where a hyphen would break a line: `1.2e−05`.
    """
    return re.sub(r"(?:(?<![\w.)\]-])|(?<=\de))-(?=\d)", MINUS, text)


def claimed_range(
    direction: str, margin: float, *, logarithmic: bool, mark: str = ""
) -> str:
    """`above 5`, or `between −1 and 1`: where the interval of a claim has to lie.

    Args:
        direction: greater, less or within.
        margin: the bound; of `within` the upper one.
        logarithmic: whether the number is a ratio.
        mark: what draws the bound, such as `the line at `.
    """
    if direction == "within":
        low = 1 / margin if logarithmic else -margin
        return true_minus(f"between {low:.3g} and {margin:g}")
    side = {"greater": "above", "less": "below"}[direction]
    return true_minus(f"{side} {mark}{margin:g}")


def within(
    text: Callable[[Interval], str], low: float, high: float
) -> Callable[[Interval], str]:
    """`text` of an interval without what is impossible: beyond `low` or `high`.

    An interval contains a number that lies between the two as often without the rest.
    """

    def limited(x: Interval) -> str:
        kept = x._replace(low=np.fmax(x.low, low), high=np.fmin(x.high, high))
        lost = not math.isnan(x.low) and kept != x
        write = by_width if lost and text is plus_minus else text
        return write(kept if lost else x)

    return limited


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1
) -> str:
    """A table in GitHub's Markdown: names on the left, numbers on the right."""
    cells = [[x.replace("|", "\\|") for x in row] for row in (header, *rows)]
    lines, widths = _aligned(cells, names)
    rules = ["-" * max(1, width - 1) for width in widths]
    left, right = (f":{x}" for x in rules[:names]), (f"{x}:" for x in rules[names:])
    lines.insert(1, [*left, *right])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def latex_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1
) -> str:
    """A tabular environment that needs the package booktabs."""
    texts = [" & ".join(x.translate(LATEX) for x in row) for row in (header, *rows)]
    head, *body = [f"{text} \\\\\n" for text in texts]
    return (
        f"\\begin{{tabular}}{{{'l' * names}{'r' * (len(header) - names)}}}\n"
        f"\\toprule\n{head}"
        f"\\midrule\n{''.join(body)}\\bottomrule\n\\end{{tabular}}\n"
    )


def plain_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns with two blanks between them, for a terminal."""
    lines, widths = _aligned([header, *rows])
    lines.insert(1, ["-" * width for width in widths])
    return "".join("  ".join(line).rstrip() + "\n" for line in lines)


def _aligned(
    rows: Sequence[Sequence[str]], names: int = 1
) -> tuple[list[list[str]], list[int]]:
    """The cells, as wide as their columns, and these widths; names are on the left."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        [
            *map(str.ljust, row[:names], widths[:names]),
            *map(str.rjust, row[names:], widths[names:]),
        ]
        for row in rows
    ]
    return lines, widths


def _places_of(interval: Interval) -> int:
    half = (interval.high - interval.low) / 2
    return min(PLACES, max(0, places(half, 2))) if half > 0 else PLACES


def _bounds(interval: Interval, text: Callable[[float], str]) -> str:
    estimate, low, high = interval[:3]
    if math.isnan(estimate):
        return "-"
    if math.isnan(low):
        return text(estimate)
    return f"{text(estimate)} [{text(low)}, {text(high)}]"


def confidence(level: float) -> str:
    """`95%`, `98.75%`."""
    return f"{100 * level:.4g}%"


def capital(text: str) -> str:
    """A text begins with a capital; `l2` and numbers stay as they are."""
    return text if text[1:2].isdigit() else text[:1].upper() + text[1:]


accuracy = within(by_width, 0.0, 1.0)  # a share of the examples
points = within(signed, -100.0, 100.0)  # of accuracies in percent
