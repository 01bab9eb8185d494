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

from normjax.checks import rounding
from normjax.checks.rounding import Rounded, rounded
from normjax.checks.rows import Check, worst
from normjax.optimizers import recipes

NUM_STEPS = 50
MAKERS: Mapping[str, Any] = recipes.RECIPES
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


def average(powers: Sequence[Rounded], decay: Rounded) -> list[Rounded]:
    """`a <- decay a + (1 - decay) g`, from 0, after each step."""
    state, states = powers[0] * 0.0, []
    for power in powers:
        state = decay * state + (1 - decay) * power
        states.append(state)
    return states


def corrections(decay: Rounded, steps: int) -> list[Rounded]:
    """`1 - decay^t`: it cancels, so a decay of 0.999 costs 1000 units at t = 1."""
    powers = [decay]
    for _ in range(steps - 1):
        powers.append(powers[-1] * decay)
    return [1 - power for power in powers]


def exact_corrections(decay: Rounded, steps: int) -> list[Rounded]:
    """`1 - decay^t` as `-expm1(t log1p(-(1 - decay)))`: a few units."""
    log = rounding.monotone(np.log1p, -(1 - decay))
    return [-rounding.monotone(np.expm1, float(t) * log) for t in range(1, steps + 1)]


def traces(g: Sequence[Rounded]) -> list[Rounded]:
    """`trace <- g + 0.9 trace`, from 0, after each step."""
    trace, found = g[0] * 0.0, []
    for row in g:
        trace = row + 0.9 * trace
        found.append(trace)
    return found


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
    "adam": adam,
    "rmsprop": rmsprop,
    "third_moment": third_moment,
}


def expected_updates(formula: Formula) -> Rounded:
    """All updates of the formula, [steps, coordinates]."""
    return rounding.join(formula([rounded(row) for row in example_gradients()]))


def path(updates: Rounded) -> Rounded:
    """Where parameters that start at 0 are after each update, each sum rounded."""
    value = np.cumsum(updates.value, 0)
    own = np.cumsum(updates.unit * np.abs(value), 0)
    return Rounded(value, np.cumsum(updates.error, 0) + own)


def compiled_updates(tx: optax.GradientTransformation) -> Callable:
    """The updates of a transformation as a compiled function of all gradients."""

    def run(g: Float[Array, "steps n"]) -> Float[Array, "steps n"]:
        params = jnp.zeros_like(g[0])

        def step(state, g):
            updates, state = tx.update(g, state, params)
            return state, updates

        return jax.lax.scan(step, tx.init(params), g)[1]

    program = jax.jit(run)
    return lambda g: program(jnp.asarray(g))


@functools.cache
def updates_of(name: str) -> np.ndarray:
    """The updates of a recipe, with its defaults, on `example_gradients`."""
    return np.asarray(compiled_updates(MAKERS[name]())(example_gradients()))


def check(name: str, subject: Callable, formula: Formula) -> Check:
    """The updates of one recipe."""
    judge = lambda subject: worst(
        subject(example_gradients()), expected_updates(formula)
    )
    return Check(name, "optimizer", subject, judge)


def every_check() -> list[Check]:
    """One for each row of FORMULAS, and one at an eps where the cubic term matters."""
    found = [
        check(name, compiled_updates(MAKERS[name]()), formula)
        for name, formula in FORMULAS.items()
    ]
    large = functools.partial(third_moment, eps=0.1)
    subject = compiled_updates(MAKERS["third_moment"](eps=0.1))
    return [*found, check("third_moment, eps 0.1", subject, large)]
