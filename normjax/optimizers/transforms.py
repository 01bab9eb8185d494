"""Gradient transformations that optax does not have. Knows nothing of recipes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float32, Int32, PyTree, ScalarLike

from normjax.errors import InputError


@jax.custom_jvp
def cube_root(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`sign(x) * |x|^(1/3)` without the slow library call behind `jnp.cbrt`.

    A third of the bits of |x|, taken from a constant, are the bits of a guess
    r of |x|^(-1/3) with |h| < 0.103 for h = 1 - |x| r^3. One step of
    r <- r (1 + h/3 + 2h^2/9 + 14h^3/81), the series of (1 - h)^(-1/3), leaves
    |h| < 6e-5, and y = |x| r^2 is corrected by its own h: y <- y (1 + 2h/3).
    No power of |x| other than those near 1 or |x|^(1/3) is formed, so nothing
    overflows.

    The relative error is at most 2.4 * 2^-24 for every normal float32: the two
    roundings of y enter h with the opposite sign and keep a third (2/3), the
    rounding of y r enters at 2/3, the last one at 1, the series at 0.04
    (measured: 1.5, where `jnp.cbrt` has 1.5). 0, -0, inf and nan map to themselves;
    a subnormal number may map to 0. Types other than float32 use `jnp.cbrt`.

    >>> print(cube_root(jnp.array([-8.0, 0.0, 27.0])))
    [-2.  0.  3.]
    """
    if x.dtype != jnp.float32:
        return jnp.cbrt(x)
    size = jnp.abs(x)
    bits = jax.lax.bitcast_convert_type(size, jnp.int32)
    r = jax.lax.bitcast_convert_type(np.int32(0x54A1F000) - bits // 3, jnp.float32)
    h = 1 - size * r * r * r
    r = r + r * h * (1 / 3 + h * (2 / 9 + h * (14 / 81)))
    y = size * r * r
    y = y + y * (2 / 3 * (1 - y * r))
    return jnp.copysign(y, x)


@cube_root.defjvp
def _cube_root_jvp(primals, tangents):
    y = cube_root(*primals)
    return y, tangents[0] / (3 * y * y)


class ThirdMomentState(NamedTuple):
    """State of `scale_by_third_moment`: float32, whatever the parameters are."""

    count: Int32[Array, "..."]  # type: ignore[assignment]  # steps taken
    mu: PyTree[Float32[Array, "..."]]  # average of g, not yet corrected
    nu: PyTree[Float32[Array, "..."]]  # average of g^2
    third: PyTree[Float32[Array, "..."]]  # average of g^3


def _gains(count: Int32[Array, ""], decays: Float32[Array, "3"]) -> Float32[Array, "3"]:
    """`1 / (1 - decay^count)` of mu, nu and third; at count 0 those of the first step.

    `1 - decay^t` cancels in float32: at decay 0.999987 and t = 2 by up to 0.2%.
    `1 - decay` is exact, so log1p and expm1 keep the full precision.
    """
    steps = jnp.maximum(count, 1).astype(jnp.float32)
    return -1 / jnp.expm1(steps * jnp.log1p(-(1 - decays)))


def _refuse_complex(tree: PyTree) -> None:
    """The cube root needs a sign, which a complex number does not have."""
    if any(map(jnp.iscomplexobj, jax.tree.leaves(tree))):
        rule, wrapper = "must be real numbers", "optax.contrib.split_real_and_imaginary"
        raise InputError("updates", ..., rule, f"wrap the optimizer in {wrapper}")


def _fraction(mu, nu, third, gains, eps):
    """mu_hat, Adam's denominator and the third-moment denominator of one leaf.

    The cubic term is added last: where it is below half an ulp of Adam's
    denominator the two are the same number, and so are the two updates.
    """
    adam = jnp.sqrt(nu * gains[1]) + eps
    return mu * gains[0], adam, adam + eps * cube_root(third * gains[2])


def scale_by_third_moment(
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    b3: ScalarLike = 0.999987,
    eps: ScalarLike = 1e-8,
) -> optax.GradientTransformation:
    """`mu_hat / (sqrt(nu_hat) + eps * cbrt(third_hat) + eps)`, cbrt keeping the sign.

    mu, nu and third are the exponential averages of g, g^2 and g^3 with the decays
    b1, b2 and b3, each divided by `1 - decay^t`. The cubic term changes Adam's
    denominator only if eps times cbrt(third_hat) / sqrt(nu_hat) exceeds 2^-25; at eps
    1e-8 that quotient must be 3 or more: only coordinates whose gradient is nearly
    always 0 get there. cbrt(third_hat) may be negative, and so may, in principle, the
    denominator.

    A decay is rounded to float32 once, and `1 - decay` follows from it without
    error, so weights and correction agree: after one step the three are g, g^2
    and g^3, and after t steps the rounding has moved a weight by t * 2^-25 at
    most. (Optax takes `1 - decay` of a Python float in float64 and `decay^t` in
    float32: at 0.999 its first nu_hat is 5e-5 off.) g^3 leaves float32 above
    |g| = 7e12, Adam's g^2 above 1.8e19.

    Args:
        b1: weight of the past in mu, per step; may be traced, as all four.
        b2: weight of the past in nu.
        b3: weight of the past in third.
        eps: in units of the gradient; it has no unit before the cube root.

    Returns:
        A transformation; its updates have the dtype of the gradients, which must be
        real.

    References:
        Kingma and Ba, 2015. Adam: A Method for Stochastic Optimization.
        arXiv:1412.6980. The third moment is the source's addition.

    >>> tx = scale_by_third_moment(eps=0.5)
    >>> print(tx.update(1.0, tx.init(1.0))[0])  # 1 / (1 + 0.5 + 0.5)
    0.5
    """
    decays = jnp.stack([jnp.asarray(b, jnp.float32) for b in (b1, b2, b3)])
    eps = jnp.asarray(eps, jnp.float32)

    def init(params):
        _refuse_complex(params)
        mu, nu, third = (optax.tree.zeros_like(params, jnp.float32) for _ in range(3))
        return ThirdMomentState(jnp.zeros((), jnp.int32), mu, nu, third)

    def update(updates, state, params=None):
        _refuse_complex(updates)
        grads = jax.tree.map(lambda g: jnp.asarray(g, jnp.float32), updates)

        def average(order, past):
            blend = lambda g, a: (1 - decays[order - 1]) * g + decays[order - 1] * a
            return jax.tree.map(lambda g, a: blend(g**order, a), grads, past)

        moments = average(1, state.mu), average(2, state.nu), average(3, state.third)
        state = ThirdMomentState(optax.safe_increment(state.count), *moments)
        gains = _gains(state.count, decays)

        def one(g, *moments):
            mu_hat, _, denominator = _fraction(*moments, gains, eps)
            return (mu_hat / denominator).astype(jnp.result_type(g))

        return jax.tree.map(one, updates, *moments), state

    return optax.GradientTransformation(init, update)


def third_moment_probe(
    opt_state: PyTree,
    *,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    b3: ScalarLike = 0.999987,
    eps: ScalarLike = 1e-8,
) -> dict[str, Float32[Array, ""]]:
    """How far the last third-moment step was from Adam's, over all coordinates.

    Both updates are formed from the moments in the state, with the same mu_hat
    and the same sqrt(nu_hat) + eps, so that they differ only through the cubic
    term. The state is that of one lane, any tree that is searched for
    `ThirdMomentState`s; the numbers are those that `scale_by_third_moment` was given.

    Returns:
        `adam_difference_share`: coordinates whose float32 update is another
            number than Adam's, as a fraction in [0, 1].
        `smallest_denominator`: the smallest of the third-moment denominators, in
            units of the gradient; negative where the step goes uphill.
        Before the first step they are 0 and eps; without third moments or without
        coordinates both are nan.

    >>> tx = scale_by_third_moment()
    >>> _, state = tx.update(jnp.ones(2), tx.init(jnp.zeros(2)))
    >>> print(third_moment_probe(state)["adam_difference_share"])
    0.0
    """
    decays = jnp.stack([jnp.asarray(b, jnp.float32) for b in (b1, b2, b3)])
    eps = jnp.asarray(eps, jnp.float32)
    is_state = lambda node: isinstance(node, ThirdMomentState)
    differing, lowest, size = [], [], 0
    for state in filter(is_state, jax.tree.leaves(opt_state, is_leaf=is_state)):
        gains = _gains(state.count, decays)
        leaves = (jax.tree.leaves(tree) for tree in (state.mu, state.nu, state.third))
        for mu, nu, third in zip(*leaves, strict=True):
            mu_hat, adam, denominator = _fraction(mu, nu, third, gains, eps)
            differing.append(jnp.sum(mu_hat / denominator != mu_hat / adam))
            lowest.append(jnp.min(denominator, initial=jnp.inf))
            size += mu_hat.size
    if not size:
        nan = jnp.float32(jnp.nan)
        return {"adam_difference_share": nan, "smallest_denominator": nan}
    share = jnp.float32(sum(differing) / size)
    smallest = jnp.min(jnp.stack(lowest))
    return {"adam_difference_share": share, "smallest_denominator": smallest}


def upcast(tx: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """`tx` run in at least float32: its state and updates, whatever the parameters.

    In bfloat16 a decay of 0.999 rounds to 1 and averages stand still.
    `optax.apply_updates` rounds the sum of parameter and update once. Extra arguments
    of `update`, such as `value=`, are passed on as they are.

    >>> tx, params = upcast(optax.scale_by_adam()), jnp.zeros(3, jnp.bfloat16)
    >>> tx.init(params).nu.dtype.name
    'float32'
    """
    tx = optax.with_extra_args_support(tx)
    widened = lambda a: a.astype(jnp.promote_types(a.dtype, jnp.float32))
    wide = lambda tree: jax.tree.map(widened, tree)
    init = lambda params: tx.init(wide(params))

    def update(updates, state, params=None, **extra_args):
        with jax.numpy_dtype_promotion("standard"):  # optax mixes floats with counts
            return tx.update(wide(updates), state, wide(params), **extra_args)

    return optax.GradientTransformationExtraArgs(init, update)
