"""A record as cells: one arm at one setting, with arrays over its seeds.

The tables, the figures and `stats.json` all start from these. Nothing is estimated
here.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from normjax.errors import InputError
from normjax.study.record import CURVES, FINAL, Record, arm_of


class Cell(NamedTuple):
    """The networks of one arm at one setting, by increasing seed."""

    arm: str
    position: int  # of the setting in the arm's grid
    factors: dict[str, str]
    settings: dict[str, float]
    seeds: np.ndarray  # [seeds]
    final: dict[str, np.ndarray]  # [seeds], the measurements in networks.csv
    steps: np.ndarray  # [evals]
    curves: dict[str, np.ndarray]  # [seeds, evals], the measurements in epochs.csv
    probes: dict[str, np.ndarray]  # [seeds, evals]; none that is nan throughout
    epoch_seconds: np.ndarray  # [evals], of one network; those of the arm


def cells(record: Record) -> list[Cell]:
    """Every complete arm at every setting, in the order of the record.

    Raises:
        InputError: no arm is complete, or an arm has not one row a seed and epoch.
    """
    if record.networks.empty:
        raise InputError(
            f"workdir={str(record.workdir)!r}: no arm is complete;"
            " run the study's command again to go on."
        )
    settings = record.record["settings"]
    epochs = dict(iter(record.epochs.groupby("arm", sort=False)))
    found = []
    for arm, rows in record.networks.groupby("arm", sort=False):
        curves = _by_setting(epochs[arm], settings)
        for position, (key, networks) in enumerate(_by_setting(rows, settings).items()):
            if key not in curves:
                raise _incomplete(record, arm)
            found.append(_cell(record, position, networks, curves[key]))
    return found


def varying(cells: Sequence[Cell], field: str) -> list[str]:
    """The `factors` or `settings` that have more than one level among the cells."""
    names = getattr(cells[0], field)
    return [x for x in names if len(levels(cells, field, x)) > 1]


def levels(cells: Sequence[Cell], field: str, name: str) -> list:
    """The levels of a factor or setting among the cells, in order of appearance."""
    found = dict.fromkeys(getattr(cell, field)[name] for cell in cells)
    return [x for x in found if x == x]  # a setting that an arm does not have is nan


def chosen(cells: Sequence[Cell]) -> list[Cell]:
    """Each arm's cell of highest mean validation accuracy, the first if none is."""
    best = {}
    for cell in cells:
        score = np.nan_to_num(np.mean(cell.final["validation_accuracy"]), nan=-1.0)
        if cell.arm not in best or score > best[cell.arm][0]:
            best[cell.arm] = score, cell
    return [cell for _, cell in best.values()]


def by_optimizer(record: Record) -> dict[tuple[str, str, str], Cell]:
    """(protocol, optimizer, regularizer) -> its arm, at the setting `chosen`.

    Empty but for the study of optimizers, and there too if another factor varies: a
    place in the tables of the source would then stand for several arms.
    """
    factors = record.record["factors"]
    if record.record["study"] != "optimizers":
        return {}
    if not {"optimizer", "regularizer"} <= set(factors):
        return {}
    found = chosen(cells(record))
    places = {
        (
            cell.factors.get("protocol", "corrected"),
            cell.factors["optimizer"],
            cell.factors["regularizer"],
        ): cell
        for cell in found
    }
    return places if len(places) == len(found) else {}


def pairs(a: Cell, b: Cell) -> tuple[np.ndarray, np.ndarray]:
    """The places of the seeds that two cells share, in the one and in the other."""
    return np.intersect1d(a.seeds, b.seeds, return_indices=True)[1:]


def _by_setting(rows: pd.DataFrame, settings: list[str]) -> dict[tuple, pd.DataFrame]:
    if not settings:
        return {(): rows}
    text = rows[settings].map(repr)  # nan equals nan
    return dict(iter(rows.groupby([text[x] for x in settings], sort=False)))


def _cell(
    record: Record, position: int, networks: pd.DataFrame, epochs: pd.DataFrame
) -> Cell:
    networks = networks.sort_values("seed", kind="stable")
    epochs = epochs.sort_values(["seed", "epoch"], kind="stable")
    seeds = networks["seed"].to_numpy()
    first = networks.iloc[0]
    num_evals = epochs["epoch"].nunique()
    if list(epochs["seed"]) != list(np.repeat(seeds, num_evals)):
        raise _incomplete(record, first["arm"])
    return Cell(
        arm=first["arm"],
        position=position,
        factors={x: first[x] for x in record.record["factors"]},
        settings={x: float(first[x]) for x in record.record["settings"]},
        seeds=seeds,
        final={x: networks[x].to_numpy() for x in FINAL},
        steps=epochs["step"].to_numpy()[:num_evals],
        curves={x: epochs[x].to_numpy().reshape(len(seeds), num_evals) for x in CURVES},
        probes=_probes(record, first["arm"], position, seeds),
        epoch_seconds=np.array(record.record["arms"][first["arm"]]["epoch_seconds"]),
    )


def _probes(
    record: Record, arm: str, position: int, seeds: np.ndarray
) -> dict[str, np.ndarray]:
    """What the probes measured on one cell, its seeds in the order of `seeds`."""
    stored = {seed: i for i, seed in enumerate(record.record.get("seeds", seeds))}
    rows = [stored[seed] for seed in seeds]
    found = {
        name.removeprefix(f"{arm}/"): values[position][rows]
        for name, values in record.probes.items()
        if arm_of(name) == arm
    }
    return {name: x for name, x in found.items() if not np.isnan(x).all()}


def _incomplete(record: Record, arm: str) -> InputError:
    return InputError(
        f"{record.workdir / 'epochs.csv'}: damaged (arm {arm!r} has not one row for"
        " each seed and epoch); run the study again in a new folder."
    )
