"""The error that a user can cause, and choosing by name. Imports nothing of normjax."""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")

TRACEBACK = "Traceback (most recent call last):"


class InputError(ValueError):
    """A mistake of the user. It reads `field=value: rule; remedy.`, in one line.

    The launcher prints it and exits with code 2; any other error is a bug of ours and
    keeps its traceback.

    Args:
        field: the argument that is wrong, dotted inside a group (`model.name`).
        value: what was given, or `...` if there is none to show.
        rule: what the value must be.
        remedy: what to do instead, with a value that works where there is one; in it
            `{field}` stands for the field, as in `set {field}=0`.
    """

    def __init__(self, field: str, value: object, rule: str, remedy: str):
        super().__init__(field, value, rule, remedy)
        self.field, self.value, self.rule, self.remedy = field, value, rule, remedy

    def __str__(self) -> str:
        remedy = self.remedy.replace("{field}", self.field)
        end = "" if remedy.endswith("?") else "."
        return " ".join(f"{self.given()}: {self.rule}; {remedy}{end}".split())

    def given(self) -> str:
        """`field=value`, or `field` if there is no value to show."""
        return self.field if self.value is ... else f"{self.field}={self.value!r}"

    def within(self, group: str) -> "InputError":
        """The same mistake where `field` is one of `group`: `arms.norm` for `norm`."""
        return self.at(f"{group}.{self.field}", self.value)

    def at(self, field: str, value: object) -> "InputError":
        """The same mistake of another field, from which this one was made."""
        return InputError(field, value, self.rule, self.remedy)


def suggest(name: object, known: Iterable[str], otherwise: str) -> str:
    """A remedy: `did you mean 'x'?` for the closest known name, or `otherwise`."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise


def pick(field: str, table: Mapping[str, T], name: str) -> T:
    """`table[name]`, or an InputError that names what would have worked."""
    if isinstance(name, str) and name in table:
        return table[name]
    rule = f"must be one of {', '.join(sorted(table))}"
    raise InputError(field, name, rule, suggest(name, table, "choose one of them"))


def pick_or_import(field: str, table: Mapping[str, Any], name: str) -> Any:
    """`table[name]`, or the object that a dotted name such as `optax.lion` imports."""
    if name in table or "." not in str(name):
        return pick(field, table, name)
    known = f"use one of {', '.join(sorted(table))}"
    parent, _, attribute = str(name).rpartition(".")
    module = import_module(field, name, parent, known)
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        rule = f"must be in module {parent!r}, which has no {attribute!r}"
        remedy = suggest(attribute, dir(module), known)
        raise InputError(field, name, rule, remedy) from error


def install(extra: str) -> str:
    """What installs one of the extras of `setup.cfg` into the environment in use."""
    return f"pip install -c constraints.txt -e '.[{extra}]'"


def import_module(field: str, name: str, module: str, otherwise: str) -> ModuleType:
    """The module that a user named in `field=name`, which runs code of hers."""
    if not all(part.isidentifier() for part in str(name).split(".")):
        rule = "must be names joined by dots, such as my_package.MyNorm"
        raise InputError(field, name, rule, otherwise)
    try:
        return importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may even exit
        rule = f"must be importable ({reason(error)})"
        remedy = f"put its folder on PYTHONPATH, or {otherwise}"
        raise InputError(field, name, rule, remedy) from error


def reason(error: BaseException) -> str:
    """What an error of a user's code says: `ValueError: ` and its first line.

    If its text is a traceback, as jax hands on that of a callback, it is what the last
    one there ends with, which begins with the name of an error.
    """
    name = type(error).__name__
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # it is her class
        lines = []
    heads = [i for i, line in enumerate(lines) if line.endswith(TRACEBACK)]
    for line in lines[heads[-1] + 1 :] if heads else ():
        if line[:1].strip():  # places in files are indented
            return line.strip().removesuffix(".")
    return f"{name}: {lines[0].strip()}".removesuffix(".") if lines else name
