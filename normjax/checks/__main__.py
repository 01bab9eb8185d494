"""Measures every norm and optimizer against its formula and its peers.

Run    python -m normjax.checks [--json] [--mutants] [--write FOLDER]

Exits with 1 if a row is over its budget or, with --mutants, if a mutant is not.
--write puts the tables of both into FOLDER/numerics.md.
"""

import argparse
import json
import math
import sys
from pathlib import Path

from normjax.checks import conventions, document, table
from normjax.checks.rows import Row


def as_json(found: list[Row]) -> str:
    """Rows as objects; what is not finite as null."""
    finite = lambda a: a if math.isfinite(a) else None
    rows = [
        {**row._asdict(), "error": finite(row.error), "ok": row.ok} for row in found
    ]
    return json.dumps(rows, indent=1)


def write(folder: str, rows: list[Row], mutants: list[Row]) -> None:
    """The tables of numerics.md that come from here."""
    tables = {
        "checks": conventions.kind_table(rows),
        "defaults": conventions.default_table(),
        "conventions": conventions.convention_table(mutants),
        "mutants": conventions.mutant_table(mutants),
    }
    document.write(Path(folder) / "numerics.md", tables)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print a list of rows")
    parser.add_argument(
        "--mutants", action="store_true", help="run what is wrong on purpose instead"
    )
    parser.add_argument("--write", metavar="FOLDER", help="write all tables there")
    arguments = parser.parse_args()
    measure = table.mutant_rows if arguments.mutants else table.rows
    found, seconds = table.timed(measure)
    wrong = any(row.ok == arguments.mutants for row in found)
    if arguments.write:
        rows = table.rows() if arguments.mutants else found
        mutants = found if arguments.mutants else table.mutant_rows()
        wrong = not all(row.ok for row in rows) or any(row.ok for row in mutants)
        write(arguments.write, rows, mutants)
    if arguments.json:
        print(as_json(found))
    else:
        print(table.table(found, "row" if arguments.mutants else "kind"))
        print(*table.missing(), table.summary(found, seconds), sep="\n")
    sys.exit(wrong)


if __name__ == "__main__":
    main()
