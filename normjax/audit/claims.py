"""The sources' claims, judged by intervals: published, ours as published, corrected.

This is the audit that the configs of the sources name; `report.audit_interface` says
what an audit must have. An audit of your own may use `measures`.

The claims are data, `claims.json`: the study and the `where` of its config, a sentence,
the statistic and the direction that decide it, and the arms to compare, `of` x
`against`, at `each` of some levels that both sides share. A claim holds if all its
comparisons do. It does not hold if one fails at a level that allows for their number.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from normjax import files
from normjax.audit import measures, presentation, published_numbers, verdicts
from normjax.audit.measures import STATISTICS
from normjax.audit.published_numbers import AS_PUBLISHED, CORRECTED, PROTOCOLS
from normjax.audit.verdicts import Claimed, Judgement
from normjax.report import estimates, networks
from normjax.report.audit_interface import Section, Verdict
from normjax.report.networks import Cell
from normjax.report.tables import differences_section
from normjax.statistics import Interval
from normjax.study.record import Record

PART = "· "  # before a comparison of a claim that has several
NOTHING = Interval(np.nan, np.nan, np.nan, 0)

Claim = dict[str, Any]  # an entry of claims.json
Side = Mapping[str, str | int]  # factor -> level


def sections(record: Record) -> list[Section]:
    """The claims with their verdicts, then the published numbers beside ours."""
    lacks = published_numbers.departures(record)
    base = {"protocol": AS_PUBLISHED}
    return [
        presentation.claims_section(verdict_table(record), lacks),
        differences_section("protocols", base, estimates.arm_differences(record, base)),
        Section(
            "published",
            "Test accuracy and stability: published, and ours" + lacks,
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


documents = published_numbers.stats_documents


def all_claims() -> list[Claim]:
    """Every claim of the sources."""
    return json.loads((Path(__file__).parent / "claims.json").read_text())


def verdict_table(record: Record) -> pd.DataFrame:
    """The claims that a study's complete arms can decide; a row for each comparison.

    A claim of several comparisons has a row of its own before them, without numbers.
    Columns are `claim` (as displayed), `sentence` (empty below a claim's own row) and
    the other keys of `_comparison_row`. `left_out` counts the seeds that both sides
    share, but with a number that is not finite. `published` and each protocol that was
    run have three columns of their interval. Each protocol also has `<protocol>_n`
    (seeds used, or epochs) and `verdict_<protocol>` (a `Verdict`, or "" where it was
    not run).
    """
    cells = networks.load(record)
    claims = [claim for claim in all_claims() if applies(claim, record.config)]
    rows = itertools.chain.from_iterable(_rows(x, record, cells) for x in claims)
    return pd.DataFrame(rows).fillna({f"verdict_{x}": "" for x in PROTOCOLS})


def applies(claim: Claim, config: Mapping[str, Any]) -> bool:
    """Whether a claim is about the study, the data and the model of a config."""
    where = {"study": [claim["study"]]} | claim["where"]
    fields = files.flat(config)
    return all(fields.get(name) in values for name, values in where.items())


def statistic_name(claim: Claim, protocol: str) -> str:
    """The name of a claim's statistic: one for all protocols, or one for each."""
    name = claim["statistic"]
    return name if isinstance(name, str) else name[protocol]


def _rows(claim: Claim, record: Record, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """A claim's rows; none if no protocol has all of its arms."""
    if isinstance(claim["statistic"], str):
        name = measures.evaluated_statistic(claim["statistic"], cells)
        claim = claim | {"statistic": name}
    sides = [claim["of"], *([claim["against"]] if "against" in claim else [])]
    comparisons = [
        [side | each for side in pair]
        for each in claim.get("each", [{}])
        for pair in itertools.product(*sides)
    ]
    rows = [_comparison_row(claim, record, sides) for sides in comparisons]
    level = estimates.level_of(record)
    found = {}
    for protocol in PROTOCOLS:
        tried = [
            _judge(claim, cells, x, protocol, len(rows), level) for x in comparisons
        ]
        judged = [one for one in tried if one is not None]
        if len(judged) == len(rows):
            found[protocol] = verdicts.family_verdict(judged)
            for row, one in zip(rows, judged):
                row["left_out"] = max(row["left_out"], one.left_out)
                row |= _columns(protocol, one.interval, one.verdict)
                if one.trimmed:
                    row |= estimates.three_columns(f"{protocol}_trimmed", one.trimmed)
    if not found or len(rows) == 1:
        return rows if found else []
    head = rows[0] | {"comparison": "", "left_out": max(x["left_out"] for x in rows)}
    head |= {"claim": f"{claim['sentence']}: {_label(claim)}"}
    head |= estimates.three_columns("published", NOTHING)
    for protocol, whole in found.items():
        head |= _columns(protocol, NOTHING, whole)
    parts = [x | {"claim": PART + x["comparison"], "sentence": ""} for x in rows]
    return [head, *parts]


def _comparison_row(
    claim: Claim, record: Record, sides: Sequence[Side]
) -> dict[str, Any]:
    """The description of a comparison, with its published numbers."""
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
        "left_out": 0,
        **estimates.three_columns("published", _published(claim, record, sides)),
    }


def _columns(protocol: str, interval: Interval, one: Verdict) -> dict[str, Any]:
    last = {f"{protocol}_n": int(interval.n), f"verdict_{protocol}": one}
    return estimates.three_columns(protocol, interval) | last


def _label(claim: Claim) -> str:
    title = STATISTICS[statistic_name(claim, CORRECTED)].title
    each = isinstance(claim["statistic"], dict)
    return title + ("; as published: the source's formula" if each else "")


def _published(claim: Claim, record: Record, sides: Sequence[Side]) -> Interval:
    """The same comparison of published numbers, with bounds if they are by seed."""
    statistic = STATISTICS[statistic_name(claim, AS_PUBLISHED)]
    paths = published_numbers.paths(claim, record.config, sides)
    numbers = [statistic.reduce(published_numbers.numbers_at(path)) for path in paths]
    return (statistic.compare_published or statistic.compare)(*numbers)


def _judge(
    claim: Claim,
    cells: Sequence[Cell],
    sides: Sequence[Side],
    protocol: str,
    num: int,
    level: float,
) -> Judgement | None:
    """Judges one of the `num` comparisons of a claim; None if it was not run.

    If each protocol has a statistic of its own, both are measured in one run.
    """
    statistic = STATISTICS[statistic_name(claim, protocol)]
    run = protocol if isinstance(claim["statistic"], str) else CORRECTED
    arms = [_arm(cells, {"protocol": run} | claim["arms"] | side) for side in sides]
    measured = [statistic.measure(arm) for arm in arms if arm]
    numbers = [x for x in measured if x is not None]
    if len(numbers) < len(sides):
        return None
    if statistic.over == "seeds" and len(arms) == 2:
        places = networks.shared_seeds(arms[0][0], arms[1][0])
        numbers = [x[i] for x, i in zip(numbers, places)]
    claimed = Claimed(claim["direction"], claim.get("margin"))
    reduced = [statistic.reduce(x) for x in numbers]
    return verdicts.judge(reduced, statistic, claimed, num, level)


def _arm(cells: Sequence[Cell], levels: Side) -> list[Cell]:
    """The grid of the one arm with these levels; empty if none or several have them."""
    default: Side = {"protocol": CORRECTED}
    grid = [x for x in cells if levels.items() <= {**default, **x.factors}.items()]
    return grid if len({cell.arm for cell in grid}) == 1 else []
