"""The gradient check of the source: batch norm, and a small network with it.

The source names shapes, not numbers; standard normal inputs, kernels N(0, 0.05^2),
zero biases and unit scales are assumed. Its initial losses, 2.343 without a penalty
and 6.955 with 3.14 / 2 * sum of squared kernels, agree: their difference makes that
sum 2.94, and 3.00 +- 0.12 is expected of 1,200 such entries.

All in float64, in NumPy's and JAX' arithmetic alone. `rows` measures; it trains
nothing and judges nothing.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from normjax.checks import differences, network
from normjax.checks.rows import Row
from normjax.ops import custom_vjp, moments, norms

EXAMPLES = 2
PENALTIES = (0.0, 3.14)
PASSES = 50  # of training, before the evaluation
DECAY = 0.9
BUDGET = 1e-8  # the relative error asked for
UNIT = float(np.finfo(np.float64).eps)
STEP = 5e-2  # the first of the differences
# What rounding leaves of the differences: 20 UNIT over their first step. An element
# below this floor they cannot tell to BUDGET; `complex_step` can.
FLOOR = 20 * UNIT / STEP / BUDGET


def rows() -> list[Row]:
    """All of the check."""
    with jax.enable_x64(True):
        parameters = [row for penalty in PENALTIES for row in network_rows(penalty)]
        return [*forward_rows(), *backward_rows(), *parameters]


def forward_rows(batch_norm: Callable = norms.batch_norm) -> list[Row]:
    """Means and standard deviations of normalized activations `[200, 3]`.

    Training: the mean of n outputs errs by what the mean of the inputs does, sqrt(n)
    roundings of |mean| / std, and as many of the outputs; the std is `sqrt(var / (var
    + eps))`, off 1 by eps / (2 var). Evaluation: 50 passes leave 0.9^50 of where the
    running moments began, and the rest averages over 1.9 / 0.1 = 19 batches: of the
    evaluated batch itself a mean of n has a standard error of 1 / sqrt(n), its std of
    1 / sqrt(2 n); 4.5 of them are asked for, 7e-6 of false alarms.
    """
    draws = np.random.default_rng(0)
    kernels = draws.normal(size=(50, 60)), draws.normal(size=(60, 3))
    drawn = lambda: np.maximum(draws.normal(size=(200, 50)) @ kernels[0], 0)
    batches = [drawn() @ kernels[1] for _ in range(PASSES + 2)]
    x, n = batches[0], len(batches[0])
    running = moments.Running(jnp.zeros(3), jnp.ones(3))

    def row(name, y, scale, bias, budgets):
        mean, std = np.mean(y, 0), np.std(y, 0)
        errors = np.max(np.abs(mean - bias)), np.max(np.abs(std / scale - 1))
        kinds = ("means", "stds")
        return [Row(name, *given) for given in zip(kinds, map(float, errors), budgets)]

    found = []
    offset = np.max(np.abs(x.mean(0)) / x.std(0))
    for scale, bias in ((np.ones(3), np.zeros(3)), (np.r_[1:4.0], np.r_[11:14.0])):
        vectors = jnp.asarray(scale), jnp.asarray(bias)
        y = batch_norm(jnp.asarray(x), running, *vectors, train=True, eps=network.EPS)[
            0
        ]
        rounding = (np.sqrt(n) + 6) * UNIT * (offset + 1 + np.max(np.abs(y)))
        budgets = float(rounding), float(rounding + network.EPS / (2 * x.var(0).min()))
        name = f"batch norm, training, scale {', '.join(f'{a:g}' for a in scale)}"
        found += row(name, y, scale, bias, budgets)

    for batch in batches[1:-1]:
        settings = {"train": True, "decay": DECAY, "eps": network.EPS}
        running = batch_norm(jnp.asarray(batch), running, **settings)[1]
    y = batch_norm(jnp.asarray(batches[-1]), running, train=False, eps=network.EPS)[0]
    past = DECAY**PASSES
    noise = 4.5 * np.sqrt((1 + (1 - DECAY) / (1 + DECAY)) / n)
    budgets = float(noise + past * offset), float(noise / np.sqrt(2) + past)
    return found + row(
        f"batch norm, evaluation after {PASSES} passes",
        y,
        np.ones(3),
        np.zeros(3),
        budgets,
    )


def backward_rows(batch_norm: Callable = custom_vjp.batch_norm) -> list[Row]:
    """The backward by hand against central differences, for x `[4, 5]` of 12 +- 5."""
    draws = np.random.default_rng(1)
    x = jnp.asarray(draws.normal(12, 5, (4, 5)))
    scale, bias = jnp.asarray(draws.normal(size=(2, 5)))
    dy = jnp.asarray(draws.normal(size=(4, 5)))
    running = moments.Running(jnp.zeros(5), jnp.ones(5))

    def norm(x, scale, bias):
        return batch_norm(x, running, scale, bias, train=True, eps=network.EPS)[0]

    args = (x, scale, bias)
    found = differences.gradients(norm, args, dy)
    numeric = differences.central(norm, args, dy, step=STEP)
    errors = map(differences.relative_error, found, numeric)
    names = ("x", "scale", "bias")
    kind = "by hand, differences"
    return [Row(f"batch norm, {a}", kind, e, BUDGET) for a, e in zip(names, errors)]


def network_rows(
    penalty: float, by_hand: Callable = network.gradient_by_hand
) -> list[Row]:
    """Every parameter, by hand and by autodiff, against differences and complex steps.

    An error is that of the worse of the two gradients. The biases before a batch norm
    do not change the loss: their gradient is exactly 0, and a relative error would
    compare roundings (the source's 2e-3). Theirs is absolute, in units of the layer's
    largest kernel gradient.
    """
    given = problem(penalty)
    run = jax.jit(lambda a: by_hand(a, given.x, given.labels, penalty))
    found = given.autodiff, run(given.layers)
    table = []
    for i, field in itertools.product(range(len(given.layers)), network.Layer._fields):
        pick = lambda tree, i=i, field=field: getattr(tree[i], field)
        ours = [pick(tree) for tree in found]
        numeric, exact = pick(given.numeric), pick(given.exact)
        if exact is None:
            continue
        name = f"network, l2 {penalty:g}, layer {i + 1}, {field}"
        if field == "bias" and i < len(given.layers) - 1:
            largest = max(float(jnp.max(jnp.abs(a))) for a in (*ours, numeric))
            top = float(jnp.max(jnp.abs(given.exact[i].kernel)))
            table.append(Row(name, "zero", largest / top, BUDGET))
            continue
        for kind, right, floor in (
            ("differences", numeric, FLOOR),
            ("complex step", exact, 1e-8),
        ):
            error = max(differences.relative_error(a, right, floor=floor) for a in ours)
            table.append(Row(name, kind, error, BUDGET))
    return table


class Problem(NamedTuple):
    """A network, two examples, and the gradient of its loss without a hand."""

    layers: network.Network
    x: Float[Array, "examples inputs"]
    labels: Int[Array, " examples"]
    autodiff: network.Network
    numeric: network.Network  # central differences
    exact: network.Network  # complex steps


@functools.cache
def problem(penalty: float) -> Problem:
    """The network that is checked; jax.enable_x64 must be on."""
    draws = np.random.default_rng(2)
    layers = network.init(draws)
    x = jnp.asarray(draws.normal(size=(EXAMPLES, network.WIDTHS[0])))
    labels = jnp.asarray(draws.integers(network.WIDTHS[-1], size=EXAMPLES))
    terms = lambda layers: network.loss_terms(layers, x, labels, penalty)
    ones = jax.tree.map(jnp.ones_like, jax.eval_shape(terms, layers))
    (autodiff,) = differences.gradients(terms, (layers,), ones)
    (numeric,) = differences.central(terms, (layers,), ones, step=STEP)
    exact = network.complex_step(layers, x, labels, penalty)
    return Problem(layers, x, labels, autodiff, numeric, exact)
