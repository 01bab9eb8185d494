"""The statistics that decide claims: what is measured of an arm, a number per seed.

A measure takes the cells of one arm, which is its whole grid of settings. Curves are
[seeds, epochs] or, if published, [epochs] of one network.
"""

from collections.abc import Sequence

import numpy as np

from normjax import statistics
from normjax.audit import rates
from normjax.audit.measures import Measure, Statistic, log_ratio, spread
from normjax.report import networks
from normjax.report.networks import Cell

LARGEST = float(np.finfo(np.float32).max)  # 3.4e38, for a number that is not finite


def volatility(x: np.ndarray) -> np.ndarray:
    """Each network's standard deviation of the changes from pass to pass.

    A steady trend has volatility 0. Fewer than three passes give nan.
    """
    changes = np.diff(np.atleast_2d(x), axis=1)
    if changes.shape[1] < 2:
        return np.full(len(changes), np.nan)
    return np.std(changes, axis=1, ddof=1)


def _range_over_scales(cells: Sequence[Cell]) -> np.ndarray | None:
    """[seeds], highest minus lowest final train loss; `LARGEST` if one diverged.

    A seed that diverges at any scale depends on the scale most strongly, so it is not
    left out, and its ratio to a finite range stays finite.
    """
    if networks.varying_names(cells, "settings") != ["init_scale"]:
        return None
    losses = np.stack([cell.final["train_loss"] for cell in cells])
    diverged = np.stack([cell.diverged for cell in cells])
    lost = (diverged | ~np.isfinite(losses)).any(axis=0)
    ranges = np.ptp(np.where(lost, 0.0, losses), axis=0)
    return np.where(lost, LARGEST, np.minimum(ranges, LARGEST))


def _test_accuracy(cells: Sequence[Cell]) -> np.ndarray:
    return networks.best_of_arms(cells)[0].final["test_accuracy"]


def _curve(name: str) -> Measure:
    return lambda cells: networks.best_of_arms(cells)[0].measurements.get(name)


def _precise_gain(cells: Sequence[Cell]) -> np.ndarray | None:
    """[seeds], final test accuracy with precise statistics minus moving averages."""
    cell = networks.best_of_arms(cells)[0]
    precise = cell.measurements.get("precise_test_accuracy")
    return None if precise is None else precise[:, -1] - cell.final["test_accuracy"]


_points = lambda x: 100 * x
_last = lambda x: np.atleast_2d(x)[:, -1]
_last_points = lambda x: 100 * _last(x)
_mean_of_passes = lambda x: np.mean(np.atleast_2d(x), axis=1)
MODES = {"": " while training", "_evaluated": " in evaluation mode"}
SPREAD = "standard deviation of the test accuracy"
MEAN = "smoothness, mean of passes"
CHANGE = "standard deviation of the change of smoothness from pass to pass"
GAIN = "test accuracy: precise statistics minus moving averages"
RANGE = "range of the final train loss over the scales (3.4e38 if diverged)"
STATISTICS = {
    "test_accuracy": Statistic("test accuracy", "points", _test_accuracy, _points),
    **{
        f"{name}{end}": Statistic(label + mode, unit, _curve(f"{name}{end}"), reduce)
        for name, label, unit, reduce in (
            ("train_accuracy", "final train accuracy", "points", _last_points),
            ("train_loss", "final train loss", "nats", _last),
        )
        for end, mode in MODES.items()
    },
    "accuracy_spread": Statistic(
        SPREAD, "points", _test_accuracy, _points, spread, logarithmic=True, least=3
    ),
    "stability": Statistic(
        "variance of the train loss",
        "ratio",
        _curve("train_loss"),
        compare=statistics.stability_ratio,
        compare_published=log_ratio,
        logarithmic=True,
        least=3,
    ),
    "seconds": Statistic(
        "seconds",
        "ratio, over the epochs of one run",
        lambda cells: networks.best_of_arms(cells)[0].epoch_seconds,
        compare=log_ratio,
        logarithmic=True,
        over="epochs",
        least=1,
    ),
    "smoothness": Statistic(MEAN, "", _curve("smoothness"), _mean_of_passes),
    "smoothness_of_roots": Statistic(
        MEAN, "", _curve("smoothness_of_roots"), _mean_of_passes
    ),
    "volatility": Statistic(CHANGE, "", _curve("smoothness"), volatility),
    "volatility_of_roots": Statistic(
        CHANGE, "", _curve("smoothness_of_roots"), volatility
    ),
    "loss_range": Statistic(RANGE, "nats", _range_over_scales),
    "loss_range_ratio": Statistic(
        RANGE, "ratio", _range_over_scales, compare=log_ratio, logarithmic=True
    ),
    "precise_test_accuracy": Statistic(
        "test accuracy with precise statistics",
        "points",
        _curve("precise_test_accuracy"),
        _last_points,
    ),
    "precise_gain": Statistic(GAIN, "points", _precise_gain, _points),
    "largest_rate": Statistic(
        "largest learning rate of the grid that still trains",
        "ratio",
        rates.largest_rates,
        compare=log_ratio,
        logarithmic=True,
    ),
    "best_accuracy": Statistic(
        "test accuracy, each seed at its best rate",
        "points",
        rates.best_accuracies,
        _points,
    ),
}


def evaluated_statistic(name: str, cells: Sequence[Cell]) -> str:
    """The statistic in evaluation mode, if there is one and every cell was probed."""
    probe = f"{name}_evaluated"
    probed = probe in STATISTICS and all(probe in cell.probes for cell in cells)
    return probe if probed else name
