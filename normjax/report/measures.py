"""The statistics that decide claims: a number a seed, and how two arms are compared.

Ours and the published numbers go through the same `reduce` and the same `compare`, but
for variances, which the sources give without the seeds behind them. Curves are
[seeds, evals] or, published, one network's [evals].
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from normjax import statistics
from normjax.report import cells as cells_
from normjax.report.cells import Cell
from normjax.statistics import Interval

Measure = Callable[[Sequence[Cell]], np.ndarray | None]  # of an arm's grid


class Statistic(NamedTuple):
    """What decides a claim: a number of each side, and how two sides are compared."""

    label: str  # with its unit
    measure: Measure  # [seeds, ...]; None if it was not measured
    reduce: Callable[[np.ndarray], np.ndarray]  # of a measure, or of what was published
    compare: Callable[..., Interval]  # of one or two sides
    compare_published: Callable[..., Interval] | None = None  # `compare` if None
    logarithmic: bool = False  # the interval is one on a log scale; so is the margin
    over: str = "seeds"  # or "epochs" of one run
    least: int = 2  # seeds that an interval needs


def mean(a: np.ndarray, b: np.ndarray | float = 0.0) -> Interval:
    """Student's interval of one side, or of the paired differences of two."""
    return statistics.mean_interval(a - b)


def log_ratio(a: np.ndarray, b: np.ndarray) -> Interval:
    """`exp` of Student's interval of the mean of `log(a / b)`, place by place."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.log(np.divide(a, b))
    *found, n = statistics.mean_interval(logarithms)
    return Interval(*np.exp(found), n)


def spread(x: np.ndarray) -> Interval:
    """Standard deviation over seeds, with the interval of `statistics.stability`."""
    *variance, n = statistics.stability(x.reshape(-1, 1))
    return Interval(*np.sqrt(variance), n)


def volatility(x: np.ndarray) -> np.ndarray:
    """Standard deviation of the changes from pass to pass, of each network.

    A steady trend is no volatility: its changes are all the same. Needs three passes.
    """
    changes = np.diff(np.atleast_2d(x), axis=1)
    if changes.shape[1] < 2:
        return np.full(len(changes), np.nan)
    return np.std(changes, axis=1, ddof=1)


def _final(name: str) -> Measure:
    return lambda cells: cells_.chosen(cells)[0].final[name]


def _curve(name: str) -> Measure:
    return lambda cells: cells_.chosen(cells)[0].curves[name]


def _probe(name: str) -> Measure:
    return lambda cells: cells_.chosen(cells)[0].probes.get(name)


def _evaluated(name: str) -> Measure:
    """Of the training split in evaluation mode; accumulated if that was not probed."""
    probe, curve = _probe(f"{name}_evaluated"), _curve(name)

    def measure(cells: Sequence[Cell]) -> np.ndarray:
        found = probe(cells)
        return curve(cells) if found is None else found

    return measure


def _range_over_scales(cells: Sequence[Cell]) -> np.ndarray | None:
    """[seeds] of highest minus lowest final train loss; nan if one is not finite."""
    if cells_.varying(cells, "settings") != ["init_scale"]:
        return None
    losses = np.stack([cell.final["train_loss"] for cell in cells])
    used = np.isfinite(losses).all(axis=0)
    return np.where(used, np.ptp(np.where(used, losses, 0.0), axis=0), np.nan)


def _as_is(x: np.ndarray) -> np.ndarray:
    return x


def _points(x: np.ndarray) -> np.ndarray:
    return 100 * x


def _last(x: np.ndarray) -> np.ndarray:
    return np.atleast_2d(x)[:, -1]


def _last_points(x: np.ndarray) -> np.ndarray:
    return 100 * _last(x)


def _over_passes(x: np.ndarray) -> np.ndarray:
    return np.mean(np.atleast_2d(x), axis=1)


def _smoothness(probe: str) -> Statistic:
    return Statistic("smoothness, mean of passes", _probe(probe), _over_passes, mean)


def _volatility(probe: str) -> Statistic:
    label = "standard deviation of the change of smoothness from pass to pass"
    return Statistic(label, _probe(probe), volatility, mean)


STATISTICS = {
    "test_accuracy": Statistic(
        "test accuracy, points", _final("test_accuracy"), _points, mean
    ),
    "train_accuracy": Statistic(
        "final train accuracy, points", _evaluated("train_accuracy"), _last_points, mean
    ),
    "train_loss": Statistic(
        "final train loss, nats", _evaluated("train_loss"), _last, mean
    ),
    "accuracy_spread": Statistic(
        "standard deviation of the test accuracy, points",
        _final("test_accuracy"),
        _points,
        spread,
        logarithmic=True,
        least=3,
    ),
    "stability": Statistic(
        "variance of the train loss, ratio",
        _curve("train_loss"),
        _as_is,
        statistics.stability_ratio,
        compare_published=log_ratio,
        logarithmic=True,
        least=3,
    ),
    "seconds": Statistic(
        "seconds, ratio, over the epochs of one run",
        lambda cells: cells_.chosen(cells)[0].epoch_seconds,
        _as_is,
        log_ratio,
        logarithmic=True,
        over="epochs",
    ),
    "smoothness": _smoothness("smoothness"),
    "smoothness_as_published": _smoothness("smoothness_as_published"),
    "volatility": _volatility("smoothness"),
    "volatility_as_published": _volatility("smoothness_as_published"),
    "loss_range": Statistic(
        "range of the final train loss over the scales, nats",
        _range_over_scales,
        _as_is,
        mean,
    ),
}
