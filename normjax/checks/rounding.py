"""Numbers that carry what rounding may have done to them: budgets, derived.

A formula that is evaluated on `Rounded` numbers gives its value in float64 and, beside
it, a bound on the error of a float32 program for the same formula: running error
analysis (Wilkinson; Higham 2002, Accuracy and Stability of Numerical Algorithms, 3.3).
Each operation adds one rounding of its result, `unit * |value|`, to the errors of its
operands times its derivatives: k * unit * condition, counted instead of guessed. No
program under check is run here.
"""

from collections.abc import Callable, Sequence

import numpy as np

UNIT32 = 2.0**-24  # largest relative error of one rounding to float32
UNIT64 = 2.0**-53
UNIT_BF16 = 2.0**-8

NumpyAxes = int | tuple[int, ...]
Values = np.ndarray | np.generic | float | int


class Rounded:
    """A float64 `value`, known to `error`, in an arithmetic that rounds by `unit`.

    `error` is absolute, at least 0, and has the shape of `value`.
    """

    __array_ufunc__ = None  # an array on the left leaves the operation to this class

    def __init__(self, value: Values, error: Values, unit: float = UNIT32):
        self.value: np.ndarray = np.asarray(value, np.float64)
        self.error: np.ndarray = np.broadcast_to(error, self.value.shape)
        self.unit = unit

    def __add__(self, other) -> "Rounded":
        other = self.of(other)
        value = self.value + other.value
        return self._rounded(value, self.error + other.error)

    def __neg__(self) -> "Rounded":
        return Rounded(-self.value, self.error, self.unit)

    def __sub__(self, other) -> "Rounded":
        return self + -self.of(other)

    def __mul__(self, other) -> "Rounded":
        other = self.of(other)
        error = np.abs(self.value) * other.error + self.error * np.abs(other.value)
        error = error + self.error * other.error
        return self._rounded(self.value * other.value, error)

    def __truediv__(self, other) -> "Rounded":
        """The error is `inf` where the divisor may be 0."""
        other = self.of(other)
        value = self.value / other.value
        least = np.abs(other.value) - other.error
        error = (self.error + np.abs(value) * other.error) / np.maximum(least, 0)
        return self._rounded(value, error)

    def __pow__(self, power: int) -> "Rounded":
        return self if power == 1 else self * self ** (power - 1)

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other) -> "Rounded":
        return self.of(other) - self

    def __rtruediv__(self, other) -> "Rounded":
        return self.of(other) / self

    def of(self, other) -> "Rounded":
        """`other` in this arithmetic: off by one rounding unless float32 holds it."""
        return rounded(other, self.unit)

    def move(self, function: Callable[[np.ndarray], np.ndarray]) -> "Rounded":
        """Applies a `function` that moves or repeats entries to value and error."""
        return Rounded(function(self.value), function(self.error), self.unit)

    def _rounded(self, value: Values, error: Values) -> "Rounded":
        error = np.asarray(error) + self.unit * np.abs(value)
        return Rounded(value, error, self.unit)


def rounded(value, unit: float = UNIT32) -> Rounded:
    """`value` as an input: exact where float32 holds it, else off by one rounding."""
    if isinstance(value, Rounded):
        return value
    value = np.asarray(value, np.float64)
    exact = value.astype(np.float32).astype(np.float64) == value
    return Rounded(value, np.where(exact, 0, unit * np.abs(value)), unit)


def monotone(
    function: Callable[[np.ndarray], np.ndarray], x: Rounded, *, units: int = 4
) -> Rounded:
    """A monotone `function` of `x` that is itself off by `units` roundings.

    An interval maps to the interval between the images of its ends. Four units are the
    2 ulps that the roots and exponentials of XLA and of the C library keep.
    """
    value = function(x.value)
    ends = [np.abs(function(x.value + s * x.error) - value) for s in (-1, 1)]
    return Rounded(value, np.maximum(*ends) + units * x.unit * np.abs(value), x.unit)


def root(x: Rounded) -> Rounded:
    """The square root of what is known to be at least 0."""
    return monotone(lambda a: np.sqrt(np.maximum(a, 0)), x)


def sign(x: Rounded) -> Rounded:
    """-1, 0 or 1; nothing is known of the sign of what may be on either side of 0."""
    value = np.sign(x.value)
    return Rounded(value, np.where(np.abs(x.value) > x.error, 0.0, 2.0), x.unit)


def select(where: np.ndarray, a: Rounded, b: Rounded | float) -> Rounded:
    """`a` where true, else `b`, without a rounding."""
    b = a.of(b)
    value = np.where(where, a.value, b.value)
    return Rounded(value, np.where(where, a.error, b.error), a.unit)


def maximum(a: Rounded, b: Rounded) -> Rounded:
    """The larger of two numbers, which is off by no more than either."""
    value = np.maximum(a.value, b.value)
    return Rounded(value, np.maximum(a.error, b.error), a.unit)


def join(rows: Sequence[Rounded], function: Callable = np.stack) -> Rounded:
    """Stacks or concatenates values and errors."""
    values, errors = [row.value for row in rows], [row.error for row in rows]
    return Rounded(function(values), function(errors), rows[0].unit)


def total(x: Rounded, axes: NumpyAxes, where: np.ndarray | None = None) -> Rounded:
    """The sum over `axes`, which stay with size 1.

    The roundings of n additions add up like a random walk (Higham and Mary, 2019,
    A New Approach to Probabilistic Rounding Error Analysis): a partial sum is at
    most sum(|x|), so they stay within 2 sqrt(n) unit sum(|x|), 3.5 standard
    deviations for terms of one sign. The terms' own errors may all point one way.
    """
    counted = np.broadcast_to(True if where is None else where, x.value.shape)
    add = lambda a: np.sum(np.where(counted, a, 0), axes, keepdims=True)
    value, size = add(x.value), add(np.abs(x.value))
    terms = np.sqrt(np.sum(counted, axes, keepdims=True))
    return Rounded(value, add(x.error) + 2 * terms * x.unit * size, x.unit)


def mean(x: Rounded, axes: NumpyAxes, where: np.ndarray | None = None) -> Rounded:
    """`sum(x) / n` over `axes`, which stay with size 1; 0 where n is 0."""
    counted = np.broadcast_to(True if where is None else where, x.value.shape)
    count = np.maximum(np.sum(counted, axes, keepdims=True), 1)
    return total(x, axes, where) / Rounded(count, 0.0, x.unit)


def variance(
    x: Rounded, middle: Rounded, axes: NumpyAxes, where: np.ndarray | None = None
) -> Rounded:
    """`mean((x - middle)^2)`, with `middle` the mean of `x`, in two passes.

    An error d of `middle` adds d^2 alone, since x - middle sums to 0: this is what
    makes two passes accurate, and what `mean` of a square would not know. Then 2
    units for the difference, as its square counts it twice, 1 each for square and
    quotient, 2 sqrt(n) for the sum, and the errors of `x` times 2 |x - middle|.
    """
    counted = np.broadcast_to(True if where is None else where, x.value.shape)
    count = np.maximum(np.sum(counted, axes, keepdims=True), 1)
    centered = np.where(counted, x.value - middle.value, 0)
    average = lambda a: np.sum(np.where(counted, a, 0), axes, keepdims=True) / count
    value = average(centered**2)
    own = (4 + 2 * np.sqrt(count)) * x.unit * value
    inputs = average(2 * np.abs(centered) * x.error + x.error**2)
    return Rounded(value, own + middle.error**2 + inputs, x.unit)
