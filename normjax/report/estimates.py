"""What a study found: data frames of numbers, a row for each arm and setting.

An interval has three columns: `x`, `x_low`, `x_high`. Nothing is written as text here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from normjax import looks, outliers, p_values, statistics, ties
from normjax.report import networks
from normjax.report.networks import FACTOR, Cell
from normjax.statistics import LEVEL, Difference, Interval
from normjax.study.record import Record


class Outlying(NamedTuple):
    """The seeds that lie far from the others, and a mean that they do not move."""

    seeds: np.ndarray  # at least one
    trimmed: Interval


def level_of(record: Record) -> float:
    """The level of every interval over seeds: that of the look at as many seeds."""
    return looks.level_of(record.record, record.networks["seed"])


def looks_sentence(record: Record) -> str:
    """How many looks were taken, and what that means; empty for an ordinary study."""
    return looks.sentence(looks.taken(record.record), _num_seeds(record))


def _num_seeds(record: Record) -> int:
    return record.networks["seed"].nunique()


def summary(record: Record) -> pd.DataFrame:
    """Accuracy, spread over seeds and cost; a row for each arm and setting."""
    target = record.record.get("target_accuracy")
    cells, level = networks.load(record), level_of(record)
    return pd.DataFrame([_summary_row(cell, target, level) for cell in cells])


def arm_differences(
    record: Record, baseline: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Each arm against its baseline arm, seed by seed; empty if no arm has one.

    Arms of one program are the same networks and no pair, such as those of an optimizer
    that a protocol leaves as it is; of two records they are a pair. `accuracy_points`
    are of test accuracy, in percentage points; `p_holm` is `p` adjusted for the number
    of rows. `seconds_ratio` has no bounds: arms run minutes apart, and the noise of a
    machine comes in bursts.

    Args:
        record: the study.
        baseline: see `baseline_cells`; that of the record if None.
    """
    if baseline is None:
        baseline = record.record.get("baseline") or {}
    cells, level = networks.load(record), level_of(record)
    entries = record.record["arms"]
    program = lambda cell: (cell.factors.get(FACTOR), entries[cell.arm]["id"])
    pairs = baseline_cells(cells, baseline)
    real = [(a, b) for a, b in pairs if program(a) != program(b)]
    rows = [_difference_row(*pair, level) for pair in real]
    table = pd.DataFrame(rows)
    if rows:
        place = list(table).index("p") + 1
        table.insert(place, "p_holm", p_values.holm(table["p"].to_numpy()))
    return table


def baseline_cells(
    cells: Sequence[Cell], baseline: Mapping[str, Any]
) -> list[tuple[Cell, Cell]]:
    """Each cell with that of its baseline arm; a baseline arm itself has no pair.

    Args:
        cells: all cells of a record.
        baseline: the levels to which an arm's factors are changed to get its baseline
            arm. Settings are matched by their position in the grid, if both grids have
            the same length.
    """
    grid_sizes = {cell.arm: cell.position + 1 for cell in cells}
    by_factors = {(tuple(c.factors.items()), c.position): c for c in cells}
    pairs = []
    for cell in cells:
        factors = tuple((cell.factors | dict(baseline)).items())
        other = by_factors.get((factors, cell.position), cell)
        if other.arm != cell.arm and grid_sizes[other.arm] == grid_sizes[cell.arm]:
            pairs.append((cell, other))
    return pairs


def curves(record: Record) -> pd.DataFrame:
    """Every measurement after every epoch; `seeds` counts those of finite value."""
    tables, level = [], level_of(record)
    for cell in networks.load(record):
        for measure, values in cell.measurements.items():
            mean = statistics.mean_interval(values, level)
            table = {
                "arm": cell.arm,
                **cell.settings,
                "epoch": 1 + np.arange(len(cell.steps)),
                "step": cell.steps,
                "measure": measure,
                **dict(zip(("mean", "mean_low", "mean_high", "seeds"), mean)),
            }
            tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)


def robustness(cell: Cell, *, level: float = LEVEL) -> Interval:
    """Mean final test accuracy over seeds."""
    return statistics.mean_interval(cell.final["test_accuracy"], level)


def accuracy_difference(a: Cell, b: Cell, *, level: float = LEVEL) -> Difference:
    """Test accuracy of `a` minus that of `b`, in points, on their shared seeds."""
    return statistics.paired_difference(*_shared_points(a, b), level=level)


def outlying_accuracy(cell: Cell, *, level: float = LEVEL) -> Outlying | None:
    """The outlying seeds of an arm's final test accuracy; None if there are none."""
    accuracy = cell.final["test_accuracy"]
    found = outliers.outlying(accuracy)
    if not found.any():
        return None
    return Outlying(cell.seeds[found], outliers.trimmed_mean(accuracy, level))


def outlying_difference(a: Cell, b: Cell, *, level: float = LEVEL) -> Outlying | None:
    """The seeds that are outlying in `a`, in `b` or in their difference, in points."""
    x, y = _shared_points(a, b)
    found = outliers.outlying_pairs(x, y)
    if not found.any():
        return None
    resolution = ties.rounding(x, y)
    trimmed = outliers.trimmed_mean(x - y, level, resolution=resolution)
    return Outlying(a.seeds[networks.shared_seeds(a, b)[0]][found], trimmed)


def speed(cell: Cell) -> Interval:
    """Seconds per network: the median epoch times the number of epochs.

    The lanes of an arm are timed together, so seeds have no times of their own. Epochs
    are not independent replicates: the interval is that of this run's median epoch.
    """
    median, low, high, n = statistics.median_interval(cell.epoch_seconds)
    return Interval(n * median, n * low, n * high, n)


def _summary_row(cell: Cell, target: float | None, level: float) -> dict[str, Any]:
    accuracy, curves = cell.final["test_accuracy"], cell.curves
    stability = statistics.stability(curves["train_loss"], level=level)
    row = {
        "arm": cell.arm,
        **cell.factors,
        **cell.settings,
        "seeds": len(cell.seeds),
        **three_columns("seconds", speed(cell)),
        **three_columns("test_accuracy", robustness(cell, level=level)),
        "test_accuracy_min": accuracy.min(),
        "test_accuracy_max": accuracy.max(),
        **_outlying_columns("trimmed_accuracy", outlying_accuracy(cell, level=level)),
        **three_columns("stability", stability),
        "diverged": int(cell.diverged.sum()),
    }
    if target is not None:
        time = statistics.time_to_target(
            cell.steps, curves["test_accuracy"], target, level=level
        )
        row |= three_columns("steps_to_target", time.median)
        row |= three_columns("share_reached", time.share)
    return row


def _difference_row(a: Cell, b: Cell, level: float) -> dict[str, Any]:
    accuracy = accuracy_difference(a, b, level=level)
    i, j = networks.shared_seeds(a, b)
    losses = a.curves["train_loss"][i], b.curves["train_loss"][j]
    ratio = Interval(np.nan, np.nan, np.nan, 0)
    if a.steps.shape == b.steps.shape:  # two studies may have other numbers of epochs
        ratio = statistics.stability_ratio(*losses, level=level)
    return {
        "arm": a.arm,
        "baseline": b.arm,
        **a.factors,
        **a.settings,
        "seeds": len(i),
        **three_columns("accuracy_points", accuracy),
        "p": accuracy.p,
        **_outlying_columns("trimmed_points", outlying_difference(a, b, level=level)),
        **three_columns("stability_ratio", ratio),
        "seconds_ratio": speed(a).estimate / speed(b).estimate,
    }


def _shared_points(a: Cell, b: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Test accuracy of both on their shared seeds, in points."""
    i, j = networks.shared_seeds(a, b)
    first, second = (100 * cell.final["test_accuracy"] for cell in (a, b))
    return first[i], second[j]


def _outlying_columns(name: str, found: Outlying | None) -> dict[str, Any]:
    """Columns of a row with outlying seeds; other rows do not have them."""
    if found is None:
        return {}
    seeds = " ".join(str(seed) for seed in found.seeds)
    return {**three_columns(name, found.trimmed), "outlying_seeds": seeds}


def three_columns(name: str, interval: Interval | Difference) -> dict[str, float]:
    """An interval as the columns `name`, `name_low` and `name_high`."""
    names = name, f"{name}_low", f"{name}_high"
    return dict(zip(names, map(float, interval[:3])))
