"""Every row of NORMS beside its formula: how both are called, and on what."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from normjax import layers
from normjax.checks import (
    references,
    references_activations,
    references_batch,
    rounding,
)

SHAPE = (8, 4, 4, 16)  # [batch, height, width, channels], or that of a kernel
EPS = 1e-2  # large, so that its place in the formula shows


class Case(NamedTuple):
    """How a row of NORMS is called, and what it should give."""

    formula: Callable[..., references.Result]
    settings: dict[str, Any]  # of the layer and of the formula
    only_layer: Mapping[str, Any] = MappingProxyType({})  # of the layer
    shifted: bool = False  # removes a mean: checked at |mean| = 1000 std too
    masked: bool = False
    train: bool = False  # evaluates otherwise than it trains, and keeps statistics


def _batch(formula: Callable, *, shifted: bool = True, **others) -> Case:
    given = {"settings": {"eps": EPS}, "shifted": shifted, "masked": True}
    return Case(formula, **(given | {"train": True} | others))


LIMITS = {"r_max": 1.1, "d_max": 0.5}  # so that some features meet them
AT_ONCE = {"start_step": 0, "r_end_step": 0, "d_end_step": 0}
CASES = {
    "batch": _batch(references.batch),
    "batch_as_published": _batch(references.batch_as_published),
    "batch_renorm": _batch(
        functools.partial(references_batch.renorm, **LIMITS),
        only_layer=LIMITS | AT_ONCE,
    ),
    "ghost": _batch(references_batch.ghost, settings={"eps": EPS, "ghost_size": 2}),
    "power": _batch(references_batch.power, shifted=False),
    "online": _batch(references_batch.online, shifted=False),
    "frozen": _batch(
        functools.partial(references.batch, train=False), shifted=False, train=False
    ),
    "layer": Case(references.layer, {"eps": EPS}, shifted=True),
    "rms": Case(references.rms, {"eps": EPS}),
    "group": Case(
        references.group, {"eps": EPS, "num_groups": 4}, shifted=True, masked=True
    ),
    "layer_example": Case(
        references.group, {"eps": EPS, "num_groups": 1}, shifted=True, masked=True
    ),
    "instance": Case(references.instance, {"eps": EPS}, shifted=True, masked=True),
    "switchable": _batch(references_activations.switchable),
    "frn": Case(references_activations.frn, {"eps": EPS}, masked=True),
    "evonorm_s0": Case(
        references_activations.evonorm_s0, {"eps": EPS, "num_groups": 4}, masked=True
    ),
    "evonorm_b0": _batch(references_activations.evonorm_b0, shifted=False),
    "dyt": Case(references_activations.dyt, {}),
    "derf": Case(references_activations.derf, {}),
    "local_response": Case(references_activations.local_response, {"alpha": 0.02}),
    "weight": Case(references.weight, {"eps": EPS}),
    "weight_standardization": Case(
        references.weight_standardization, {"eps": EPS}, shifted=True
    ),
    "spectral": Case(references.spectral, {}, train=True),
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
    """The row's kernel norm, or its layer, with the settings of its case."""
    row, case = layers.NORMS[name], CASES[name]
    return (row.kernel or row.layer)(**case.settings, **case.only_layer)


def variables_of(layer, shape: tuple[int, ...] = SHAPE) -> dict:
    """What a layer holds, each number drawn from [0.5, 1.5); counters at 0."""
    x = jax.ShapeDtypeStruct(shape, np.float32)
    init = lambda x: layer.init(jax.random.key(0), x, train=True)
    random = np.random.default_rng(2)

    def one(a):
        if not jnp.issubdtype(a.dtype, jnp.floating):
            return np.zeros(a.shape, a.dtype)
        return random.uniform(0.5, 1.5, a.shape).astype(np.float32)

    return jax.tree.map(one, jax.eval_shape(init, x))


def apply(layer, variables, x, *, train: bool = True, mask=None):
    """`(y, stats)` of the layer."""
    given = {} if mask is None else {"mask": mask}
    y, new = layer.apply(variables, x, train=train, mutable=True, **given)
    return y, {key: value for key, value in new.items() if key != "params"}


def expected(name: str, variables, x, unit=rounding.UNIT32, **call):
    """`(y, stats)` by the formula, on numbers that round by `unit`."""
    case = CASES[name]
    if not case.train:
        call = {key: value for key, value in call.items() if key != "train"}
    formula = functools.partial(case.formula, **case.settings, **call)
    return by_formula(formula, variables, x, unit)


def by_formula(formula: Callable, variables, x, unit=rounding.UNIT32):
    """`(y, stats)` of any formula, in the structure of `apply`."""
    lift = lambda a: rounding.rounded(a, unit)
    is_rounded = lambda leaf: isinstance(leaf, rounding.Rounded)
    params, stats = (
        jax.tree.map(lift, variables.get(key, {}), is_leaf=is_rounded)
        for key in ("params", "batch_stats")
    )
    y, new = formula(lift(x), params, stats)
    return y, ({"batch_stats": new} if new else {})
