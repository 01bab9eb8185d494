"""Rows of a benchmark kept as JSON, and which of their ratios fell since."""

import json
import os
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


def title(key: tuple) -> str:
    """The key of a row in words."""
    return "{}, {} lanes, {} examples".format(*key)


def place(row: Row) -> tuple[str, int]:
    """On what a row was measured: the device and its cores."""
    return row["environment"]["device"], row["cores"]


def read(path: pathlib.Path) -> list[Row]:
    """The rows of a file.

    Raises:
        InputError: if it is no file of this benchmark.
    """
    remedy = "write one with python -m benchmarks.training --json FILE"
    try:
        rows = json.loads(path.read_text())["rows"]
        if not all(row["ratio"] > 0 for row in rows):
            raise ValueError("a ratio that is none")
        _ = {(key(row), place(row)) for row in rows}
    except OSError as error:
        raise InputError("against", str(path), "must be a file", remedy) from error
    except (ValueError, KeyError, TypeError) as error:
        rule = "must hold the rows of this benchmark"
        raise InputError("against", str(path), rule, remedy) from error
    return rows


def baseline(path: pathlib.Path, keys: Iterable[tuple]) -> list[Row]:
    """The rows of a file with which those of these keys can be compared.

    Raises:
        InputError: if it is no file of this benchmark, or has none of these rows.
    """
    rows, wanted = read(path), list(keys)
    if not {key(row) for row in rows} & set(wanted):
        rule = f"must have one of the rows: {'; '.join(map(title, wanted))}"
        remedy = "measure them with the same options and --json FILE"
        raise InputError("against", str(path), rule, remedy)
    return rows


def kept_rows(path: pathlib.Path) -> list[Row]:
    """The rows of a file that new ones will be written to; none where it is new.

    Raises:
        InputError: if it holds something else, or cannot be written.
    """
    remedy = "name another file"
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError("json", str(path), "must be a file to write to", remedy)
    try:
        return read(path) if path.exists() else []
    except InputError as error:
        raise InputError("json", str(path), error.rule, remedy) from error


def merge(old: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """The old rows, with the new ones in the place of those of the same key."""
    return list(
        ({key(row): row for row in old} | {key(row): row for row in new}).values()
    )


def write(path: pathlib.Path, rows: Iterable[Row]) -> None:
    """Writes rows; those that the file has of other workloads stay."""
    merged = merge(kept_rows(path), rows)
    path.write_text(json.dumps({"rows": merged}, indent=1) + "\n")


def comparison(rows: Iterable[Row], baseline: Iterable[Row]) -> list[tuple[bool, str]]:
    """For each row whether its ratio fell by more than `FALL`, and a sentence.

    Rows that only one of the two has did not fall, but have a sentence.
    """
    before = {key(row): row["ratio"] for row in baseline}
    told, missing = [], dict(before)
    for row in rows:
        name, ratio = key(row), row["ratio"]
        missing.pop(name, None)
        if name not in before:
            told.append((False, f"{title(name)}: not in the baseline"))
            continue
        change = ratio / before[name] - 1
        fell = change < -FALL
        word = "FELL" if fell else "holds"
        values = f"{before[name]:.2f} to {ratio:.2f} ({change:+.0%})"
        told.append((fell, f"{title(name)}: {word}, {values}"))
    told += [(False, f"{title(x)}: in the baseline, not measured") for x in missing]
    return told


def conditions(rows: Iterable[Row], baseline: Iterable[Row]) -> str:
    """A notice if the baseline was measured elsewhere, or nothing."""
    here, there = ({place(row) for row in x} for x in (rows, baseline))
    if here == there:
        return ""
    text = "; ".join(f"{device}, {cores} cores" for device, cores in sorted(there))
    return f"notice: the baseline is of another machine ({text}); ratios depend on it"
