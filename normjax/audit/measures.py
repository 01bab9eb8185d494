"""The statistics that decide claims: a number a seed, and how two arms are compared.

Ours and the published numbers go through the same `reduce` and the same `compare`, but
for variances, which the sources give without the seeds behind them. Curves are
[seeds, evals] or, published, one network's [evals].
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from normjax import statistics
from normjax.report import networks as cells_
from normjax.report.networks import Cell
from normjax.statistics import Interval

Measure = Callable[[Sequence[Cell]], np.ndarray | None]  # of an arm's grid
LARGEST = float(np.finfo(np.float32).max)  # 3.4e38, for a number that is not finite


class Statistic(NamedTuple):
    """What decides a claim: a number of each side, and how two sides are compared."""

    label: str  # with its unit
    measure: Measure  # [seeds, ...]; None if it was not measured
    reduce: Callable[[np.ndarray], np.ndarray]  # of a measure, or of what was published
    compare: Callable[..., Interval]  # of one or two sides
    compare_published: Callable[..., Interval] | None = None  # `compare` if None
    logarithmic: bool = False  # the interval is one on a log scale; so is the margin
    over: str = "seeds"  # or "epochs" of one run
    least: int = 2  # seeds (or epochs) without which there is no verdict


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


def widened(interval: Interval, statistic: Statistic, num: int) -> Interval:
    """The interval at level `1 - 0.05 / num`, of one of `num` comparisons.

    Each interval here is Student's with n - 1 degrees of freedom, that of a ratio or
    a spread on the scale of its logarithm: there it is longer, about its centre, by
    the ratio of the quantiles. Then at most 5% of the families of `num` comparisons
    have an interval that misses the truth.

    References:
        Dunn, 1961. Multiple Comparisons Among Means.
    """
    scale, back = (np.log, np.exp) if statistic.logarithmic else (float, float)
    tail = (1 - statistics.LEVEL) / 2
    wide, usual = stats.t.ppf([1 - tail / num, 1 - tail], interval.n - 1)
    with np.errstate(all="ignore"):  # without bounds, or past float64
        low, high = scale(interval.low), scale(interval.high)
        centre, half = (low + high) / 2, (high - low) / 2 * wide / usual
        return interval._replace(low=back(centre - half), high=back(centre + half))


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


def _range_over_scales(cells: Sequence[Cell]) -> np.ndarray | None:
    """[seeds] of highest minus lowest final train loss, `LARGEST` if one diverged.

    To have diverged at any scale is the strongest dependence on it that there is, so
    such a seed is not left out: its range is the largest number of float32, and a
    ratio to a range that is finite stays finite.
    """
    if cells_.varying(cells, "settings") != ["init_scale"]:
        return None
    losses = np.stack([cell.final["train_loss"] for cell in cells])
    steps = np.stack([cell.final["diverged_at_step"] for cell in cells])
    lost = ((steps >= 0) | ~np.isfinite(losses)).any(axis=0)
    ranges = np.ptp(np.where(lost, 0.0, losses), axis=0)
    return np.where(lost, LARGEST, np.minimum(ranges, LARGEST))


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


def _accuracy_of_train(mode: str, measure: Measure) -> Statistic:
    label = f"final train accuracy {mode}, points"
    return Statistic(label, measure, _last_points, mean)


def _loss_of_train(mode: str, measure: Measure) -> Statistic:
    return Statistic(f"final train loss {mode}, nats", measure, _last, mean)


def _smoothness(probe: str) -> Statistic:
    return Statistic("smoothness, mean of passes", _probe(probe), _over_passes, mean)


def _volatility(probe: str) -> Statistic:
    label = "standard deviation of the change of smoothness from pass to pass"
    return Statistic(label, _probe(probe), volatility, mean)


EVALUATED = "in evaluation mode"  # the training split, after the epoch
ACCUMULATED = "while training"  # over the batches of the epoch
STATISTICS = {
    "test_accuracy": Statistic(
        "test accuracy, points", _final("test_accuracy"), _points, mean
    ),
    "train_accuracy": _accuracy_of_train(ACCUMULATED, _curve("train_accuracy")),
    "train_accuracy_evaluated": _accuracy_of_train(
        EVALUATED, _probe("train_accuracy_evaluated")
    ),
    "train_loss": _loss_of_train(ACCUMULATED, _curve("train_loss")),
    "train_loss_evaluated": _loss_of_train(EVALUATED, _probe("train_loss_evaluated")),
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
        least=1,
    ),
    "smoothness": _smoothness("smoothness"),
    "smoothness_as_published": _smoothness("smoothness_as_published"),
    "volatility": _volatility("smoothness"),
    "volatility_as_published": _volatility("smoothness_as_published"),
    "loss_range": Statistic(
        "range of the final train loss over the scales (3.4e38 if diverged), nats",
        _range_over_scales,
        _as_is,
        mean,
    ),
    "loss_range_ratio": Statistic(
        "range of the final train loss over the scales (3.4e38 if diverged), ratio",
        _range_over_scales,
        _as_is,
        log_ratio,
        logarithmic=True,
    ),
}


def evaluated(name: str, cells: Sequence[Cell]) -> str:
    """The statistic in evaluation mode, if there is one and all cells were probed."""
    found = f"{name}_evaluated"
    probed = found in STATISTICS and all(found in cell.probes for cell in cells)
    return found if probed else name
