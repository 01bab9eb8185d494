"""What only the source of the study of optimizers asks for: its table, `stats.json`.

Also how far its third-moment optimizer is from Adam.
"""

from typing import Any

import numpy as np
import pandas as pd

from normjax import statistics
from normjax.audit import published
from normjax.audit.published import OPTIMIZERS
from normjax.report import estimates, networks
from normjax.report.networks import Cell
from normjax.study.record import Record

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


def cells_by_optimizer(record: Record) -> dict[tuple[str, ...], Cell]:
    """(protocol, optimizer, penalty) -> the arm, at its best setting.

    Empty for any study but that of optimizers, and if another factor varies: an entry
    in the tables of the source would then stand for several arms.
    """
    about = record.record
    known = {"optimizer", "penalty"} <= set(about["factors"])
    if about["study"] != "optimizers" or not known:
        return {}
    cells = networks.best_of_arms(networks.load(record))
    by_name = {}
    for cell in cells:
        levels = {"protocol": published.CORRECTED, **cell.factors}
        names = (str(levels[x]) for x in ("protocol", "optimizer", "penalty"))
        by_name[tuple(names)] = cell
    return by_name if len(by_name) == len(cells) else {}


def comparison(record: Record) -> pd.DataFrame:
    """Optimizer x penalty: test accuracy and stability, published and ours.

    Intervals are over seeds, the published ones too. The source divides its mean
    loss by the batch size once more, so its variance is multiplied by the square
    of the batch size here. It gave no losses by seed, so this variance has no interval.
    Empty for a data set or an optimizer that the source does not have, and where
    `cells_by_optimizer` is.
    """
    source = published.of_record(record)
    rows: dict[str, dict[str, Any]] = {}
    for (protocol, optimizer, penalty), cell in cells_by_optimizer(record).items():
        name = OPTIMIZERS.get(optimizer, "")
        theirs = source.get("test_accuracy", {}).get(name, {}).get(penalty)
        if theirs is None:
            continue
        arm = f"{optimizer}-{penalty}"
        accuracy = statistics.mean_interval(np.array(theirs))
        variance = source["loss_variance"][name][penalty] * source["batch_size"] ** 2
        row = rows.setdefault(arm, {"arm": arm, "seeds": len(theirs)})
        row |= estimates.three_columns("published", accuracy)
        row["published_stability"] = variance
        row |= estimates.three_columns(protocol, estimates.robustness(cell))
        stability = statistics.stability(cell.curves["train_loss"])
        row |= estimates.three_columns(f"{protocol}_stability", stability)
    return pd.DataFrame(list(rows.values()))


def distance_from_adam(record: Record) -> pd.DataFrame:
    """How far the third-moment optimizer is from Adam; empty without its probes.

    That is the largest share over seeds and epochs of coordinates whose update differs
    from Adam's, and the smallest denominator.
    """
    rows = []
    for cell in networks.load(record):
        if {SHARE, DENOMINATOR} <= set(cell.probes):
            share = np.nanmax(cell.probes[SHARE])
            extremes = {SHARE: share, DENOMINATOR: np.nanmin(cell.probes[DENOMINATOR])}
            rows.append({"arm": cell.arm, **cell.settings, **extremes})
    return pd.DataFrame(rows)


def stats(record: Record) -> dict[str, dict[str, Any]]:
    """File name -> optimizer -> penalty -> lists over seeds, or by seed.

    Lists run by increasing seed. Each protocol has a file: `stats.json` is that of the
    corrected one (or of the only one), `stats_<protocol>.json` that of another. An arm
    with a grid of settings is represented by its best one. Losses are in nats, whereas
    the source has divided by the batch size once more; `cputime_list` is in seconds of
    wall clock. Empty where `cells_by_optimizer` is.
    """
    contents: dict[str, dict[str, Any]] = {}
    for (protocol, optimizer, penalty), cell in cells_by_optimizer(record).items():
        corrected = protocol == published.CORRECTED
        name = "stats.json" if corrected else f"stats_{protocol}.json"
        by_penalty = contents.setdefault(name, {}).setdefault(optimizer, {})
        by_penalty[penalty] = {k: list(cell.final[x]) for k, x in LISTS.items()}
        for key, measure in LISTS_BY_SEED.items():
            curves = zip(cell.seeds, cell.curves[measure])
            by_penalty[penalty][key] = {str(seed): list(x) for seed, x in curves}
    return contents
