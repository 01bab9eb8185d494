"""Tables in a document that a command writes: each between two comments.

`<!-- table: NAME -->` opens one, `<!-- end -->` closes it; what is between is replaced.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from normjax import files
from normjax.errors import InputError


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table, one line per row."""
    lines = [list(head), *([*row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(path: str | Path, tables: dict[str, str]) -> None:
    """Replaces the named tables of a document.

    Raises:
        InputError: if the document has no place for one of them.
    """
    path = Path(path)
    text = path.read_text()
    for name, table in tables.items():
        first, last = f"<!-- table: {name} -->", "<!-- end -->"
        place = re.compile(rf"({re.escape(first)}\n).*?({last})", re.S)
        parts = place.split(text, maxsplit=1)
        if len(parts) == 1:
            rule = f"must hold a line {first} and, after it, {last}"
            raise InputError(str(path), ..., rule, "add them where the table belongs")
        before, opening, closing, after = parts
        text = f"{before}{opening}\n{table}\n\n{closing}{after}"
    files.write_text(path, text)
