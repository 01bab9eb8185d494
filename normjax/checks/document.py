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
        InputError: if it has no place for one of them.
    """
    path = Path(path)
    text = path.read_text()
    for name, table in tables.items():
        place = re.compile(
            rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)", re.S
        )
        text, found = place.subn(lambda m, t=table: f"{m[1]}\n{t}\n\n{m[2]}", text)
        if not found:
            raise InputError(
                f"{path}: must hold a line <!-- table: {name} --> and, after it,"
                " <!-- end -->; add them where the table belongs."
            )
    files.write_text(path, text)
