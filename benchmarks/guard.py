"""Rows of a benchmark kept as JSON, and which of their ratios fell since."""

import json
import pathlib
from collections.abc import Iterable
from typing import Any

from normjax.errors import InputError

Row = dict[str, Any]
KEY = ("workload", "lanes", "num_examples")  # what makes two rows comparable
FALL = 0.2  # of a ratio, above which it is named: timings of one machine differ by less


def key(row: Row) -> tuple:
    """By which a row is found again."""
    return tuple(row[name] for name in KEY)


def read(path: pathlib.Path) -> list[Row]:
    """The rows of a file.

    Raises:
        InputError: if it is no file of this benchmark.
    """
    remedy = "write one with python -m benchmarks.training --json FILE"
    try:
        rows = json.loads(path.read_text())["rows"]
        _ = [(key(row), row["ratio"]) for row in rows]
    except OSError as error:
        raise InputError("against", str(path), "must be a file", remedy) from error
    except (ValueError, KeyError, TypeError) as error:
        rule = "must hold the rows of this benchmark"
        raise InputError("against", str(path), rule, remedy) from error
    return rows


def merge(old: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """The old rows, with the new ones in the place of those of the same key."""
    return list(
        ({key(row): row for row in old} | {key(row): row for row in new}).values()
    )


def write(path: pathlib.Path, rows: Iterable[Row]) -> None:
    """Writes rows; those that the file has of other workloads stay."""
    kept = merge(read(path) if path.exists() else [], rows)
    path.write_text(json.dumps({"rows": kept}, indent=1) + "\n")


def comparison(rows: Iterable[Row], baseline: Iterable[Row]) -> list[tuple[bool, str]]:
    """For each row whether its ratio fell by more than `FALL`, and a sentence."""
    known = {key(row): row for row in baseline}
    told = []
    for row in rows:
        name = "{}, {} lanes, {} examples".format(*key(row))
        if key(row) not in known:
            told.append((False, f"{name}: not in the baseline"))
            continue
        before, now = known[key(row)]["ratio"], row["ratio"]
        change = now / before - 1
        fell = change < -FALL
        word = "FELL" if fell else "holds"
        told.append(
            (fell, f"{name}: {word}, {before:.2f} to {now:.2f} ({change:+.0%})")
        )
    return told


def conditions(rows: Iterable[Row], baseline: Iterable[Row]) -> str:
    """A notice if the baseline was measured elsewhere, or nothing."""
    where = lambda rows: {(row["environment"]["device"], row["cores"]) for row in rows}
    here, there = where(rows), where(baseline)
    if here == there:
        return ""
    text = "; ".join(f"{device}, {cores} cores" for device, cores in sorted(there))
    return f"notice: the baseline is of another machine ({text}); ratios depend on it"
