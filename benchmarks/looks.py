"""How often some look misses the truth, how wide the last interval is, seeds needed.

Run    python -m benchmarks.looks [--json] [--first=5] [--most=200] [--tau=1]

Paired differences of one arm and its baseline, drawn from a distribution of mean 0;
each study is looked at from --first to --most seeds. `ratio` is that of two equal
variances over the seeds, of normal numbers, with the jackknife of `statistics`.
The designs are ours (`normjax.looks`), 0.95 at every look, two that were not chosen,
and one look, the first or the last. Not chosen: Lan and DeMets' spending of the same
shares, with boundaries of a Brownian motion as levels of Student's intervals; and a
confidence sequence, the mixture of t likelihood ratios over normal effects of
variance --tau. Widths are divided by those of Student's interval at 95%.

References:
    Lan and DeMets, 1983. Discrete Sequential Boundaries for Clinical Trials.
    Wang and Ramdas, 2024. Anytime-valid t-tests and confidence sequences for Gaussian
        means with unknown variance. arXiv:2310.03722.
"""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from normjax import looks
from normjax.statistics import LEVEL

BROWNIAN = 1_000_000  # motions that the boundaries of Lan and DeMets are taken from
ENDS = {"first": 0, "last": -1}
EFFECTS = (0.3, 0.5, 1.0, 2.0)  # in standard deviations of the differences
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
Shares = Sequence[float]

DISTRIBUTIONS: dict[str, Draw] = {
    "normal": lambda generator, shape: generator.normal(size=shape),
    "t(3), heavy tails": lambda generator, shape: (
        generator.standard_t(3, shape) / math.sqrt(3)
    ),
    "-1, 0 or 1 test example": lambda generator, shape: (
        generator.integers(-1, 2, shape) / math.sqrt(2 / 3)
    ),
    "normal, 1 of 20 seeds fails": lambda generator, shape: (
        generator.normal(size=shape) - 10 * (generator.random(shape) < 0.05) + 0.5
    ),
    "exponential, skewed": lambda generator, shape: (
        generator.exponential(size=shape) - 1
    ),
}


class Result(NamedTuple):
    """What a design does to studies of one distribution."""

    missed: float  # share of the studies in which some look's interval misses the mean
    found: float  # share in which some look's interval excludes zero
    seeds: float  # mean number of seeds when that happens, or the last


def half_widths(numbers: Sequence[int], levels: Sequence[float]) -> np.ndarray:
    """Student's, for a standard deviation of 1: `t(n - 1) / sqrt(n)` at each look."""
    n = np.array(numbers)
    return stats.t.ppf((1 + np.array(levels)) / 2, n - 1) / np.sqrt(n)


def brownian_levels(numbers: Sequence[int], shares: Shares) -> list[float]:
    """Levels such that a look is the first to cross in `0.05 * share` of the cases."""
    generator = np.random.default_rng(1)
    total, inside, found = np.zeros(BROWNIAN), np.ones(BROWNIAN, bool), []
    for n, more, share in zip(numbers, np.diff(numbers, prepend=0), shares):
        total += math.sqrt(more) * generator.normal(size=BROWNIAN)
        z = np.abs(total) / math.sqrt(n)
        crossing = round((1 - LEVEL) * share * BROWNIAN)
        bound = np.sort(z[inside])[-crossing - 1]
        found.append(1 - 2 * stats.norm.sf(bound))
        inside &= z <= bound
    return found


def sequence_half_widths(numbers: Sequence[int], tau: float) -> np.ndarray:
    """Those of the confidence sequence, for a standard deviation of 1."""
    n = np.array(numbers, float)
    shrink = 1 / (1 + n * tau)
    power = ((1 - LEVEL) ** 2 * shrink) ** (-1 / n)
    room = 1 - power * shrink
    ratio = np.divide(power - 1, room, np.full_like(n, np.inf), where=room > 0)
    return np.sqrt(ratio * (n - 1) / n)  # t^2 = (n - 1) * ratio


def designs(numbers: Sequence[int], tau: float) -> dict[str, np.ndarray]:
    """Name -> half-widths at each look, in standard deviations."""
    ours = looks.levels(numbers)
    usual = half_widths(numbers, [LEVEL] * len(numbers))
    shares = [(1 - level) / (1 - LEVEL) for level in ours]
    return {
        "ours": half_widths(numbers, ours),
        "0.95 at every look": usual,
        "Lan and DeMets": half_widths(numbers, brownian_levels(numbers, shares)),
        "confidence sequence": sequence_half_widths(numbers, tau),
        "one look, first": np.where(np.array(numbers) == numbers[0], usual, np.inf),
        "one look, last": np.where(np.array(numbers) == numbers[-1], usual, np.inf),
    }


def moments(
    draw: Draw, numbers: Sequence[int], num_studies: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [studies, looks] of the first seeds of each study."""
    generator = np.random.default_rng(0)
    means, spreads = [], []
    for _ in range(0, num_studies, 1_000):
        x = draw(generator, (1_000, numbers[-1]))
        means.append(np.stack([x[:, :n].mean(1) for n in numbers], axis=1))
        spreads.append(np.stack([x[:, :n].std(1, ddof=1) for n in numbers], axis=1))
    return np.concatenate(means), np.concatenate(spreads)


def ratio_moments(
    numbers: Sequence[int], num_studies: int
) -> tuple[np.ndarray, np.ndarray]:
    """Those of the pseudo-values of the log ratio of two variances, one epoch."""
    generator = np.random.default_rng(0)
    means, spreads = [], []
    for _ in range(0, num_studies, 1_000):
        a, b = generator.normal(size=(2, 1_000, numbers[-1]))
        pseudo = [pseudo_values(a[:, :n]) - pseudo_values(b[:, :n]) for n in numbers]
        means.append(np.stack([x.mean(1) for x in pseudo], axis=1))
        spreads.append(np.stack([x.std(1, ddof=1) for x in pseudo], axis=1))
    return np.concatenate(means), np.concatenate(spreads)


def pseudo_values(x: np.ndarray) -> np.ndarray:
    """Miller's, of the log variance of [studies, seeds], by the closed form."""
    n = x.shape[1]
    var = x.var(1, ddof=1, keepdims=True)
    squares = np.square(x - x.mean(1, keepdims=True))
    without = ((n - 1) * var - n / (n - 1) * squares) / (n - 2)
    return n * np.log(var) - (n - 1) * np.log(without)


def simulate(
    mean: np.ndarray,
    spread: np.ndarray,
    numbers: Sequence[int],
    widths: np.ndarray,
    effect: float = 0.0,
) -> Result:
    """Looks at each study with intervals `mean + effect -+ width * spread`."""
    with np.errstate(invalid="ignore"):  # inf * 0 excludes nothing
        half = widths * spread
    excludes = np.abs(mean + effect) > half
    seeds = np.where(excludes, np.array(numbers), numbers[-1]).min(axis=1)
    missed = (np.abs(mean) > half).any(axis=1)
    return Result(missed.mean(), excludes.any(axis=1).mean(), seeds.mean())


def rows(
    numbers: Sequence[int], num_studies: int, tau: float
) -> list[dict[str, str | float]]:
    """A row per design: widths against Student's, and what the simulation gives."""
    usual = half_widths(numbers, [LEVEL] * len(numbers))
    drawn = {k: moments(x, numbers, num_studies) for k, x in DISTRIBUTIONS.items()}
    drawn["ratio"] = ratio_moments(numbers, num_studies)
    found: list[dict[str, str | float]] = []
    for name, widths in designs(numbers, tau).items():
        row: dict[str, str | float] = {"design": name}
        row |= {f"{k} width": (widths / usual)[i] for k, i in ENDS.items()}
        for kind, (mean, spread) in drawn.items():
            row[f"missed, {kind}"] = simulate(mean, spread, numbers, widths).missed
        for effect in EFFECTS:
            got = simulate(*drawn["normal"], numbers, widths, effect)
            row |= {f"found, {effect}": got.found, f"seeds, {effect}": got.seeds}
        found.append(row)
    return found


def main() -> None:
    """Prints a table, a line for each number and a column for each design."""
    parser = argparse.ArgumentParser(description="Designs of several looks.")
    parser.add_argument("--json", action="store_true")
    for name, default in {"first": 5, "most": 200, "studies": 20_000}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--tau", type=float, default=1.0)
    arguments = parser.parse_args()
    numbers = looks.schedule(arguments.first, arguments.most)
    found = rows(numbers, arguments.studies, arguments.tau)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    for key in found[0]:
        values = [row[key] for row in found]
        texts = [x if isinstance(x, str) else f"{x:.4g}" for x in values]
        print("| " + " | ".join([key, *texts]) + " |")


if __name__ == "__main__":
    main()
