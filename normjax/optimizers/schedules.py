"""Learning rates that change while a network trains, by name.

A row is a function `(step, *, learning_rate, num_steps, **settings) -> rate`. `step`
counts the steps taken, so it is 0 in the first one and `num_steps - 1` in the last;
`learning_rate` is the peak. Its other float arguments are traced settings, lengths
among them are fractions of all steps, so that one program serves a grid of them. `n`
is the step and `N` the number of steps in the formulas.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, ScalarLike

from normjax.errors import InputError
from normjax.optimizers.arguments import float_arguments, named_arguments

Step = Int[Array, ""] | ScalarLike
Rate = ScalarLike  # float32

PEAKS = ("peak_value", "init_value", "learning_rate")  # the first that it has
LENGTHS = ("num_steps", "transition_steps", "decay_steps")  # all are num_steps


def cosine(
    step: Step,
    *,
    learning_rate: ScalarLike,
    num_steps: int,
    final_fraction: ScalarLike = 0.0,
) -> Rate:
    """`learning_rate * (f + (1 - f) * (1 + cos(pi * n / N)) / 2)`, f=final_fraction.

    As `optax.cosine_decay_schedule`. The last step is one short of the end, so its
    rate is above 0 even at a `final_fraction` of 0.

    References:
        Loshchilov and Hutter, 2017. SGDR: Stochastic Gradient Descent with Warm
        Restarts. arXiv:1608.03983. (Without restarts.)

    >>> print(cosine(50, learning_rate=0.5, num_steps=100).round(3))
    0.25
    """
    return learning_rate * _cosine(_count(step) / num_steps, final_fraction)


def warmup_cosine(
    step: Step,
    *,
    learning_rate: ScalarLike,
    num_steps: int,
    warmup_fraction: ScalarLike = 0.1,
    final_fraction: ScalarLike = 0.0,
) -> Rate:
    """`learning_rate * (n + 1) / (w + 1)` up to `n = w`, then `cosine` over the rest.

    w is `warmup_fraction * N`. The first step has the rate `learning_rate / (w + 1)`,
    above 0, so that it is not wasted; the step `n = w` has the peak, and so has the
    first one if the fraction is 0. Where w is whole this is
    `optax.warmup_cosine_decay_schedule` with an `init_value` of
    `learning_rate / (w + 1)`; optax's own example starts at 0.

    References:
        Goyal et al., 2017. Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour.
        arXiv:1706.02677. (The warm-up.)

    >>> rate = {"learning_rate": 0.5, "num_steps": 30, "warmup_fraction": 0.1}
    >>> print(*(f"{warmup_cosine(n, **rate):.3f}" for n in range(4)))
    0.125 0.250 0.375 0.500
    """
    n, warmup = _count(step), warmup_fraction * num_steps
    rise = jnp.minimum(1.0, (n + 1) / (warmup + 1))
    after = jnp.maximum(0.0, n - warmup) / (num_steps - warmup)
    return learning_rate * rise * _cosine(after, final_fraction)


def linear(
    step: Step,
    *,
    learning_rate: ScalarLike,
    num_steps: int,
    final_fraction: ScalarLike = 0.0,
) -> Rate:
    """`learning_rate * (1 - (1 - final_fraction) * n / N)`.

    As `optax.linear_schedule` from the peak to `final_fraction` of it.

    >>> print(f"{linear(25, learning_rate=0.5, num_steps=100):.3f}")
    0.375
    """
    share = jnp.minimum(1.0, _count(step) / num_steps)
    return learning_rate * (1 - jnp.subtract(1, final_fraction) * share)


def exponential(
    step: Step,
    *,
    learning_rate: ScalarLike,
    num_steps: int,
    decay_factor: ScalarLike = 0.01,
) -> Rate:
    """`learning_rate * decay_factor^(n / N)`: the factor is that of the whole training.

    As `optax.exponential_decay` with `transition_steps=N`, which does not take a
    traced rate of decay.

    >>> print(exponential(50, learning_rate=0.5, num_steps=100).round(3))
    0.05
    """
    return learning_rate * jnp.power(decay_factor, _count(step) / num_steps)


def boundaries(
    step: Step,
    *,
    learning_rate: ScalarLike,
    num_steps: int,
    decay_factor: ScalarLike = 0.1,
    first_boundary: ScalarLike = 0.5,
    second_boundary: ScalarLike = 0.75,
) -> Rate:
    """`learning_rate * decay_factor^k`, k boundaries b with `n >= b * N`.

    As `optax.piecewise_constant_schedule`. The defaults are those of He et al. for
    ResNets on CIFAR-10; a boundary of 1 is never reached. A product `b * N` that is
    whole up to its rounding in float32 is whole, so 0.15 of 100 steps are 15.

    References:
        He, Zhang, Ren and Sun, 2016. Deep Residual Learning for Image Recognition.
        arXiv:1512.03385.

    >>> rate = {"learning_rate": 0.5, "num_steps": 100}
    >>> print(*(f"{boundaries(n, **rate):.4f}" for n in (49, 50, 75)))
    0.5000 0.0500 0.0050
    """
    n = _count(step)

    def passed(share):
        boundary = share * num_steps
        whole = jnp.round(boundary)  # off by rounding of the share and of the product
        rounded = jnp.abs(boundary - whole) <= jnp.finfo(jnp.float32).eps * whole
        return jnp.where(n >= jnp.where(rounded, whole, boundary), decay_factor, 1.0)

    return learning_rate * passed(first_boundary) * passed(second_boundary)


def settings_of(schedule: Any) -> dict[str, float | None]:
    """Names and defaults of what may be traced besides the peak.

    Raises:
        InputError: if `schedule` has no argument that the peak can be.
    """
    _peak(schedule)
    taken = ("step", *PEAKS[-1:], *LENGTHS, _peak(schedule))
    return {k: x for k, x in float_arguments(schedule).items() if k not in taken}


def rate_of(
    schedule: Callable,
    settings: Mapping[str, Any],
    *,
    learning_rate: Any,
    num_steps: int,
) -> optax.Schedule:
    """A schedule with its numbers, as a float32 function of the steps taken.

    Args:
        schedule: a function as the rows are, or a factory such as
            `optax.cosine_decay_schedule`, which has no argument `step` and returns a
            function of it. The peak is a factory's `peak_value`, else its
            `init_value`, else its `learning_rate`; its `transition_steps`,
            `decay_steps` and `num_steps` are the number of all steps.
        settings: traced numbers by name; others than the schedule's are ignored.
        learning_rate: the peak, which may be traced.
        num_steps: of the whole training.

    >>> rate = rate_of(optax.cosine_decay_schedule, {}, learning_rate=1.0, num_steps=4)
    >>> print(rate(2).round(3))
    0.5
    """
    names = named_arguments(schedule)
    given = {k: settings[k] for k in settings_of(schedule) if k in settings}
    given |= {name: num_steps for name in LENGTHS if name in names}
    given[_peak(schedule)] = learning_rate
    rate = None if "step" in names else schedule(**given)
    if "step" not in names and not callable(rate):
        raise _not_a_schedule(schedule)

    def at(step):
        with jax.numpy_dtype_promotion("standard"):  # optax divides counts by floats
            found = schedule(step, **given) if rate is None else rate(step)
            return jnp.asarray(found, jnp.float32)

    return at


def _peak(schedule: Any) -> str:
    """The name of the argument that is the peak."""
    try:
        names = named_arguments(schedule)
    except (TypeError, ValueError) as error:
        raise _not_a_schedule(schedule) from error
    known = PEAKS[-1:] if "step" in names else PEAKS
    found = [name for name in known if name in names]
    if not found:
        raise _not_a_schedule(schedule)
    return found[0]


def _not_a_schedule(schedule: Any) -> InputError:
    """The error that a schedule is something else."""
    rule = "must be a function of step, learning_rate and num_steps, or must make a"
    rule += " function of the step from peak_value, init_value or learning_rate"
    how = f"use one of {', '.join(sorted(SCHEDULES))}, or a factory such as"
    how += " optax.cosine_decay_schedule"
    return InputError("schedule", schedule, rule, how)


def _count(step: Step) -> Float[Array, ""]:
    """Steps as a float32, which is exact up to 2^24 of them."""
    return jnp.asarray(step).astype(jnp.float32)


def _cosine(share: ScalarLike, final_fraction: ScalarLike) -> Rate:
    """From 1 down to `final_fraction`, as `share` goes from 0 to 1."""
    fall = 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(1.0, share)))
    return final_fraction + jnp.subtract(1, final_fraction) * fall


SCHEDULES: dict[str, Callable[..., Rate] | None] = {
    "constant": None,  # the learning rate itself, which adds nothing to a program
    "cosine": cosine,
    "warmup_cosine": warmup_cosine,
    "linear": linear,
    "exponential": exponential,
    "step": boundaries,
}
