"""Choosing by name: one flat dict per kind, one function that explains a miss."""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class InputError(ValueError):
    """A mistake of the user: one line with field, value, rule and remedy.

    The launcher prints it and exits with code 2; anything else is a bug of ours
    and keeps its traceback.
    """


def nearest(name: object, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the closest known name, or an empty string."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def pick(kind: str, table: Mapping[str, T], name: str) -> T:
    """`table[name]`, or an InputError that names what would have worked."""
    if isinstance(name, str) and name in table:
        return table[name]
    known = ", ".join(sorted(table))
    raise InputError(
        f"{kind}={name!r} is not known.{nearest(name, table)} Known: {known}."
    )


def pick_or_import(kind: str, table: Mapping[str, Any], name: str) -> Any:
    """`table[name]`, or the object that a dotted name such as `optax.lion` imports."""
    if name in table or "." not in str(name):
        return pick(kind, table, name)
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError) as error:
        raise InputError(
            f"{kind}={name!r} cannot be imported: {error}."
            f" Put its folder on PYTHONPATH, or use a known name: "
            f"{', '.join(sorted(table))}."
        ) from error
    except AttributeError as error:
        raise InputError(
            f"{kind}={name!r}: module {module!r} has no {attribute!r}."
            f"{nearest(attribute, dir(importlib.import_module(module)))}"
        ) from error
