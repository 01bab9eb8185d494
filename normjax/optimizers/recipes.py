"""Optimizers by name: plain functions whose keyword arguments are traced settings.

Any factory of optax, or of the user, with keyword arguments fits as well. Holds no
arithmetic of its own: that is in `transforms` and optax.
"""

import inspect

import jax
import optax
from jaxtyping import PyTree, ScalarLike

from normjax.errors import InputError, pick
from normjax.optimizers import transforms
from normjax.types import Optimizer, Settings


def sgd(
    *, learning_rate: ScalarLike = 0.1, momentum: ScalarLike = 0.9
) -> optax.GradientTransformation:
    """`trace <- g + momentum * trace; step = -learning_rate * trace`.

    As in torch. Keras keeps `learning_rate * trace`, which is the same while the
    learning rate is constant. `momentum=0` is plain gradient descent.

    References:
        Sutskever, Martens, Dahl and Hinton, 2013. On the importance of
        initialization and momentum in deep learning. ICML.
    """
    return optax.chain(
        optax.trace(momentum), optax.scale_by_learning_rate(learning_rate)
    )


def adam(
    *,
    learning_rate: ScalarLike = 1e-3,
    decay1: ScalarLike = 0.9,
    decay2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
) -> optax.GradientTransformation:
    """`step = -learning_rate * mu_hat / (sqrt(nu_hat) + eps)`, by optax.

    References:
        Kingma and Ba, 2015. Adam: A Method for Stochastic Optimization.
        arXiv:1412.6980.
    """
    return optax.chain(
        optax.scale_by_adam(decay1, decay2, eps),
        optax.scale_by_learning_rate(learning_rate),
    )


def rmsprop(
    *, learning_rate: ScalarLike = 1e-3, decay: ScalarLike = 0.9, eps: ScalarLike = 1e-7
) -> optax.GradientTransformation:
    """`step = -learning_rate * g / sqrt(nu + eps)`, nu the average of g^2.

    As Keras 3 has it: eps under the root, nu starts at 0 and is not corrected.
    Torch adds its eps, 1e-8, outside the root and takes decay 0.99.

    References:
        Tieleman and Hinton, 2012. Lecture 6.5: rmsprop. Coursera.
    """
    return optax.chain(
        optax.scale_by_rms(decay, eps, eps_in_sqrt=True),
        optax.scale_by_learning_rate(learning_rate),
    )


def third_moment(
    *,
    learning_rate: ScalarLike = 1e-3,
    decay1: ScalarLike = 0.9,
    decay2: ScalarLike = 0.999,
    decay3: ScalarLike = 0.999987,
    eps: ScalarLike = 1e-8,
) -> optax.GradientTransformation:
    """Adam with `eps * cbrt(third_hat)` added to the denominator.

    See `transforms.scale_by_third_moment`; at eps 1e-8 this is Adam on nearly
    every coordinate, as `transforms.third_moment_probe` shows.
    """
    return optax.chain(
        transforms.scale_by_third_moment(decay1, decay2, decay3, eps),
        optax.scale_by_learning_rate(learning_rate),
    )


def kernels(params: PyTree) -> PyTree[bool]:
    """True at the leaves named `kernel`: what `l2` and `weight_decay` act on."""

    def is_kernel(path, leaf):
        del leaf
        return jax.tree_util.keystr(path[-1:], simple=True) == "kernel"

    return jax.tree.map_with_path(is_kernel, params)


def l2(strength: ScalarLike, *, num_train: int) -> optax.GradientTransformation:
    """Adds the gradient of `strength / (2 * num_train) * sum of squared kernels`.

    Goes before the optimizer, which so sees the penalty as part of the loss.
    """
    return optax.add_decayed_weights(strength / num_train, mask=kernels)


def weight_decay(
    strength: ScalarLike, *, learning_rate: ScalarLike
) -> optax.GradientTransformation:
    """Adds `-learning_rate * strength * kernel` to the step: goes last.

    References:
        Loshchilov and Hutter, 2019. Decoupled Weight Decay Regularization.
        arXiv:1711.05101. (Multiplied by the learning rate, as in torch's AdamW.)
    """
    return optax.add_decayed_weights(-learning_rate * strength, mask=kernels)


def _not_an_optimizer(recipe: object) -> str:
    return (
        f"optimizer={recipe!r}: must be a function of named arguments that returns an"
        f" optax.GradientTransformation; use one of {', '.join(sorted(RECIPES))}, or a"
        f" factory such as optax.lion."
    )


def settings_of(recipe: object) -> dict[str, float | None]:
    """Names and defaults of what may be traced; None where a value must be given.

    Settings are the named arguments with a float default or none at all, and
    `learning_rate` always: flags, dtypes, masks and integers stay at their default.

    Raises:
        InputError: if `recipe` is not a function whose arguments can be read.
    """
    try:
        arguments = inspect.signature(recipe).parameters.values()
    except (TypeError, ValueError) as error:
        raise InputError(_not_an_optimizer(recipe)) from error
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {
        a.name: a.default if isinstance(a.default, float) else None
        for a in arguments
        if a.kind in named
        and (
            isinstance(a.default, float)
            or a.default is a.empty
            or a.name == "learning_rate"
        )
    }


def chain(
    recipe: Optimizer,
    settings: Settings,
    *,
    memoryless: bool,
    decays: tuple[str, ...],
    num_train: int,
) -> optax.GradientTransformation:
    """The optimizer of one lane: `l2`, then `recipe`, then `weight_decay`.

    State and updates are in at least float32 (`transforms.widen`).

    Args:
        recipe: takes from `settings` what it knows; its defaults are the rest.
        settings: traced scalars by name; others than the optimizer's are ignored.
        memoryless: throw the state of `recipe` away before each step.
        decays: names in `DECAYS`; each is compiled in and reads its own setting.
        num_train: training examples, the n of `l2`.

    Raises:
        InputError: for a setting that has neither a value nor a default, an unknown
            decay, and `weight_decay` on top of a recipe that has its own.
    """
    name = getattr(recipe, "__name__", repr(recipe))
    defaults = settings_of(recipe)
    for decay in decays:
        pick("decays", DECAYS, decay)
    if "weight_decay" in decays and "weight_decay" in defaults:
        raise InputError(
            f"decays={decays!r}: {name} has a weight_decay of its own, set by the same"
            f" setting; leave 'weight_decay' out of decays."
        )
    rate = ("learning_rate",) if "weight_decay" in decays else ()
    values = defaults | settings
    for key in (*defaults, *decays, *rate):
        if values.get(key) is None:
            raise InputError(
                f"{key}=None: {name} with decays={decays!r} needs a number and has no"
                f" default; add {key} to the settings."
            )
    tx = recipe(**{key: settings[key] for key in defaults if key in settings})
    if not isinstance(tx, optax.GradientTransformation):
        raise InputError(_not_an_optimizer(recipe))
    tx = transforms.widen(transforms.memoryless(tx) if memoryless else tx)
    before, after = [], []
    if "l2" in decays:
        before = [l2(values["l2"], num_train=num_train)]
    if "weight_decay" in decays:
        step = values["learning_rate"]
        after = [weight_decay(values["weight_decay"], learning_rate=step)]
    return optax.chain(*before, tx, *after)


DECAYS = {"l2": l2, "weight_decay": weight_decay}
RECIPES = {"sgd": sgd, "adam": adam, "rmsprop": rmsprop, "third_moment": third_moment}
