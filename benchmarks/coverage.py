"""How often intervals of 95% contain what they estimate, if a few seeds go wrong.

Run    python -m benchmarks.coverage [--json] [--write docs] [--studies=20000]

Samples of n seeds are drawn from distributions of one arm, and of the paired difference
of two. Each interval is judged by its own target: the mean, the trimmed mean, the
interquartile mean or the median of the distribution itself. A bootstrap, of 999
resamples, gets a tenth of the studies. An interval without bounds says nothing and
counts as one that contains its target. A second table has the median widths. `--write`
puts the tables into FOLDER/statistics.md.

The third table is about the procedure of reports. `flagged` is how often an outlying
seed is found (`normjax.outliers`). Then the trimmed mean is read, else the mean: `own`
is how often its interval contains its own target, `trimmed` how often it contains the
trimmed mean of the distribution. `wrong` is how often a sentence about a number is
decided though the number is exactly at the sentence's bound: by Student's interval, or
by ours, which decides only if the interval of the trimmed mean agrees where a seed is
outlying.

References:
    DiCiccio and Efron, 1996. Bootstrap Confidence Intervals (BCa, bootstrap-t).
    Agarwal et al., 2021. arXiv:2108.13264 (interquartile mean, percentile bootstrap).
"""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.coverage_intervals import INTERVALS, Bounds, student, trimmed
from normjax import outliers
from normjax.checks import document

SEEDS = (3, 5, 10, 30)
POPULATION = 4_000_000  # draws that the targets are computed from
WIDTHS = ("normal", "1 in 10 collapses by 5 sd")  # whose widths are a table
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
Row = dict[str, str | int | float]


def collapsing(by: float) -> Draw:
    """Normal with standard deviation 1, but one seed in ten is lower by `by`."""

    def draw(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return generator.normal(size=shape) - by * (generator.random(shape) < 0.1)

    return draw


NORMAL: Draw = lambda generator, shape: generator.normal(size=shape)
LOGNORMAL: Draw = lambda generator, shape: generator.lognormal(size=shape)
IMAGE: Draw = lambda generator, shape: generator.integers(-1, 2, shape).astype(float)
DISTRIBUTIONS: dict[str, tuple[Draw, ...]] = {  # of one arm, or of two
    "normal": (NORMAL,),
    "t(3)": (lambda generator, shape: generator.standard_t(3, shape),),
    "exponential": (lambda generator, shape: generator.exponential(size=shape),),
    "lognormal": (LOGNORMAL,),
    "1 in 10 collapses by 2.5 sd": (collapsing(2.5),),
    "1 in 10 collapses by 5 sd": (collapsing(5.0),),
    "1 in 10 collapses by 20 sd": (collapsing(20.0),),
    "difference, normal": (NORMAL, NORMAL),
    "difference, lognormal": (LOGNORMAL, LOGNORMAL),
    "difference, one arm collapses by 5 sd": (collapsing(5.0), NORMAL),
    "difference, both arms collapse by 5 sd": (collapsing(5.0), collapsing(5.0)),
    "difference of -1, 0 or 1 image": (IMAGE,),
}


def sample(draws: tuple[Draw, ...], key: int, shape: tuple[int, ...]) -> list:
    """The numbers of each arm; what seeds share has dropped out of the difference."""
    generator = np.random.default_rng(key)
    return [draw(generator, shape) for draw in draws]


def difference(arms: list[np.ndarray]) -> np.ndarray:
    """Of two arms, or the numbers of the only one."""
    return arms[0] - arms[1] if len(arms) == 2 else arms[0]


def targets(draws: tuple[Draw, ...]) -> dict[str, float]:
    """The numbers of the distribution that the intervals are about."""
    x = np.sort(difference(sample(draws, 1, (POPULATION,))))
    middle = lambda cut: float(x[cut : len(x) - cut].mean())
    return {
        "mean": middle(0),
        "trimmed mean": middle(len(x) // outliers.CUT),
        "interquartile": middle(len(x) // 4),
        "median": float(np.median(x)),
    }


def contains(bounds: Bounds, target: float) -> np.ndarray:
    """Whether an interval contains the target, or has no bounds."""
    low, high = bounds
    return ~((low > target) | (high < target))


def sides(bounds: Bounds, target: float) -> np.ndarray:
    """1 or -1 for an interval above or below the target, else 0."""
    low, high = bounds
    return (low > target).astype(int) - (high < target)


def rows(num_studies: int) -> list[Row]:
    """A row for each distribution and number of seeds."""
    found = []
    for name, draws in DISTRIBUTIONS.items():
        aims = targets(draws)
        for n in SEEDS:
            arms = sample(draws, 0, (n, num_studies))
            x = difference(arms)
            row: Row = {"distribution": name, "n": n}
            for kind, (interval, aim, part) in INTERVALS.items():
                bounds = interval(x[:, : num_studies // part])
                row[kind] = float(contains(bounds, aims[aim]).mean())
                row[f"width, {kind}"] = float(np.median(bounds[1] - bounds[0]))
            found.append(row | _procedure(arms, aims))
    return found


def _procedure(arms: list[np.ndarray], aims: dict[str, float]) -> Row:
    """What reports do with outlying seeds, at the bound of a sentence."""
    x = difference(arms)
    found = outliers.outlying_pairs(*arms) if len(arms) == 2 else outliers.outlying(x)
    flagged = found.any(axis=0)
    usual, robust = student(x), trimmed(x)
    mean, middle = aims["mean"], aims["trimmed mean"]
    own = np.where(flagged, contains(robust, middle), contains(usual, mean))
    typical = np.where(flagged, *(contains(z, middle) for z in (robust, usual)))
    row: Row = {"flagged": float(flagged.mean()), "own": float(own.mean())}
    row["trimmed"] = float(typical.mean())
    for aim in ("mean", "trimmed mean"):
        alone, other = (sides(bounds, aims[aim]) for bounds in (usual, robust))
        agreed = np.where(flagged & (alone != other), 0, alone)
        row[f"wrong, {aim}, Student"] = float((alone != 0).mean())
        row[f"wrong, {aim}, ours"] = float((agreed != 0).mean())
    return row


def percent(share: float) -> str:
    """`94.9`."""
    return f"{100 * share:.1f}"


def table(found: list[Row], keys: list[str], text: Callable[[float], str]) -> str:
    """A line for each distribution and number of seeds; empty where nothing is."""
    lines = []
    for row in found:
        name = str(row["distribution"]) if row["n"] == SEEDS[0] else ""
        numbers = [float(row[key]) for key in keys]
        texts = [text(x) if math.isfinite(x) else "" for x in numbers]
        lines.append([name, str(row["n"]), *texts])
    heads = [key.removeprefix("width, ") for key in keys]
    return document.markdown(["distribution", "n", *heads], lines)


def main() -> None:
    """Prints the tables, and writes them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print a list of rows")
    parser.add_argument("--write", metavar="FOLDER", help="write the tables there")
    parser.add_argument("--studies", type=int, default=20_000)
    arguments = parser.parse_args()
    found = rows(arguments.studies)
    kinds = list(INTERVALS)
    widths = [f"width, {kind}" for kind in kinds]
    first = ("distribution", "n", *kinds, *widths)
    rest = [key for key in found[0] if key not in first]
    shown = [row for row in found if row["distribution"] in WIDTHS]
    tables = {
        "coverage": table(found, kinds, percent),
        "widths": table(shown, widths, "{:.2f}".format),
        "procedure": table(found, rest, percent),
    }
    if arguments.write:
        document.write(Path(arguments.write) / "statistics.md", tables)
    text = "\n\n".join(tables.values())
    print(json.dumps(found, indent=2) if arguments.json else text)


if __name__ == "__main__":
    main()
