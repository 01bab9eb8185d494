"""What decided the claim that answers the question of a study, for its picture."""

import itertools
from collections.abc import Sequence

import numpy as np

from normjax import numerals
from normjax.audit import choices, claim_data, judgements, presentation
from normjax.audit.claim_data import Claim, statistic_name
from normjax.audit.judgements import JudgedComparison
from normjax.audit.measures import STATISTICS, Statistic, log_ratio, student_interval
from normjax.audit.published_numbers import AS_PUBLISHED, CORRECTED
from normjax.report import estimates, formats, names, networks
from normjax.report.audit_interface import Comparison, Evidence
from normjax.statistics import Interval
from normjax.study.record import Record

CENTRES = {student_interval: "mean", log_ratio: "geometric mean"}


def of_answer(record: Record) -> Evidence | None:
    """The numbers of the claim that answers; None if there is none, or no verdict.

    Sides, order and intervals are those of the claim's rows in the verdict table.
    """
    claim = claim_data.answering(record.config)
    if claim is None:
        return None
    by_choice = choices.cells_by_choice(networks.load(record), record.config)
    level = estimates.level_of(record)
    claims = {x: judgements.evaluated_claim(claim, y) for x, y in by_choice.items()}
    judged = {
        choice: judgements.by_protocol(claims[choice], cells, level)
        for choice, cells in by_choice.items()
    }
    protocols = dict.fromkeys(x for found in judged.values() for x in found)
    rows = [
        row
        for protocol in sorted(protocols, key=presentation.PROTOCOLS.index)
        for choice, found in judged.items()
        for row in _rows(claims[choice], protocol, choice, found.get(protocol, ()))
    ]
    if len(protocols) == 1:
        rows = [row._replace(panel="") for row in rows]
    return _evidence(next(iter(claims.values())), rows) if rows else None


def _evidence(claim: Claim, rows: Sequence[Comparison]) -> Evidence:
    statistic = STATISTICS[statistic_name(claim, CORRECTED)]
    return Evidence(
        title=_title(claim, statistic),
        measure=_measure(claim, statistic),
        centre=CENTRES.get(statistic.compare, "estimate"),
        holds=_claimed_place(claim, statistic),
        reference=_bound(claim, statistic),
        logarithmic=statistic.logarithmic,
        comparisons=rows,
    )


def _measure(claim: Claim, statistic: Statistic) -> str:
    """`difference, points`, `ratio`; of one side what the title says, with its unit."""
    if "against" not in claim:
        name = statistic.label.partition(" (")[0]
    else:
        name = "" if statistic.logarithmic else "difference"
    return ", ".join(filter(None, (name, statistic.unit)))


def _title(claim: Claim, statistic: Statistic) -> str:
    """`Final train loss: batch minus no norm, on the same seeds`."""
    label = formats.capital(statistic.label.partition(" (")[0])
    sides = [claim[x] for x in ("of", "against") if x in claim]
    if len(sides) == 1:
        (of,) = sides
        return f"{label}: {numerals.listed(list(map(presentation.arm, of)))}"
    one = all(len(side) == 1 for side in sides)
    ends = [presentation.arm(x) for (x, *_) in sides] if one else ["first", "second"]
    which = "divided by" if statistic.logarithmic else "minus"
    paired = ", on the same seeds" if statistic.over == "seeds" else ""
    return f"{label}: {ends[0]} {which} {ends[1]}{paired}"


def _rows(
    claim: Claim, protocol: str, choice: str, judged: Sequence[JudgedComparison]
) -> list[Comparison]:
    """The comparisons of a claim under a protocol, for one choice."""
    statistic = STATISTICS[statistic_name(claim, protocol)]
    own = isinstance(claim["statistic"], dict) and protocol == AS_PUBLISHED
    return [
        Comparison(
            panel=names.words(protocol) + ", by the source's formula" * own,
            label=", ".join(filter(None, (names.readable(choice, {}), label))) or arms,
            arm=one.arm,
            seeds=one.seeds,
            values=one.values,
            interval=one.judgement.interval,
            text=_text(claim, statistic, one.judgement.interval),
            verdict=one.judgement.verdict,
        )
        for (label, arms), one in zip(_labels(claim), judged)
    ]


def _labels(claim: Claim) -> list[tuple[str, str]]:
    """What tells each comparison from the others, and its arms."""
    sides = [claim[x] for x in ("of", "against") if x in claim]
    several = any(len(side) > 1 for side in sides)
    found = []
    for each in claim.get("each", [{}]):
        place = [names.level(*x, titled=True) for x in each.items()]
        for pair in itertools.product(*sides):
            arms = names.AGAINST.join(map(presentation.arm, pair))
            found.append((", ".join([arms] * several + place), arms))
    return found


def _text(claim: Claim, statistic: Statistic, interval: Interval) -> str:
    """The interval with the digits that it has in the table of claims."""
    if statistic.logarithmic or np.isnan(interval.low):
        return formats.true_minus(formats.by_three_digits(interval))
    if "against" in claim:
        return formats.signed(interval)
    return formats.true_minus(formats.by_width(interval))


def _bound(claim: Claim, statistic: Statistic) -> float:
    """The number on whose claimed side an interval must lie; else no difference."""
    margin = None if claim["direction"] == "within" else claim.get("margin")
    return (1.0 if statistic.logarithmic else 0.0) if margin is None else margin


def _claimed_place(claim: Claim, statistic: Statistic) -> str:
    """`below the line at 0.3`: where the interval of a comparison that holds lies."""
    direction = claim["direction"]
    bound = claim["margin"] if direction == "within" else _bound(claim, statistic)
    logarithmic = statistic.logarithmic
    return formats.claimed_range(
        direction, bound, logarithmic=logarithmic, mark="the line at "
    )
