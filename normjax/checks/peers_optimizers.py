"""Checks of recipes against the optimizers of optax, torch and Keras.

A recipe without a peer has no row here. Torch's Muon is none, since it iterates in
bfloat16, nor is Keras' AdamW, whose eps is at another place.
"""

import functools
from collections.abc import Callable

import numpy as np
import optax
import optax.contrib

from normjax.checks import frameworks, optimizers
from normjax.checks.rows import Check, parity


def optax_updates(tx: optax.GradientTransformation, name: str = "") -> np.ndarray:
    """All updates of an optax optimizer; `name` is that of our recipe."""
    updates = optimizers.compiled_updates(tx, name)
    return np.asarray(updates(optimizers.example_gradients()))


def torch_path(make: Callable, start: float = 0.0) -> np.ndarray:
    """Where a torch optimizer takes parameters, after each step."""
    import torch

    params = torch.full((24,), start, requires_grad=True)
    optimizer, places = make(torch.optim, [params]), []
    for row in optimizers.example_gradients():
        params.grad = torch.from_numpy(row)
        optimizer.step()
        places.append(params.detach().numpy().copy())
    return np.stack(places)


def keras_path(make: Callable, start: float = 0.0) -> np.ndarray:
    """The same by a Keras optimizer."""
    keras = frameworks.keras()
    params = keras.Variable(np.full(24, start, np.float32))
    optimizer, places = make(keras.optimizers), []
    for row in optimizers.example_gradients():
        optimizer.apply([keras.ops.convert_to_tensor(row)], [params])
        places.append(np.asarray(params.value))
    return np.stack(places)


OPTAX = {
    "sgd": optax.sgd(0.1, momentum=0.9),
    "nesterov": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": optax.adam(1e-3),
    "adamw": optax.adamw(1e-3, weight_decay=0.01),
    "lion": optax.lion(1e-4, weight_decay=0.0),
    "muon": optax.contrib.muon(1e-3, consistent_rms=0.2),
    "rmsprop": optax.rmsprop(1e-3, decay=0.9, eps=1e-7, eps_in_sqrt=True),
    "third_moment": optax.adam(1e-3),  # to the last bit but for optax's correction
}
PATHS = {"torch": torch_path, "keras": keras_path}
PEERS: dict[str, dict[str, Callable]] = {  # called with the module of optimizers
    "torch": {
        "sgd": lambda optim, params: optim.SGD(params, 0.1, momentum=0.9),
        "nesterov": lambda optim, params: optim.SGD(
            params, 0.1, momentum=0.9, nesterov=True
        ),
        "adam": lambda optim, params: optim.Adam(params, 1e-3),
        "adamw": lambda optim, params: optim.AdamW(params, 1e-3, weight_decay=0.01),
    },
    "keras": {
        "sgd": lambda optimizers: optimizers.SGD(0.1, momentum=0.9),
        "nesterov": lambda optimizers: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        "lion": lambda optimizers: optimizers.Lion(1e-4),
        "rmsprop": lambda optimizers: optimizers.RMSprop(1e-3),
    },
}


def optax_check(name: str, tx: optax.GradientTransformation) -> Check:
    """The updates; those of third moment are Adam's to a few budgets of Adam."""
    formula = optimizers.FORMULAS["adam" if name == "third_moment" else name]
    return parity(
        name,
        "optax",
        functools.partial(optax_updates, tx, name),
        lambda: optimizers.updates_of(name),
        lambda: optimizers.expected_updates(formula),
    )


def path_check(framework: str, name: str, make: Callable) -> Check:
    """The parameters, since torch and Keras show no updates."""
    formula, start = optimizers.FORMULAS[name], optimizers.START.get(name, 0.0)

    def ours():
        updates = optimizers.updates_of(name)
        first = np.full_like(updates[:1], start)
        return np.cumsum(np.concatenate([first, updates]), 0, dtype=np.float32)[1:]

    return parity(
        name,
        framework,
        functools.partial(PATHS[framework], make, start),
        ours,
        lambda: optimizers.path(optimizers.expected_updates(formula), start),
    )


def every_check() -> list[Check]:
    """Optax's always, the others' where they are installed."""
    found = [optax_check(name, tx) for name, tx in OPTAX.items()]
    for framework in filter(frameworks.is_installed, PEERS):
        peers = PEERS[framework].items()
        found += [path_check(framework, name, make) for name, make in peers]
    return found
