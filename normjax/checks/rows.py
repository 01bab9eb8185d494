"""A row of the table of checks, and how its error and its budget are found."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from normjax.checks.rounding import Rounded


class CheckRow(NamedTuple):
    """One line of the table."""

    name: str  # what is checked
    kind: str  # how it is checked: forward, bf16, running, gradient, ...
    error: float  # what was measured
    budget: float  # what rounding alone may do, in the same units

    @property
    def ok(self) -> bool:
        """Whether the error is within its budget; nan is not."""
        return bool(self.error <= self.budget)

    @property
    def used(self) -> float:
        """Error over budget; 0 of a budget of 0 is 0."""
        if self.budget:
            return self.error / self.budget
        return float("inf") if self.error else 0.0


class Check(NamedTuple):
    """A row that is not yet measured: `judge` says how far a `subject` is off.

    Anything that is called as `subject` is may be judged in its place: a variant that
    is wrong on purpose must come out over budget.
    """

    name: str
    kind: str
    subject: Callable[..., Any]
    judge: Callable[[Callable[..., Any]], tuple[float, float]]  # -> error, budget

    def row(self, subject: Callable[..., Any] | None = None) -> CheckRow:
        """Measures the subject, or another in its place."""
        return CheckRow(self.name, self.kind, *self.judge(subject or self.subject))


def worst(found: PyTree, expected: PyTree[Rounded]) -> tuple[float, float]:
    """Error and budget of the entry that uses most of its budget.

    Both are relative to the largest expected entry of its feature (last axis), or of
    its array if that is a vector, and so read as multiples of the unit. A result that
    is not finite or has other shapes has an infinite error.
    """
    leaves = jax.tree.leaves(expected)
    arrays = [np.asarray(a, np.float64) for a in jax.tree.leaves(found)]
    if [a.shape for a in arrays] != [r.value.shape for r in leaves]:
        return float("inf"), 0.0
    judged = [_worst_entry(a, r) for a, r in zip(arrays, leaves)]
    return most_used(judged)


def most_used(judged: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The pair of error and budget that uses most of its budget."""
    pairs = [(float(error), float(budget)) for error, budget in judged]
    return max(pairs, key=lambda pair: CheckRow("", "", *pair).used)


def parity(
    name: str,
    framework: str,
    theirs: Callable[[], PyTree],
    ours: Callable[[], PyTree],
    right: Callable[[], PyTree[Rounded]],
) -> Check:
    """Theirs against ours, each of which may be off by the budget of the formula."""

    def judge(theirs):
        pairs = zip(jax.tree.leaves(ours()), jax.tree.leaves(right()))
        return worst(theirs(), [Rounded(np.asarray(a), 2 * r.error) for a, r in pairs])

    return Check(name, framework, theirs, judge)


def _worst_entry(found: np.ndarray, expected: Rounded) -> tuple[float, float]:
    error = np.where(np.isfinite(found), np.abs(found - expected.value), np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        used = np.where(error > 0, error / expected.error, 0)
    i = np.unravel_index(np.argmax(used), error.shape)
    feature = (..., i[-1]) if len(i) > 1 else ...
    top = np.max(np.abs(expected.value[feature])) or 1.0
    return error[i] / top, expected.error[i] / top
