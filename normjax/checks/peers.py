"""Recipes beside the optimizers of optax, torch and Keras, on the same gradients."""

import functools
import importlib.util
import os
import warnings
from collections.abc import Callable

import jax
import numpy as np
import optax

from normjax.checks import optimizers, rounding
from normjax.checks.rows import Check, beside, worst

OPTAX = {
    "sgd": optax.sgd(0.1, momentum=0.9),
    "adam": optax.adam(1e-3),
    "rmsprop": optax.rmsprop(1e-3, decay=0.9, eps=1e-7, eps_in_sqrt=True),
    "third_moment": optax.adam(1e-3),  # to the last bit but for optax' correction
}


def installed(framework: str) -> bool:
    """Whether there is such a package; it is imported where it is used."""
    return importlib.util.find_spec(framework) is not None


def keras_module():
    """Keras on JAX, unless the environment says otherwise; its import warns."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras
    return keras


def torch_path(make: Callable) -> np.ndarray:
    """Where a torch optimizer takes parameters that start at 0, after each step."""
    import torch

    params = torch.zeros(24, requires_grad=True)
    optimizer, places = make(torch.optim, [params]), []
    for row in optimizers.gradients():
        params.grad = torch.from_numpy(row)
        optimizer.step()
        places.append(params.detach().numpy().copy())
    return np.stack(places)


def keras_path(make: Callable) -> np.ndarray:
    """The same by a Keras optimizer."""
    keras = keras_module()
    params = keras.Variable(np.zeros(24, np.float32))
    optimizer, places = make(keras.optimizers), []
    for row in optimizers.gradients():
        optimizer.apply([keras.ops.convert_to_tensor(row)], [params])
        places.append(np.asarray(params.value))
    return np.stack(places)


def _keras_halved(kinds):
    """The last step with the first rate is the boundary itself."""
    kept, halved = optimizers.STEPS // 2 - 1, [0.1, 0.05]
    rate = kinds.schedules.PiecewiseConstantDecay([kept], halved)
    return kinds.SGD(rate, momentum=0.9)


PATHS = {"torch": torch_path, "keras": keras_path}
PEERS = {
    "torch": {
        "sgd": lambda optim, p: optim.SGD(p, 0.1, momentum=0.9),
        "adam": lambda optim, p: optim.Adam(p, 1e-3),
    },
    "keras": {
        "sgd": lambda optimizers: optimizers.SGD(0.1, momentum=0.9),
        "rmsprop": lambda optimizers: optimizers.RMSprop(1e-3),
    },
}
# What a framework computes where no setting of ours does: its own formula.
OWN = {
    "torch": {
        "rmsprop, eps outside the root": (
            lambda optim, p: optim.RMSprop(p, 1e-3, alpha=0.9, eps=1e-7),
            functools.partial(
                optimizers.rmsprop,
                denominator=lambda nu: rounding.root(nu) + 1e-7,
            ),
        ),
    },
    "keras": {
        "sgd, rate inside the momentum": (_keras_halved, optimizers.sgd_rate_inside),
        "adam, eps not corrected": (
            lambda optimizers: optimizers.Adam(1e-3, epsilon=1e-8),
            functools.partial(
                optimizers.adam,
                denominator=lambda nu, correction, eps: (
                    (rounding.root(nu) + eps) / rounding.root(correction)
                ),
            ),
        ),
    },
}


def optax_updates(tx: optax.GradientTransformation) -> Callable:
    """All updates of an optax optimizer."""
    run = jax.jit(functools.partial(optimizers.run, tx))
    return lambda: run(optimizers.gradients())


def _optax(name: str, tx) -> Check:
    of = optimizers.FORMULAS["adam" if name == "third_moment" else name]
    ours = lambda: optimizers.ours(name)(optimizers.gradients())
    return beside(
        name, "optax", optax_updates(tx), ours, lambda: optimizers.expected(of)
    )


def _framework(framework: str, name: str, make) -> Check:
    theirs = functools.partial(PATHS[framework], make)
    right = lambda: optimizers.path(optimizers.expected(optimizers.FORMULAS[name]))

    def ours():
        updates = np.asarray(optimizers.ours(name)(optimizers.gradients()))
        return np.cumsum(updates, 0, dtype=np.float32)

    return beside(name, framework, theirs, ours, right)


def _own(framework: str, name: str, make, formula) -> Check:
    def judge(theirs):
        return worst(theirs(), optimizers.path(optimizers.expected(formula)))

    return Check(name, framework, functools.partial(PATHS[framework], make), judge)


def checks() -> list[Check]:
    """Optax always, the others where they are installed."""
    found = [_optax(name, tx) for name, tx in OPTAX.items()]
    for framework in filter(installed, PEERS):
        found += [_framework(framework, *item) for item in PEERS[framework].items()]
        found += [_own(framework, name, *pair) for name, pair in OWN[framework].items()]
    return found
