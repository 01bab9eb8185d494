"""What is measured over the learning rates of an arm's grid, a number per seed."""

from collections.abc import Sequence

import numpy as np

from normjax.report import networks
from normjax.report.networks import Cell

CHANCE = 0.1  # accuracy of a guess: the claims are about data of ten even classes


def largest_rates(cells: Sequence[Cell]) -> np.ndarray | None:
    """[seeds], the largest learning rate of the grid at which the network still trains.

    A network trains if it did not diverge and its final validation accuracy is at least
    halfway between chance, 1 / (number of classes) = 0.1, and the best mean over seeds
    of the arm's cells; it must be twice chance at least, so that an arm that trains at
    no rate is not measured against itself. A seed that trains at no rate gets one step
    of the grid less than its smallest rate, `rates[0]^2 / rates[1]`. So a rate is cut
    off at both ends of the grid: `grid_ends` says of which seeds.

    None if the rate is not the only setting that varies.
    """
    places = _last_places(cells)
    if places is None:
        return None
    rates = np.sort([_rate(cell) for cell in cells])
    return np.where(places >= 0, rates[places], rates[0] ** 2 / rates[1])


def grid_ends(cells: Sequence[Cell]) -> np.ndarray | None:
    """[seeds], where `largest_rates` are cut off: 1 if the true rate may be larger.

    That is so of a seed that trains at the grid's largest rate. It is -1 for one that
    trains at none, so that the true rate is smaller, and 0 for all others.
    """
    places = _last_places(cells)
    if places is None:
        return None
    return (places == len(cells) - 1).astype(int) - (places < 0)


def _last_places(cells: Sequence[Cell]) -> np.ndarray | None:
    """[seeds], the place of the largest rate that still trains; -1 if none does."""
    if networks.varying_names(cells, "settings") != ["learning_rate"]:
        return None
    grid = sorted(cells, key=_rate)
    accuracies = np.stack([_reached(cell) for cell in grid])  # [rates, seeds]
    halfway = (CHANCE + accuracies.mean(axis=1).max()) / 2
    trains = accuracies >= max(halfway, 2 * CHANCE)
    last = len(grid) - 1 - np.argmax(trains[::-1], axis=0)
    return np.where(trains.any(axis=0), last, -1)


def best_accuracies(cells: Sequence[Cell]) -> np.ndarray | None:
    """[seeds], final test accuracy, each seed at its rate of best validation accuracy.

    None if the learning rate is not the only setting that varies.
    """
    if networks.varying_names(cells, "settings") != ["learning_rate"]:
        return None
    best = np.argmax(np.stack([_reached(cell) for cell in cells]), axis=0)
    accuracies = np.stack([cell.final["test_accuracy"] for cell in cells])
    return accuracies[best, np.arange(len(best))]


def _rate(cell: Cell) -> float:
    return cell.settings["learning_rate"]


def _reached(cell: Cell) -> np.ndarray:
    """[seeds], final validation accuracy; where a network diverged, that of a guess."""
    accuracy = cell.final["validation_accuracy"]
    return np.where(cell.diverged | ~np.isfinite(accuracy), CHANCE, accuracy)
