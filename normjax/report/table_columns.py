"""The columns of the tables of every study: headers, digits, what is best."""

from collections.abc import Callable

import pandas as pd

from normjax import numerals
from normjax.report import formats
from normjax.report.audit_interface import (
    Column,
    TableRow,
    interval_column,
    interval_of,
    number_column,
)
from normjax.statistics import Interval


def trimmed_column(key: str, text: Callable[[Interval], str]) -> Column:
    """A column of trimmed means, empty in a row without outlying seeds."""

    def written(row: TableRow) -> str:
        return text(interval_of(row, key)) if pd.notna(row[key]) else ""

    return Column(key, written, lambda values: values.notna().any())


OUTLYING = Column(
    "outlying_seeds",
    lambda row: row["outlying_seeds"] if pd.notna(row["outlying_seeds"]) else "",
    lambda values: values.notna().any(),
)
SEEDS = number_column("seeds", formats.number, needed=lambda x: x.nunique() > 1)
DIVERGED = number_column("diverged", formats.number)
SUMMARY: dict[str, Column] = {
    "test accuracy": interval_column("test_accuracy", formats.accuracy, best="highest"),
    "loss variance, nats²": interval_column(
        "stability", formats.by_digits, best="lowest"
    ),
    "seconds": interval_column("seconds", formats.by_three_digits),
    "steps to target": interval_column("steps_to_target", formats.steps, best="lowest"),
    "reached by": interval_column("share_reached", formats.percent, best="highest"),
    "diverged": DIVERGED,
    "lowest": interval_column("test_accuracy_min", formats.by_width),
    "highest": interval_column("test_accuracy_max", formats.by_width),
    "trimmed mean": trimmed_column("trimmed_accuracy", formats.accuracy),
    "outlying seeds": OUTLYING,
    "seeds": SEEDS,
}
SUMMARY_NARROW: dict[str, Column] = {
    "test accuracy": interval_column(
        "test_accuracy", formats.within(formats.plus_minus, 0.0, 1.0)
    ),
    "trim": trimmed_column("trimmed_accuracy", lambda x: f"{x.estimate:.3f}"),
    "variance": number_column("stability", numerals.two_digits),
    "seconds": number_column("seconds", numerals.three_digits),
    "steps": number_column("steps_to_target", formats.whole_number),
    "reached": number_column("share_reached", formats.whole_percent),
    "diverged": DIVERGED._replace(needed=lambda x: x.any()),
    "seeds": SEEDS,
}
DIFFERENCES: dict[str, Column] = {
    "accuracy, points": interval_column(
        "accuracy_points", formats.points, best="highest"
    ),
    "p": number_column("p", formats.p_value),
    "p, Holm": number_column("p_holm", formats.p_value, needed=lambda x: len(x) > 1),
    "loss variance, ratio": interval_column(
        "stability_ratio", formats.by_three_digits, best="lowest"
    ),
    "seconds, ratio": number_column("seconds_ratio", numerals.three_digits),
    "trimmed mean, points": trimmed_column("trimmed_points", formats.points),
    "outlying seeds": OUTLYING,
    "pairs": SEEDS,
}
DIFFERENCES_NARROW: dict[str, Column] = {
    "points": interval_column(
        "accuracy_points", formats.within(formats.plus_minus, -100.0, 100.0)
    ),
    "trim": trimmed_column("trimmed_points", lambda x: f"{x.estimate:.2f}"),
    "p": DIFFERENCES["p"],
    "variance, ratio": DIFFERENCES["loss variance, ratio"],
    "seconds, ratio": DIFFERENCES["seconds, ratio"],
}
