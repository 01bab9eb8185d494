"""The level `own` of the factor norm: the norms that a user's module has itself."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from normjax import models
from normjax.own_model import fields_of, module_named

OWN = "own"


def usual(chosen: Mapping[str, Any], given: Any = None) -> str:
    """The level of a study that chooses none: `own` if it has a model of a user.

    It is `none` if all its models are normjax', and if the user's has a field `norm`
    without a default. `given` is one that is an object.
    """
    if given is not None:
        return OWN if has_norm(given) else "none"
    named = [("model.name", chosen["model"]["name"])]
    named = [("arms.model", name) for name in chosen["arms"]["model"]] or named
    for field, name in named:
        if name not in models.MODELS and has_norm(module_named(field, name)):
            return OWN
    return "none"


def has_norm(module: Any) -> bool:
    """Whether a user's module, or what makes it, need not be told its norm."""
    return isinstance(module, nn.Module) or not fields_of(module).get("norm", False)


def is_offered(chosen: Mapping[str, Any], given: str = "") -> bool:
    """Whether a config may choose `own`, which a user's model only has."""
    names = chosen["arms"]["model"] or (chosen["model"]["name"],)
    return bool(given) or any(name not in models.MODELS for name in names)
