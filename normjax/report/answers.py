"""The answer of a page: which arm is most accurate and by how much, in sentences."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from normjax import numerals, statistics
from normjax.report import formats, leading, names, networks
from normjax.report.leading import Scope
from normjax.report.networks import Cell
from normjax.statistics import LEVEL
from normjax.study import trials
from normjax.study.columns import Level

MOST_NAMED = 4  # arms, in a sentence that names arms

Factors = Mapping[str, Mapping[str, Level]]  # arm -> factor -> level


def answer(
    cells: Sequence[Cell],
    *,
    baseline: Mapping[str, Level] | None = None,
    level: float = LEVEL,
    tuning: Mapping[str, Any] | None = None,
    origins: Mapping[str, int] | None = None,
    wanted: Factors | None = None,
    lacking: Collection[str] = (),
    start: str = "",
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
        wanted: arm -> factors of all arms that the study wants; those of the cells if
            None.
        lacking: the arms of which networks are missing.
        start: what the sentences about the most accurate arms begin with.
    """
    best = networks.best_of_arms(cells)
    wanted = wanted or {x.arm: x.factors for x in best}
    chosen = chosen_settings(best, cells, tuning)
    given = baseline or {}, level, origins or {}
    begun = {x.arm for x in best}
    groups = sorted(by_protocol(wanted).items(), key=lambda x: not begun & x[1].keys())
    scopes = {
        name: Scope(
            [x for x in best if x.arm in arms],
            _labels(arms, chosen),
            *given,
            wanted=arms,
            unfinished=any(arm in lacking for arm in arms),
        )
        for name, arms in groups
    }
    sentences, several = [], len(scopes) > 1
    for place, (name, scope) in enumerate(scopes.items()):
        protocol = f"{names.words(name)}: " if several else ""
        first, *further = _leading(scope)
        sentences.append(formats.capital(start + protocol + first))
        sentences += further if place == 0 else []
    for name, scope in scopes.items():
        sentences += _least_variance(scope, names.words(name) if several else "")
    sentences += _diverged(best, names.arm_labels(wanted))
    if any(chosen.values()):
        by = "that its trials chose" if tuning else "of its highest validation accuracy"
        sentences.append(f"Each arm is at the setting {by}.")
    return [formats.true_minus(x) for x in sentences]


def by_protocol(wanted: Factors) -> dict[str, dict[str, Mapping[str, Level]]]:
    """Protocol -> arm -> factors; the protocol is empty if the study has none."""
    groups: dict[str, dict[str, Mapping[str, Level]]] = {}
    for arm, factors in wanted.items():
        groups.setdefault(str(factors.get("protocol", "")), {})[arm] = factors
    return groups


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


def _labels(arms: Factors, chosen: Mapping[str, str]) -> dict[str, str]:
    """Arm -> what a sentence calls it, with its setting if that was chosen."""
    return {
        arm: label + (f" (at {chosen[arm]})" if chosen.get(arm) else "")
        for arm, label in names.arm_labels(arms).items()
    }


def _leading(scope: Scope) -> list[str]:
    """The sentences of the arms of a protocol, of which none may have a network yet."""
    if scope.arms:
        return leading.sentences(scope)
    return [f"none of {len(scope.wanted):,} arms has a network yet."]


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
