"""A table as the page, Markdown and LaTeX show it: words, factors in columns, marks."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from normjax import files
from normjax.report import formats, names
from normjax.report.audit_interface import Column, Section, TableRow, Verdict
from normjax.study.record import Record


class TableCell(NamedTuple):
    """What stands in one place of a table."""

    text: str
    order: float | None = None  # what rows are sorted by; None: by the text
    best: bool = False  # of its column
    kind: str = ""  # "holds", "fails" or "undecided", if it is a verdict


class Table(NamedTuple):
    """A section in words, for a reader."""

    name: str  # of its files
    title: str
    header: list[str]
    rows: list[list[TableCell]]
    names: int  # how many columns, the first ones, name a row
    note: str
    remarks: Sequence[str]

    @property
    def texts(self) -> list[list[str]]:
        """The rows without marks."""
        return [[cell.text for cell in row] for row in self.rows]

    @property
    def marks_best(self) -> bool:
        """Whether a column has a best number."""
        return any(cell.best for row in self.rows for cell in row)


def wide_table(
    section: Section, record: Record, numbers: pd.DataFrame | None = None
) -> Table:
    """A section in words: a column for each factor that varies instead of joined names.

    A setting that has one value in each arm is left out, and a column that is empty in
    every row; the csv has them. Over studies of different data no number is the best.

    Args:
        section: the section.
        record: where it comes from.
        numbers: those rows of the section that are shown; all of them if None.
    """
    whole = section.numbers if numbers is None else numbers
    rows = whole.to_dict("records")
    known = names.glossary(record)
    grid = varying_settings(section.numbers, record.record["settings"])
    shown = {
        header: x
        for header, x in section.wide.items()
        if x.key in whole and x.needed(whole[x.key]) and any(map(x.text, rows))
    }
    heads, columns = _names(whole, record, known)
    apart = len(set((record.record.get("same_data") or {}).values())) > 1
    best = {k: set() if apart else best_rows(x, whole) for k, x in shown.items()}
    made = [
        [
            *head,
            *(_setting(row[x]) for x in grid),
            *(
                _cell(x, row, known, best=i in best[header])
                for header, x in shown.items()
            ),
        ]
        for i, (row, head) in enumerate(zip(rows, columns))
    ]
    return Table(
        section.name,
        names.readable(section.title, known),
        [*heads, *map(names.words, grid), *shown],
        made,
        len(heads),
        formats.true_minus(section.note),
        [formats.true_minus(names.readable(x, known)) for x in section.remarks],
    )


def varying_settings(numbers: pd.DataFrame, settings: Sequence[str]) -> list[str]:
    """The settings that have several values in an arm."""
    groups = numbers.groupby(numbers.columns[0])
    return [x for x in settings if x in numbers and (groups[x].nunique() > 1).any()]


def best_rows(column: Column, numbers: pd.DataFrame) -> set[int]:
    """The rows of the best number of a column; none if all are equally good."""
    if not column.best:
        return set()
    values = numbers[column.key].to_numpy(np.float64)
    there = values[~np.isnan(values)]
    if not len(there) or (there == there[0]).all():
        return set()
    best = there.max() if column.best == "highest" else there.min()
    return set(np.flatnonzero(values == best).tolist())


def markdown(table: Table) -> str:
    """The table in GitHub's Markdown."""
    return formats.markdown_table(table.header, table.texts, table.names)


def latex(table: Table) -> str:
    """The table as a tabular environment."""
    return formats.latex_table(table.header, table.texts, table.names)


def copies(section: Section, table: Table) -> dict[str, str]:
    """The contents of the three files of a table, by their suffix."""
    csv = files.table_text(section.numbers)
    return {"md": markdown(table), "tex": latex(table), "csv": csv}


def _names(
    numbers: pd.DataFrame, record: Record, known: Mapping[str, str]
) -> tuple[list[str], list[list[TableCell]]]:
    """The headers and cells of the columns that name the rows."""
    first = numbers.columns[0]
    arms = names.factor_columns(record)
    if first == "arm" and set(numbers["arm"]) <= arms.keys():
        heads = list(arms[numbers["arm"].iloc[0]])
        return heads, [[_name(arms[x][y]) for y in heads] for x in numbers["arm"]]
    texts = [known.get(str(x)) or names.readable(str(x), known) for x in numbers[first]]
    return [names.words(first)], [[TableCell(text)] for text in texts]


def _name(text: str) -> TableCell:
    """A level, which is sorted by its number if it is one."""
    try:
        return TableCell(formats.true_minus(text), float(text))
    except ValueError:
        return TableCell(text)


def _setting(value: float) -> TableCell:
    text = formats.true_minus(formats.number(value))
    return TableCell(text, None if np.isnan(value) else value)


def _cell(
    column: Column, row: TableRow, known: Mapping[str, str], *, best: bool
) -> TableCell:
    value: Any = row[column.key]
    text = formats.true_minus(names.readable(column.text(row), known))
    kind = value.kind.name.lower() if isinstance(value, Verdict) else ""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    ordered = float(value) if number and not np.isnan(value) else None
    return TableCell(text, ordered, best, kind)
