"""What a record is applied with: the module of an arm, and the data it was trained on.

Kept apart from `record`, which is read without jax.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from normjax import files
from normjax.data import splits
from normjax.errors import InputError, pick
from normjax.study import given, levels
from normjax.study.config import config, resolve
from normjax.study.levels import Factors
from normjax.study.network import network
from normjax.study.plan import root_keys
from normjax.types import Split

SPLITS = ("train", "validation", "test")


def module(
    choices: Mapping[str, Any],
    factors: Factors,
    identity: Mapping[str, Any],
    model: Any = None,
) -> nn.Module:
    """The model of an arm, as it was compiled.

    Args:
        choices: the config of the record; what it lacks has its default.
        factors: the levels of the arm.
        identity: what the networks of the arm are known by, see `study.identity`.
        model: what was given in the place of a model's name.

    Raises:
        InputError: the model has to be given, or cannot be imported.
    """
    chosen = resolve(config(**choices))
    built = levels.substitute(chosen, factors)
    chosen = levels.choices_of(chosen, built)
    name = chosen["model"]["name"]
    if model is None and name.startswith("<"):
        rule = f"must be given, for {name} was trained as an object without a name"
        remedy = "call record.model(arm, model=...) with that object"
        raise InputError("model", ..., rule, remedy)
    num_classes = identity["program"]["model"]["num_classes"]
    return network(chosen, built, num_classes, given=model)


def on_device(variables: dict[str, Any]) -> dict[str, Any]:
    """The variables of a network as arrays of jax, on its default device."""
    return jax.tree.map(jnp.asarray, variables)


def split(
    choices: Mapping[str, Any],
    name: str,
    identities: Sequence[Mapping[str, Any]],
    data: Any = None,
) -> Split:
    """A split of the data that a record was trained on, its inputs scaled.

    Args:
        choices: the config of the record; what it lacks has its default.
        name: a row of `SPLITS`.
        identities: what the networks of the record are known by.
        data: the arrays that were given in the place of a name.

    Raises:
        InputError: there is no such split, or the data is not there or another.
    """
    pick("split", dict.fromkeys(SPLITS), name)
    chosen = resolve(config(**choices))
    if data is None and chosen["data"]["name"] == given.ARRAYS:
        rule = "must be given, for the record was trained on arrays without a name"
        remedy = "call record.data(split, data=...) with these arrays"
        raise InputError("data", ..., rule, remedy)
    key, _ = root_keys(chosen["root_seed"])
    _, loaded = given.load(chosen["data"], data, key)
    digest = files.arrays_digest(jax.tree.leaves(loaded))
    if any(identity["data_digest"] != digest for identity in identities):
        rule = "must be what the record was trained on, and it is not"
        remedy = "give the arrays, or the same version of the set"
        raise InputError("data", ..., rule, remedy)
    inputs, labels = getattr(loaded, name)
    return Split(splits.scale_inputs(inputs, loaded.scaling), labels)
