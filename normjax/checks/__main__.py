"""Measures every norm and optimizer against its formula and its peers.

Run    python -m normjax.checks [--json] [--write FOLDER]

Exits with 1 if a row is over its budget. --write puts a table of the kinds of rows into
FOLDER/numerics.md.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

from normjax.checks import (
    document,
    forward,
    frameworks,
    gradients,
    gradients_float32,
    optimizers,
    peers_norms,
    peers_optimizers,
)
from normjax.checks.rows import Check, CheckRow


def all_checks() -> dict[str, Check]:
    """Every check by `kind: name`."""
    found = [
        *forward.every_check(),
        *gradients.every_check(),
        *gradients_float32.every_check(),
        *optimizers.every_check(),
        *peers_optimizers.every_check(),
        *peers_norms.every_check(),
    ]
    return {f"{check.kind}: {check.name}": check for check in found}


def as_json(rows: list[CheckRow]) -> str:
    """Rows as a list of objects; an error that is not finite as null."""
    finite = lambda a: a if math.isfinite(a) else None
    objects = [
        {**row._asdict(), "error": finite(row.error), "ok": row.ok} for row in rows
    ]
    return json.dumps(objects, indent=1)


def as_text(rows: list[CheckRow], seconds: float) -> str:
    """One line per row, the columns aligned; then the sum."""
    names = max(4, *(len(row.name) for row in rows))
    kinds = max(4, *(len(row.kind) for row in rows))
    head = f"{'kind':{kinds}}  {'name':{names}}  {'error':>8}  {'budget':>8}     used"
    lines = [
        f"{row.kind:{kinds}}  {row.name:{names}}  {row.error:8.1e}"
        f"  {row.budget:8.1e}  {row.used:7.2g}{'' if row.ok else '  over'}"
        for row in rows
    ]
    over = sum(not row.ok for row in rows)
    last = f"{len(rows)} rows, {over} over budget, {seconds:.0f} s"
    return "\n".join([head, *lines, *frameworks.missing_frameworks(), last])


def kind_table(rows: list[CheckRow]) -> str:
    """How many rows there are of each kind, and the one nearest to its budget."""
    lines = []
    for kind in dict.fromkeys(row.kind for row in rows):
        same = [row for row in rows if row.kind == kind]
        row = max(same, key=lambda row: row.used)
        numbers = f"{row.error:.1e}", f"{row.budget:.1e}", f"{row.used:.2g}"
        lines.append((kind, f"{len(same)}", row.name, *numbers))
    head = "kind", "rows", "nearest to its budget", "error", "budget", "error / budget"
    return document.markdown(head, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print a list of rows")
    parser.add_argument("--write", metavar="FOLDER", help="write the table there")
    arguments = parser.parse_args()
    start = time.perf_counter()
    rows = [check.row() for check in all_checks().values()]
    seconds = time.perf_counter() - start
    if arguments.write:
        path = Path(arguments.write) / "numerics.md"
        document.write(path, {"checks": kind_table(rows)})
    print(as_json(rows) if arguments.json else as_text(rows, seconds))
    sys.exit(not all(row.ok for row in rows))


if __name__ == "__main__":
    main()
