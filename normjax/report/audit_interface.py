"""What a table of a report consists of, and what an audit must have to add tables.

A config may name an audit: a module, by its dotted name (`audit="my_claims"`), that
compares a study with what was claimed about it. The module has

    sections(record) -> list[Section]: tables for the page, the terminal and `tables/`;
    documents(record) -> dict[str, dict]: optional; JSON files for the workdir, by name.

A section with a `Verdict` among its numbers is shown as claims: a line for each row,
and the rows that are parts of it when it is opened. The page reads these columns if
there are any: `sentence` (of the claim), `comparison`, `source`, `place`, `why` and
`choice`. A section may name the claim that answers the question of the study, by
its sentence (`answer`), with what decided it (`evidence`): they lead the page.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from normjax.statistics import Interval
from normjax.study import trials
from normjax.study.audits import audit_named
from normjax.study.record import Record

TableRow = Mapping[str, Any]  # of a data frame


class Kind(enum.Enum):
    """What an interval says of a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNDECIDED = "undecided"


class Reason(enum.Enum):
    """Why a claim is undecided: the words of the page, and those of the terminal."""

    MORE_SEEDS = "about {:,} seeds needed", "~{:,}"
    TOO_MANY_SEEDS = "more than {:,} seeds needed", ">{:,}"
    TOO_FEW_SEEDS = "needs at least {:,} seeds", ">={:,}"
    ONE_RUN = "one run", "one run"
    GRID_ENDS = "the grid of rates ends here", "grid ends"
    OUTLIERS = "outlying seeds, the trimmed mean does not agree", "outlying seeds"


@dataclass(frozen=True)
class Verdict:
    """What an interval says of a claim and, if it is undecided, what is missing."""

    kind: Kind
    reason: Reason | None = None  # None also if an interval has no bounds
    count: int = 0  # the number of seeds in the reason
    leans: bool = False  # undecided, but the interval's centre is not as claimed

    @property
    def seeds(self) -> float:
        """How many seeds would decide: 0 if it is decided, inf if nobody knows."""
        if self.kind is not Kind.UNDECIDED:
            return 0.0
        return float(self.count) if self.reason is Reason.MORE_SEEDS else np.inf

    @property
    def more_seeds_may_decide(self) -> bool:
        """Whether it is undecided, and not because of what no seed can change."""
        beyond = self.reason in (Reason.ONE_RUN, Reason.GRID_ENDS)
        return self.kind is Kind.UNDECIDED and not beyond

    def __str__(self) -> str:
        """For the page and the csv: `undecided (about 38 seeds needed)`."""
        return self._text(0)

    @property
    def short(self) -> str:
        """For the terminal: `undecided (~38)`."""
        return self._text(1)

    def _text(self, words: int) -> str:
        if self.reason is None:
            return self.kind.value
        return f"{self.kind.value} ({self.reason.value[words].format(self.count)})"


class Column(NamedTuple):
    """How a column of numbers is written."""

    key: str  # of the data frame; without it the column is left out
    text: Callable[[TableRow], str]
    needed: Callable[[pd.Series], bool] = lambda values: True  # else it is left out
    best: Literal["", "highest", "lowest"] = ""  # which number the page marks


class Comparison(NamedTuple):
    """What decided one comparison of a claim: a row of its picture."""

    panel: str  # `as published`; empty if all of them stand in one panel
    label: str  # what tells it from the others: `depth 4`
    arm: str  # that of the first side, whose colour the row has
    seeds: np.ndarray  # [seeds]
    values: np.ndarray | None  # [seeds], whose mean was judged; None if it is no mean
    interval: Interval
    text: str  # the interval as the tables have it
    verdict: Verdict


class Evidence(NamedTuple):
    """What decided a claim: the numbers of the picture that shows it."""

    title: str  # what was compared: `Final train loss: batch minus no norm`
    measure: str  # the label of the axis, with the unit
    centre: str  # what an estimate is: `mean`
    holds: str  # where the interval of a comparison that holds lies: `above 0`
    reference: float  # a line: the bound, or where there is no difference
    logarithmic: bool  # ratios, on a logarithmic axis
    comparisons: Sequence[Comparison]


class Section(NamedTuple):
    """A table of a report: its numbers, how they are written, what is said of them."""

    name: str  # of its files
    title: str
    numbers: pd.DataFrame  # the first column names the rows
    wide: Mapping[str, Column]  # by header, for the page, Markdown and LaTeX
    narrow: Mapping[str, Column]  # for the terminal
    note: str = ""  # below the table, on the page
    remarks: Sequence[str] = ()  # a list below the note
    footnote: str = ""  # below the table, in the terminal
    leads: bool = False  # it comes before the summary
    parts: Sequence[bool] = ()  # which rows are parts of a row above them
    brief: pd.DataFrame | None = None  # the rows of the terminal, if not all numbers
    answer: str = ""  # the claim whose verdict is the answer, by its `sentence`
    evidence: Evidence | None = None  # what decided that claim: the picture of it


def interval_of(row: TableRow, key: str) -> Interval:
    """The columns `key`, `key_low` and `key_high`; bounds that are missing are nan."""
    low, high = (float(row.get(f"{key}_{end}", np.nan)) for end in ("low", "high"))
    return Interval(float(row[key]), low, high, 0)


def interval_column(
    key: str, text: Callable[[Interval], str], **options: Any
) -> Column:
    """A column of intervals."""
    return Column(key, lambda row: text(interval_of(row, key)), **options)


def number_column(key: str, text: Callable[[float], str], **options: Any) -> Column:
    """A column of numbers without bounds."""
    return Column(key, lambda row: text(float(row[key])), **options)


def audit_sections(record: Record) -> list[Section]:
    """The sections of the audit in a record's config, if it names one.

    There are none while no arm has its setting yet.
    """
    module = _audit(record)
    return module.sections(record) if module else []


def audit_documents(record: Record) -> dict[str, dict[str, Any]]:
    """The JSON files of the audit, by name; empty if there is no audit or no file."""
    documents = getattr(_audit(record), "documents", None)
    return documents(record) if documents else {}


def _audit(record: Record) -> ModuleType | None:
    if trials.is_tuning(record.record):  # what it holds are trials, which judge nothing
        return None
    return audit_named(str(record.config.get("audit", "")))
