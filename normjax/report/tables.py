"""The tables of a study: the numbers of `estimates` with headers, digits and order."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from normjax import files
from normjax.report import estimates, formats
from normjax.report.audit_interface import (
    Column,
    Section,
    audit_sections,
    interval_column,
    number_column,
)
from normjax.study.record import Record

FOOTNOTE = (
    "± is half the width of a 95% interval over seeds, brackets are its bounds.\n"
    "Seconds are those of the median epoch times the number of epochs.\n"
)
SUMMARY_NOTE = (
    "Robustness is the test accuracy after the last epoch, stability the variance of"
    " the train loss, speed the seconds per network; see the definitions below. The"
    " factors and settings of each arm are in tables/summary.csv."
)
DIFFERENCES_NOTE = (
    "Each arm minus (or divided by) its baseline, seed by seed; the ratio of seconds is"
    " one of medians and has no interval. p is that of the sign-flip test and is not"
    " adjusted for the number of rows, nor for that of looks."
)


def all_sections(record: Record) -> list[Section]:
    """The tables that have rows: summary, differences, and those of the audit."""
    baseline = record.record.get("baseline") or {}
    target = record.record.get("target_accuracy")
    goal = f" (target: test accuracy {target:g})" if target else ""
    title = f"Speed, robustness and stability{goal}"
    columns = SUMMARY, SUMMARY_NARROW
    own = [
        Section("summary", title, estimates.summary(record), *columns, SUMMARY_NOTE),
        differences_section("differences", baseline, estimates.arm_differences(record)),
    ]
    whole = sorted([*own, *audit_sections(record)], key=lambda x: not x.leads)
    return [section for section in whole if len(section.numbers)]


def differences_section(
    name: str, baseline: Mapping[str, object], numbers: pd.DataFrame
) -> Section:
    """A section of the paired differences that `estimates.arm_differences` returns."""
    levels = ", ".join(f"{factor} = {level}" for factor, level in baseline.items())
    title = f"Paired differences to {levels}"
    columns = DIFFERENCES, DIFFERENCES_NARROW
    return Section(name, title, numbers, *columns, note=DIFFERENCES_NOTE)


def present_columns(section: Section, *, narrow: bool = False) -> dict[str, Column]:
    """Header -> column, of those that the section has something to show in."""
    table = section.numbers
    columns = section.narrow if narrow else section.wide
    return {
        header: x
        for header, x in columns.items()
        if x.key in table and x.needed(table[x.key])
    }


def display(
    section: Section, settings: Sequence[str], *, narrow: bool = False
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of text: the row's name, settings of a grid, then the columns.

    A setting that has one value in each arm is left out; the csv has it.
    """
    table = section.brief if narrow and section.brief is not None else section.numbers
    first = table.columns[0]
    groups = table.groupby(first)
    grid = [x for x in settings if x in table and (groups[x].nunique() > 1).any()]
    texts = present_columns(section, narrow=narrow)
    rows = [
        [row[first], *(formats.number(row[x]) for x in grid)]
        + [column.text(row) for column in texts.values()]
        for row in table.to_dict("records")
    ]
    return [first, *(x.replace("_", " ") for x in grid), *texts], rows


def write_tables(record: Record, folder: Path) -> list[Section]:
    """Writes each table as csv (numbers), md and tex (text), and the curves as csv."""
    files.folder(folder)
    written = all_sections(record)
    for section in written:
        table = display(section, record.record["settings"])
        files.write_table(folder / f"{section.name}.csv", section.numbers)
        files.write_text(folder / f"{section.name}.md", formats.markdown_table(*table))
        files.write_text(folder / f"{section.name}.tex", formats.latex_table(*table))
    files.write_table(folder / "curves.csv", estimates.curves(record))
    return written


def text(record: Record) -> str:
    """Every table for a terminal."""
    parts = []
    for section in all_sections(record):
        table = display(section, record.record["settings"], narrow=True)
        title = textwrap.fill(section.title, 88)
        parts.append(f"{title}\n\n{formats.plain_table(*table)}{section.footnote}")
    return "\n".join([*parts, FOOTNOTE + _looks(record)])


def _looks(record: Record) -> str:
    text = estimates.looks_sentence(record)
    return f"{textwrap.fill(text, 88)}\n" if text else ""


SEEDS = number_column("seeds", formats.number, needed=lambda x: x.nunique() > 1)
DIVERGED = number_column("diverged", formats.number)
SUMMARY: dict[str, Column] = {
    "test accuracy": interval_column("test_accuracy", formats.by_width),
    "lowest": interval_column("test_accuracy_min", formats.by_width),
    "highest": interval_column("test_accuracy_max", formats.by_width),
    "stability, nats²": interval_column("stability", formats.by_digits),
    "seconds": interval_column("seconds", formats.by_three_digits),
    "steps to target": interval_column("steps_to_target", formats.steps),
    "reached by": interval_column("share_reached", formats.percent),
    "diverged": DIVERGED,
    "seeds": SEEDS,
}
SUMMARY_NARROW: dict[str, Column] = {
    "test accuracy": interval_column("test_accuracy", formats.plus_minus),
    "stability": number_column("stability", formats.two_digits),
    "seconds": number_column("seconds", formats.three_digits),
    "steps": number_column("steps_to_target", formats.whole_number),
    "reached": number_column("share_reached", formats.whole_percent),
    "diverged": DIVERGED,
    "seeds": SEEDS,
}
DIFFERENCES: dict[str, Column] = {
    "accuracy, points": interval_column("accuracy_points", formats.by_width),
    "p": number_column("p", formats.p_value),
    "stability, ratio": interval_column("stability_ratio", formats.by_three_digits),
    "seconds, ratio": number_column("seconds_ratio", formats.three_digits),
    "pairs": SEEDS,
}
DIFFERENCES_NARROW: dict[str, Column] = {
    "points": interval_column("accuracy_points", formats.plus_minus),
    **{x: DIFFERENCES[x] for x in ("p", "stability, ratio", "seconds, ratio")},
}
