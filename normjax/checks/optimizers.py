"""Checks of every recipe against its update rule, over 50 steps, at its defaults.

The references hold no optax: they are the update rules, on numbers that carry their
rounding budget (`rounding`), which so counts each rounding of each step. A row of
FORMULAS is all that a new recipe needs to be checked.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from normjax.checks import newton_schulz, rounding
from normjax.checks.averages import average, corrections, exact_corrections
from normjax.checks.rounding import Rounded, rounded
from normjax.checks.rows import Check, worst
from normjax.optimizers import recipes

NUM_STEPS = 50
MAKERS: Mapping[str, Any] = recipes.RECIPES
START = {"adamw": 0.5}  # where the kernel is at first, if not at 0
SHAPES = {"muon": newton_schulz.SHAPE}  # of the kernel, if it is not a vector
Formula = Callable[[list[Rounded]], list[Rounded]]  # gradients -> updates, by step


def example_gradients() -> np.ndarray:
    """`[NUM_STEPS, 24]`: sizes 1e-9 to 100, half of the columns of changing sign."""
    random = np.random.default_rng(2)
    size = np.geomspace(1e-9, 100, 12).repeat(2) * random.uniform(
        0.5, 1.5, (NUM_STEPS, 24)
    )
    sign = np.where(
        np.arange(24) % 2, -1.0, np.sign(random.random((NUM_STEPS, 24)) - 0.3)
    )
    return (sign * size).astype(np.float32)


def traces(g: Sequence[Rounded]) -> list[Rounded]:
    """`trace <- g + 0.9 trace`, from 0, after each step."""
    trace, found = g[0] * 0.0, []
    for row in g:
        trace = row + 0.9 * trace
        found.append(trace)
    return found


def nesterov(g: list[Rounded]) -> list[Rounded]:
    """`trace <- g + 0.9 trace; step = -0.1 (g + 0.9 trace)`."""
    return [(row + 0.9 * trace) * -0.1 for row, trace in zip(g, traces(g))]


def sgd(g: list[Rounded]) -> list[Rounded]:
    """`trace <- g + 0.9 trace; step = -0.1 trace`."""
    return [trace * -0.1 for trace in traces(g)]


def corrected_averages(g: list[Rounded]) -> list[tuple[Rounded, ...]]:
    """Of Adam: `(mu, 1 - 0.9^t, nu, 1 - 0.999^t)` at each step."""
    b1, b2, num_steps = rounded(0.9), rounded(0.999), len(g)
    mu, nu = average(g, b1), average([row * row for row in g], b2)
    return list(zip(mu, corrections(b1, num_steps), nu, corrections(b2, num_steps)))


def adam(g: list[Rounded]) -> list[Rounded]:
    """`step = -1e-3 mu_hat / (sqrt(nu_hat) + 1e-8)`."""
    return [
        m / a / (rounding.root(v / b) + 1e-8) * -1e-3
        for m, a, v, b in corrected_averages(g)
    ]


def adamw(g: list[Rounded]) -> list[Rounded]:
    """`step = Adam's - 1e-3 * 0.01 * w`, of a kernel that starts at START."""
    kernel, steps = rounded(np.full(g[0].value.shape, START["adamw"])), []
    for step in adam(g):
        steps.append(step + kernel * 0.01 * -1e-3)
        kernel = kernel + steps[-1]
    return steps


def lion(g: list[Rounded]) -> list[Rounded]:
    """`step = -1e-4 sign(0.9 mu + 0.1 g)`, mu before this gradient came in, by 0.99."""
    past = [g[0] * 0.0, *average(g, rounded(0.99))]
    blends = [0.9 * mu + (1 - rounded(0.9)) * row for mu, row in zip(past, g)]
    return [rounding.sign(blend) * -1e-4 for blend in blends]


def rmsprop(g: list[Rounded]) -> list[Rounded]:
    """`step = -1e-3 g / sqrt(nu + 1e-7)`, nu not corrected."""
    nu = average([row * row for row in g], rounded(0.9))
    return [row / rounding.root(v + 1e-7) * -1e-3 for row, v in zip(g, nu)]


def third_moment(g: list[Rounded], *, eps: float = 1e-8) -> list[Rounded]:
    """`step = -1e-3 mu_hat / (sqrt(nu_hat) + eps cbrt(third_hat) + eps)`.

    A decay is what float32 holds of it, exactly, as the transform promises.
    """
    hats = []
    for order, number in ((1, 0.9), (2, 0.999), (3, 0.999987)):
        decay = rounded(np.float32(number))
        states = average([row**order for row in g], decay)
        hats.append([s / c for s, c in zip(states, exact_corrections(decay, len(g)))])
    return [
        m / (rounding.root(v) + eps + eps * rounding.monotone(np.cbrt, u)) * -1e-3
        for m, v, u in zip(*hats)
    ]


FORMULAS: dict[str, Formula] = {
    "sgd": sgd,
    "nesterov": nesterov,
    "adam": adam,
    "adamw": adamw,
    "lion": lion,
    "muon": newton_schulz.muon,
    "rmsprop": rmsprop,
    "third_moment": third_moment,
}


def expected_updates(formula: Formula) -> Rounded:
    """All updates of the formula, [steps, coordinates]."""
    return rounding.join(formula([rounded(row) for row in example_gradients()]))


def path(updates: Rounded, start: float = 0.0) -> Rounded:
    """Where parameters are after each update, each sum rounded.

    Those that shrink are rounded twice in torch, which shrinks them before the step.
    """
    value = start + np.cumsum(updates.value, 0)
    own = np.cumsum(updates.unit * np.abs(value), 0) * (2 if start else 1)
    return Rounded(value, np.cumsum(updates.error, 0) + own)


def compiled_updates(tx: optax.GradientTransformation, name: str = "") -> Callable:
    """The updates of a transformation as a compiled function of all gradients.

    They are those of a kernel, which they move, with the shape and the start that the
    recipe of that name needs.
    """

    def run(g: Float[Array, "steps n"]) -> Float[Array, "steps n"]:
        kernels = g.reshape(len(g), *SHAPES.get(name, g.shape[1:]))
        params = {"kernel": jnp.full_like(kernels[0], START.get(name, 0.0))}

        def step(carry, g):
            params, state = carry
            updates, state = tx.update({"kernel": g}, state, params)
            return (optax.apply_updates(params, updates), state), updates["kernel"]

        updates = jax.lax.scan(step, (params, tx.init(params)), kernels)[1]
        return updates.reshape(g.shape)

    program = jax.jit(run)
    return lambda g: program(jnp.asarray(g))


@functools.cache
def updates_of(name: str) -> np.ndarray:
    """The updates of a recipe, with its defaults, on `example_gradients`."""
    return np.asarray(compiled_updates(MAKERS[name](), name)(example_gradients()))


def check(name: str, subject: Callable, formula: Formula) -> Check:
    """The updates of one recipe."""
    judge = lambda subject: worst(
        subject(example_gradients()), expected_updates(formula)
    )
    return Check(name, "optimizer", subject, judge)


def every_check() -> list[Check]:
    """One for each row of FORMULAS, and two for what their defaults do not show.

    The third moment at an eps where the cubic term matters, and Muon's steps of what
    is no matrix.
    """
    found = [
        check(name, compiled_updates(MAKERS[name](), name), formula)
        for name, formula in FORMULAS.items()
    ]
    large = functools.partial(third_moment, eps=0.1)
    subject = compiled_updates(MAKERS["third_moment"](eps=0.1))
    vectors = compiled_updates(MAKERS["muon"]())
    return [
        *found,
        check("third_moment, eps 0.1", subject, large),
        check("muon, vectors", vectors, newton_schulz.adam_of_vectors),
    ]
