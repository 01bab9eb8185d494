"""The answer of a page: which arm is best, in computed sentences."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from normjax import statistics
from normjax.report import estimates, formats, networks
from normjax.report.networks import Cell
from normjax.statistics import LEVEL, Interval
from normjax.study import trials


def answer(
    cells: Sequence[Cell],
    *,
    level: float = LEVEL,
    tuning: Mapping[str, Any] | None = None,
) -> list[str]:
    """Says, in computed sentences, which arm is most robust, fastest and most stable.

    Each arm is represented by its best setting. If there are several protocols, the
    answer is about the first. An arm with a diverged network is not called stable.
    """
    arms = networks.best_of_arms(cells)
    scope = ""
    if "protocol" in networks.varying_names(cells, "factors"):
        first = arms[0].factors["protocol"]
        arms = [cell for cell in arms if cell.factors["protocol"] == first]
        scope = f"{str(first).replace('_', ' ').capitalize()} arms only. "
    means = {x.arm: estimates.robustness(x).estimate for x in arms}
    arms.sort(key=lambda x: np.nan_to_num(means[x.arm], nan=-1.0), reverse=True)
    best = arms[0]
    interval, seeds = estimates.robustness(best, level=level), len(best.seeds)
    accuracy = formats.by_width(interval)
    mean = f"test accuracy {accuracy}, mean over {formats.plural(seeds, 'seed')}"
    sentences = [f"{scope}Most robust: {best.arm}, {mean}."]
    if len(arms) == 1:
        return sentences + settings_sentence(arms, cells, tuning)
    sentences.append(_runner_up(best, arms[1], level))
    fastest = min(arms, key=lambda cell: estimates.speed(cell).estimate)
    seconds = formats.by_three_digits(estimates.speed(fastest))
    sentences.append(f"Fastest: {fastest.arm}, {seconds} s per network.")
    stable, sentence = _most_stable(arms, level)
    sentences += sentence
    lost = [f"{x.diverged.sum()} of {x.arm}" for x in arms if x.diverged.any()]
    if lost:
        sentences.append(f"Diverged networks: {', '.join(lost)}.")
    named = [best, arms[1], fastest, *stable]
    return sentences + settings_sentence(named, cells, tuning)


def _runner_up(best: Cell, second: Cell, level: float) -> str:
    difference = estimates.accuracy_difference(best, second, level=level)
    verdict = "too few seeds for an interval"
    if difference.low > 0:
        verdict = "the interval excludes zero"
    elif difference.low <= 0:
        verdict = "the interval includes zero, so the lead may be luck"
    points = f"{formats.by_width(Interval(*difference[:4]))} percentage points"
    found = estimates.outlying_difference(best, second, level=level)
    text = f"Runner-up: {second.arm}, {points} below on the same seeds ({verdict})."
    if found is None:
        return text
    lie = "lies" if len(found.seeds) == 1 else "lie"
    seeds = f"{formats.plural(len(found.seeds), 'seed')} {lie} far from the others"
    trimmed = (
        f"the trimmed mean of this difference is {formats.by_width(found.trimmed)}"
    )
    return f"{text} Here {seeds}: {trimmed}."


def _most_stable(arms: Sequence[Cell], level: float) -> tuple[list[Cell], list[str]]:
    variances = {
        cell.arm: statistics.stability(cell.curves["train_loss"], level=level)
        for cell in arms
        if len(cell.seeds) > 1 and not cell.diverged.any()
    }
    if not variances:
        return [], []
    arm = min(variances, key=lambda arm: variances[arm].estimate)
    variance = formats.by_digits(variances[arm])
    stable = [cell for cell in arms if cell.arm == arm]
    text = f"Most stable: {arm}, variance of the train loss {variance} nats²."
    return stable, [text]


def settings_sentence(
    named: Sequence[Cell], cells: Sequence[Cell], tuning: Mapping[str, Any] | None
) -> list[str]:
    """At which setting each of the arms is that an answer names.

    Empty if no arm had a choice between settings.

    Args:
        named: the cells that stand for these arms.
        cells: all cells of the record.
        tuning: the field of `record.json`, if the study is tuned.
    """
    named = list({cell.arm: cell for cell in named}.values())
    if tuning:
        texts = [f"{x.arm} at {trials.chosen_text(tuning, x.arm)}" for x in named]
        chosen = "the setting that its trials chose"
    else:
        grids: dict[tuple[str, str], set[float]] = {}
        for cell in cells:
            for name, value in cell.settings.items():
                if not math.isnan(value):  # the arm has this setting
                    grids.setdefault((cell.arm, name), set()).add(value)
        at = {
            cell.arm: ", ".join(
                f"{name}={formats.number(value)}"
                for name, value in cell.settings.items()
                if len(grids.get((cell.arm, name), ())) > 1
            )
            for cell in named
        }
        texts = [f"{arm} at {text}" for arm, text in at.items() if text]
        chosen = "its setting of the highest validation accuracy"
    return [f"Each arm is at {chosen}: {'; '.join(texts)}."] if texts else []
