"""The claims of sources and papers, judged by intervals, and the published numbers.

This is the audit that the configs of normjax name; `report.audit_interface` says what
an audit must have. An audit of your own may use `measures`.

The claims are data (`claim_data`). A claim holds if all its comparisons do. It does not
hold if one fails at a level that allows for their number.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from normjax.audit import (
    choices,
    claim_data,
    evidence,
    judgements,
    presentation,
    published_numbers,
    verdicts,
)
from normjax.audit.claim_data import Claim, Side, statistic_name
from normjax.audit.measures import STATISTICS
from normjax.audit.published_numbers import AS_PUBLISHED, CORRECTED, PROTOCOLS
from normjax.report import estimates, networks
from normjax.report.audit_interface import Section, Verdict
from normjax.report.networks import Cell
from normjax.report.tables import differences_section
from normjax.statistics import Interval
from normjax.study.record import Record

PART = "· "  # before a comparison of a claim that has several
NOTHING = Interval(np.nan, np.nan, np.nan, 0)


def sections(record: Record) -> list[Section]:
    """The claims with their verdicts, then the published numbers beside ours."""
    lacks = published_numbers.departures(record)
    base = {"protocol": AS_PUBLISHED}
    return [
        _claims_section(record, lacks),
        differences_section("protocols", base, estimates.arm_differences(record, base)),
        Section(
            "published",
            "Test accuracy and loss variance: published, and ours" + lacks,
            published_numbers.comparison(record),
            presentation.PUBLISHED,
            presentation.PUBLISHED_NARROW,
            presentation.PUBLISHED_NOTE,
        ),
        Section(
            "third_moment",
            "Third-moment optimizer against Adam",
            published_numbers.distance_from_adam(record),
            presentation.THIRD_MOMENT,
            presentation.THIRD_MOMENT,
            presentation.THIRD_MOMENT_NOTE,
        ),
    ]


def _claims_section(record: Record, lacks: str) -> Section:
    """The claims, and what decided the one that answers the question."""
    section = presentation.claims_section(verdict_table(record), lacks)
    claim = claim_data.answering(record.config)
    sentence = claim["sentence"] if claim else ""
    return section._replace(answer=sentence, evidence=evidence.of_answer(record))


documents = published_numbers.stats_documents


def verdict_table(record: Record) -> pd.DataFrame:
    """The claims that a study's complete arms can decide; a row for each comparison.

    A claim of several comparisons has a row of its own before them, without numbers.
    Columns are `claim` (as displayed), `sentence` (empty below a claim's own row) and
    the other keys of `_comparison_row`. `left_out` counts the seeds that both sides
    share, but with a number that is not finite. `published` and each protocol that was
    run have three columns of their interval. Each protocol also has `<protocol>_n`
    (seeds used, or epochs) and `verdict_<protocol>` (a `Verdict`, or "" where it was
    not run). Where the config names choices that the source left open, each claim has
    these rows for each of them (`choices.joined_rows`).
    """
    cells = networks.load(record)
    by_choice = choices.cells_by_choice(cells, record.config)
    rows: list[dict[str, Any]] = []
    for claim in claim_data.all_claims():
        if claim_data.applies(claim, record.config):
            found = {x: _rows(claim, record, own) for x, own in by_choice.items()}
            one, several = len(found) == 1, choices.joined_rows
            rows += found.popitem()[1] if one else several(found, PROTOCOLS)
    table = pd.DataFrame(rows)
    texts = ("choice", *(f"{x}_{y}" for x in ("verdict", "stands") for y in PROTOCOLS))
    return table.fillna(dict.fromkeys(texts, ""))


def _rows(claim: Claim, record: Record, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """A claim's rows; none if no protocol has all of its arms."""
    claim = judgements.evaluated_claim(claim, cells)
    comparisons = claim_data.comparisons(claim)
    published = _published(claim, record, comparisons)
    rows = [_comparison_row(claim, *x) for x in zip(comparisons, published)]
    found = {}
    by_protocol = judgements.by_protocol(claim, cells, estimates.level_of(record))
    for protocol, comparisons_judged in by_protocol.items():
        judged = [x.judgement for x in comparisons_judged]
        found[protocol] = verdicts.family_verdict(judged)
        for row, one in zip(rows, judged):
            row["left_out"] = max(row["left_out"], one.left_out)
            row |= _columns(protocol, one.interval, one.verdict)
            if one.trimmed:
                row |= estimates.three_columns(f"{protocol}_trimmed", one.trimmed)
    if not found or len(rows) == 1:
        return rows if found else []
    head = rows[0] | {"comparison": "", "left_out": max(x["left_out"] for x in rows)}
    about = presentation.arms_compared(claim)
    head |= {"claim": f"{claim['sentence']}: {about}, {_label(claim)}"}
    head |= estimates.three_columns("published", NOTHING)
    for protocol, whole in found.items():
        head |= _columns(protocol, NOTHING, whole)
    parts = [x | {"claim": PART + x["comparison"], "sentence": ""} for x in rows]
    return [head, *parts]


def _comparison_row(
    claim: Claim, sides: Sequence[Side], published: Interval
) -> dict[str, Any]:
    """The description of a comparison, with its published number."""
    name = statistic_name(claim, CORRECTED)
    names = ["-".join(str(level) for level in side.values()) for side in sides]
    comparison = " against ".join(names)
    return {
        "claim": f"{claim['sentence']}: {comparison}, {_label(claim)}",
        "sentence": claim["sentence"],
        "comparison": comparison,
        "statistic": name,
        "statistic_as_published": statistic_name(claim, AS_PUBLISHED),
        "logarithmic": STATISTICS[name].logarithmic,
        "direction": claim["direction"],
        "margin": claim.get("margin", np.nan),
        "why": claim.get("why", ""),
        "source": claim_data.citation(claim),
        "place": claim.get("place", ""),
        "left_out": 0,
        **estimates.three_columns("published", published),
    }


def _columns(protocol: str, interval: Interval, one: Verdict) -> dict[str, Any]:
    last = {f"{protocol}_n": int(interval.n), f"verdict_{protocol}": one}
    return estimates.three_columns(protocol, interval) | last


def _label(claim: Claim) -> str:
    title = STATISTICS[statistic_name(claim, CORRECTED)].title
    each = isinstance(claim["statistic"], dict)
    return title + ("; as published: the source's formula" if each else "")


def _published(
    claim: Claim, record: Record, comparisons: Sequence[Sequence[Side]]
) -> list[Interval]:
    """The published number of each comparison; nan where a paper has none.

    Those of the sources are computed, with bounds if the numbers are by seed.
    """
    published = claim.get("published", [np.nan] * len(comparisons))
    if not isinstance(published, str):
        return [NOTHING._replace(estimate=x) for x in published]
    statistic = STATISTICS[statistic_name(claim, AS_PUBLISHED)]
    compare = statistic.compare_published or statistic.compare
    found = []
    for sides in comparisons:
        paths = published_numbers.paths(claim, record.config, sides)
        numbers = [published_numbers.numbers_at(path) for path in paths]
        found.append(compare(*map(statistic.reduce, numbers)))
    return found
