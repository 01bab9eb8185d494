"""The tables of a study: the numbers of `estimates` with headers, digits and order."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from normjax import files, numerals, p_values
from normjax.report import (
    estimates,
    formats,
    names,
    stale_files,
    terminal,
    tuning_tables,
    wide_tables,
)
from normjax.report.audit_interface import Column, Section, audit_sections
from normjax.report.table_columns import (
    DIFFERENCES,
    DIFFERENCES_NARROW,
    SUMMARY,
    SUMMARY_NARROW,
)
from normjax.study import trials
from normjax.study.columns import Level
from normjax.study.record import Record

SUMMARY_NOTE = (
    "Test accuracy is that after the last epoch, the variance that of the train loss"
    " between seeds, seconds are those of a network; see the definitions. Intervals of"
    " accuracies end at 0 and 1. All settings of each arm are in tables/summary.csv."
)
DIFFERENCES_NOTE = (
    "Each arm minus (or divided by) its baseline, seed by seed; the ratio of seconds is"
    " one of medians and has no interval. p is that of the sign-flip test; beside it"
    " it is adjusted for the number of rows by Holm's method. Neither is adjusted for"
    " the number of looks."
)
LEAST_P_NOTE = " With {} no p is below {}."
OUTLYING_NOTE = (
    " Outlying seeds lie far from the others by the generalized ESD test at 1%, such as"
    " those of networks that collapsed. There the trimmed mean, without a fifth of the"
    " seeds at either end, is given too: its interval holds, whereas no interval of the"
    " mean allows for a rare collapse."
)
OUTLYING_FOOTNOTE = (
    "trim: the trimmed mean, where a seed lies far from the others; the page has its\n"
    "interval.\n"
)
SUBSET_NOTE = (
    " All seeds share one subset of {:,} training examples, so the intervals leave out"
    " what another subset would change."
)


def all_sections(record: Record) -> list[Section]:
    """The tables that have rows: summary, differences, tuning, and the audit's.

    While every arm still lacks its setting, there is the table of tuning alone.
    """
    if trials.is_tuning(record.record):
        return tuning_tables.sections(record)
    if record.networks.empty:
        return []
    baseline = record.record.get("baseline") or {}
    target = record.record.get("target_accuracy")
    goal = f" (target: test accuracy {target:g})" if target else ""
    title = f"Accuracy, spread and cost of each arm{goal}"
    numbers = estimates.summary(record)
    note, footnote = _outlying_notes(numbers)
    own = [
        Section(
            "summary",
            title,
            numbers,
            SUMMARY,
            SUMMARY_NARROW,
            SUMMARY_NOTE + note + shared_subset(record),
            footnote=footnote,
        ),
        differences_section("differences", baseline, estimates.arm_differences(record)),
        *tuning_tables.sections(record),
    ]
    whole = sorted([*own, *audit_sections(record)], key=lambda x: not x.leads)
    return [section for section in whole if len(section.numbers)]


def differences_section(
    name: str, baseline: Mapping[str, Level], numbers: pd.DataFrame
) -> Section:
    """A section of the paired differences that `estimates.arm_differences` returns."""
    levels = [names.level(*x, titled=True) for x in baseline.items()]
    title = f"Paired differences to {', '.join(levels)}"
    columns = DIFFERENCES, DIFFERENCES_NARROW
    note, footnote = _outlying_notes(numbers)
    note = DIFFERENCES_NOTE + least_p(numbers) + note
    return Section(name, title, numbers, *columns, note=note, footnote=footnote)


def least_p(numbers: pd.DataFrame) -> str:
    """A sentence with the smallest p that so many seeds can reach."""
    if "p" not in numbers or not len(numbers):
        return ""
    seeds = int(numbers["seeds"].max())
    least = p_values.smallest(seeds)
    return LEAST_P_NOTE.format(numerals.plural(seeds, "seed"), f"{least:.3g}")


def shared_subset(record: Record) -> str:
    """A sentence, if all seeds train on the same part of the data; else empty."""
    data = record.config.get("data", {})
    num_train = data.get("num_train", 0)
    per_seed = data.get("subset", "shared") == "per_seed"
    return SUBSET_NOTE.format(num_train) if num_train and not per_seed else ""


def _outlying_notes(numbers: pd.DataFrame) -> tuple[str, str]:
    """For the page and for the terminal; empty if no row has an outlying seed."""
    if "outlying_seeds" not in numbers:
        return "", ""
    return OUTLYING_NOTE, OUTLYING_FOOTNOTE


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
    grid = wide_tables.varying_settings(table, settings)
    texts = present_columns(section, narrow=narrow)
    rows = [
        [row[first], *(formats.number(row[x]) for x in grid)]
        + [column.text(row) for column in texts.values()]
        for row in table.to_dict("records")
    ]
    return [first, *(x.replace("_", " ") for x in grid), *texts], rows


def write_tables(record: Record, folder: Path) -> list[Section]:
    """Writes each table as csv (numbers), md and tex (text), and the curves as csv.

    Files that an earlier report wrote, and nobody changed, are removed if the record
    has no such table any more. Other files in the folder are left alone.
    """
    files.folder(folder)
    shown = all_sections(record)
    texts = {
        f"{section.name}.{suffix}": text
        for section in shown
        for suffix, text in wide_tables.copies(
            section, wide_tables.wide_table(section, record)
        ).items()
    }
    if len(record.networks):
        texts["curves.csv"] = files.table_text(estimates.curves(record))
    for name, text in texts.items():
        files.write_text(folder / name, text)
    stale_files.remove_stale(folder, texts)
    return shown


COLUMNS = (
    "Variance is that of the train loss between seeds. Steps are those to the target\n"
    "accuracy, reached is the share of seeds that get there.\n"
)


def text(record: Record) -> str:
    """Every table for a terminal, in its width."""
    parts, width = [], terminal.columns()
    for section in all_sections(record):
        header, rows = display(section, record.record["settings"], narrow=True)
        num_names = len(header) - len(present_columns(section, narrow=True))
        shown = terminal.table(header, rows, width, num_names=num_names)
        title = textwrap.fill(section.title, width)
        parts.append(f"{title}\n\n{shown}{section.footnote}")
    return "\n".join([*parts, footnote(record)])


def footnote(record: Record) -> str:
    """What stands below the tables in a terminal: what ± is, and the looks."""
    percent = formats.confidence(estimates.level_of(record))
    looks = estimates.looks_sentence(record)
    judged = len(record.networks) and not trials.is_tuning(record.record)
    return (
        f"{COLUMNS if judged else ''}± is half the width of a {percent} interval over"
        " seeds, brackets are its bounds.\n"
        "Seconds are those of the median epoch times the number of epochs.\n"
        + (f"{textwrap.fill(looks, 88)}\n" if looks else "")
    )
