"""Modules as programs are known by: by the hash of their fields."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
from flax.core import FrozenDict


def frozen(value: Any, done: dict[int, nn.Module]) -> Any:
    """A module, or a field of one, with tuples for lists and FrozenDicts for dicts.

    `done` are the modules that were met, by address: one that is shared stays shared.
    """
    if isinstance(value, list) or type(value) is tuple:
        return tuple(frozen(x, done) for x in value)
    if isinstance(value, Mapping):
        return FrozenDict({name: frozen(x, done) for name, x in value.items()})
    if not isinstance(value, nn.Module):
        return value
    if id(value) not in done:
        names = [x.name for x in dataclasses.fields(value) if x.init]
        old = {name: getattr(value, name) for name in names if name != "parent"}
        new = {name: frozen(x, done) for name, x in old.items()}
        changed = {name: x for name, x in new.items() if x is not old[name]}
        done[id(value)] = value.clone(**changed) if changed else value
    return done[id(value)]
