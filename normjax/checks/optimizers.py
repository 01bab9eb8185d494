"""Every recipe against its formula in float64, over 50 steps, at its defaults.

The formulas hold no optax: they are the update rules, on numbers that carry their
rounding budget (`rounding`), which so counts each rounding of each step.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from normjax.checks import rounding
from normjax.checks.rounding import Rounded, rounded
from normjax.checks.rows import Check, worst
from normjax.optimizers import recipes

STEPS = 50


def gradients() -> np.ndarray:
    """`[STEPS, 24]`: sizes 1e-9 to 100, half of the columns of changing sign."""
    random = np.random.default_rng(2)
    size = np.geomspace(1e-9, 100, 12).repeat(2) * random.uniform(0.5, 1.5, (STEPS, 24))
    sign = np.where(np.arange(24) % 2, -1.0, np.sign(random.random((STEPS, 24)) - 0.3))
    return (sign * size).astype(np.float32)


def average(powers: list[Rounded], decay: Rounded) -> list[Rounded]:
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
    log = rounding.through(np.log1p, -(1 - decay))
    return [-rounding.through(np.expm1, float(t) * log) for t in range(1, steps + 1)]


def sgd(g: list[Rounded], *, momentum: float = 0.9) -> list[Rounded]:
    """`trace <- g + momentum trace; step = -0.1 trace`."""
    trace, steps = g[0] * 0.0, []
    for row in g:
        trace = row + momentum * trace
        steps.append(trace * -0.1)
    return steps


def halved_rates(steps: int) -> list[float]:
    """0.1 for half of the steps, then 0.05."""
    return [0.1] * (steps // 2) + [0.05] * (steps - steps // 2)


def sgd_rate_inside(g: list[Rounded]) -> list[Rounded]:
    """`trace <- rate g + 0.9 trace; step = -trace`, the rate halved half way."""
    trace, steps = g[0] * 0.0, []
    for row, rate in zip(g, halved_rates(len(g))):
        trace = row * rate + 0.9 * trace
        steps.append(-trace)
    return steps


def sgd_rate_outside(g: list[Rounded]) -> list[Rounded]:
    """`trace <- g + 0.9 trace; step = -rate trace`, likewise."""
    traces = [step / -0.1 for step in sgd(g)]
    return [-rate * trace for rate, trace in zip(halved_rates(len(g)), traces)]


def adam(
    g: list[Rounded],
    *,
    eps: float = 1e-8,
    denominator: Callable = lambda nu, correction, eps: (
        rounding.root(nu / correction) + eps
    ),
    corrected: bool = True,
) -> list[Rounded]:
    """`step = -1e-3 mu_hat / (sqrt(nu_hat) + eps)`; the keywords make it another."""
    decays = rounded(0.9), rounded(0.999)
    mu, nu = average(g, decays[0]), average([row * row for row in g], decays[1])
    first, second = (corrections(decay, len(g)) for decay in decays)
    if not corrected:
        first = second = [rounded(1.0)] * len(g)
    return [
        m / a / denominator(v, b, eps) * -1e-3
        for m, v, a, b in zip(mu, nu, first, second)
    ]


def rmsprop(
    g: list[Rounded],
    *,
    denominator: Callable = lambda nu: rounding.root(nu + 1e-7),
) -> list[Rounded]:
    """`step = -1e-3 g / sqrt(nu + eps)`, nu not corrected."""
    nu = average([row * row for row in g], rounded(0.9))
    return [row / denominator(v) * -1e-3 for row, v in zip(g, nu)]


def third_moment(
    g: list[Rounded], *, cube_root: Callable = np.cbrt, eps: float = 1e-8
) -> list[Rounded]:
    """`step = -1e-3 mu_hat / (sqrt(nu_hat) + eps cbrt(third_hat) + eps)`.

    A decay is what float32 holds of it, exactly, as the transform promises.
    """
    hats = []
    for order, number in ((1, 0.9), (2, 0.999), (3, 0.999987)):
        decay = rounded(np.float32(number))
        states = average([row**order for row in g], decay)
        hats.append([s / c for s, c in zip(states, exact_corrections(decay, len(g)))])
    return [
        m / (rounding.root(v) + eps + eps * rounding.through(cube_root, u)) * -1e-3
        for m, v, u in zip(*hats)
    ]


FORMULAS = {"sgd": sgd, "adam": adam, "rmsprop": rmsprop, "third_moment": third_moment}


LARGE_EPS = functools.partial(third_moment, eps=0.1)  # where the cubic term shows


def expected(formula: Callable[..., list[Rounded]]) -> Rounded:
    """All updates of the formula, [steps, coordinates]."""
    return rounding.stacked(formula([rounded(row) for row in gradients()]))


def path(updates: Rounded) -> Rounded:
    """Where parameters that start at 0 are after each update, each sum rounded."""
    value = np.cumsum(updates.value, 0)
    own = np.cumsum(updates.unit * np.abs(value), 0)
    return Rounded(value, np.cumsum(updates.error, 0) + own)


def run(tx, g: Float[Array, "steps n"]) -> Float[Array, "steps n"]:
    """The updates of an optax transformation."""
    params = jnp.zeros_like(g[0])

    def step(state, g):
        updates, state = tx.update(g, state, params)
        return state, updates

    return jax.lax.scan(step, tx.init(params), g)[1]


def ours(name: str, **settings: float) -> Callable[[Array], Array]:
    """A recipe, at its defaults but for `settings`, as a function of all gradients."""
    tx = recipes.chain(recipes.RECIPES[name], settings, num_train=1)
    return jax.jit(functools.partial(run, tx))


def check(name: str, subject: Callable, formula: Callable) -> Check:
    """The updates of one recipe."""
    judge = lambda subject: worst(subject(gradients()), expected(formula))
    return Check(name, "optimizer", subject, judge)


def checks() -> list[Check]:
    """All of them, by row of RECIPES."""
    found = [check(name, ours(name), formula) for name, formula in FORMULAS.items()]
    large = ours("third_moment", eps=0.1)
    return [*found, check("third_moment, eps 0.1", large, LARGE_EPS)]
