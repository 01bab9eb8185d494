"""The frameworks that ours is compared with, as far as they are installed."""

import importlib.util
import os
import warnings
from types import ModuleType
from typing import Any

import numpy as np

from normjax.errors import install

EXTRAS = ("torch", "keras")


def is_installed(framework: str) -> bool:
    """Whether there is such a package; it is imported where it is used."""
    return importlib.util.find_spec(framework) is not None


def missing_frameworks() -> list[str]:
    """A line for each framework that is not installed."""
    return [
        f"{name} is not installed: its rows are left out; {install(name)} adds them."
        for name in EXTRAS
        if not is_installed(name)
    ]


def keras() -> ModuleType:
    """Keras on JAX, unless the environment says otherwise; its import warns."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras
    return keras


def channels_second(x: np.ndarray) -> Any:
    """A torch tensor with the axis of the channels after that of the examples."""
    import torch

    return torch.from_numpy(np.moveaxis(x, -1, 1).copy())


def channels_last(y: Any) -> np.ndarray:
    """The array of such a tensor."""
    return np.moveaxis(y.detach().numpy(), 1, -1)
