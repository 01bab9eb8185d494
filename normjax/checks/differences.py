"""Central differences in float64: slopes of a function without differentiating it.

These are numbers, not verdicts: the caller says what is close enough.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from normjax.errors import InputError

NOISE = 4 * float(np.finfo(np.float64).eps)  # of two numbers near 1, subtracted


def central(
    f: Callable[..., PyTree],
    args: tuple[PyTree, ...],
    dy: PyTree,
    *,
    step: float = 5e-2,
    levels: int = 14,
) -> tuple[PyTree, ...]:
    """`d sum(dy * f(*args)) / d args`, element by element, without autodiff.

    A central difference of step h errs by `h^2 f''' / 6`, which one step alone
    trades for rounding: eps^(2/3) = 4e-11 at best, for a function of size 1. Here h
    is halved at every level and the differences extrapolated to 0 (Richardson: each
    column of the table removes the next even power of h). For each element that
    entry is taken which differs least from its two parents (Ridders), the rounding
    `4 eps / h` added: a smooth element gets a large h and little rounding, one near
    a kink or a pole a small h. For f of size 1 what is left is 1e-14 to 1e-12.

    Args:
        f: arrays to arrays, without side effects; differentiable in float64.
        args: pytrees of float64 arrays.
        dy: weighs the outputs, in their structure.
        step: the largest h, in the units of `args`.
        levels: how many h are taken; 1 is the plain difference, whose truncation
            has a bound.

    Raises:
        InputError: if an argument is not float64.

    References:
        Ridders, 1982. Accurate computation of F'(x) and F'(x)F''(x). Advances in
        Engineering Software 4(2).
    """
    _check_float64(args)
    flat, unravel = ravel_pytree(args)
    steps = step / 2.0 ** jnp.arange(levels)
    slopes = jax.jit(_slopes, static_argnums=(0, 1))(f, unravel, flat, dy, steps)
    return unravel(jnp.asarray(_extrapolate(np.asarray(slopes), np.asarray(steps))))


def _slopes(f, unravel, flat, dy, steps):
    """Central differences `[steps, elements]`."""

    def one(step, element):
        shift = jnp.zeros_like(flat).at[element].set(step)
        ahead, behind = f(*unravel(flat + shift)), f(*unravel(flat - shift))
        # The outputs are subtracted before they are summed: what does not move
        # leaves no rounding.
        moved = jax.tree.map(lambda a, b, c: jnp.sum((a - b) * c), ahead, behind, dy)
        return sum(jax.tree.leaves(moved)) / (2 * step)

    every = jax.vmap(one, (None, 0))
    return jax.lax.map(lambda step: every(step, jnp.arange(flat.size)), steps)


def _extrapolate(slopes: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """For each element the entry of Richardson's table that moved least."""
    best, least = slopes[0], np.full(slopes[0].shape, np.inf)
    row = [slopes[0]]
    for slope, step in zip(slopes[1:], steps[1:]):
        above, row = row, [slope]
        for column, corner in enumerate(above, start=1):
            new = row[-1] + (row[-1] - corner) / (4.0**column - 1)
            moved = np.maximum(np.abs(new - row[-1]), np.abs(new - corner))
            moved = moved + NOISE / step
            best = np.where(moved < least, new, best)
            least = np.minimum(moved, least)
            row.append(new)
    return best


def _check_float64(args) -> None:
    for leaf in jax.tree.leaves(args):
        if leaf.dtype != jnp.float64:
            raise InputError(
                "args.dtype",
                str(leaf.dtype),
                "must be float64, or rounding hides errors below 1e-3",
                "pass float64 arrays under jax.enable_x64(True)",
            )
