"""The table of what was found: a sentence for each question, numbers of docs/results.

A sentence says on which side of the boundary its interval lies. If the interval of a
new record lies elsewhere, the sentence is refused until somebody writes another.
"""

import re
from pathlib import Path

import pandas as pd

from docs.generate.findings import FOUND, Finding
from normjax.checks.document import markdown
from normjax.report import formats
from normjax.statistics import Interval

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"


def tables(folder: str) -> dict[str, str]:
    """The table, with links as they are in `docs` or in the folder above it."""
    return {"found": table(FOUND, "" if folder == "docs" else "docs/")}


def table(findings: tuple[Finding, ...], prefix: str) -> str:
    """A line for each finding; a question is written once."""
    rows, last = [], ""
    for found in findings:
        interval = measured(found)
        check(found, interval)
        page = "" if prefix == "" else f"{prefix}findings.md"
        question = f"[{found.section}]({page}#{anchor(found.section)})"
        rows.append(
            [
                question if found.section != last else "",
                found.answer,
                f"{found.quantity}: {unbroken(formats.by_width(interval))}",
                f"{interval.n}",
                f"[{found.record}]({prefix}results/{found.record})",
            ]
        )
        last = found.section
    return markdown(["question", "answer", "measured", "seeds", "record"], rows)


def measured(found: Finding) -> Interval:
    """The interval of the line that a finding names.

    Raises:
        LookupError: if not exactly one line of the table is it.
    """
    row = dict(found.row)
    name, protocol = row.pop("table"), row.pop("protocol", "corrected")
    lines = pd.read_csv(file_of(found.record, f"{name}.csv"))
    if "sentence" in row:  # of a claim with several comparisons, its first line has it
        sentence = lines["claim"].where(~lines["claim"].str.startswith("· ")).ffill()
        lines = lines[sentence.str.startswith(row.pop("sentence"))]
    for column, value in row.items():
        lines = lines[lines[column] == value]
    if len(lines) != 1:
        raise LookupError(f"{found.record}/{name}.csv: {len(lines)} lines are {row}")
    line = lines.iloc[0]
    column = "accuracy_points" if name == "differences" else protocol
    number = line["seeds"] if name == "differences" else line[f"{protocol}_n"]
    bounds = (float(line[f"{column}{x}"]) for x in ("", "_low", "_high"))
    return Interval(*bounds, int(number))


def file_of(record: str, name: str) -> Path:
    """A file of a record, which may lie in one of its folders."""
    (path,) = (RESULTS / record).rglob(name)
    return path


def check(found: Finding, interval: Interval) -> None:
    """Refuses an answer that its interval does not give.

    Raises:
        ValueError: the interval lies elsewhere than the sentence says.
    """
    low, high = interval.low, interval.high
    above, below = low > found.boundary, high < found.boundary
    side = "above" if above else "below" if below else "across"
    if side != found.side:
        raise ValueError(
            f"{found.record}: [{low:g}, {high:g}] lies {side} {found.boundary:g}, and"
            f" {found.answer!r} says that it lies {found.side}; write another sentence"
        )


def unbroken(text: str) -> str:
    """An interval on one line, and `0.00` for `-0.00`."""
    return re.sub(r"-(0\.0+)(?!\d)", r"\1", text).replace(" ", "\u00a0")


def anchor(heading: str) -> str:
    """The anchor that GitHub and the site give to a heading."""
    kept = "".join(x for x in heading.lower() if x.isalnum() or x in " -_")
    return kept.replace(" ", "-")
