"""Checks of recipes against the optimizers of optax, torch and Keras.

A recipe without a peer has no row here.
"""

import functools
from collections.abc import Callable

import numpy as np
import optax

from normjax.checks import frameworks, optimizers
from normjax.checks.rows import Check, parity


def optax_updates(tx: optax.GradientTransformation) -> np.ndarray:
    """All updates of an optax optimizer."""
    return np.asarray(optimizers.compiled_updates(tx)(optimizers.example_gradients()))


def torch_path(make: Callable) -> np.ndarray:
    """Where a torch optimizer takes parameters that start at 0, after each step."""
    import torch

    params = torch.zeros(24, requires_grad=True)
    optimizer, places = make(torch.optim, [params]), []
    for row in optimizers.example_gradients():
        params.grad = torch.from_numpy(row)
        optimizer.step()
        places.append(params.detach().numpy().copy())
    return np.stack(places)


def keras_path(make: Callable) -> np.ndarray:
    """The same by a Keras optimizer."""
    keras = frameworks.keras()
    params = keras.Variable(np.zeros(24, np.float32))
    optimizer, places = make(keras.optimizers), []
    for row in optimizers.example_gradients():
        optimizer.apply([keras.ops.convert_to_tensor(row)], [params])
        places.append(np.asarray(params.value))
    return np.stack(places)


OPTAX = {
    "sgd": optax.sgd(0.1, momentum=0.9),
    "adam": optax.adam(1e-3),
    "rmsprop": optax.rmsprop(1e-3, decay=0.9, eps=1e-7, eps_in_sqrt=True),
    "third_moment": optax.adam(1e-3),  # to the last bit but for optax's correction
}
PATHS = {"torch": torch_path, "keras": keras_path}
PEERS: dict[str, dict[str, Callable]] = {  # called with the module of optimizers
    "torch": {
        "sgd": lambda optim, params: optim.SGD(params, 0.1, momentum=0.9),
        "adam": lambda optim, params: optim.Adam(params, 1e-3),
    },
    "keras": {
        "sgd": lambda optimizers: optimizers.SGD(0.1, momentum=0.9),
        "rmsprop": lambda optimizers: optimizers.RMSprop(1e-3),
    },
}


def optax_check(name: str, tx: optax.GradientTransformation) -> Check:
    """The updates; those of third moment are Adam's to a few budgets of Adam."""
    formula = optimizers.FORMULAS["adam" if name == "third_moment" else name]
    return parity(
        name,
        "optax",
        functools.partial(optax_updates, tx),
        lambda: optimizers.updates_of(name),
        lambda: optimizers.expected_updates(formula),
    )


def path_check(framework: str, name: str, make: Callable) -> Check:
    """The parameters, since torch and Keras show no updates."""
    formula = optimizers.FORMULAS[name]
    return parity(
        name,
        framework,
        functools.partial(PATHS[framework], make),
        lambda: np.cumsum(optimizers.updates_of(name), 0, dtype=np.float32),
        lambda: optimizers.path(optimizers.expected_updates(formula)),
    )


def every_check() -> list[Check]:
    """Optax's always, the others' where they are installed."""
    found = [optax_check(name, tx) for name, tx in OPTAX.items()]
    for framework in filter(frameworks.is_installed, PEERS):
        peers = PEERS[framework].items()
        found += [path_check(framework, name, make) for name, make in peers]
    return found
