"""What a study found: data frames of numbers, a row for each arm and setting.

An interval is three columns: `x`, `x_low`, `x_high`. Nothing is made into text here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from normjax import statistics
from normjax.report import networks as cells_
from normjax.report.networks import Cell
from normjax.statistics import Interval
from normjax.study.record import Record

AS_PUBLISHED = "as_published"  # level of the factor `protocol`
SHARE, DENOMINATOR = "adam_difference_share", "smallest_denominator"  # probes


def summary(record: Record) -> pd.DataFrame:
    """Speed, robustness and stability; a row for each arm and setting."""
    target = record.record.get("target_accuracy")
    return pd.DataFrame([_summary_row(cell, target) for cell in cells_.cells(record)])


def differences(
    record: Record, baseline: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Each arm against its baseline arm, seed by seed; empty where none has one.

    Args:
        record: the study.
        baseline: the factor values that make an arm's baseline arm of it; those of
            the record if None. A baseline arm has no row. Settings are matched by
            their place in the grid, if both grids have the same length.

    Returns:
        Columns arm, baseline, the factors, the settings of the arm, seeds,
        accuracy_points (test accuracy, in percentage points), p, stability_ratio and
        seconds_ratio, which has no bounds: arms run minutes apart, and the noise of
        a machine comes in bursts.
    """
    if baseline is None:
        baseline = record.record.get("baseline") or {}
    baseline = {name: str(value) for name, value in baseline.items()}
    found = cells_.cells(record)
    grids = {cell.arm: cell.position + 1 for cell in found}
    places = {(tuple(c.factors.items()), c.position): c for c in found}
    rows = []
    for cell in found:
        factors = tuple((cell.factors | baseline).items())
        other = places.get((factors, cell.position))
        if other and other.arm != cell.arm and grids[other.arm] == grids[cell.arm]:
            rows.append(_difference_row(cell, other))
    return pd.DataFrame(rows)


def protocols(record: Record) -> pd.DataFrame:
    """Each arm against itself as published; empty unless `protocol` is a factor."""
    if "protocol" not in record.record["factors"]:
        return pd.DataFrame()
    return differences(record, {"protocol": AS_PUBLISHED})


def third_moment(record: Record) -> pd.DataFrame:
    """How far the third-moment optimizer is from Adam; empty without its probes.

    Columns: arm, the settings, the largest share over seeds and epochs of coordinates
    whose update differs from Adam's, and the smallest denominator.
    """
    rows = []
    for cell in cells_.cells(record):
        probes = [record.probes.get(f"{cell.arm}/{x}") for x in (SHARE, DENOMINATOR)]
        if any(x is None or np.isnan(x[cell.position]).all() for x in probes):
            continue
        share, denominator = (x[cell.position] for x in probes)
        extremes = {SHARE: np.nanmax(share), DENOMINATOR: np.nanmin(denominator)}
        rows.append({"arm": cell.arm, **cell.settings, **extremes})
    return pd.DataFrame(rows)


def curves(record: Record) -> pd.DataFrame:
    """Every measurement and probe after every epoch: mean and interval over seeds.

    Columns: arm, the settings, epoch, step, measure, mean with its bounds, seeds (those
    whose number is finite).
    """
    rows = []
    for cell in cells_.cells(record):
        epochs = 1 + np.arange(len(cell.steps))
        for measure, values in (cell.curves | cell.probes).items():
            found = statistics.mean_interval(values)
            table = {"arm": cell.arm, **cell.settings, "epoch": epochs}
            table |= {"step": cell.steps, "measure": measure, "mean": found.estimate}
            table |= {"mean_low": found.low, "mean_high": found.high, "seeds": found.n}
            rows.append(pd.DataFrame(table))
    return pd.concat(rows, ignore_index=True)


def robustness(cell: Cell) -> Interval:
    """Mean final test accuracy over seeds."""
    return statistics.mean_interval(cell.final["test_accuracy"])


def speed(cell: Cell) -> Interval:
    """Seconds per network: the median epoch times the number of epochs.

    The lanes of an arm are timed as one, so seeds have no times of their own. Epochs
    are no independent replicates: the interval is that of this run's median epoch.
    """
    num_epochs = len(cell.epoch_seconds)
    *seconds, _ = statistics.median_interval(cell.epoch_seconds)
    return Interval(*(num_epochs * x for x in seconds), num_epochs)


def _summary_row(cell: Cell, target: float | None) -> dict[str, Any]:
    accuracy = cell.final["test_accuracy"]
    row = {
        "arm": cell.arm,
        **cell.factors,
        **cell.settings,
        "seeds": len(cell.seeds),
        **columns("seconds", speed(cell)),
        **columns("test_accuracy", robustness(cell)),
        "test_accuracy_min": accuracy.min(),
        "test_accuracy_max": accuracy.max(),
        **columns("stability", statistics.stability(cell.curves["train_loss"])),
        "diverged": int((cell.final["diverged_at_step"] >= 0).sum()),
    }
    if target is not None:
        time = statistics.time_to_target(
            cell.steps, cell.curves["test_accuracy"], target
        )
        row |= columns("steps_to_target", time.median)
        row |= columns("share_reached", time.share)
    return row


def _difference_row(a: Cell, b: Cell) -> dict[str, Any]:
    i, j = cells_.pairs(a, b)
    accuracy = statistics.paired_difference(
        100 * a.final["test_accuracy"][i], 100 * b.final["test_accuracy"][j]
    )
    losses = a.curves["train_loss"][i], b.curves["train_loss"][j]
    return {
        "arm": a.arm,
        "baseline": b.arm,
        **a.factors,
        **a.settings,
        "seeds": len(i),
        **columns("accuracy_points", accuracy),
        "p": accuracy.p,
        **columns("stability_ratio", statistics.stability_ratio(*losses)),
        "seconds_ratio": speed(a).estimate / speed(b).estimate,
    }


def columns(name: str, interval: Interval | statistics.Difference) -> dict[str, float]:
    """An interval as the columns `name`, `name_low`, `name_high`."""
    return {
        name: float(interval.estimate),
        f"{name}_low": float(interval.low),
        f"{name}_high": float(interval.high),
    }
