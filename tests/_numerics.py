"""What tests of numbers share: units, comparisons, and slopes against differences."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from normjax.checks import differences

EPS32 = float(np.finfo(np.float32).eps)
EPS64 = float(np.finfo(np.float64).eps)
UNIT32 = EPS32 / 2  # largest relative error of one rounding to float32


def close(a, b, ulps):
    """Equal up to roundings of the largest entry."""
    return np.max(np.abs(a - b)) <= ulps * EPS32 * np.max(np.abs(b))


def worst(found, expected):
    """Largest error of any array, relative to its largest entry."""
    one = lambda a, b: np.max(np.abs(np.asarray(a) - b)) / (np.max(np.abs(b)) or 1)
    return max(jax.tree.leaves(jax.tree.map(one, found, expected)))


def relative_error(a, b, *, floor=1e-8):
    """`max |a - b| / max(floor, |a| + |b|)` over the elements.

    Half of the usual relative error where the two are near, at most 1, and an
    absolute error in units of `floor` where both are below that.
    """
    a, b = np.asarray(a), np.asarray(b)
    return float(np.max(np.abs(a - b) / np.maximum(floor, np.abs(a) + np.abs(b))))


def gradients(f, args, dy):
    """`d sum(dy * f(*args)) / d args` by reverse mode, with the VJPs that `f` has."""
    return jax.jit(lambda args, dy: jax.vjp(f, *args)[1](dy))(args, dy)


def slope_errors(op, args, *, plain=None, step=1e-2):
    """Relative errors of first and second derivatives of `op`, in float64.

    Of `<grad, v>` and, forward over reverse, of `<w, Hessian v>` for the loss
    `sum(weights * sin(op(*args)))` and random v and w, against central differences of
    `plain`, which is `op` but where `op` holds constant what differences would move.
    x64 must be on. Differences leave 1e-12 for what is smooth; entries nearer to a kink
    than `step` need a smaller one.
    """
    plain = plain or op
    args = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), tuple(args))
    flat, unravel = ravel_pytree(args)
    random = np.random.default_rng(3)
    v, w = jnp.asarray(random.normal(size=(2, flat.size)))
    shape = jax.eval_shape(lambda a: op(*unravel(a)), flat).shape
    weights = jnp.asarray(random.normal(size=shape))

    def along(f):
        """The loss and `<w, grad>` on the line through `args` along v."""
        loss = lambda a: jnp.sum(weights * jnp.sin(f(*unravel(a))))
        turned = lambda t: jnp.vdot(w, jax.grad(loss)(flat + t * v))
        return (lambda t: loss(flat + t * v)), turned

    zero, one = jnp.zeros(()), jnp.ones(())
    slope = lambda f: jax.jvp(f, (zero,), (one,))[1]
    found = jax.jit(lambda: [slope(f) for f in along(op)])()
    numeric = [differences.central(f, (zero,), one, step=step)[0] for f in along(plain)]
    return [float(abs(a / b - 1)) for a, b in zip(found, numeric)]
