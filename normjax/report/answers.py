"""The answer of a page: which arm is most accurate and by how much, in sentences."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from normjax import numerals, statistics
from normjax.report import decisions, estimates, formats, names, networks
from normjax.report.networks import Cell
from normjax.statistics import LEVEL
from normjax.study import trials
from normjax.study.columns import Level

INDEPENDENT = "the networks are independent, not paired by seed"
MOST_NAMED = 4  # arms, in a sentence that names arms


class Scope(NamedTuple):
    """The arms that are compared with each other, and how a sentence names them."""

    arms: list[Cell]  # each at its best setting
    labels: dict[str, str]  # arm -> `adam, l2 at learning rate 0.01`
    baseline: Mapping[str, Level]
    level: float
    origins: Mapping[str, int]  # arm -> number, empty if all are paired by seed


def answer(
    cells: Sequence[Cell],
    *,
    baseline: Mapping[str, Level] | None = None,
    level: float = LEVEL,
    tuning: Mapping[str, Any] | None = None,
    origins: Mapping[str, int] | None = None,
) -> list[str]:
    """Says in computed sentences which arm is most accurate; the first is the answer.

    It has the difference to the arm's baseline (or, without one, to the runner-up),
    its interval and a verdict. Each arm is represented by its best setting. Arms of
    several protocols are not compared: each protocol has its own sentence. Seconds
    decide nothing here, because those of one run say nothing about another.

    Args:
        cells: all cells of the record.
        baseline: the field of `record.json`.
        level: of the intervals.
        tuning: the field of `record.json`, if the study is tuned.
        origins: of several studies, see `joint_texts.origins`: the networks of arms
            with different numbers are independent.
    """
    best = networks.best_of_arms(cells)
    chosen = chosen_settings(best, cells, tuning)
    groups: dict[str, list[Cell]] = {}
    for cell in best:
        groups.setdefault(str(cell.factors.get("protocol", "")), []).append(cell)
    scopes = {
        name: Scope(arms, _labels(arms, chosen), baseline or {}, level, origins or {})
        for name, arms in groups.items()
    }
    (first, scope), *others = scopes.items()
    start = f"{formats.capital(names.words(first))}: " if others else ""
    leading, *further = _leading(scope)
    sentences = [formats.true_minus(formats.capital(start + leading)), *further]
    sentences += [
        f"{formats.capital(names.words(name))}: {_leading(other)[0]}"
        for name, other in others
    ]
    for name, each in scopes.items():
        sentences += _least_variance(each, names.words(name) if others else "")
    sentences += _diverged(best, names_of(best))
    if any(chosen.values()):
        by = "that its trials chose" if tuning else "of its highest validation accuracy"
        sentences.append(f"Each arm is at the setting {by}.")
    return [formats.true_minus(x) for x in sentences]


def names_of(arms: Sequence[Cell]) -> dict[str, str]:
    """Arm -> what a reader calls it."""
    return names.arm_labels({cell.arm: cell.factors for cell in arms})


def chosen_settings(
    arms: Sequence[Cell], cells: Sequence[Cell], tuning: Mapping[str, Any] | None
) -> dict[str, str]:
    """Arm -> `learning rate 0.01`: its setting, empty if there was only one.

    Args:
        arms: the cells that stand for the arms.
        cells: all cells of the record.
        tuning: the field of `record.json`, if the study is tuned.
    """
    if tuning:
        texts = {x.arm: trials.chosen_text(tuning, x.arm) for x in arms}
        return {arm: names.readable(text, {}) for arm, text in texts.items()}
    grids: dict[tuple[str, str], set[float]] = {}
    for cell in cells:
        for name, value in cell.settings.items():
            if not math.isnan(value):  # the arm has this setting
                grids.setdefault((cell.arm, name), set()).add(value)
    return {
        cell.arm: ", ".join(
            f"{names.words(name)} {value:.3g}"
            for name, value in cell.settings.items()
            if len(grids.get((cell.arm, name), ())) > 1
        )
        for cell in arms
    }


def _labels(arms: Sequence[Cell], chosen: Mapping[str, str]) -> dict[str, str]:
    return {
        arm: label + (f" (at {chosen[arm]})" if chosen[arm] else "")
        for arm, label in names_of(arms).items()
    }


def _leading(scope: Scope) -> list[str]:
    """The sentence about the most accurate arm, and one about its runner-up."""
    means = {x.arm: estimates.robustness(x).estimate for x in scope.arms}
    order = sorted(  # an arm that has diverged as a whole leads nobody
        scope.arms,
        key=lambda x: (x.diverged.all(), -np.nan_to_num(means[x.arm], nan=-1.0)),
    )
    best = order[0]
    if best.diverged.all():
        return ["every network diverged."]
    interval = estimates.robustness(best, level=scope.level)
    seeds = numerals.plural(len(best.seeds), "seed")
    accuracy = f"{formats.accuracy(interval)} over {seeds}"
    name = scope.labels[best.arm]
    if len(order) == 1:
        return [f"{name} has a mean test accuracy of {accuracy}."]
    base = _baseline(best, scope)
    other = base or order[1]
    most = "higher" if len(order) == 2 else "highest"
    role = ", the baseline," if _is_baseline(best, scope) else ""
    against = scope.labels[other.arm]
    if not base and len(order) > 2:
        against = f"the runner-up, {against}"
    said = _compared(best, other, scope)
    first = (
        f"{name}{role} has the {most} mean test accuracy of {len(order):,} arms,"
        f" {accuracy}, {said[0]} against {against}"
    )
    sentences = [f"{first}: {_picked(best, other, scope) or said[1]}."]
    if order[1] is not other:
        points, judged = _compared(order[1], best, scope)
        runner = scope.labels[order[1].arm]
        sentences.append(f"Runner-up: {runner}, {points} against it: {judged}.")
    return sentences


def _compared(a: Cell, b: Cell, scope: Scope) -> tuple[str, str]:
    """The difference between two arms in words, and its verdict."""
    found = decisions.decision(a, b, level=scope.level)
    text = f"{formats.points(found.difference)} points"
    if outlying := found.outlying:
        count = numerals.plural(len(outlying.seeds), "outlying seed")
        text += f" (with {count}; trimmed mean {formats.points(outlying.trimmed)})"
    if scope.origins.get(a.arm) != scope.origins.get(b.arm):
        found = found._replace(reason=f"{found.reason}; {INDEPENDENT}")
    return text, str(found)


def _picked(best: Cell, other: Cell, scope: Scope) -> str:
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
        f"better alone, undecided after adjusting for the {number:,} comparisons that"
        f" it was picked from (the {percent} interval excludes zero, the {wider} one"
        " does not)"
    )


def _is_baseline(cell: Cell, scope: Scope) -> bool:
    given = scope.baseline.items()
    return bool(given) and given <= cell.factors.items()


def _baseline(cell: Cell, scope: Scope) -> Cell | None:
    """The baseline arm of an arm, if it has one."""
    factors = cell.factors | dict(scope.baseline)
    others = [x for x in scope.arms if x.factors == factors and x.arm != cell.arm]
    return others[0] if len(others) == 1 and scope.baseline else None


def _least_variance(scope: Scope, protocol: str) -> list[str]:
    """The sentence of the arms of a protocol, which has a name if there are several."""
    variances = {
        cell.arm: statistics.stability(cell.curves["train_loss"], level=scope.level)
        for cell in scope.arms
        if len(cell.seeds) > 1 and not cell.diverged.any()
    }
    if len(variances) < 2:
        return []
    arm = min(variances, key=lambda arm: variances[arm].estimate)
    variance = formats.by_digits(variances[arm])
    label = scope.labels[arm]
    least = "least variance of the train loss between seeds"
    start = formats.capital(f"{protocol}: {least}" if protocol else least)
    return [f"{start}: {label}, {variance} nats²."]


def _diverged(arms: Sequence[Cell], labels: Mapping[str, str]) -> list[str]:
    lost = [
        f"{cell.diverged.sum()} of {len(cell.seeds)} of {labels[cell.arm]}"
        for cell in arms
        if cell.diverged.any()
    ]
    if not lost:
        return []
    more = len(lost) - MOST_NAMED
    rest = f" and of {numerals.plural(more, 'more arm')}" if more > 0 else ""
    return [f"Diverged networks: {'; '.join(lost[:MOST_NAMED])}{rest}."]
