"""A row of the table of checks, and how one is measured. Runs nothing itself."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from normjax.checks.rounding import Rounded


class Row(NamedTuple):
    """One line of the table."""

    name: str  # what is checked
    kind: str  # how: forward, bf16, running, gradient, ...
    error: float  # found
    budget: float  # what rounding alone may do, in the same units

    @property
    def ok(self) -> bool:
        """Whether the error is within its budget; nan is not."""
        return bool(self.error <= self.budget)


class Check(NamedTuple):
    """A row that is not yet measured: `judge` says how far `subject` is off.

    What is wrong on purpose takes the place of `subject` and must be over budget.
    """

    name: str
    kind: str
    subject: Callable[..., Any]
    judge: Callable[[Callable[..., Any]], tuple[float, float]]  # -> error, budget

    def row(self) -> Row:
        """Runs the check."""
        return Row(self.name, self.kind, *self.judge(self.subject))


def worst(found: PyTree, expected: PyTree[Rounded]) -> tuple[float, float]:
    """Error and budget of the entry that uses most of its budget.

    Both are relative to the largest entry of its array, so that they read as
    multiples of the rounding unit. What is not finite, or has another shape or
    structure than expected, has an infinite error.
    """
    leaves = jax.tree.leaves(expected, is_leaf=lambda a: isinstance(a, Rounded))
    arrays = [np.asarray(a, np.float64) for a in jax.tree.leaves(found)]
    if [a.shape for a in arrays] != [r.value.shape for r in leaves]:
        return float("inf"), 0.0
    judged = [_worst_entry(a, r) for a, r in zip(arrays, leaves)]
    return max(judged, key=share)


def share(judged: tuple[float, float]) -> float:
    """Error over budget; 0 of a budget of 0 is 0."""
    error, budget = judged
    return error / budget if budget else (float("inf") if error else 0.0)


def _worst_entry(found: np.ndarray, expected: Rounded) -> tuple[float, float]:
    error = np.where(np.isfinite(found), np.abs(found - expected.value), np.inf)
    budget = np.broadcast_to(expected.error, error.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        used = np.where(error > 0, error / budget, 0)
    i = np.unravel_index(np.argmax(used), error.shape)
    top = np.max(np.abs(expected.value)) or 1.0
    return float(error[i] / top), float(budget[i] / top)
