"""The cases of all norms, and how a layer and its reference are called alike."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from normjax import layers
from normjax.checks import references, rounding
from normjax.checks.references_activations import ACTIVATIONS
from normjax.checks.references_batch import BATCH

SHAPE = (8, 4, 4, 16)  # [batch, height, width, channels], or that of a kernel
GIVEN_FIELDS = {field.name for field in dataclasses.fields(references.Given)}
CASES = BATCH | references.PER_EXAMPLE | ACTIVATIONS | references.KERNELS


def draw(seed: int, shape: tuple[int, ...] = SHAPE, middle: float = 0.5) -> np.ndarray:
    """Normal numbers around `middle`, of standard deviation 1, in float32."""
    return np.random.default_rng(seed).normal(middle, 1, shape).astype(np.float32)


def random_mask(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """True for 0.7 of the positions, and for none of example 3."""
    mask = np.random.default_rng(1).random(shape[:-1]) < 0.7
    mask[3] = False
    return mask


def layer_of(name: str) -> Any:
    """The row's kernel norm, or its layer, with the settings of its case."""
    row, case = layers.NORMS[name], CASES[name]
    make = row.kernel or row.layer
    assert make is not None
    return make(**case.settings, **case.only_layer)


def variables_of(layer: Any, shape: tuple[int, ...] = SHAPE) -> dict:
    """The variables of a layer, each number drawn from [0.5, 1.5); counters at 0."""
    x = jax.ShapeDtypeStruct(shape, np.float32)
    init = lambda x: layer.init(jax.random.key(0), x, train=True)
    random = np.random.default_rng(2)

    def one(a):
        if not jnp.issubdtype(a.dtype, jnp.floating):
            return np.zeros(a.shape, a.dtype)
        return random.uniform(0.5, 1.5, a.shape).astype(np.float32)

    return jax.tree.map(one, jax.eval_shape(init, x))


def apply(layer: Any, variables, x, *, train: bool = True, mask=None):
    """`(y, stats)` of the layer."""
    given = {} if mask is None else {"mask": mask}
    y, new = layer.apply(variables, x, train=train, mutable=True, **given)
    return y, {key: value for key, value in new.items() if key != "params"}


def expected_output(name: str, variables, x, **call):
    """`(y, stats)` of the norm's reference under the settings of its case."""
    case = CASES[name]
    return reference_output(case.formula, variables, x, **{**case.settings, **call})


def reference_output(
    formula: Callable[..., references.Result],
    variables,
    x,
    *,
    unit: float = rounding.UNIT32,
    **settings,
):
    """`(y, stats)` of a reference on numbers that round by `unit`, as from `apply`."""
    lift = lambda tree: jax.tree.map(lambda a: rounding.rounded(a, unit), tree)
    params, stats = (lift(variables.get(key, {})) for key in ("params", "batch_stats"))
    call = {key: settings.pop(key) for key in GIVEN_FIELDS & set(settings)}
    y, new = formula(references.Given(lift(x), params, stats, **call), **settings)
    return y, ({"batch_stats": new} if new else {})
