"""The comparisons of a claim, measured in the cells of a study and judged."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from normjax.audit import claim_data, measures, verdicts
from normjax.audit.claim_data import Claim, Side, statistic_name
from normjax.audit.measures import STATISTICS
from normjax.audit.published_numbers import CORRECTED, PROTOCOLS
from normjax.audit.verdicts import Claimed, Judgement
from normjax.report import networks
from normjax.report.networks import Cell


class JudgedComparison(NamedTuple):
    """A comparison of a claim with what it was judged by."""

    judgement: Judgement
    arm: str  # that of the first side
    seeds: np.ndarray  # [seeds], of all sides
    values: np.ndarray | None  # [seeds], whose mean is judged; None if it is no mean


def by_protocol(
    claim: Claim, cells: Sequence[Cell], level: float
) -> dict[str, list[JudgedComparison]]:
    """Protocol -> the comparisons of a claim, in their order.

    A protocol that does not have all of their arms is left out.

    Args:
        claim: of `evaluated_claim`.
        cells: of one choice (`choices.cells_by_choice`).
        level: of the interval of a claim with one comparison.
    """
    sides = claim_data.comparisons(claim)
    found = {}
    for protocol in (CORRECTED,) if claim_data.is_of_paper(claim) else PROTOCOLS:
        tried = [_judge(claim, cells, x, protocol, len(sides), level) for x in sides]
        judged = [one for one in tried if one is not None]
        if len(judged) == len(sides):
            found[protocol] = judged
    return found


def evaluated_claim(claim: Claim, cells: Sequence[Cell]) -> Claim:
    """The claim with the statistic that decides it: see `evaluated_statistic`."""
    if not isinstance(claim["statistic"], str):
        return claim
    name = measures.evaluated_statistic(claim["statistic"], cells)
    return claim | {"statistic": name}


def _judge(
    claim: Claim,
    cells: Sequence[Cell],
    sides: Sequence[Side],
    protocol: str,
    num: int,
    level: float,
) -> JudgedComparison | None:
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
    found = [statistic.grid_ends(arm) for arm in arms] if statistic.grid_ends else []
    ends = [x for x in found if x is not None]
    first, seeds = arms[0][0], arms[0][0].seeds
    if statistic.over == "seeds" and len(arms) == 2:
        places = networks.shared_seeds(first, arms[1][0])
        numbers, ends = ([x[i] for x, i in zip(y, places)] for y in (numbers, ends))
        seeds = seeds[places[0]]
    claimed = Claimed(claim["direction"], claim.get("margin"))
    reduced = [statistic.reduce(x) for x in numbers]
    judgement = verdicts.judge(reduced, statistic, claimed, num, level, ends)
    values = verdicts.seed_values(reduced, statistic) if statistic.is_mean else None
    return JudgedComparison(judgement, first.arm, seeds, values)


def _arm(cells: Sequence[Cell], levels: Side) -> list[Cell]:
    """The grid of the one arm with these levels; empty if none or several have them."""
    default: Side = {"protocol": CORRECTED}
    grid = [x for x in cells if levels.items() <= {**default, **x.factors}.items()]
    return grid if len({cell.arm for cell in grid}) == 1 else []
