"""The source's claims, judged by intervals: published, ours as published, corrected.

The claims are data, `claims.json`: the study and the `where` of its configuration, a
sentence, the statistic and the direction that decide it, and the arms to compare, `of`
x `against`, at `each` of some levels that both sides share: it holds if all comparisons
do, and does not if one fails at a level that allows for their number. No verdict is
written there: each is computed here.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from normjax import statistics
from normjax.audit import measures, published
from normjax.audit.measures import STATISTICS, Statistic
from normjax.report import estimates
from normjax.report import networks as cells_
from normjax.report.networks import Cell
from normjax.statistics import Interval
from normjax.study.record import Record

PROTOCOLS = (estimates.AS_PUBLISHED, "corrected")
HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
PART = "· "  # before a comparison of a claim that has several
DIRECTIONS = {  # margin (0 if there is none) -> what lies inside is as claimed
    "greater": lambda margin: (margin, np.inf),
    "less": lambda margin: (-np.inf, margin),
    "within": lambda margin: (-margin, margin),
}
NOTHING = Interval(np.nan, np.nan, np.nan, 0)

Claim = dict[str, Any]  # an entry of claims.json
Side = Mapping[str, str]  # factor -> level


class Verdict(NamedTuple):
    """What the interval says, and the seeds that it would take to say more."""

    text: str
    seeds: float = 0.0  # inf: unknown, or too many to say
    leans: bool = False  # undecided, with a centre outside of what is claimed


class Judged(NamedTuple):
    """A comparison as it was found."""

    interval: Interval
    left_out: int  # seeds
    verdict: Verdict  # of the interval
    in_family: Verdict  # of the interval that allows for all comparisons of the claim


def all_claims() -> list[Claim]:
    """Every claim of the sources."""
    return json.loads((Path(__file__).parent / "claims.json").read_text())


def claims(record: Record) -> pd.DataFrame:
    """The claims that a study's complete arms can decide; a row for each comparison.

    A claim of several comparisons has a row of its own before them, without numbers.

    Returns:
        Columns claim (as displayed), sentence (empty below a claim's own row),
        comparison, statistic, statistic_as_published (the same, or the source's
        formula), logarithmic (a ratio or a spread), direction, margin, why, left_out
        (seeds that both sides share, but with a number that is not finite),
        `published` with its bounds, and for each protocol that was run: the estimate
        with its bounds, `<protocol>_n` (seeds used, or epochs), `verdict_<protocol>`.
    """
    found = cells_.cells(record)
    rows = [
        row
        for claim in all_claims()
        if applies(claim, record.config)
        for row in _rows(claim, record, found)
    ]
    table = pd.DataFrame(rows)
    verdicts = [x for x in table if x.startswith("verdict")]
    return table.fillna(dict.fromkeys(verdicts, ""))


def applies(claim: Claim, config: Mapping[str, Any]) -> bool:
    """Whether a claim is about the study, the data and the model of a configuration."""
    where = {"study": [claim["study"]]} | claim["where"]
    return all(published.field(config, x) in values for x, values in where.items())


def verdict(
    interval: Interval,
    statistic: Statistic,
    direction: str,
    margin: float | None,
    level: float = statistics.LEVEL,
) -> Verdict:
    """Compares an interval with what is claimed.

    With `inside` the numbers that are as claimed (above, below or between bounds):
    it holds if the interval lies inside, does not hold if it lies outside, and is
    undecided if it has a bound of `inside` in it. For how many seeds would decide,
    see `statistics.seeds_needed`, of the nearest bound. The epochs of one run are no
    replicates, so an interval over them decides nothing.
    """
    if statistic.over != "seeds":
        return Verdict(f"{UNDECIDED} (one run)", np.inf)
    scale = np.log if statistic.logarithmic else float
    floor, ceiling = DIRECTIONS[direction](0.0 if margin is None else scale(margin))
    with np.errstate(divide="ignore"):
        low, high = scale(interval.low), scale(interval.high)
    if floor < low and high < ceiling:
        return Verdict(HOLDS)
    if high <= floor or low >= ceiling:
        return Verdict(FAILS)
    if np.isnan(low):
        return Verdict(UNDECIDED, np.inf)
    centre = (low + high) / 2
    bound = min(floor, ceiling, key=lambda x: abs(x - centre))
    leans = not floor < centre < ceiling
    symmetric = Interval(centre, low, high, interval.n)
    seeds = statistics.seeds_needed(symmetric, bound, level)
    if seeds is None:
        most = f"more than {statistics.MOST_SEEDS:,} seeds needed"
        return Verdict(f"{UNDECIDED} ({most})", np.inf, leans)
    return Verdict(f"{UNDECIDED} (about {seeds:,} seeds needed)", seeds, leans)


def overall(judged: Sequence[Judged]) -> Verdict:
    """Of a claim: it holds if all hold, does not if one does not in the family.

    One of k intervals at 95% misses the truth in more than 5% of the cases, so what
    fails by itself alone leaves the claim undecided. The first to fail would settle it:
    where some lean that way, the seeds are the fewest that one of these needs to fail
    in the family, else the most that one needs to hold.
    """
    for one in judged:
        if one.in_family.text == FAILS:
            return one.in_family
    leaning = [x.in_family for x in judged if x.in_family.leans]
    if leaning:
        return min(leaning, key=lambda x: x.seeds)
    return max((x.verdict for x in judged), key=lambda x: (x.text != HOLDS, x.seeds))


def _rows(claim: Claim, record: Record, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """A claim's rows; none if no protocol has all of its arms."""
    if isinstance(claim["statistic"], str):
        claim = claim | {"statistic": measures.evaluated(claim["statistic"], cells)}
    sides = [claim["of"], *([claim["against"]] if "against" in claim else [])]
    comparisons = [
        [side | each for side in chosen]
        for each in claim.get("each", [{}])
        for chosen in itertools.product(*sides)
    ]
    rows = [_row(claim, record, sides) for sides in comparisons]
    verdicts = {}
    for protocol in PROTOCOLS:
        judged = [_judge(claim, cells, x, protocol, len(rows)) for x in comparisons]
        if None in judged:
            continue
        for row, one in zip(rows, judged):
            row["left_out"] = max(row["left_out"], one.left_out)
            row |= _columns(protocol, one.interval, one.verdict)
        verdicts[protocol] = overall(judged)
    if not verdicts or len(rows) == 1:
        return rows if verdicts else []
    head = rows[0] | {"comparison": "", "left_out": max(x["left_out"] for x in rows)}
    head |= estimates.columns("published", NOTHING)
    for protocol, one in verdicts.items():
        head |= _columns(protocol, NOTHING, one)
    return [
        head | {"claim": f"{claim['sentence']}: {_label(claim)}"},
        *({**x, "claim": PART + x["comparison"], "sentence": ""} for x in rows),
    ]


def _row(claim: Claim, record: Record, sides: Sequence[Side]) -> dict[str, Any]:
    """What a comparison is, and its published numbers."""
    statistic = STATISTICS[measure_of(claim, "corrected")]
    comparison = " against ".join("-".join(side.values()) for side in sides)
    return {
        "claim": f"{claim['sentence']}: {comparison}, {_label(claim)}",
        "sentence": claim["sentence"],
        "comparison": comparison,
        "statistic": measure_of(claim, "corrected"),
        "statistic_as_published": measure_of(claim, estimates.AS_PUBLISHED),
        "logarithmic": statistic.logarithmic,
        "direction": claim["direction"],
        "margin": claim.get("margin", np.nan),
        "why": claim.get("why", ""),
        "left_out": 0,
        **estimates.columns("published", _published(claim, record, sides)),
    }


def _columns(protocol: str, interval: Interval, one: Verdict) -> dict[str, Any]:
    return {
        **estimates.columns(protocol, interval),
        f"{protocol}_n": int(interval.n),
        f"verdict_{protocol}": one.text,
    }


def measure_of(claim: Claim, protocol: str) -> str:
    """The name of a claim's statistic: one for all protocols, or one for each."""
    name = claim["statistic"]
    return name if isinstance(name, str) else name[protocol]


def _label(claim: Claim) -> str:
    label = STATISTICS[measure_of(claim, "corrected")].label
    each = isinstance(claim["statistic"], dict)
    return label + ("; as published: the source's formula" if each else "")


def _published(claim: Claim, record: Record, sides: Sequence[Side]) -> Interval:
    """The same comparison of the published numbers, with bounds if given by seed."""
    statistic = STATISTICS[measure_of(claim, estimates.AS_PUBLISHED)]
    paths = published.paths(claim, record.config, sides)
    numbers = [statistic.reduce(published.number(path)) for path in paths]
    compare = statistic.compare_published or statistic.compare
    return compare(*numbers)


def _judge(
    claim: Claim, cells: Sequence[Cell], sides: Sequence[Side], protocol: str, num: int
) -> Judged | None:
    """A comparison, one of `num` of a claim; None if it was not run.

    Where each protocol has a statistic of its own, both are measures of one run.
    """
    statistic = STATISTICS[measure_of(claim, protocol)]
    run = protocol if isinstance(claim["statistic"], str) else "corrected"
    arms = [_arm(cells, {"protocol": run} | claim["arms"] | side) for side in sides]
    numbers = [statistic.measure(arm) if arm else None for arm in arms]
    if any(x is None for x in numbers):
        return None
    if statistic.over == "seeds" and len(arms) == 2:
        places = cells_.pairs(*(arm[0] for arm in arms))
        numbers = [x[i] for x, i in zip(numbers, places)]
    interval = statistic.compare(*map(statistic.reduce, numbers))
    one, in_family = (
        verdict(
            measures.widened(interval, statistic, k),
            statistic,
            claim["direction"],
            claim.get("margin"),
            1 - (1 - statistics.LEVEL) / k,
        )
        for k in (1, num)
    )
    if len(numbers[0]) < statistic.least:
        few = f"{UNDECIDED} (needs at least {statistic.least} seeds)"
        one = in_family = Verdict(few, np.inf)
    return Judged(interval, len(numbers[0]) - int(interval.n), one, in_family)


def _arm(cells: Sequence[Cell], levels: Side) -> list[Cell]:
    """The grid of the one arm of these levels; empty if none or several have them."""
    found = [
        cell
        for cell in cells
        if levels.items() <= ({"protocol": "corrected"} | cell.factors).items()
    ]
    return found if len({cell.arm for cell in found}) == 1 else []
