"""Convolution as a bilinear form, whose three contractions are written by hand."""

from collections.abc import Callable

import jax
from jax import lax
from jax.custom_batching import custom_vmap


def differentiable(
    value: Callable, input_gradient: Callable, kernel_gradient: Callable
) -> Callable:
    """A convolution `(x, kernel, Window) -> y` from the three ways to contract it.

    They are functions of `(x, kernel, window)`, `(kernel, dy, x_shape, window)` and
    `(x, dy, kernel_shape, window)`. The convolution is a bilinear form, so that the
    gradients of each are the other two: reverse mode works, of any order, and forward
    mode does not. Vmapped lanes are computed one after the other.
    """
    convolve = jax.custom_vjp(one_by_one(value), nondiff_argnums=(2,))
    for_input = jax.custom_vjp(one_by_one(input_gradient), nondiff_argnums=(2, 3))
    for_kernel = jax.custom_vjp(one_by_one(kernel_gradient), nondiff_argnums=(2, 3))
    _bilinear(
        convolve,
        lambda x, kernel, dy, window: (
            for_input(kernel, dy, x.shape, window),
            for_kernel(x, dy, kernel.shape, window),
        ),
    )
    _bilinear(
        for_input,
        lambda kernel, dy, x, _, window: (
            for_kernel(x, dy, kernel.shape, window),
            convolve(x, kernel, window),
        ),
    )
    _bilinear(
        for_kernel,
        lambda x, dy, kernel, _, window: (
            for_input(kernel, dy, x.shape, window),
            convolve(x, kernel, window),
        ),
    )
    return convolve


def _bilinear(function: jax.custom_vjp, gradients: Callable) -> None:
    """Gives `function(a, b, *static)` the VJP `gradients(a, b, ct, *static)`."""

    def forward(a, b, *static):
        return function(a, b, *static), (a, b)

    def backward(*args):
        *static, (a, b), cotangent = args
        return gradients(a, b, cotangent, *static)

    function.defvjp(forward, backward)


def one_by_one(function: Callable) -> Callable:
    """`function(a, b, *static)`, which computes vmapped lanes one after the other."""

    def apply(a, b, *static):
        single = custom_vmap(lambda a, b: function(a, b, *static))

        @single.def_vmap
        def many(num_lanes, batched, *args):
            del num_lanes
            lanes = [a for a, b in zip(args, batched) if b]

            def one(lane):
                rest = iter(lane)
                return single(*(next(rest) if b else a for a, b in zip(args, batched)))

            return lax.map(one, lanes), True

        return single(a, b)

    return apply
