"""Optimizers by name: plain functions whose keyword arguments are traced settings.

Any factory of optax, or of the user, with keyword arguments fits as well. Holds no
arithmetic of its own: that is in `transforms` and optax. As in optax, a learning rate
is a number or a schedule, a function of the number of steps taken.
"""

from typing import Any

import optax
from jaxtyping import ScalarLike

from normjax.errors import InputError
from normjax.optimizers import transforms
from normjax.optimizers.arguments import float_arguments, named_arguments
from normjax.optimizers.orthogonal import muon
from normjax.optimizers.penalties import kernels
from normjax.types import ScalarOrSchedule


def sgd(
    *, learning_rate: ScalarOrSchedule = 0.1, momentum: ScalarLike = 0.9
) -> optax.GradientTransformation:
    """`trace <- g + momentum * trace; step = -learning_rate * trace`.

    As in torch. Keras keeps `learning_rate * trace`, which is the same while the
    learning rate is constant. `momentum=0` is plain gradient descent.

    References:
        Sutskever, Martens, Dahl and Hinton, 2013. On the importance of
        initialization and momentum in deep learning. ICML.

    >>> tx = sgd(learning_rate=optax.cosine_decay_schedule(0.5, decay_steps=100))
    >>> print(tx.update(2.0, tx.init(1.0))[0])
    -1.0
    """
    rate = optax.scale_by_learning_rate(learning_rate)
    return optax.chain(optax.trace(momentum), rate)


def nesterov(
    *, learning_rate: ScalarOrSchedule = 0.1, momentum: ScalarLike = 0.9
) -> optax.GradientTransformation:
    """`trace <- g + momentum * trace; step = -learning_rate * (g + momentum * trace)`.

    SGD with Nesterov's momentum, as in torch and optax; Keras keeps
    `learning_rate * trace`, which is the same while the learning rate is constant.

    References:
        Nesterov, 1983. A method for solving the convex programming problem with
        convergence rate O(1/k^2). The form is that of Sutskever, Martens, Dahl and
        Hinton, 2013, with the gradient taken at the parameters themselves.

    >>> tx = nesterov(learning_rate=0.5, momentum=0.5)
    >>> print(tx.update(2.0, tx.init(1.0))[0])  # -0.5 * (2 + 0.5 * 2)
    -1.5
    """
    rate = optax.scale_by_learning_rate(learning_rate)
    return optax.chain(optax.trace(momentum, nesterov=True), rate)


def adam(
    *,
    learning_rate: ScalarOrSchedule = 1e-3,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
) -> optax.GradientTransformation:
    """`step = -learning_rate * mu_hat / (sqrt(nu_hat) + eps)`, by optax.

    References:
        Kingma and Ba, 2015. Adam: A Method for Stochastic Optimization.
        arXiv:1412.6980.

    >>> tx = adam(learning_rate=0.5, eps=0.0)
    >>> print(tx.update(8.0, tx.init(1.0))[0].round(3))
    -0.5
    """
    rate = optax.scale_by_learning_rate(learning_rate)
    return optax.chain(optax.scale_by_adam(b1, b2, eps), rate)


def adamw(
    *,
    learning_rate: ScalarOrSchedule = 1e-3,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    weight_decay: ScalarLike = 0.01,
) -> optax.GradientTransformation:
    """`-learning_rate * (mu_hat / (sqrt(nu_hat) + eps) + weight_decay * kernel)`.

    Only kernels decay, as under our penalties; by default torch, Keras and optax let
    every parameter decay. The default strength is torch's; optax has 1e-4, Keras 4e-3.
    The same as `adam` with the penalty `weight_decay`.

    References:
        Loshchilov and Hutter, 2019. Decoupled Weight Decay Regularization.
        arXiv:1711.05101.

    >>> tx, params = adamw(learning_rate=0.5, weight_decay=0.5), {"kernel": 4.0}
    >>> tx.update({"kernel": 0.0}, tx.init(params), params)[0]["kernel"].item()
    -1.0
    """
    decay = {"weight_decay": weight_decay, "mask": kernels}
    return optax.adamw(learning_rate, b1, b2, eps, **decay)


def lion(
    *,
    learning_rate: ScalarOrSchedule = 1e-4,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.99,
) -> optax.GradientTransformation:
    """`step = -learning_rate * sign(b1 * mu + (1 - b1) * g)`.

    mu is the average of g by `b2`; it is updated after the sign was taken. The paper's
    decay of weights is the penalty `weight_decay` here. Its rates are three to ten
    times smaller than Adam's.

    References:
        Chen et al., 2023. Symbolic Discovery of Optimization Algorithms.
        arXiv:2302.06675.

    >>> tx = lion(learning_rate=0.5)
    >>> print(tx.update(-8.0, tx.init(1.0))[0])
    0.5
    """
    rate = optax.scale_by_learning_rate(learning_rate)
    return optax.chain(optax.scale_by_lion(b1, b2), rate)


def rmsprop(
    *,
    learning_rate: ScalarOrSchedule = 1e-3,
    decay: ScalarLike = 0.9,
    eps: ScalarLike = 1e-7,
) -> optax.GradientTransformation:
    """`step = -learning_rate * g / sqrt(nu + eps)`, nu the average of g^2.

    As Keras 3 has it: eps under the root, nu starts at 0 and is not corrected.
    Torch adds its eps, 1e-8, outside the root and takes decay 0.99.

    References:
        Tieleman and Hinton, 2012. Lecture 6.5: rmsprop. Coursera.

    >>> tx = rmsprop(learning_rate=0.5, decay=0.75)
    >>> print(tx.update(8.0, tx.init(1.0))[0])  # -0.5 * 8 / sqrt(0.25 * 64)
    -1.0
    """
    rate = optax.scale_by_learning_rate(learning_rate)
    return optax.chain(optax.scale_by_rms(decay, eps, eps_in_sqrt=True), rate)


def third_moment(
    *,
    learning_rate: ScalarOrSchedule = 1e-3,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    b3: ScalarLike = 0.999987,
    eps: ScalarLike = 1e-8,
) -> optax.GradientTransformation:
    """Adam with `eps * cbrt(third_hat)` added to the denominator.

    See `transforms.scale_by_third_moment`; at eps 1e-8 this is Adam on nearly
    every coordinate, as `transforms.third_moment_probe` shows.

    >>> tx = third_moment(learning_rate=0.5, eps=0.5)
    >>> print(tx.update(1.0, tx.init(1.0))[0])  # -0.5 * 1 / (1 + 0.5 + 0.5)
    -0.25
    """
    rate = optax.scale_by_learning_rate(learning_rate)
    return optax.chain(transforms.scale_by_third_moment(b1, b2, b3, eps), rate)


def not_an_optimizer(recipe: Any) -> InputError:
    """The error that a recipe is something else."""
    kind = "optax.GradientTransformation"
    rule = f"must be a function of named arguments that returns an {kind}"
    how = f"use one of {', '.join(sorted(RECIPES))}, or a factory such as optax.lion"
    return InputError("optimizer", recipe, rule, how)


def settings_of(recipe: Any) -> dict[str, float | None]:
    """Names and defaults of what may be traced; None where a value must be given.

    Settings are the named arguments with a float default or none at all, and
    `learning_rate` always: flags, dtypes, masks and integers stay at their default.

    Raises:
        InputError: if `recipe` is not a function whose arguments can be read.
    """
    try:
        floats, names = float_arguments(recipe), named_arguments(recipe)
    except (TypeError, ValueError) as error:
        raise not_an_optimizer(recipe) from error
    kept = lambda name: name in floats or name == "learning_rate"
    return {name: floats.get(name) for name in names if kept(name)}


RECIPES = {
    "sgd": sgd,
    "nesterov": nesterov,
    "adam": adam,
    "adamw": adamw,
    "lion": lion,
    "muon": muon,
    "rmsprop": rmsprop,
    "third_moment": third_moment,
}
