"""Claims as the page shows them: a line with verdicts, opened for what decided it."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from normjax.report import formats, names, wide_tables
from normjax.report.audit_interface import Kind, Section, TableRow, Verdict
from normjax.report.wide_tables import Table
from normjax.study.record import Record

MEASURED = "measured"  # the header of an estimate
VERDICT = "verdict, "  # before the name of a protocol, in a header
STANDING = "stands_"  # the columns of how a claim stands over several choices


class Chip(NamedTuple):
    """A verdict in a line."""

    label: str  # `as published`; what it is about
    kind: str  # holds, fails or undecided
    text: str
    measured: str = ""  # the estimate that was judged, if there is one for all choices


class ClaimLine(NamedTuple):
    """A claim with its verdicts and, if it is opened, its comparisons."""

    anchor: str
    sentence: str
    subject: str  # `test accuracy, points; holds if above 5`; may be empty
    chips: list[Chip]
    remarks: list[str]  # where it stands in a paper, and the reason of a margin
    comparisons: list[tuple[str, Table]]  # the choice, "" if there is one, and its rows
    answers: bool = False  # the question of the study


def has_verdicts(section: Section) -> bool:
    """Whether a section is one of claims."""
    values = section.numbers.to_numpy(object).ravel()
    return any(isinstance(value, Verdict) for value in values)


def lines(section: Section, record: Record) -> list[ClaimLine]:
    """A line for each claim; the verdicts for several choices are in one line.

    The anchors of claims begin with the name of a section that is not called `claims`.
    """
    prefix = "claim" if section.name == "claims" else section.name
    table = section.numbers.reset_index(drop=True)
    parts = list(section.parts) or [False] * len(table)
    heads = [i for i, part in enumerate(parts) if not part]
    ends = [*heads[1:], len(table)]
    known = names.glossary(record)
    claims: dict[str, list[pd.DataFrame]] = {}
    for start, end in zip(heads, ends):
        first = table.iloc[start]
        sentence = str(first.get("sentence", "") or first.iloc[0])
        claims.setdefault(sentence, []).append(table.iloc[start:end])
    return [
        _line(section, record, f"{prefix}-{i}", sentence, rows, known)
        for i, (sentence, rows) in enumerate(claims.items(), 1)
    ]


def labels(section: Section, found: Sequence[ClaimLine]) -> list[str]:
    """The protocols that have a verdict, in the order of the columns."""
    there = {chip.label for line in found for chip in line.chips}
    heads = dict.fromkeys(header.removeprefix(VERDICT) for header in section.wide)
    return [label for label in heads if label in there]


def opening(found: Sequence[ClaimLine]) -> list[str]:
    """A sentence of the claim that answers the question, or else of the first one."""
    chosen = next((line for line in found if line.answers), None)
    if chosen:
        return [sentence(chosen, "The claim")]
    return [sentence(found[0], "The first claim")] if found else []


def sentence(line: ClaimLine, start: str) -> str:
    """A claim, the arms and the number that it is about, and its verdicts."""
    several = len({chip.label for chip in line.chips}) > 1
    verdicts = [
        f"{chip.label} {said}" if several else said
        for chip in line.chips
        for said in [", ".join(filter(None, (chip.text, chip.measured)))]
    ]
    about = f" ({line.subject})" if line.subject else ""
    return f"{start} \u201c{line.sentence}\u201d{about}: {'; '.join(verdicts)}."


def count(found: Sequence[ClaimLine]) -> list[str]:
    """A sentence for each protocol, if there are several: how many claims hold."""
    by_label: dict[str, list[str]] = {}
    for line in found:
        for chip in line.chips:
            by_label.setdefault(chip.label, []).append(chip.kind)
    if len(by_label) == 1:
        (kinds,) = by_label.values()
        return [f"{formats.capital(_counted(kinds))}."]
    return [
        f"{formats.capital(label)}: {_counted(kinds)}."
        for label, kinds in by_label.items()
    ]


def _counted(kinds: Sequence[str]) -> str:
    words = {
        "holds": ("holds", "hold"),
        "fails": ("does not hold", "do not hold"),
        "undecided": ("is undecided", "are undecided"),
    }
    counts = [(kinds.count(kind), *forms) for kind, forms in words.items()]
    said = [f"{n} {one if n == 1 else many}" for n, one, many in counts if n]
    plural = "claim" if len(kinds) == 1 else "claims"
    return f"of {len(kinds)} {plural}, {', '.join(said)}"


def _line(
    section: Section,
    record: Record,
    anchor: str,
    sentence: str,
    groups: Sequence[pd.DataFrame],
    known: Mapping[str, str],
) -> ClaimLine:
    heads = [rows.iloc[0].to_dict() for rows in groups]
    title = names.readable(sentence, known)
    chips = _chips(section, heads, groups)
    own = [chip.label for chip in chips]
    whole = str(heads[0][section.numbers.columns[0]])
    subject = names.readable(whole.removeprefix(sentence).removeprefix(": "), known)
    if len(groups) > 1:
        subject = re.sub(r" \([^()]*\)$", "", subject)  # the choice
    return ClaimLine(
        anchor,
        formats.capital(title),
        "; ".join(filter(None, (subject, _bound(heads[0])))),
        chips,
        _remarks(heads[0]),
        [(_choice(rows), _comparisons(section, record, rows, own)) for rows in groups],
        section.answer == sentence,
    )


def _bound(head: TableRow) -> str:
    """What a claim with a margin has to pass; empty for one without."""
    margin = head.get("margin", math.nan)
    if pd.isna(margin):
        return ""
    logarithmic = bool(head["logarithmic"])
    place = formats.claimed_range(head["direction"], margin, logarithmic=logarithmic)
    return f"holds if {place}"


def _chips(
    section: Section, heads: Sequence[TableRow], groups: Sequence[pd.DataFrame]
) -> list[Chip]:
    """The verdict of each protocol: of one choice, or over all of them."""
    chips = []
    for header, column in section.wide.items():
        found = [x for x in (head.get(column.key) for head in heads) if x]
        if not found or not all(isinstance(x, Verdict) for x in found):
            continue
        label = header.removeprefix(VERDICT)
        kinds = {verdict.kind for verdict in found}
        kind = kinds.pop() if len(kinds) == 1 else Kind.UNDECIDED
        standing = heads[0].get(column.key.replace("verdict_", STANDING), "")
        text = names.readable(str(standing or found[0]), {})
        measured = _measured(section, groups[0], label) if len(groups) == 1 else ""
        chips.append(Chip(label, kind.name.lower(), text, measured))
    return chips


def _measured(section: Section, rows: pd.DataFrame, label: str) -> str:
    """The estimate of a claim, or the lowest and the highest of its comparisons."""
    column = section.wide.get(label)
    if column is None or column.key not in rows:
        return ""
    ordered = rows.dropna(subset=[column.key]).sort_values(column.key, kind="stable")
    texts = [column.text(row) for row in ordered.to_dict("records")]
    if len(texts) < 2:
        return formats.true_minus("".join(texts))
    ends = formats.true_minus(f"from {texts[0]} to {texts[-1]}")
    return f"{ends} in {len(texts):,} comparisons"


def _remarks(head: TableRow) -> list[str]:
    given: dict[str, Any] = {x: head.get(x, "") for x in ("source", "place", "why")}
    source = ", ".join(x for x in (given["source"], given["place"]) if x)
    said = [f"Source: {source}." if source else "", given["why"]]
    return [x for x in said if x]


def _choice(rows: pd.DataFrame) -> str:
    return names.readable(str(rows.iloc[0].get("choice", "")), {})


def _comparisons(
    section: Section, record: Record, rows: pd.DataFrame, labels: Sequence[str]
) -> Table:
    """The parts of a claim, or the claim itself if it has none.

    A single protocol needs no name in the headers.
    """
    shown = rows.iloc[1:] if len(rows) > 1 else rows
    if "comparison" in shown:
        shown = shown.assign(**{shown.columns[0]: shown["comparison"]})
    table = wide_tables.wide_table(section, record, shown)
    header = table.header[1:]
    if len(labels) == 1:
        (only,) = labels
        header = [
            MEASURED if x == only else x.removesuffix(f", {only}") for x in header
        ]
    return table._replace(header=["comparison", *header])
