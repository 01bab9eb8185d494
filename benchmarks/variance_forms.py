"""Four ways to compute a variance, which `benchmarks.variance` compares.

Norms use the two-pass form, `moments.mean_and_var`.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Num

from normjax.ops import moments, validate
from normjax.ops.moments import Moments
from normjax.ops.validate import Axes

CHUNK = 64  # elements behind the first means of `welford`


def two_pass(x: Num[Array, "..."], axes: Axes) -> Moments:
    """`mean = sum(x) / n; var = sum((x - mean)^2) / n`: reads `x` twice.

    The variance errs by a few roundings of itself and the square of the mean's error.
    """
    return moments.mean_and_var(x, axes)


def one_pass(x: Num[Array, "..."], axes: Axes) -> Moments:
    """`var = max(E[x^2] - E[x]^2, 0)`: reads `x` once, as flax's fast variance.

    Both terms are near mean^2, so their roundings are (mean / std)^2 roundings of the
    variance: at |mean| = 4000 std nothing is left in float32.
    """
    x, axes = moments.widen(x), _positive(x, axes)
    mean = jnp.mean(x, axes, keepdims=True)
    square = jnp.mean(jnp.square(x), axes, keepdims=True)
    var = jnp.maximum(square - jnp.square(mean), 0)
    return Moments(mean, var, jnp.asarray(x.size / mean.size, x.dtype))


def shifted(x: Num[Array, "..."], axes: Axes) -> Moments:
    """`one_pass` of `x - pivot`, the pivot the first element behind each mean.

    Reads `x` once. The difference is exact where x is near its pivot (Sterbenz), and
    what remains has |mean| of the order of its std, unless the pivot is an outlier.
    """
    x = moments.widen(x)
    pivot = x
    for axis in _positive(x, axes):
        pivot = jax.lax.slice_in_dim(pivot, 0, 1, axis=axis)
    m = one_pass(x - pivot, axes)
    return m._replace(mean=m.mean + pivot)


def welford(x: Num[Array, "..."], axes: Axes) -> Moments:
    """Moments of chunks, merged in pairs: a parallel form of Welford's updates.

    Each chunk of 64 elements is taken in two passes while it is near, so `x` is read
    once; `moments.merge` then joins neighbours, log2(n / 64) times. No sum is longer
    than a chunk: the error of the mean grows with log(n), not with sqrt(n).

    References:
        Welford, 1962. Note on a Method for Calculating Corrected Sums of Squares and
        Products. Technometrics 4.
        Chan, Golub and LeVeque, 1983. Algorithms for Computing the Sample Variance.
        The American Statistician 37.
    """
    x = moments.widen(x)
    axes = _positive(x, axes)
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    shape = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
    rows = x.transpose(*axes, *kept).reshape(-1, *(x.shape[a] for a in kept))

    n = len(rows)
    num_chunks = 2 ** math.ceil(math.log2(max(1, n / CHUNK)))
    size = math.ceil(n / num_chunks)
    missing = [(0, num_chunks * size - n)] + [(0, 0)] * (rows.ndim - 1)
    chunks = jnp.pad(rows, missing).reshape(num_chunks, size, *rows.shape[1:])
    seen = jnp.arange(num_chunks * size).reshape(num_chunks, size) < n
    where = seen.reshape(*seen.shape, *(1,) * (rows.ndim - 1))
    m = moments.mean_and_var(chunks, 1, where=None if n == num_chunks * size else where)
    m = Moments(*(jnp.broadcast_to(a, m.mean.shape) for a in m))
    while len(m.mean) > 1:
        m = moments.merge(*(Moments(*(a[i::2] for a in m)) for i in (0, 1)))
    return Moments(m.mean.reshape(shape), m.var.reshape(shape), jnp.asarray(n, x.dtype))


def _positive(x, axes: Axes) -> tuple[int, ...]:
    axes = validate.axis_tuple(x, axes)
    return tuple(axis % x.ndim for axis in axes)


FORMS = {
    "one_pass": one_pass,
    "two_pass": two_pass,
    "shifted": shifted,
    "welford": welford,
}
