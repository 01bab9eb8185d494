"""Checks of every row of NORMS against its formula: values, statistics, gradients."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from normjax import layers
from normjax.checks import references, rounding
from normjax.checks.rows import Check, worst

SHAPE = (8, 4, 4, 16)  # [batch, height, width, channels], or a kernel
STEPS = 20
EPS = 1e-2  # large, so that its place in the formula shows


class Case(NamedTuple):
    """How a row of NORMS is called, and what it should give."""

    formula: Callable[..., references.Result]
    settings: dict[str, Any] = {}  # of the layer and of the formula
    shifted: bool = True  # removes a mean: checked at |mean| = 1000 std too
    masked: bool = False
    train: bool = False  # keeps statistics


CASES = {
    "batch": Case(references.batch, {"eps": EPS}, masked=True, train=True),
    "batch_as_published": Case(
        references.batch_as_published, {"eps": EPS}, masked=True, train=True
    ),
    "layer": Case(references.layer, {"eps": EPS}),
    "rms": Case(references.rms, {"eps": EPS}, shifted=False),
    "group": Case(references.group, {"eps": EPS, "num_groups": 4}, masked=True),
    "instance": Case(references.instance, {"eps": EPS}, masked=True),
    "weight": Case(references.weight, {"eps": EPS}, shifted=False),
}


def draw(seed: int, shape: tuple[int, ...] = SHAPE, middle: float = 0.5) -> np.ndarray:
    """Normal numbers around `middle`, of standard deviation 1, in float32."""
    return np.random.default_rng(seed).normal(middle, 1, shape).astype(np.float32)


def mask_of(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """True for 0.7 of the positions, and for none of example 3."""
    mask = np.random.default_rng(1).random(shape[:-1]) < 0.7
    mask[3] = False
    return mask


def layer_of(name: str):
    """The row's layer or kernel norm, with the settings of its case."""
    row = layers.NORMS[name]
    return (row.layer or row.kernel)(**CASES[name].settings)


def variables_of(name: str, shape: tuple[int, ...] = SHAPE) -> dict:
    """What the layer holds, each number drawn from [0.5, 1.5)."""
    x = jax.ShapeDtypeStruct(shape, np.float32)
    init = lambda x: layer_of(name).init(jax.random.key(0), x, train=True)
    random = np.random.default_rng(2)
    return jax.tree.map(
        lambda a: random.uniform(0.5, 1.5, a.shape).astype(np.float32),
        jax.eval_shape(init, x),
    )


def apply(name: str, variables, x, *, train: bool = True, mask=None):
    """`(y, stats)` of the layer."""
    given = {} if mask is None else {"mask": mask}
    y, new = layer_of(name).apply(variables, x, train=train, mutable=True, **given)
    return y, {key: value for key, value in new.items() if key != "params"}


def is_rounded(leaf) -> bool:
    """To stop at, as a leaf of a tree."""
    return isinstance(leaf, rounding.Rounded)


def expected(name: str, variables, x, unit=rounding.UNIT32, **call):
    """`(y, stats)` by the formula, on numbers that round by `unit`."""
    case = CASES[name]
    lift = lambda a: rounding.rounded(a, unit)
    lift_all = lambda tree: jax.tree.map(lift, tree, is_leaf=is_rounded)
    params, stats = (
        lift_all(variables.get(key, {})) for key in ("params", "batch_stats")
    )
    given = call if case.train else {k: v for k, v in call.items() if k != "train"}
    y, new = case.formula(lift(x), params, stats, **case.settings, **given)
    return y, ({"batch_stats": new} if new else {})


# ---- values -----------------------------------------------------------------------


def forward_checks(name: str) -> list[Check]:
    """Float32 values: training, evaluation, behind a mask, far from 0."""
    case = CASES[name]
    calls = {name: (draw(0), {"train": True})}
    if case.shifted:
        calls[f"{name}, mean 1000 std"] = (draw(0, middle=1e3), {"train": True})
    if case.train:
        calls[f"{name}, evaluation"] = (draw(0), {"train": False})
    if case.masked:
        where = mask_of()[..., None]
        behind = np.where(where, draw(0), np.float32(np.nan))
        calls[f"{name}, masked"] = (behind, {"train": True, "where": where})
    return [_forward(name, label, *call) for label, call in calls.items()]


def _forward(name, label, x, call):
    variables = variables_of(name)
    where = call.get("where")
    mask = None if where is None else where[..., 0]

    def subject(variables, x):
        return apply(name, variables, x, train=call["train"], mask=mask)[0]

    def judge(subject):
        seen = x if where is None else np.where(where, x, 0)
        return worst(subject(variables, x), expected(name, variables, seen, **call)[0])

    return Check(label, "forward", jax.jit(subject), judge)


def bf16_check(name: str) -> Check:
    """Bfloat16 in and out, float32 between: one rounding of 2^-8 on top."""
    variables = variables_of(name)
    x = jax.numpy.asarray(draw(0, middle=10.0), jax.numpy.bfloat16)
    subject = jax.jit(lambda variables, x: apply(name, variables, x)[0])

    def judge(subject):
        y = subject(variables, x)
        right, _ = expected(name, variables, np.asarray(x, np.float32), train=True)
        last = rounding.UNIT_BF16 * (np.abs(right.value) + right.error)
        right = rounding.Rounded(right.value, right.error + last)
        return worst(y, right) if y.dtype == x.dtype else (float("inf"), 0.0)

    return Check(name, "bf16", subject, judge)


def running_check(name: str) -> Check:
    """Statistics after 20 steps of training, and the evaluation by them."""
    shape = (16, 2, 2, 8)
    xs, variables = draw(3, (STEPS, *shape)), variables_of(name, shape)

    def subject(variables, xs):
        params = {k: v for k, v in variables.items() if k == "params"}
        stats = {k: v for k, v in variables.items() if k != "params"}
        step = lambda stats, x: (apply(name, params | stats, x)[1], None)
        stats, _ = jax.lax.scan(step, stats, xs)
        return apply(name, params | stats, xs[-1], train=False)[0], stats

    def judge(subject):
        stats = variables
        for x in xs:
            stats = expected(name, variables | stats, x, train=True)[1]
        right = expected(name, variables | stats, xs[-1], train=False)[0], stats
        return worst(subject(variables, xs), right)

    return Check(name, "running", jax.jit(subject), judge)


def checks() -> list[Check]:
    """All of them, by row of NORMS."""
    found = []
    for name in CASES:
        found += [*forward_checks(name), bf16_check(name)]
        found += [running_check(name)] if CASES[name].train else []
    return found
