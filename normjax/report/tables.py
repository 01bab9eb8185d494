"""The tables of a study as people read them: terminal, csv, Markdown, LaTeX.

The numbers come from `estimates`; here they get headers, digits and a place.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from normjax import files
from normjax.audit import claims, published
from normjax.report import estimates, formats
from normjax.statistics import Interval
from normjax.study.record import Record

FOOTNOTE = (
    "± is half the width of a 95% interval over seeds, brackets are one.\n"
    "Seconds are those of the median epoch times the number of epochs.\n"
)
UNDECIDED = (
    "In brackets: seeds that would decide, if the estimate stays; none for times.\n"
)


def all_tables(record: Record) -> dict[str, pd.DataFrame]:
    """The tables that have rows, by the name of their files."""
    found = {
        "claims": claims.claims(record),
        "summary": estimates.summary(record),
        "differences": estimates.differences(record),
        "protocols": estimates.protocols(record),
        "published": published.optimizers(record),
        "third_moment": estimates.third_moment(record),
    }
    return {name: table for name, table in found.items() if len(table)}


def display(
    name: str, table: pd.DataFrame, settings: Sequence[str], *, narrow: bool = False
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of text: arm or claim, settings of a grid, columns of `name`.

    A setting that each arm has one value of is not shown; the csv has it. Narrow, a
    claim is its sentence alone.
    """
    first = table.columns[0]
    if narrow and "sentence" in table:
        table, first = table[table["sentence"] != ""], "sentence"
    groups = table.groupby(first)
    shown = [x for x in settings if x in table and (groups[x].nunique() > 1).any()]
    columns = {
        header: (key, text)
        for header, (key, text) in (NARROW if narrow else WIDE)[name].items()
        if key in table and SHOWN.get(key, lambda _: True)(table[key])
    }
    rows = [
        [row[first], *(formats.number(row[x]) for x in shown)]
        + [_text(row, key, text) for key, text in columns.values()]
        for row in table.to_dict("records")
    ]
    return [table.columns[0], *(x.replace("_", " ") for x in shown), *columns], rows


def write(record: Record, folder: Path) -> dict[str, pd.DataFrame]:
    """Writes each table as csv (numbers), md and tex (text) and returns them.

    The curves, which the page shows as figures, are written as csv alone.
    """
    files.folder(folder)
    found = all_tables(record)
    for name, table in found.items():
        header, rows = display(name, table, record.record["settings"])
        files.write_table(folder / f"{name}.csv", table)
        files.write_text(folder / f"{name}.md", formats.markdown(header, rows))
        files.write_text(folder / f"{name}.tex", formats.latex(header, rows))
    files.write_table(folder / "curves.csv", estimates.curves(record))
    return found


def text(record: Record) -> str:
    """Every table for a terminal, of the claims their verdicts."""
    parts = []
    for name, table in all_tables(record).items():
        lines = formats.plain(
            *display(name, table, record.record["settings"], narrow=True)
        )
        note = UNDECIDED if "undecided" in lines else ""
        parts.append(f"{textwrap.fill(title(name, record), 88)}\n\n{lines}{note}")
    return "\n".join([*parts, FOOTNOTE])


def title(name: str, record: Record) -> str:
    """What a table holds, in a line."""
    baseline = record.record.get("baseline") or {}
    target = record.record.get("target_accuracy")
    return {
        "claims": "Claims of the source" + published.unlike(record),
        "summary": "Speed, robustness and stability"
        + (f" (target: test accuracy {target:g})" if target else ""),
        "differences": "Paired differences to "
        + ", ".join(f"{k} = {v}" for k, v in baseline.items()),
        "protocols": f"Paired differences to protocol = {estimates.AS_PUBLISHED}",
        "published": "Test accuracy and stability: published, and ours"
        + published.unlike(record),
        "third_moment": "Third-moment optimizer against Adam",
    }[name]


def _text(row: Mapping[str, Any], key: str, text: Callable[..., str]) -> str:
    """A word, a number or an interval; a claim's own row has no numbers."""
    if isinstance(row[key], str):
        return text(row[key])
    if row.get("comparison") == "":
        return ""
    interval = _interval(row, key)
    digits = "comparison" in row and (row["logarithmic"] or np.isnan(interval.low))
    if digits and text is formats.by_width:
        text = formats.by_three_digits
    return text(interval)


def _interval(row: Mapping[str, Any], key: str) -> Interval:
    """The three columns of `key`, or the one with bounds nan."""
    low, high = (row.get(f"{key}_{end}", np.nan) for end in ("low", "high"))
    return Interval(float(row[key]), float(low), float(high), row.get("seeds", 0))


def _single(text: Callable[[float], str]) -> Callable[[Interval], str]:
    return lambda interval: text(interval.estimate)


def _short(verdict: str) -> str:
    """`undecided (~38)`."""
    for long, short in (
        ("about ", "~"),
        ("more than ", ">"),
        ("needs at least ", ">="),
        (" seeds", ""),
        (" needed", ""),
    ):
        verdict = verdict.replace(long, short)
    return verdict


Columns = dict[str, tuple[str, Callable[[Interval], str]]]  # header -> key, text
SHOWN: dict[str, Callable[[pd.Series], bool]] = {  # other columns always are
    "seeds": lambda values: values.nunique() > 1,
    "left_out": lambda values: values.any(),
}
COUNT = _single(formats.number)
THIRD_MOMENT: Columns = {
    "differing share, at most": (estimates.SHARE, _single(formats.two_digits)),
    "smallest denominator": (estimates.DENOMINATOR, _single(formats.two_digits)),
}
PUBLISHED: Columns = {
    "published": ("published", formats.by_width),
    "as published": ("as_published", formats.by_width),
    "corrected": ("corrected", formats.by_width),
}
WIDE: dict[str, Columns] = {
    "claims": {
        "published": ("published", formats.by_width),
        "as published": ("as_published", formats.by_width),
        "verdict, as published": ("verdict_as_published", str),
        "corrected": ("corrected", formats.by_width),
        "verdict, corrected": ("verdict_corrected", str),
        "seeds left out": ("left_out", COUNT),
    },
    "published": PUBLISHED
    | {
        "stability, published": ("published_stability", _single(formats.two_digits)),
        "as published, nats²": ("as_published_stability", formats.by_digits),
        "corrected, nats²": ("corrected_stability", formats.by_digits),
    },
    "summary": {
        "test accuracy": ("test_accuracy", formats.by_width),
        "lowest": ("test_accuracy_min", formats.by_width),
        "highest": ("test_accuracy_max", formats.by_width),
        "stability, nats²": ("stability", formats.by_digits),
        "seconds": ("seconds", formats.by_three_digits),
        "steps to target": ("steps_to_target", formats.steps),
        "reached by": ("share_reached", formats.percent),
        "diverged": ("diverged", COUNT),
        "seeds": ("seeds", COUNT),
    },
    "differences": {
        "accuracy, points": ("accuracy_points", formats.by_width),
        "p": ("p", _single(formats.p_value)),
        "stability, ratio": ("stability_ratio", formats.by_three_digits),
        "seconds, ratio": ("seconds_ratio", _single(formats.three_digits)),
        "pairs": ("seeds", COUNT),
    },
    "third_moment": THIRD_MOMENT,
}
WIDE["protocols"] = WIDE["differences"]
NARROW: dict[str, Columns] = {
    "claims": {
        "as published": ("verdict_as_published", _short),
        "corrected": ("verdict_corrected", _short),
    },
    "published": {
        header: (key, formats.plus_minus) for header, (key, _) in PUBLISHED.items()
    },
    "summary": {
        "test accuracy": ("test_accuracy", formats.plus_minus),
        "stability": ("stability", _single(formats.two_digits)),
        "seconds": ("seconds", _single(formats.three_digits)),
        "steps": ("steps_to_target", _single(formats.whole)),
        "reached": ("share_reached", _single(formats.whole_percent)),
        "diverged": ("diverged", COUNT),
        "seeds": ("seeds", COUNT),
    },
    "differences": {
        "points": ("accuracy_points", formats.plus_minus),
        "p": ("p", _single(formats.p_value)),
        "stability, ratio": ("stability_ratio", formats.by_three_digits),
        "seconds, ratio": ("seconds_ratio", _single(formats.three_digits)),
    },
    "third_moment": THIRD_MOMENT,
}
NARROW["protocols"] = NARROW["differences"]
