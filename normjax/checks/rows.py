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


class Mutant(NamedTuple):
    """A wrong subject, and the row that has to find it over budget."""

    row: str  # "kind: name" of a check
    wrong: Callable[..., Any]


def worst(found: PyTree, expected: PyTree[Rounded]) -> tuple[float, float]:
    """Error and budget of the entry that uses most of its budget.

    Both are relative to the largest expected entry of its feature (last axis), or of
    its array if that is a vector, and so read as multiples of the unit.
    What is not finite, or has other shapes, has an infinite error.
    """
    leaves = jax.tree.leaves(expected, is_leaf=lambda a: isinstance(a, Rounded))
    arrays = [np.asarray(a, np.float64) for a in jax.tree.leaves(found)]
    if [a.shape for a in arrays] != [r.value.shape for r in leaves]:
        return float("inf"), 0.0
    judged = [_worst_entry(a, r) for a, r in zip(arrays, leaves)]
    return max(judged, key=share)


def beside(
    name: str,
    kind: str,
    theirs: Callable[[], PyTree],
    ours: Callable[[], PyTree],
    right: Callable[[], PyTree[Rounded]],
) -> Check:
    """Theirs against ours, each of which may be off by the budget of the formula."""

    def judge(theirs):
        leaf = lambda a: isinstance(a, Rounded)
        twice = lambda a, r: Rounded(np.asarray(a, np.float64), 2 * r.error)
        arrays = jax.tree.leaves(ours())
        pairs = zip(arrays, jax.tree.leaves(right(), is_leaf=leaf))
        return worst(theirs(), [twice(a, r) for a, r in pairs])

    return Check(name, kind, theirs, judge)


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
    feature = (..., i[-1]) if len(i) > 1 else ...
    top = np.max(np.abs(expected.value[feature])) or 1.0
    return float(error[i] / top), float(budget[i] / top)
