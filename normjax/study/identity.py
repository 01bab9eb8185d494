"""What a network is known by: a digest of everything that decides its numbers.

Two networks with the same arm id, settings and seed are the same network, whatever
question they answer. The question, the baseline, the target, the other seeds and the
machine are not part of it.
"""

import dataclasses
import functools
import importlib.metadata
import inspect
import sys
import types
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

import normjax
from normjax.types import Program

PACKAGES = ("jax", "jaxlib", "flax", "optax")  # whose version may move a digit
CHECKERS = "jaxtyping", "beartype"  # wrap functions to check their arguments
VERSIONED = ("normjax", "numpy", "builtins", "functools", *PACKAGES)


def identity(
    program: Program, *, data_crc32: int, root_seed: int, num_epochs: int
) -> dict[str, Any]:
    """What all networks of an arm share, as plain data.

    The mapping of lanes on a device is left out: it may round differently and is
    recorded with each group of networks.
    """
    return {
        "program": description(program._replace(mapping="")._asdict()),
        "data_crc32": data_crc32,
        "root_seed": root_seed,
        "num_epochs": num_epochs,
        "numerics": numerics(),
    }


def numerics() -> dict[str, Any]:
    """Versions and switches that decide numbers."""
    values = jax.config.values
    return {
        "normjax": normjax.__version__,
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "x64": values["jax_enable_x64"],
        "matmul_precision": values["jax_default_matmul_precision"],
        "prng": values["jax_default_prng_impl"],
    }


def description(value: Any) -> Any:
    """A value as plain data that is the same in every process.

    A dataclass, such as a flax module, is its class and its fields. A function is its
    name and what it closes over, with the checksum of its file if no version stands for
    that.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return [str(value.dtype), *np.ravel(value).tolist()]
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [description(x) for x in value]
    if isinstance(value, Mapping):
        return {str(k): description(v) for k, v in value.items()}
    if isinstance(value, functools.partial):
        return {
            "partial": description(value.func),
            "args": description(value.args),
            "keywords": description(value.keywords),
        }
    if isinstance(value, type):
        return _named(value)
    fields = _fields(value)
    if fields is not None:
        return {"class": _named(type(value)), **description(fields)}
    if isinstance(value, types.FunctionType):
        return _function(value)
    if isinstance(value, types.MethodType):
        return [description(value.__func__), description(value.__self__)]
    if hasattr(value, "__wrapped__"):  # jax.jit, functools.cache
        return [_named(type(value)), description(value.__wrapped__)]
    own = getattr(value, "__dict__", None) or getattr(value, "__name__", str(value))
    return [_named(type(value)), description(own)]


def _function(function: types.FunctionType) -> Any:
    """Its name, where it was written, and what it closes over.

    A wrapper may carry the name of what it wraps, so the name alone says little.
    """
    while function.__globals__["__name__"].partition(".")[0] in CHECKERS:
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or ()))
        if "fn" not in cells:
            return "checked"
        function = cells["fn"].cell_contents  # __wrapped__ may be another one
    code = function.__code__
    name = _named(function, function.__globals__["__name__"])
    if "<locals>" not in code.co_qualname:
        return name
    closed = [cell.cell_contents for cell in function.__closure__ or ()]
    return [name, code.co_qualname, *map(description, closed)]


def _fields(value: Any) -> dict[str, Any] | None:
    """The fields of a dataclass or of a named tuple; None for anything else."""
    if hasattr(value, "_fields"):
        return value._asdict()
    if not dataclasses.is_dataclass(value):
        return None
    names = [field.name for field in dataclasses.fields(value)]
    own = [name for name in names if name not in ("parent", "name")]  # flax's
    return {name: getattr(value, name) for name in own}


def _named(value: Any, module: str = "") -> str:
    """`package.module.name`, and the checksum of a file that has no version."""
    module = module or value.__module__
    name = f"{module}.{value.__qualname__}"
    if module.partition(".")[0] in VERSIONED:
        return name
    try:
        source = inspect.getsource(sys.modules[module])
    except (KeyError, OSError, TypeError):  # typed at a prompt
        code = getattr(value, "__code__", None)
        source = repr(code and (code.co_code, code.co_consts, code.co_names))
    return f"{name}:{zlib.crc32(source.encode())}"
