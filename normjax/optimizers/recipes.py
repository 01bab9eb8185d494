"""Optimizers by name: plain functions whose keyword arguments are traced settings.

Any factory of optax, or of the user, with keyword arguments fits as well. Holds no
arithmetic of its own: that is in `transforms` and optax. As in optax, a learning rate
is a number or a schedule, a function of the number of steps taken.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax
from jaxtyping import PyTree, ScalarLike

from normjax.errors import InputError, pick
from normjax.optimizers import transforms
from normjax.types import Optimizer, ScalarOrSchedule


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


def kernels(params: PyTree) -> PyTree[bool]:
    """True at the leaves named `kernel`: what the penalties act on."""
    name = lambda path: jax.tree_util.keystr(path[-1:], simple=True)
    return jax.tree.map_with_path(lambda path, _: name(path) == "kernel", params)


def add_l2(strength: ScalarLike, *, num_train: int) -> optax.GradientTransformation:
    """Adds the gradient of `strength / (2 * num_train) * sum of squared kernels`.

    Goes before the optimizer, which therefore sees the penalty as part of the loss.

    >>> tx, params = add_l2(0.5, num_train=2), {"kernel": 4.0, "bias": 4.0}
    >>> tx.update({"kernel": 0.0, "bias": 0.0}, tx.init(params), params)[0]
    {'bias': 0.0, 'kernel': 1.0}
    """
    return optax.add_decayed_weights(strength / num_train, mask=kernels)


def add_weight_decay(
    strength: ScalarLike, *, learning_rate: ScalarOrSchedule
) -> optax.GradientTransformation:
    """Adds `-learning_rate * strength * kernel` to the step: goes last.

    References:
        Loshchilov and Hutter, 2019. Decoupled Weight Decay Regularization.
        arXiv:1711.05101. (Multiplied by the learning rate, as in torch's AdamW.)

    >>> tx, params = add_weight_decay(0.5, learning_rate=0.5), {"kernel": 4.0}
    >>> tx.update({"kernel": 0.0}, tx.init(params), params)[0]
    {'kernel': -1.0}
    """
    rate: Any = learning_rate
    step = (lambda n: -rate(n) * strength) if callable(rate) else -rate * strength
    return optax.add_decayed_weights(step, mask=kernels)


def _not_an_optimizer(recipe: Any) -> InputError:
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
        arguments = inspect.signature(recipe).parameters.values()
    except (TypeError, ValueError) as error:
        raise _not_an_optimizer(recipe) from error
    is_rate = lambda argument: argument.name == "learning_rate"
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {
        a.name: a.default if isinstance(a.default, float) else None
        for a in arguments
        if a.kind in named
        and (isinstance(a.default, float) or a.default is a.empty or is_rate(a))
    }


def chain(
    recipe: Optimizer,
    settings: Mapping[str, Any],
    *,
    num_train: int,
    penalties: tuple[str, ...] = (),
) -> optax.GradientTransformationExtraArgs:
    """The optimizer of one lane: `l2`, then `recipe`, then `weight_decay`.

    State and updates are in at least float32 (`transforms.upcast`).

    Args:
        recipe: takes from `settings` what it knows; its defaults are the rest.
        settings: traced numbers by name, and the learning rate may be a schedule;
            others than the optimizer's are ignored.
        num_train: training examples, the n of `l2`.
        penalties: names in `PENALTIES`; each is compiled in and reads its own setting.

    Raises:
        InputError: for a setting that has neither a value nor a default, an unknown
            penalty, and `weight_decay` on top of a recipe that has its own.

    >>> tx = chain(sgd, {"learning_rate": 0.1, "l2": 7}, num_train=9, penalties=("l2",))
    """
    name = getattr(recipe, "__name__", repr(recipe))
    defaults = settings_of(recipe)
    for penalty in penalties:
        pick("penalties", PENALTIES, penalty)
    if "weight_decay" in penalties and "weight_decay" in defaults:
        rule = f"must not name 'weight_decay', which is a setting of {name} itself"
        raise InputError("penalties", penalties, rule, "leave 'weight_decay' out")
    rate = ["learning_rate"] if "weight_decay" in penalties else []
    values = defaults | dict(settings)
    for key in (*defaults, *penalties, *rate):
        if values.get(key) is None:
            rule = f"must be given, as {name} with {penalties=} has no default for it"
            raise InputError(f"settings.{key}", ..., rule, f"add {key} to the settings")
    tx = recipe(**{key: settings[key] for key in defaults if key in settings})
    if not isinstance(tx, optax.GradientTransformation):
        raise _not_an_optimizer(recipe)
    parts = [transforms.upcast(tx)]
    if "l2" in penalties:
        parts.insert(0, add_l2(values["l2"], num_train=num_train))
    if "weight_decay" in penalties:
        step = values["learning_rate"]
        parts.append(add_weight_decay(values["weight_decay"], learning_rate=step))
    return optax.chain(*parts)


PENALTIES: dict[str, Callable[..., optax.GradientTransformation]] = {
    "l2": add_l2,
    "weight_decay": add_weight_decay,
}
RECIPES = {"sgd": sgd, "adam": adam, "rmsprop": rmsprop, "third_moment": third_moment}
