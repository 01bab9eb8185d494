"""The numbers that the sources published, and how our run differs from theirs.

The numbers are data, `published.json`; nothing here judges them.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from normjax import files
from normjax.study.record import Record

PROTOCOLS = AS_PUBLISHED, CORRECTED = "as_published", "corrected"
OPTIMIZERS = {  # our name -> the source's
    "sgd": "SGD",
    "adam": "Adam",
    "rmsprop": "RMSprop",
    "third_moment": "custom",
}
SUBSTUDIES = {  # in `published.json`, of a study with several models or data sets
    "optimizers": "{data}",
    "batch_norm_placement": "{data}_{model}",
}


def all_numbers() -> dict[str, Any]:
    """All published numbers, by study."""
    return json.loads((Path(__file__).parent / "published.json").read_text())


def numbers_at(path: str) -> np.ndarray:
    """[n], the published numbers at `study/.../name`; `-1` is the last of a list.

    Raises:
        KeyError: nothing was published under this name.
    """
    content: Any = all_numbers()
    for part in path.split("/"):
        content = content[int(part)] if isinstance(content, list) else content[part]
    return np.atleast_1d(np.asarray(content, np.float64))


def paths(
    claim: Mapping[str, Any],
    config: Mapping[str, Any],
    sides: Iterable[Mapping[str, str | int]],
) -> list[str]:
    """Where the numbers of each side of a claim are."""
    levels = [{**claim["arms"], **side} for side in sides]
    names = [{k: OPTIMIZERS.get(v, v) for k, v in side.items()} for side in levels]
    data = config["data"]["name"]
    return [claim["published"].format(data=data, **side) for side in names]


def departures(record: Record) -> str:
    """How what ran here differs from the source, in brackets; empty if it does not."""
    source = of_record(record)
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
    """The batch size of all arms; if arms differ, that of the config."""
    if "batch_size" in record.record["factors"]:
        levels = record.networks["batch_size"].unique()
        if len(levels) == 1:
            return int(levels[0])
    return record.config.get("batch_size")


def of_record(record: Record) -> dict[str, Any]:
    """What was published about the record's study, data and model; empty if nothing."""
    study = record.record["study"]
    content = all_numbers().get(study, {})
    if study not in SUBSTUDIES:
        return content
    fields = files.flat(record.config)
    names = {x: fields.get(f"{x}.name") for x in ("data", "model")}
    return content.get(SUBSTUDIES[study].format(**names), {})
