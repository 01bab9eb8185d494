"""The sources' numbers beside ours: published, ours as published, ours corrected.

The published numbers are data, `published.json`; nothing here judges them.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from normjax import records, statistics
from normjax.report import cells as cells_
from normjax.report import estimates

OPTIMIZERS = {  # our name -> the source's
    "sgd": "SGD",
    "adam": "Adam",
    "rmsprop": "RMSprop",
    "third_moment": "custom",
}


def numbers() -> dict[str, Any]:
    """All published numbers, by study."""
    return json.loads((Path(__file__).parent / "published.json").read_text())


def optimizers(record: records.Record) -> pd.DataFrame:
    """Optimizer x regularizer: test accuracy and stability, published and ours.

    Intervals are over seeds, the published ones too. The source divides its mean
    loss by the batch size once more, so its variance is multiplied by the square
    of the batch size here; it gave no losses by seed, so this has no interval.
    Empty for a data set or an optimizer that the source does not have.
    """
    source = numbers()["optimizers"].get(record.config["data"]["name"])
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in cells_.cells(record):
        optimizer, regularizer = (
            cell.factors.get(x, "") for x in ("optimizer", "regularizer")
        )
        theirs = (source or {}).get("test_accuracy", {})
        theirs = theirs.get(OPTIMIZERS.get(optimizer, ""), {}).get(regularizer)
        if theirs is None or cell.position:
            continue
        variance = source["loss_variance"][OPTIMIZERS[optimizer]][regularizer]
        row = rows.setdefault(
            (optimizer, regularizer),
            {
                "arm": f"{optimizer}-{regularizer}",
                "seeds": len(theirs),
                **estimates.columns(
                    "published", statistics.mean_interval(np.array(theirs))
                ),
                "published_stability": variance * source["batch_size"] ** 2,
            },
        )
        protocol = cell.factors.get("protocol", "corrected")
        row |= estimates.columns(protocol, estimates.robustness(cell))
        stability = statistics.stability(cell.curves["train_loss"])
        row |= estimates.columns(f"{protocol}_stability", stability)
    return pd.DataFrame(list(rows.values()))
