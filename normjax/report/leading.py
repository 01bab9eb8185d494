"""The sentence that says which arm is most accurate, and by how much."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from normjax import numerals
from normjax.report import decisions, estimates, formats
from normjax.report.networks import Cell
from normjax.study.columns import Level

INDEPENDENT = "the networks are independent, not paired by seed"


class Scope(NamedTuple):
    """The arms that are compared with each other, and how a sentence names them."""

    arms: list[Cell]  # each at its best setting
    labels: dict[str, str]  # wanted arm -> `adam, l2 (at learning rate 0.01)`
    baseline: Mapping[str, Level]
    level: float
    origins: Mapping[str, int]  # arm -> number, empty if all are paired by seed
    wanted: Mapping[str, Mapping[str, Level]]  # arm -> factors, begun or not
    unfinished: bool  # whether one of them lacks networks


def sentences(scope: Scope) -> list[str]:
    """The sentence about the most accurate arm; then its baseline, and its runner-up.

    The difference has the order of the chart of differences: an arm minus its baseline.
    """
    order = ranked(scope.arms)
    best = order[0]
    if best.diverged.all():
        return [f"every network diverged{' so far' * scope.unfinished}."]
    absent = _absent_baseline(best, scope)
    if len(order) == 1:
        return [_alone(best, scope), *absent]
    other = _baseline(best, scope) or order[1]
    most = "higher" if len(order) == 2 else "highest"
    start = (
        f"{_called(best, scope)} has the {most} mean test accuracy {_among(scope)},"
        f" {_accuracy(best, scope)}"
    )
    found = [f"{start}{_against(best, other, scope)}.", *absent]
    if order[1] is not other:
        points, judged = compared(order[1], best, scope)
        runner = scope.labels[order[1].arm]
        found.append(f"Runner-up: {runner}, {points} against it: {judged}.")
    return found


def ranked(arms: Sequence[Cell]) -> list[Cell]:
    """The arms from the most accurate on; those that diverged as a whole come last."""
    means = {x.arm: estimates.robustness(x).estimate for x in arms}
    return sorted(
        arms,
        key=lambda x: (x.diverged.all(), -np.nan_to_num(means[x.arm], nan=-1.0)),
    )


def is_picked(arms: Sequence[Cell], baseline: Mapping[str, Level]) -> bool:
    """Whether the most accurate arm is compared with others, and is no baseline."""
    best = ranked(arms)[0]
    fixed = bool(baseline) and baseline.items() <= best.factors.items()
    return len(arms) > 1 and not fixed and not best.diverged.all()


def compared(a: Cell, b: Cell, scope: Scope) -> tuple[str, str]:
    """The difference between two arms in words, and its verdict."""
    found = decisions.decision(a, b, level=scope.level)
    text = f"{formats.points(found.difference)} points"
    if outlying := found.outlying:
        count = numerals.plural(len(outlying.seeds), "outlying seed")
        text += f" (with {count}; trimmed mean {formats.points(outlying.trimmed)})"
    if scope.origins.get(a.arm) != scope.origins.get(b.arm):
        found = found._replace(reason=f"{found.reason}; {INDEPENDENT}")
    return text, str(found)


def _against(best: Cell, other: Cell, scope: Scope) -> str:
    """What follows the accuracy of the most accurate arm: its difference to another.

    A baseline that leads has none of its own: then it is that of the other to it.
    """
    name = scope.labels[other.arm]
    if other is not _baseline(best, scope) and len(scope.arms) > 2:
        name = f"the runner-up, {name}"
    if not _is_baseline(best, scope):
        points, verdict = compared(best, other, scope)
        return f", {points} against {name}: {_picked(best, other, scope) or verdict}"
    points, verdict = compared(other, best, scope)
    name += "," * name.startswith("the runner-up")
    verdict = _picked(best, other, scope, word="worse") or verdict
    return f"; {name} has {points} against it: {verdict}"


def _picked(best: Cell, other: Cell, scope: Scope, word: str = "better") -> str:
    """What is said instead of `better` of an arm that leads because it was picked.

    The most accurate of k arms leads by chance too. Its interval at level
    `1 - (1 - level) / (k - 1)` excludes zero with a probability of at most `1 - level`
    if no arm is better than `other` (Bonferroni). Empty if it does exclude zero.
    """
    number = len(scope.arms) - 1
    strict = 1 - (1 - scope.level) / number
    alone = decisions.decision(best, other, level=scope.level)
    if (
        alone.side < 1
        or estimates.accuracy_difference(best, other, level=strict).low > 0
    ):
        return ""
    percent, wider = formats.confidence(scope.level), formats.confidence(strict)
    return (
        f"{word} alone, undecided after adjusting for the {number:,} comparisons that"
        f" the leader was picked from (the {percent} interval excludes zero, the"
        f" {wider} one does not)"
    )


def _accuracy(cell: Cell, scope: Scope) -> str:
    interval = estimates.robustness(cell, level=scope.level)
    seeds = numerals.plural(len(cell.seeds), "seed")
    return f"{formats.accuracy(interval)} over {seeds}"


def _among(scope: Scope) -> str:
    """`of 20 arms`, or `so far, of 13 of 20 arms`."""
    begun, wanted = len(scope.arms), len(scope.wanted)
    some = f"{begun:,} of " if begun < wanted else ""
    return f"{'so far, ' * scope.unfinished}of {some}{wanted:,} arms"


def _alone(cell: Cell, scope: Scope) -> str:
    """The sentence of the only arm that has networks."""
    name, wanted = scope.labels[cell.arm], len(scope.wanted)
    text = f"{name} has a mean test accuracy of {_accuracy(cell, scope)}"
    if wanted == 1:
        return f"{text}{' so far' * scope.unfinished}."
    return f"{text}; it is so far the only one of {wanted:,} arms that has networks."


def _called(cell: Cell, scope: Scope) -> str:
    """The name of an arm: `the baseline, adam,` if it is the only baseline arm."""
    name, given = scope.labels[cell.arm], scope.baseline.items()
    number = sum(given <= levels.items() for levels in scope.wanted.values())
    only = _is_baseline(cell, scope) and number == 1
    return f"the baseline, {name}," if only else name


def _is_baseline(cell: Cell, scope: Scope) -> bool:
    given = scope.baseline.items()
    return bool(given) and given <= cell.factors.items()


def _baseline(cell: Cell, scope: Scope) -> Cell | None:
    """The baseline arm of an arm, if it has one."""
    factors = cell.factors | dict(scope.baseline)
    others = [x for x in scope.arms if x.factors == factors and x.arm != cell.arm]
    return others[0] if len(others) == 1 and scope.baseline else None


def _absent_baseline(cell: Cell, scope: Scope) -> list[str]:
    """A sentence if the baseline arm of an arm is wanted, and was not begun."""
    if not scope.baseline or _is_baseline(cell, scope):
        return []
    factors, begun = cell.factors | dict(scope.baseline), {x.arm for x in scope.arms}
    absent = [x for x, y in scope.wanted.items() if y == factors and x not in begun]
    return [f"Its baseline, {scope.labels[x]}, has no network yet." for x in absent]
