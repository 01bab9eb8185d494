"""A record's networks as cells: one arm at one setting, with arrays over its seeds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from normjax import files
from normjax.errors import InputError
from normjax.study.columns import Level
from normjax.study.record import CURVES, FINAL, Record

FACTOR = "record"  # of several studies, whose names are its levels


class Cell(NamedTuple):
    """The networks of one arm at one setting, by increasing seed."""

    arm: str
    position: int  # of the setting in the arm's grid
    factors: dict[str, Level]  # a batch size is a number
    settings: dict[str, float]  # nan where the arm does not have the setting
    seeds: np.ndarray  # [seeds]
    final: dict[str, np.ndarray]  # [seeds], the measurements in networks.csv
    steps: np.ndarray  # [epochs]
    curves: dict[str, np.ndarray]  # [seeds, epochs], the measurements in epochs.csv
    probes: dict[str, np.ndarray]  # [seeds, epochs]; those that are not all nan
    epoch_seconds: np.ndarray  # [epochs], per network, the same for the whole arm

    @property
    def measurements(self) -> dict[str, np.ndarray]:
        """Everything that was measured after each epoch, [seeds, epochs]."""
        return self.curves | self.probes

    @property
    def diverged(self) -> np.ndarray:
        """[seeds], whether the network met a number that is not finite."""
        return self.final["diverged_at_step"] >= 0


def load(record: Record) -> list[Cell]:
    """Every arm at every setting that has networks, in the order of the record.

    Raises:
        InputError: there is no network, or an arm does not have exactly one row for
            each seed and epoch.
    """
    if record.networks.empty:
        rule = "must hold at least one trained network"
        remedy = "run the study's command again to continue it"
        raise InputError("workdir", str(record.workdir), rule, remedy)
    settings = record.record["settings"]
    epochs = dict(iter(record.epochs.groupby("arm", sort=False)))
    cells = []
    for arm, rows in record.networks.groupby("arm", sort=False):
        curves = _by_setting(epochs[arm], settings)
        grid = _positions(record.record["arms"][arm]["settings"], settings)
        for place, (key, networks) in enumerate(_by_setting(rows, settings).items()):
            if key not in curves:
                raise _incomplete(record, arm)
            position = grid.get(key, place)
            cells.append(_cell(record, position, networks, curves[key]))
    return cells


def varying_names(cells: Sequence[Cell], field: str) -> list[str]:
    """The `factors` or `settings` that have more than one level among the cells."""
    return [x for x in getattr(cells[0], field) if len(levels(cells, field, x)) > 1]


def levels(cells: Sequence[Cell], field: str, name: str) -> list:
    """The levels of a factor or setting, in order of appearance; nan is not one."""
    present = dict.fromkeys(getattr(cell, field)[name] for cell in cells)
    return [level for level in present if pd.notna(level)]


def best_of_arms(cells: Sequence[Cell]) -> list[Cell]:
    """Each arm's cell of highest mean validation accuracy, or its first without one."""
    best: dict[str, tuple[float, Cell]] = {}
    for cell in cells:
        score = np.nan_to_num(np.mean(cell.final["validation_accuracy"]), nan=-1.0)
        if cell.arm not in best or score > best[cell.arm][0]:
            best[cell.arm] = score, cell
    return [cell for _, cell in best.values()]


def shared_seeds(a: Cell, b: Cell) -> tuple[np.ndarray, np.ndarray]:
    """The positions in `a` and in `b` of the seeds that both cells have."""
    _, in_a, in_b = np.intersect1d(a.seeds, b.seeds, return_indices=True)
    return in_a, in_b


def _positions(grid: Mapping[str, list], settings: list[str]) -> dict[Any, int]:
    """The position of each setting in an arm's grid, by the keys of `_by_setting`."""
    number = max(map(len, grid.values()), default=1)
    columns = [grid.get(name, [math.nan] * number) for name in settings]
    keys = _keys(columns) if settings else [()]
    return {key: i for i, key in reversed(list(enumerate(keys)))}


def _by_setting(rows: pd.DataFrame, settings: list[str]) -> dict[Any, pd.DataFrame]:
    if not settings:
        return {(): rows}
    places: dict[Any, list[int]] = {}
    for i, key in enumerate(_keys([rows[x].tolist() for x in settings])):
        places.setdefault(key, []).append(i)
    if len(places) == 1:
        return dict.fromkeys(places, rows)
    return {key: rows.iloc[found] for key, found in places.items()}


def _keys(columns: Sequence[Sequence[float]]) -> list[tuple[str, ...]]:
    """The settings of each row as text: then nan equals nan."""
    return list(zip(*([repr(float(x)) for x in column] for column in columns)))


def _cell(
    record: Record, position: int, networks: pd.DataFrame, epochs: pd.DataFrame
) -> Cell:
    networks = networks.sort_values("seed", kind="stable")
    epochs = epochs.sort_values(["seed", "epoch"], kind="stable")
    seeds = networks["seed"].to_numpy()
    first = {name: networks[name].tolist()[0] for name in networks}
    num_epochs = epochs["epoch"].nunique()
    if list(epochs["seed"]) != list(np.repeat(seeds, num_epochs)):
        raise _incomplete(record, first["arm"])
    stored = {seed: i for i, seed in enumerate(record.record["seeds"])}
    rows = [stored[seed] for seed in seeds]  # in the arrays of the probes
    probes = {
        name.rpartition("/")[2]: values[position][rows]
        for name, values in record.probes.items()
        if name.rpartition("/")[0] == first["arm"]
    }
    return Cell(
        arm=first["arm"],
        position=position,
        factors={x: first[x] for x in record.record["factors"]},
        settings={x: float(first[x]) for x in record.record["settings"]},
        seeds=seeds,
        final={x: networks[x].to_numpy() for x in FINAL},
        steps=epochs["step"].to_numpy()[:num_epochs],
        curves={
            x: epochs[x].to_numpy().reshape(len(seeds), num_epochs) for x in CURVES
        },
        probes={k: x for k, x in probes.items() if not np.isnan(x).all()},
        epoch_seconds=np.array(record.record["arms"][first["arm"]]["epoch_seconds"]),
    )


def _incomplete(record: Record, arm: str) -> InputError:
    why = f"arm {arm!r} does not have one row for each seed and epoch"
    return files.damaged(record.workdir / "epochs.csv", why)
