"""Names of flax and optax that a user may mean, and has to write with dots."""

import inspect
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import flax.linen
import optax

from normjax.errors import InputError


def or_flax(error: InputError, known: Iterable[str]) -> InputError:
    """The error of a norm that is none of `known`, or that it is one of flax.linen."""
    return _or_theirs(error, known, flax.linen, _is_norm)


def or_optax(error: InputError, known: Iterable[str]) -> InputError:
    """The error of an optimizer, or that it is one of optax."""
    return _or_theirs(error, known, optax, _has_rate)


def _or_theirs(
    error: InputError,
    known: Iterable[str],
    library: ModuleType,
    fits: Callable[[Any], bool],
) -> InputError:
    """The error of a name that is none of ours, but one of a library's that fits."""
    found = {x.lower(): x for x in dir(library) if fits(getattr(library, x))}
    name = str(error.value)
    theirs = found.get(name.lower())
    if theirs is None or name in known:
        return error
    rule = f"must be one of {', '.join(sorted(known))}, or a dotted name"
    remedy = f"did you mean '{library.__name__}.{theirs}'?"
    return InputError(error.field, error.value, rule, remedy)


def _is_norm(thing: Any) -> bool:
    return isinstance(thing, type) and thing.__name__.endswith("Norm")


def _has_rate(thing: Any) -> bool:
    """Whether it is a function of a learning rate."""
    try:
        return "learning_rate" in inspect.signature(thing).parameters
    except (TypeError, ValueError):  # no function
        return False
