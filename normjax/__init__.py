"""A JAX laboratory for normalization layers and optimizers."""

import importlib
from typing import Any

_MODULES = ("layers", "models", "ops", "optimizers", "statistics")
_FUNCTIONS = {"config": "normjax.study.config"}


def __getattr__(name: str) -> Any:
    """Loads what is touched, so that `import normjax` is quick."""
    if name in _MODULES:
        return importlib.import_module(f"normjax.{name}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    raise AttributeError(f"module 'normjax' has no attribute {name!r}")
