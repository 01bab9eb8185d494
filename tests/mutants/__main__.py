"""Writes what the mutants show into a document.

Run    python -m tests.mutants [--write FOLDER]

Measures every mutant, exits with 1 if a row does not find one, and puts the tables of
defaults, conventions and defects into FOLDER/numerics.md.
"""

import argparse
import collections
import sys
from pathlib import Path

from normjax.checks import document
from normjax.checks.rows import CheckRow

from . import conventions
from .every import CHECKS, MUTANTS

# Version 0.1 had 290 mutants, most of them the same defect in one norm after the other:
# how many there were of each kind of defect in each kind of row.
BEFORE = {
    "eps or the root elsewhere, or none": {"forward": 25},
    "counts or shows what is masked": {"forward": 14},
    "variance over n - 1": {"forward": 13},
    "variance in one pass": {"forward": 13},
    "evaluates as it trains": {"forward": 10, "autodiff": 1, "by hand": 1},
    "another statistic, factor or window": {"forward": 8, "torch": 3},
    "means over other axes": {"forward": 8, "torch": 1},
    "another nonlinearity, or in another order": {"forward": 6},
    "a mean subtracted where none is": {"forward": 2},
    "narrow arithmetic": {"bf16": 22, "gradient": 30},
    "another dtype": {"bf16": 1},
    "another eps": {
        "running": 1,
        "autodiff": 4,
        "by hand": 4,
        "flax": 5,
        "torch": 6,
        "keras": 6,
    },
    "another decay": {"running": 8},
    "another average": {"running": 4},
    "variance over n, or n - 1, for the other": {"running": 3},
    "blind to a statistic": {"gradient": 15},
    "through what is a constant": {"gradient": 2},
    "a term missing, or one too many": {"autodiff": 12, "by hand": 12},
    "n - 1 for n": {"autodiff": 5, "by hand": 5},
    "of x, not z": {"autodiff": 4, "by hand": 4},
    "another decay or weight": {"optimizer": 5, "flax": 1, "torch": 3, "keras": 1},
    "eps elsewhere, or none": {"optimizer": 4, "optax": 2, "torch": 1, "keras": 1},
    "a correction missing, or narrow": {"optimizer": 5},
    "another moment": {"optimizer": 3, "optax": 1},
    "looks ahead": {"optimizer": 1, "optax": 1, "keras": 1},
    "another start": {"optax": 1},
    "rate at another place": {"keras": 1},
}


def measured() -> dict[str, CheckRow]:
    """Each mutant as a row: its kind is the row that has to find it over budget."""
    return {
        name: CHECKS[mutant.row].row(mutant.wrong)._replace(name=name, kind=mutant.row)
        for name, mutant in MUTANTS.items()
    }


def defect_table() -> str:
    """How many mutants of each kind of defect each kind of row had and has."""
    after = collections.Counter(
        (mutant.defect, mutant.row.partition(":")[0]) for mutant in MUTANTS.values()
    )
    kinds = list(dict.fromkeys(kind for row in BEFORE.values() for kind in row))
    cell = lambda defect, kind, count: f"{count} → {after[defect, kind]}"
    lines = [
        (defect, *(cell(defect, k, row[k]) if k in row else "" for k in kinds))
        for defect, row in BEFORE.items()
    ]
    sums = [sum(row.get(kind, 0) for row in BEFORE.values()) for kind in kinds]
    left = [sum(n for (_, k), n in after.items() if k == kind) for kind in kinds]
    lines.append(("all", *(f"{a} → {b}" for a, b in zip(sums, left))))
    return document.markdown(("defect", *kinds), lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", metavar="FOLDER", help="write the tables there")
    folder = parser.parse_args().write
    rows = measured()
    if folder:
        tables = {
            "defaults": conventions.default_table(),
            "conventions": conventions.convention_table(rows),
            "defects": defect_table(),
        }
        document.write(Path(folder) / "numerics.md", tables)
    for name, row in rows.items():
        print(f"{name:50} {row.kind:40} {row.used:8.3g}{' not found' * row.ok}")
    sys.exit(any(row.ok for row in rows.values()))


if __name__ == "__main__":
    main()
