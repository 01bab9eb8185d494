"""The source's claims, judged by intervals: published, ours as published, corrected.

The claims are data, `claims.json`: the study and the `where` of its configuration, a
sentence, the statistic and the direction that decide it, and the arms to compare. A
claim of several comparisons (`of` x `against`) holds if all of them hold. No verdict is
written there: each is computed here.
"""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from normjax import records, statistics
from normjax.report import cells as cells_
from normjax.report import estimates, published
from normjax.report.cells import Cell
from normjax.report.measures import STATISTICS, Statistic
from normjax.statistics import Interval

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


def all_claims() -> list[Claim]:
    """Every claim of the sources."""
    return json.loads((Path(__file__).parent / "claims.json").read_text())


def claims(record: records.Record) -> pd.DataFrame:
    """The claims that a study's complete arms can decide; a row for each comparison.

    A claim of several comparisons has a row of its own before them, without numbers.

    Returns:
        Columns claim (as displayed), sentence (empty below a claim's own row),
        comparison, statistic, logarithmic (a ratio or a spread), direction, margin,
        why, left_out (seeds that both sides share, but with a number that is not
        finite), `published` with its bounds, and for each protocol that was run: the
        estimate with its bounds, `<protocol>_n` (seeds used, or epochs) and
        `verdict_<protocol>`.
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
    return all(_field(config, name) in values for name, values in where.items())


def verdict(
    interval: Interval, statistic: Statistic, direction: str, margin: float | None
) -> Verdict:
    """Compares an interval with what is claimed.

    With `inside` the numbers that are as claimed (above, below or between bounds):
    it holds if the interval lies inside, does not hold if it lies outside, and is
    undecided if it has a bound of `inside` in it. For how many seeds would decide,
    see `statistics.seeds_needed`, of the nearest bound.
    """
    scale = np.log if statistic.logarithmic else float
    floor, ceiling = DIRECTIONS[direction](0.0 if margin is None else scale(margin))
    with np.errstate(divide="ignore"):
        low, high = scale(interval.low), scale(interval.high)
    if floor < low and high < ceiling:
        return Verdict(HOLDS)
    if high <= floor or low >= ceiling:
        return Verdict(FAILS)
    if statistic.over != "seeds" or np.isnan(low):
        return Verdict(UNDECIDED, np.inf)
    centre = (low + high) / 2
    bound = min(floor, ceiling, key=lambda x: abs(x - centre))
    seeds = statistics.seeds_needed(Interval(centre, low, high, interval.n), bound)
    if seeds is None:
        most = f"more than {statistics.MOST_SEEDS:,} seeds needed"
        return Verdict(f"{UNDECIDED} ({most})", np.inf)
    return Verdict(f"{UNDECIDED} (about {seeds:,} seeds needed)", seeds)


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """Of a claim: it holds if all hold, does not if one does not."""
    for one in verdicts:
        if one.text == FAILS:
            return one
    return max(verdicts, key=lambda x: (x.text != HOLDS, x.seeds))


def _rows(
    claim: Claim, record: records.Record, cells: Sequence[Cell]
) -> list[dict[str, Any]]:
    """A claim's rows; none if no protocol has all of its arms."""
    sides = [claim["of"], *([claim["against"]] if "against" in claim else [])]
    comparisons = list(itertools.product(*sides))
    rows = [_row(claim, record, sides) for sides in comparisons]
    verdicts = {}
    for protocol in PROTOCOLS:
        judged = [_judge(claim, cells, sides, protocol) for sides in comparisons]
        if None in judged:
            continue
        for row, (interval, left_out, one) in zip(rows, judged):
            row["left_out"] = max(row["left_out"], left_out)
            row |= _columns(protocol, interval, one)
        verdicts[protocol] = overall([one for *_, one in judged])
    if not verdicts or len(rows) == 1:
        return rows if verdicts else []
    left_out = max(row["left_out"] for row in rows)
    head = rows[0] | {"comparison": "", "left_out": left_out}
    head |= estimates.columns("published", NOTHING)
    for protocol, one in verdicts.items():
        head |= _columns(protocol, NOTHING, one)
    label = STATISTICS[head["statistic"]].label
    return [
        head | {"claim": f"{claim['sentence']}: {label}"},
        *({**x, "claim": PART + x["comparison"], "sentence": ""} for x in rows),
    ]


def _row(claim: Claim, record: records.Record, sides: Sequence[Side]) -> dict[str, Any]:
    """What a comparison is, and its published numbers."""
    statistic = STATISTICS[measure_of(claim, "corrected")]
    comparison = " against ".join("-".join(side.values()) for side in sides)
    return {
        "claim": f"{claim['sentence']}: {comparison}, {statistic.label}",
        "sentence": claim["sentence"],
        "comparison": comparison,
        "statistic": measure_of(claim, "corrected"),
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


def published_paths(
    claim: Claim, config: Mapping[str, Any], sides: Iterable[Side]
) -> list[str]:
    """Where `published.json` has the numbers of each side; none if it has not."""
    data = config["data"]["name"]
    return [
        claim["published"].format(
            data=data,
            **{
                k: published.OPTIMIZERS.get(v, v)
                for k, v in (claim["arms"] | s).items()
            },
        )
        for s in sides
        if "published" in claim
    ]


def _published(claim: Claim, record: records.Record, sides: Sequence[Side]) -> Interval:
    """The same comparison of the published numbers, with bounds if given by seed."""
    statistic = STATISTICS[measure_of(claim, estimates.AS_PUBLISHED)]
    paths = published_paths(claim, record.config, sides)
    numbers = [statistic.reduce(published.number(path)) for path in paths]
    compare = statistic.compare_published or statistic.compare
    return compare(*numbers) if numbers else NOTHING


def _judge(
    claim: Claim, cells: Sequence[Cell], sides: Sequence[Side], protocol: str
) -> tuple[Interval, int, Verdict] | None:
    """Interval, seeds left out and verdict of a comparison; None if it was not run.

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
    one = verdict(interval, statistic, claim["direction"], claim.get("margin"))
    if statistic.over != "seeds":
        return interval, 0, one
    if len(numbers[0]) < statistic.least:
        few = f"{UNDECIDED} (needs at least {statistic.least} seeds)"
        one = Verdict(few, np.inf)
    return interval, len(numbers[0]) - int(interval.n), one


def _arm(cells: Sequence[Cell], levels: Side) -> list[Cell]:
    """The grid of the one arm of these levels; empty if none or several have them."""
    found = [
        cell
        for cell in cells
        if levels.items() <= ({"protocol": "corrected"} | cell.factors).items()
    ]
    return found if len({cell.arm for cell in found}) == 1 else []


def _field(config: Mapping[str, Any], name: str) -> Any:
    """The value of a dotted name, None if there is none."""
    value: Any = config
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
