"""The sources' numbers beside ours: published, ours as published, ours corrected.

The published numbers are data, `published.json`; nothing here judges them.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from normjax import statistics
from normjax.report import estimates
from normjax.report import networks as cells_
from normjax.study.record import Record

OPTIMIZERS = {  # our name -> the source's
    "sgd": "SGD",
    "adam": "Adam",
    "rmsprop": "RMSprop",
    "third_moment": "custom",
}
PLACES = {  # in `published.json` of a study that has several networks or data sets
    "optimizers": "{data}",
    "batch_norm_placement": "{data}_{model}",
}


def numbers() -> dict[str, Any]:
    """All published numbers, by study."""
    return json.loads((Path(__file__).parent / "published.json").read_text())


def number(path: str) -> np.ndarray:
    """[n], the published numbers at `study/.../name`; `-1` is the last of a list.

    Raises:
        KeyError: there is nothing of that name.
    """
    found: Any = numbers()
    for part in path.split("/"):
        found = found[int(part)] if isinstance(found, list) else found[part]
    return np.atleast_1d(np.asarray(found, np.float64))


def field(config: Mapping[str, Any], name: str) -> Any:
    """The value of a dotted name of a configuration, None if there is none."""
    value: Any = config
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def paths(
    claim: Mapping[str, Any],
    config: Mapping[str, Any],
    sides: Iterable[Mapping[str, str]],
) -> list[str]:
    """Where the numbers of each side of a claim are."""
    data = config["data"]["name"]
    return [
        claim["published"].format(
            data=data,
            **{k: OPTIMIZERS.get(v, v) for k, v in (claim["arms"] | side).items()},
        )
        for side in sides
    ]


def optimizers(record: Record) -> pd.DataFrame:
    """Optimizer x regularizer: test accuracy and stability, published and ours.

    Intervals are over seeds, the published ones too. The source divides its mean
    loss by the batch size once more, so its variance is multiplied by the square
    of the batch size here; it gave no losses by seed, so this has no interval.
    Empty for a data set or an optimizer that the source does not have, and where
    `cells.by_optimizer` is.
    """
    source = _source(record)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for place, cell in cells_.by_optimizer(record).items():
        protocol, optimizer, regularizer = place
        theirs = source.get("test_accuracy", {})
        theirs = theirs.get(OPTIMIZERS.get(optimizer, ""), {}).get(regularizer)
        if theirs is None:
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
        row |= estimates.columns(protocol, estimates.robustness(cell))
        stability = statistics.stability(cell.curves["train_loss"])
        row |= estimates.columns(f"{protocol}_stability", stability)
    return pd.DataFrame(list(rows.values()))


def unlike(record: Record) -> str:
    """What ran here against the source, in brackets, where the two differ."""
    source = _source(record)
    num_examples = record.record.get("num_examples", {}).get("train")
    facts = {  # ours, the source's
        "epochs": (record.config.get("num_epochs"), source.get("num_epochs")),
        "training examples": (num_examples, source.get("num_examples")),
        "batch size": (_batch_size(record), source.get("batch_size")),
    }
    differing = ", ".join(
        f"{name}: {ours:,} against {theirs:,}"
        for name, (ours, theirs) in facts.items()
        if None not in (ours, theirs) and ours != theirs
    )
    return f" ({differing})" if differing else ""


def _batch_size(record: Record) -> int | None:
    """That of all arms, or the configuration's if it differs between them."""
    if "batch_size" in record.record["factors"]:
        levels = record.networks["batch_size"].unique()
        if len(levels) == 1:
            return int(levels[0])
    return record.config.get("batch_size")


def _source(record: Record) -> dict[str, Any]:
    """What was published of the record's study, data and model; empty if nothing."""
    study = record.record["study"]
    found = numbers().get(study, {})
    if study not in PLACES:
        return found
    names = {x: field(record.config, f"{x}.name") for x in ("data", "model")}
    return found.get(PLACES[study].format(**names), {})
