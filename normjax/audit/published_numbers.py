"""Sets the numbers that the sources published beside ours, and does not judge them.

They are data, `published.json`. The source of the study of optimizers also asked for a
file of ours, `stats.json`, and its third-moment optimizer is compared with Adam.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from normjax import files, statistics
from normjax.audit import choices
from normjax.report import estimates, networks
from normjax.report.networks import Cell
from normjax.study.record import Record

Object = Mapping[str, Any]  # of JSON
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
SHARE, DENOMINATOR = "adam_difference_share", "smallest_denominator"  # probes
LISTS = {  # name in the source -> measurement of each network
    "test_cce_list": "test_loss",
    "test_acc_list": "test_accuracy",
    "cputime_list": "seconds",
}
LISTS_BY_SEED = {  # name in the source -> measurement after each epoch
    "train_acc_list_dict": "train_accuracy",
    "val_acc_list_dict": "validation_accuracy",
    "train_cce_list_dict": "train_loss",
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


def paths(claim: Object, config: Object, sides: Iterable[Object]) -> list[str]:
    """Where the numbers of each side of a claim are."""
    levels = [{**claim["arms"], **side} for side in sides]
    names = [{k: OPTIMIZERS.get(v, v) for k, v in side.items()} for side in levels]
    data = config["data"]["name"]
    return [claim["published"].format(data=data, **side) for side in names]


def departures(record: Record) -> str:
    """How what ran here differs from the source, in brackets; empty if it does not."""
    source = numbers_of_source(record)
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


def numbers_of_source(record: Record) -> dict[str, Any]:
    """What was published about the record's study, data and model; empty if nothing."""
    study = record.record["study"]
    content = all_numbers().get(study, {})
    if study not in SUBSTUDIES:
        return content
    fields = files.flat(record.config)
    names = {x: fields.get(f"{x}.name") for x in ("data", "model")}
    return content.get(SUBSTUDIES[study].format(**names), {})


def cells_by_optimizer(
    record: Record, cells: Sequence[Cell]
) -> dict[tuple[str, ...], Cell]:
    """(protocol, optimizer, penalty) -> the arm of these cells, at its best setting.

    Empty for any study but that of optimizers, and if another factor varies: an entry
    in the tables of the source would then stand for several arms.
    """
    known = {"optimizer", "penalty"} <= set(record.record["factors"])
    if record.record["study"] != "optimizers" or not known:
        return {}
    cells = networks.best_of_arms(cells)
    by_name = {}
    for cell in cells:
        levels = {"protocol": CORRECTED, **cell.factors}
        names = (str(levels[x]) for x in ("protocol", "optimizer", "penalty"))
        by_name[tuple(names)] = cell
    return by_name if len(by_name) == len(cells) else {}


def comparison(record: Record) -> pd.DataFrame:
    """Optimizer x penalty: test accuracy and stability, published and ours.

    There is a row for each choice that the source left open (`choices`). The source
    divides its mean loss by the batch size once more, so its variance is multiplied by
    the square of the batch size here. It gave no losses by seed, so this variance has
    no interval. Empty for a data set or an optimizer that the source does not have, and
    where `cells_by_optimizer` is.
    """
    source, level = numbers_of_source(record), estimates.level_of(record)
    rows: dict[str, dict[str, Any]] = {}
    by_choice = choices.cells_by_choice(networks.load(record), record.config)
    found = [
        (name, choice, cell)
        for choice, cells in by_choice.items()
        for name, cell in cells_by_optimizer(record, cells).items()
    ]
    for (protocol, optimizer, penalty), choice, cell in found:
        name = OPTIMIZERS.get(optimizer, "")
        theirs = source.get("test_accuracy", {}).get(name, {}).get(penalty)
        if theirs is None:
            continue
        arm = f"{optimizer}-{penalty}" + (f" ({choice})" if choice else "")
        accuracy = statistics.mean_interval(np.array(theirs))
        variance = source["loss_variance"][name][penalty] * source["batch_size"] ** 2
        row = rows.setdefault(arm, {"arm": arm, "seeds": len(theirs)})
        row |= estimates.three_columns("published", accuracy)
        row["published_stability"] = variance
        row |= estimates.three_columns(
            protocol, estimates.robustness(cell, level=level)
        )
        stability = statistics.stability(cell.curves["train_loss"], level=level)
        row |= estimates.three_columns(f"{protocol}_stability", stability)
    return pd.DataFrame(list(rows.values()))


def distance_from_adam(record: Record) -> pd.DataFrame:
    """How far the third-moment optimizer is from Adam: the extremes of its probes."""
    rows = []
    for cell in networks.load(record):
        if {SHARE, DENOMINATOR} <= set(cell.probes):
            share = np.nanmax(cell.probes[SHARE])
            extremes = {SHARE: share, DENOMINATOR: np.nanmin(cell.probes[DENOMINATOR])}
            rows.append({"arm": cell.arm, **cell.settings, **extremes})
    return pd.DataFrame(rows)


def stats_documents(record: Record) -> dict[str, dict[str, Any]]:
    """File name -> optimizer -> penalty -> lists over seeds, or by seed.

    Lists run by increasing seed. Each protocol has a file: `stats.json` is that of the
    corrected one (or of the only one), `stats_<protocol>.json` that of another. Losses
    are in nats, whereas the source has divided by the batch size once more;
    `cputime_list` is in seconds of wall clock. Empty where `cells_by_optimizer` is.
    """
    contents: dict[str, dict[str, Any]] = {}
    found = cells_by_optimizer(record, networks.load(record))
    for (protocol, optimizer, penalty), cell in found.items():
        name = "stats.json" if protocol == CORRECTED else f"stats_{protocol}.json"
        by_penalty = contents.setdefault(name, {}).setdefault(optimizer, {})
        by_penalty[penalty] = {k: list(cell.final[x]) for k, x in LISTS.items()}
        for key, measure in LISTS_BY_SEED.items():
            curves = zip(cell.seeds, cell.curves[measure])
            by_penalty[penalty][key] = {str(seed): list(x) for seed, x in curves}
    return contents
