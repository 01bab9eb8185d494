"""The layers themselves with one function beneath them exchanged for a wrong one."""

from collections.abc import Callable
from unittest import mock

import jax
import jax.numpy as jnp

from normjax.checks import cases
from normjax.checks.cases import CASES
from normjax.checks.rows import Mutant
from normjax.ops import moments

OVER = moments.over
BESSEL = ("batch_renorm", "ghost", "online", "switchable", "evonorm_s0", "evonorm_b0")


def over_n_minus_1(x, axes, **settings) -> moments.Moments:
    """`moments.over` with the unbiased variance."""
    m = OVER(x, axes, **settings)
    return m._replace(var=m.var * m.count / (m.count - 1))


def in_one_pass(x, axes, **settings) -> moments.Moments:
    """`E[x^2] - E[x]^2`."""
    m, square = OVER(x, axes, **settings), OVER(jnp.square(x), axes, **settings)
    return m._replace(var=jnp.maximum(square.mean - jnp.square(m.mean), 0))


def unmasked(x, axes, *, where=None, **settings) -> moments.Moments:
    """Zeros behind the mask, counted as if they were examples."""
    x = x if where is None else jnp.where(where, x, 0)
    m = OVER(x, axes, **settings)
    return m._replace(count=jnp.broadcast_to(m.count, m.mean.shape))


def patched(name: str, attribute: str, wrong: Callable) -> Callable:
    """The forward of a layer while `moments.<attribute>` is another function."""
    layer = cases.layer_of(name)
    mask = jnp.asarray(cases.mask_of()) if wrong is unmasked else None

    def run(variables, x):
        with mock.patch.object(moments, attribute, wrong):
            # A new function each time: nothing compiled before is taken for it.
            forward = jax.jit(lambda v, x: cases.apply(layer, v, x, mask=mask)[0])
            return forward(variables, x)

    return run


def narrow(name: str) -> Callable:
    """All in bfloat16, parameters and statistics too."""
    run = patched(name, "widen", lambda x: x)

    def wrong(variables, x):
        cast = lambda a: a.astype(x.dtype) if a.dtype == jnp.float32 else a
        return run(jax.tree.map(cast, variables), x)

    return wrong


def dtype_changed(name: str) -> Callable:
    """What a layer computes, not rounded to the dtype of `x`."""
    layer = cases.layer_of(name)
    return jax.jit(lambda v, x: cases.apply(layer, v, x.astype(jnp.float32))[0])


MUTANTS = {
    **{
        f"{name}: variance over n - 1": Mutant(
            f"forward: {name}", patched(name, "over", over_n_minus_1)
        )
        for name in BESSEL
    },
    **{
        f"{name}: one pass over the data": Mutant(
            f"forward: {name}, mean 1000 std", patched(name, "over", in_one_pass)
        )
        for name, case in CASES.items()
        if case.shifted
    },
    **{
        f"{name}: counts what is masked": Mutant(
            f"forward: {name}, masked", patched(name, "over", unmasked)
        )
        for name, case in CASES.items()
        if case.masked and name != "frozen"
    },
    **{
        f"{name}: in bfloat16 throughout": Mutant(f"bf16: {name}", narrow(name))
        for name in CASES
    },
    "batch: float32 out of bfloat16": Mutant("bf16: batch", dtype_changed("batch")),
}
