"""Tables in the width of a terminal: columns that do not fit come in another block."""

import itertools
import shutil
from collections.abc import Sequence

from normjax.report import formats

GAP = 2  # blanks between columns
NARROWEST = 60  # of a terminal that is written for


def columns() -> int:
    """Those of the terminal; 80 where there is none, as in a file."""
    return max(NARROWEST, shutil.get_terminal_size((80, 24)).columns)


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    num_names: int = 1,
) -> str:
    """A plain table, no wider than `width` if its columns are not.

    The first `num_names` columns say what a row is about. What does not fit beside
    them comes below, with these columns again: nothing is cut, and every row of a
    block is one line.
    """
    cells = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    first = sum(widths[:num_names]) + GAP * (num_names - 1)
    blocks: list[list[int]] = []
    for number, needed in itertools.islice(enumerate(widths), num_names, None):
        mine = blocks[-1] if blocks else []
        taken = sum(GAP + widths[i] for i in mine)
        if not mine or first + taken + GAP + needed > width:
            blocks.append([number])
        else:
            mine.append(number)
    parts = []
    for block in blocks or [[]]:
        picked = [[*row[:num_names], *(row[i] for i in block)] for row in cells]
        parts.append(formats.plain_table(picked[0], picked[1:]))
    return "\n".join(parts)
