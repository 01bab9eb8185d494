"""The first sentences of a page: of a study, or of several studies side by side."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from normjax import numerals
from normjax.report import (
    answers,
    claim_lines,
    estimates,
    joint_texts,
    layout,
    leading,
    networks,
    tuning_tables,
)
from normjax.report.claim_sections import Claims
from normjax.report.networks import Cell
from normjax.study.record import Record

APART = "The studies have different data, so no arm leads over all of them."


def sentences(
    record: Record, parts: Mapping[str, Record], claims: Sequence[Claims]
) -> list[str]:
    """The answer of a page, then what else is said first; see below.

    Args:
        record: the study, or several of them (`side_by_side.combine`).
        parts: the studies by name, if there are several.
        claims: those of the page.
    """
    return of_studies(record, parts, claims) if parts else of_study(record, claims)


def of_study(
    record: Record, claims: Sequence[Claims], level: float | None = None
) -> list[str]:
    """The answer of a study, and what else is said of it as a whole.

    The answer is the verdict of the claim that answers the question, if the audit names
    one (`Section.answer`). Otherwise it is the most accurate arm; then the verdict of
    the first claim comes second.

    Args:
        record: the study.
        claims: those of a page; claims of other records are left out.
        level: of the intervals of accuracies; that of the record if None.
    """
    if unfinished := tuning_tables.unfinished(record):
        return unfinished
    if record.networks.empty:
        return ["No network is finished yet, so there is nothing to compare."]
    accurate, *others = most_accurate(record, level=level)
    lines = [line for x in claims if x.record is record for line in x.lines]
    said = claim_lines.opening(lines)
    if any(line.answers for line in lines):
        return [*said, accurate, *others]
    return [accurate, *said, *others]


def of_studies(
    whole: Record, parts: Mapping[str, Record], claims: Sequence[Claims]
) -> list[str]:
    """The answers of several studies, each in a sentence.

    One over several studies comes before, if they have the same data.

    Args:
        whole: the studies as one (`side_by_side.combine`).
        parts: the studies by name.
        claims: of the studies.
    """
    if whole.networks.empty:
        return of_study(whole, ())
    level = estimates.level_of(whole)
    own = [f"{name}: {of_study(x, claims, level)[0]}" for name, x in parts.items()]
    groups: dict[int, list[str]] = {}
    for name, number in zip(parts, joint_texts.same_data(parts)):
        groups.setdefault(number, []).append(name)
    if len(groups) == 1:
        first, *others = most_accurate(whole, records=list(parts))
        return [first, *own, *others]
    shared = [
        sentence
        for some in groups.values()
        for sentence in most_accurate(whole, records=some)[:1]
        if len(some) > 1
    ]
    return [APART, *shared, *own]


def has_picked_leader(
    record: Record, parts: Mapping[str, Record] = MappingProxyType({})
) -> bool:
    """Whether a sentence compares an arm that was picked as the most accurate one.

    Args:
        record: the study, or several of them as one.
        parts: the studies by name, if there are several.
    """
    if record.networks.empty:
        return False
    baseline = record.record.get("baseline") or {}
    data = record.record.get("same_data") or {}
    groups: dict[tuple, list[Cell]] = {}
    for cell in networks.best_of_arms(networks.load(record)):
        key = data.get(cell.arm), cell.factors.get("protocol")
        groups.setdefault(key, []).append(cell)
    compared = [
        arms
        for arms in groups.values()
        if not parts or len({x.factors[networks.FACTOR] for x in arms}) > 1
    ]
    found = any(leading.is_picked(arms, baseline) for arms in compared)
    return found or any(map(has_picked_leader, parts.values()))


def most_accurate(
    record: Record, *, level: float | None = None, records: Sequence[str] = ()
) -> list[str]:
    """The sentences of `answers.answer` about a record.

    Args:
        record: the study, or several of them as one.
        level: of the intervals; that of the record if None.
        records: the studies whose arms are compared, if the record has several.
    """
    content, arms = record.record, layout.of_record(record).factors
    wanted = {
        arm: levels
        for arm, levels in arms.items()
        if not records or levels[networks.FACTOR] in records
    }
    cells = [x for x in networks.load(record) if x.arm in wanted]
    if not cells:
        return []
    entries = content["arms"]
    return answers.answer(
        cells,
        baseline=content.get("baseline"),
        level=level or estimates.level_of(record),
        tuning=content.get("tuning"),
        origins=content.get("origins"),
        wanted=wanted,
        lacking={x for x in wanted if x not in entries or entries[x]["missing"]},
        start=f"over {numerals.listed(list(records))}: " if records else "",
    )
