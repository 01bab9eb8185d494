"""The columns of `networks.csv` and `epochs.csv`, and the type of each. No jax."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from normjax import files

Level = str | int | float  # of a factor; a batch size is a number
INTEGER_COLUMNS = ("batch_size", "seed", "epoch", "step", "diverged_at_step")
CURVES = tuple(  # measurements after an epoch, in epochs.csv
    f"{split}_{measure}"
    for split in ("train", "validation", "test")
    for measure in ("loss", "accuracy")
)
FINAL = (  # measurements of a network, in networks.csv
    *(name for name in CURVES if name != "validation_loss"),
    "diverged_at_step",
    "seconds",
)


def columns(record: Mapping[str, Any], table: str) -> tuple[str, ...]:
    """The columns of `networks.csv` or `epochs.csv`, in their order."""
    identity = ("arm", *record["factors"], "seed", *record["settings"])
    if table == "networks.csv":
        return (*identity, *FINAL)
    return (*identity, "epoch", "step", *CURVES)


def cast(table: pd.DataFrame, record: Mapping[str, Any], name: str) -> pd.DataFrame:
    """Counts as int64, names as text, the rest as float64 (see `files.shortest`)."""

    def column(key: str) -> Any:
        if key in record["settings"] and key not in table:
            return np.full(len(table), np.nan)
        values = table[key].to_numpy()
        if key in INTEGER_COLUMNS:
            return values.astype(np.int64)
        if key in ("arm", *record["factors"]):
            return [str(value) for value in values]
        single = values.dtype == np.float32
        return files.shortest(values) if single else values.astype(np.float64)

    return pd.DataFrame({key: column(key) for key in columns(record, name)})


def read_table(
    path: Path, record: Mapping[str, Any], arms: Iterable[str]
) -> pd.DataFrame:
    """The rows of `arms`, in the order of the file."""
    names = columns(record, path.name)
    arms = list(arms)
    if not arms:
        return cast(pd.DataFrame(columns=list(names)), record, path.name)
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
        missing = [name for name in names if name not in rows]
        if missing:
            raise ValueError(f"it has no column {missing[0]!r}")
        return cast(rows[rows["arm"].isin(arms)], record, path.name)
    except (OSError, ValueError) as error:
        raise files.damaged(path, error) from error
