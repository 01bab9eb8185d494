"""The whole study as one JSON of three levels, as the source asked for it."""

from pathlib import Path
from typing import Any

from normjax import files
from normjax.report import networks as cells_
from normjax.report.networks import Cell
from normjax.study.record import Record

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


def stats(record: Record) -> dict[str, dict[str, Any]]:
    """File name -> optimizer -> regularizer -> lists over seeds, or by seed.

    Lists run by increasing seed. A file for each protocol: `stats.json` for the
    corrected one (or where there is one only), `stats_<protocol>.json` for another.
    An arm with a grid of settings is taken at its chosen one. Losses are in nats,
    where the source has divided by the batch size once more; `cputime_list` is in
    seconds of wall clock. Empty where `cells.by_optimizer` is.
    """
    found: dict[str, dict[str, Any]] = {}
    for place, cell in cells_.by_optimizer(record).items():
        protocol, optimizer, regularizer = place
        name = "stats.json" if protocol == "corrected" else f"stats_{protocol}.json"
        by_regularizer = found.setdefault(name, {}).setdefault(optimizer, {})
        by_regularizer[regularizer] = _lists(cell)
    return found


def write(record: Record, folder: Path) -> None:
    """Writes each file of `stats` into `folder`."""
    for name, content in stats(record).items():
        files.write_json(folder / name, content)


def _lists(cell: Cell) -> dict[str, Any]:
    by_seed = {
        name: {str(seed): list(x) for seed, x in zip(cell.seeds, cell.curves[key])}
        for name, key in LISTS_BY_SEED.items()
    }
    return {name: list(cell.final[key]) for name, key in LISTS.items()} | by_seed
