"""Central differences in float64, and how far gradients are from them.

Numbers, not verdicts: what is close enough is for the caller to say. No randomness
but that of the generator handed in.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from normjax.errors import InputError

LEVELS = 14  # steps of `central`: the first, and its halves
NOISE = 4 * float(np.finfo(np.float64).eps)  # of two numbers near 1, subtracted


def relative_error(
    a: Float[Array, "*shape"] | Float[np.ndarray, "*shape"],
    b: Float[Array, "*shape"] | Float[np.ndarray, "*shape"],
    *,
    floor: float = 1e-8,
) -> float:
    """`max |a - b| / max(floor, |a| + |b|)` over the elements.

    Half of the usual relative error where the two are near, at most 1, and an
    absolute error in units of `floor` where both are below that.
    """
    a, b = np.asarray(a), np.asarray(b)
    return float(np.max(np.abs(a - b) / np.maximum(floor, np.abs(a) + np.abs(b))))


def central(
    f: Callable[..., PyTree],
    args: tuple[PyTree, ...],
    dy: PyTree,
    *,
    step: float = 5e-2,
) -> tuple[PyTree, ...]:
    """`d sum(dy * f(*args)) / d args`, element by element, without autodiff.

    A central difference of step h errs by `h^2 f''' / 6`, which one step alone
    trades for rounding: eps^(2/3) = 4e-11 at best, for a function of size 1. Here h
    is halved thirteen times and the differences extrapolated to 0 (Richardson: each
    column of the table removes the next even power of h). For each element that
    entry is taken which differs least from its two parents (Ridders), the rounding
    `4 eps / h` added: a smooth element gets a large h and little rounding, one near
    a kink or a pole a small h. For f of size 1 what is left is 1e-14 to 1e-12.

    Args:
        f: arrays to arrays, without side effects; differentiable in float64.
        args: pytrees of float64 arrays.
        dy: weighs the outputs, in their structure.
        step: the largest h, in the units of `args`.

    Raises:
        InputError: if an argument is not float64.

    References:
        Ridders, 1982. Accurate computation of F'(x) and F'(x)F''(x). Advances in
        Engineering Software 4(2).
    """
    _refuse_narrow(args)
    flat, unravel = ravel_pytree(args)
    steps = step / 2.0 ** jnp.arange(LEVELS)
    slopes = jax.jit(_slopes, static_argnums=(0, 1))(f, unravel, flat, dy, steps)
    return unravel(jnp.asarray(_extrapolated(np.asarray(slopes), np.asarray(steps))))


def gradient_error(
    f: Callable[..., PyTree],
    args: tuple[PyTree, ...],
    draws: np.random.Generator,
    *,
    num_directions: int = 8,
) -> float:
    """Worst disagreement of reverse mode with central differences, along directions.

    For random unit directions v of all `args` together and random weights dy of the
    outputs: `|<gradient, v> - difference| * sqrt(size of args) / |gradient|`, where the
    root makes up for how little one direction sees of a gradient: it is near the
    relative error of the gradient in length. The differences are those of `central`.
    """
    _refuse_narrow(args)
    normal = lambda a: jnp.asarray(draws.normal(size=a.shape))
    dy = jax.tree.map(normal, jax.eval_shape(f, *args))
    flat, unravel = ravel_pytree(args)
    directions = draws.normal(size=(num_directions, flat.size))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)

    def along(coefficients):
        return f(*unravel(flat + coefficients @ jnp.asarray(directions)))

    zero = jnp.zeros(num_directions)
    (numeric,) = central(along, (zero,), dy)
    gradient = np.asarray(ravel_pytree(gradients(f, args, dy))[0])
    off = np.max(np.abs(directions @ gradient - np.asarray(numeric)))
    return float(off * math.sqrt(flat.size) / np.linalg.norm(gradient))


def gradients(
    f: Callable[..., PyTree], args: tuple[PyTree, ...], dy: PyTree
) -> tuple[PyTree, ...]:
    """`d sum(dy * f(*args)) / d args` by reverse mode, with the VJPs that `f` has."""
    return jax.jit(lambda args, dy: jax.vjp(f, *args)[1](dy))(args, dy)


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


def _extrapolated(slopes, steps):
    """Of each element the entry of Richardson's table that moved least."""
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


def _refuse_narrow(args) -> None:
    for leaf in jax.tree.leaves(args):
        if leaf.dtype != jnp.float64:
            raise InputError(
                f"args.dtype={leaf.dtype}: must be float64, or rounding hides errors"
                " below 1e-3; pass float64 arrays under jax.enable_x64(True)."
            )
