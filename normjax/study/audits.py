"""The module that audits a study, by the name in its config. Imports no jax."""

from types import ModuleType

from normjax.errors import InputError, import_module


def audit_named(name: str) -> ModuleType | None:
    """The module of that dotted name, or None if the name is empty.

    Raises:
        InputError: it cannot be imported, or has no function `sections`.
    """
    if not name:
        return None
    module = import_module("audit", name, name, "leave the field empty")
    if not hasattr(module, "sections"):
        rule = "must be a module with a function sections(record)"
        raise InputError("audit", name, rule, "see normjax/report/audit_interface.py")
    return module
