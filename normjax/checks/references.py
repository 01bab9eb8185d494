"""Norms of one example, and of kernels, from their formulas alone.

A reference computes on numbers that carry their rounding budget, channels last, and
returns `(y, stats)` in the structure of the layer of the same name. The modules of
references import no op, no layer and no jax. A row of the table at the end of one of
them is all that a new norm needs to be checked.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from normjax.checks import rounding
from normjax.checks.rounding import NumpyAxes, Rounded

Result = tuple[Rounded, dict[str, Any]]  # y, stats (nested where layers share them)
EPS = 1e-2  # large, so that its place in the formula shows


@dataclasses.dataclass(frozen=True)
class Given:
    """What a norm is called with."""

    x: Rounded  # activations or a kernel
    params: dict[str, Rounded]
    stats: dict[str, Any]
    train: bool = True
    where: np.ndarray | None = None  # a mask that broadcasts to `x`
    eps: float = 1e-5

    @property
    def space(self) -> tuple[int, ...]:
        """The axes between that of the examples and that of the features."""
        return tuple(range(1, self.x.value.ndim - 1))

    def affine(self, z: Rounded) -> Rounded:
        """`scale * z + bias`, as far as there are such parameters; 0 behind a mask."""
        y = z * self.params["scale"] if "scale" in self.params else z
        return self.unmasked(y + self.params["bias"] if "bias" in self.params else y)

    def unmasked(self, y: Rounded) -> Rounded:
        """`y`, but 0 where the mask is false."""
        return y if self.where is None else rounding.select(self.where, y, 0.0)

    def grouped(self, num_groups: int) -> "Given":
        """The same call with the features as `[groups, features of a group]`."""
        split = lambda a: a.reshape(*a.shape[:-1], num_groups, -1)
        where = None if self.where is None else self.where[..., None]
        return dataclasses.replace(self, x=self.x.move(split), where=where)

    def moments(self, axes: NumpyAxes) -> tuple[Rounded, Rounded]:
        """Mean and variance of `x` over axes that stay with size 1."""
        middle = rounding.mean(self.x, axes, self.where)
        return middle, rounding.variance(self.x, middle, axes, self.where)

    def standardize(self, middle: Rounded, var: Rounded) -> Rounded:
        """`(x - mean) / sqrt(var + eps)`."""
        return (self.x - middle) / rounding.root(var + self.eps)


class Case(NamedTuple):
    """A norm's reference, and how the norm is called to be compared with it."""

    formula: Callable[..., Result]  # called with a Given and `settings`
    settings: Mapping[str, Any]  # arguments of the layer and of the formula
    only_layer: Mapping[str, Any] = {}  # arguments of the layer alone
    shifted: bool = False  # subtracts a mean: is checked at |mean| = 1000 std too
    masked: bool = False  # takes a mask
    train: bool = False  # keeps statistics, and uses them when it evaluates


def layer(g: Given) -> Result:
    """Moments over the last axis."""
    return g.affine(g.standardize(*g.moments(-1))), g.stats


def rms(g: Given) -> Result:
    """`scale * x / sqrt(mean(x^2) + eps)` over the last axis."""
    square = rounding.mean(g.x * g.x, -1)
    return g.affine(g.x / rounding.root(square + g.eps)), g.stats


def group(g: Given, *, num_groups: int) -> Result:
    """Moments per example over space and neighbouring channels."""
    split = g.grouped(num_groups)
    z = split.standardize(*split.moments((*g.space, g.x.value.ndim)))
    return g.affine(z.move(lambda a: a.reshape(g.x.value.shape))), g.stats


def instance(g: Given) -> Result:
    """Moments per example and channel over space."""
    return group(g, num_groups=g.x.value.shape[-1])


def weight(g: Given) -> Result:
    """`scale * v / sqrt(||v||^2 + eps)` per output feature."""
    square = rounding.total(g.x * g.x, (0, *g.space))
    return g.x * (g.params["scale"] / rounding.root(square + g.eps)), g.stats


def weight_standardization(g: Given) -> Result:
    """`(v - mean) / sqrt(var + eps)` per output feature."""
    return g.standardize(*g.moments((0, *g.space))), g.stats


def spectral(g: Given) -> Result:
    """`W / (v W u)`, after `u = unit(v W); v = unit(W u)` in training.

    The budget of a vector is one of its length, the same for each entry: an error e
    of v in length is one of at most ||W|| e in v W, while entry by entry it would
    seem to grow with the root of their number at every step.
    """
    matrix = g.x.value.reshape(-1, g.x.value.shape[-1])
    u, v = g.stats["u"], g.stats["v"]
    if g.train:
        u = _power_step(matrix, v)
        v = _power_step(matrix.T, u)
    right, left = matrix @ u.value, v.value @ matrix
    error = np.max(v.error) * np.linalg.norm(right)
    error = error + np.max(u.error) * np.linalg.norm(left)
    size = np.abs(v.value) @ np.abs(matrix) @ np.abs(u.value)
    roots = sum(np.sqrt(matrix.shape))
    sigma = Rounded(v.value @ right, error + 2 * roots * g.x.unit * size, g.x.unit)
    return g.x / sigma, {"u": u, "v": v}


def _power_step(matrix: np.ndarray, v: Rounded) -> Rounded:
    """`unit(v W)`: the length takes sqrt(m) / 2 + 2 units, the quotient 1."""
    y = v.value @ matrix
    length, terms = np.linalg.norm(y), np.sqrt(matrix.shape)
    products = np.linalg.norm(np.abs(v.value) @ np.abs(matrix))
    error = np.linalg.norm(matrix, 2) * np.max(v.error)
    error = error + (2 * terms[0] + 1) * v.unit * products
    return Rounded(y / length, error / length + (terms[1] / 2 + 3) * v.unit, v.unit)


PER_EXAMPLE = {
    "layer": Case(layer, {"eps": EPS}, shifted=True),
    "rms": Case(rms, {"eps": EPS}),
    "group": Case(group, {"eps": EPS, "num_groups": 4}, shifted=True, masked=True),
    "layer_example": Case(
        group, {"eps": EPS, "num_groups": 1}, shifted=True, masked=True
    ),
    "instance": Case(instance, {"eps": EPS}, shifted=True, masked=True),
}
KERNELS = {
    "weight": Case(weight, {"eps": EPS}),
    "weight_standardization": Case(weight_standardization, {"eps": EPS}, shifted=True),
    "spectral": Case(spectral, {}, train=True),
}
