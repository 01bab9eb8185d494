"""What a network is known by: a digest of everything that decides its numbers.

Two networks with the same arm id, settings and seed are the same network, whatever
question they answer. The question, the baseline, the target, the other seeds and the
machine are not part of it.
"""

import dataclasses
import dis
import functools
import importlib.metadata
import json
import math
import pathlib
import types
from collections.abc import Callable, Mapping, Set
from typing import Any

import jax
import numpy as np

import normjax
from normjax import files
from normjax.study import origins
from normjax.study.origins import TYPED
from normjax.types import Program

PACKAGES = ("jax", "jaxlib", "flax", "optax")  # whose version may move a digit
PARTS = ("ops", "layers", "optimizers", "training", "data", "models", "own_model")
CHECKERS = "jaxtyping", "beartype"  # wrap functions to check their arguments
FLAX_OWN = "parent", "name"  # fields that flax adds to a module

Within = Callable[[Any], Any]


def identity(
    program: Program, *, data_digest: str, root_seed: int, num_epochs: int
) -> dict[str, Any]:
    """What all networks of an arm share, as plain data.

    The mapping of lanes on a device is left out: it may round differently and is
    recorded with each group of networks.
    """
    return {
        "program": description(program._replace(mapping="")._asdict()),
        "data_digest": data_digest,
        "root_seed": root_seed,
        "num_epochs": num_epochs,
        "numerics": numerics(),
    }


def numerics() -> dict[str, Any]:
    """Versions, sources and switches that decide numbers."""
    values = jax.config.values
    return {
        "normjax": normjax.__version__,
        "sources": sources(pathlib.Path(normjax.__file__).parent),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "x64": values["jax_enable_x64"],
        "matmul_precision": values["jax_default_matmul_precision"],
        "prng": values["jax_default_prng_impl"],
    }


@functools.cache
def sources(package: pathlib.Path) -> str:
    """Digest of the modules that decide numbers, as they were when first asked for."""
    paths = [x.relative_to(package) for x in package.rglob("*.py")]
    found = [x for x in paths if x.parts[0].removesuffix(".py") in PARTS]
    texts = {x.as_posix(): (package / x).read_text("utf-8") for x in found}
    return files.text_digest(texts)[:16]


def description(value: Any, inside: tuple[int, ...] = ()) -> Any:
    """A value as plain data that is the same in every process.

    A dataclass, such as a flax module, is its class and its fields. A function is its
    name, its defaults and what it closes over, with the `origin` of its module if no
    version stands for that, or with its code if it is in no file, or in a script. Any
    other object is its class and its attributes. `inside` are the addresses of what is
    being described, for a value may hold itself.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if id(value) in inside:
        return {"again": inside.index(id(value))}
    within = functools.partial(description, inside=(*inside, id(value)))
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [within(x) for x in value]
    if isinstance(value, Set):
        return {"set": sorted(json.dumps(within(x), sort_keys=True) for x in value)}
    if isinstance(value, Mapping):
        texts = (k if isinstance(k, str) else json.dumps(within(k)) for k in value)
        return dict(zip(texts, map(within, value.values())))
    for kind, of_kind in KINDS.items():
        if isinstance(value, kind):
            return of_kind(value, within)
    if hasattr(value, "dtype") and hasattr(value, "__array__"):
        return _array(value, within)
    return {"class": within(type(value)), **within(_attributes(value))}


def _array(value: Any, within: Within) -> Any:
    """The type and the shape of an array or of random keys, and a digest of it."""
    kind, weak = str(value.dtype), getattr(value, "weak_type", False)
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.asarray(value)
    content = array.tolist() if array.dtype.hasobject else files.arrays_digest([array])
    return {"array": kind, "weak": weak, "shape": array.shape, "is": within(content)}


def _function(function: types.FunctionType, within: Within) -> Any:
    """Its name, where it was written, its defaults and what it closes over.

    A wrapper may carry the name of what it wraps, so the name alone says little.
    """
    while str(function.__globals__.get("__name__")).partition(".")[0] in CHECKERS:
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or ()))
        if "fn" not in cells:
            return "checked"
        function = cells["fn"].cell_contents  # __wrapped__ may be another one
    code, module = function.__code__, str(function.__globals__.get("__name__"))
    origin = _origin(module)
    name = f"{module}.{function.__qualname__}{origin}"
    if not origin and "<" not in code.co_qualname:
        return name
    parts = {
        "function": name,
        "written": code.co_qualname,
        "closure": within(function.__closure__),
        "defaults": within([function.__defaults__, function.__kwdefaults__]),
    }
    if origin == TYPED:
        known = function.__globals__
        parts["globals"] = {x: within(known[x]) for x in _names(code) if x in known}
    if origin == TYPED or code.co_name == "<lambda>":  # one of many of that name
        parts["code"] = within(code)
    return parts


def _names(code: types.CodeType) -> list[str]:
    """Names that a code, or one inside it, looks up in its module."""
    lookups = "LOAD_GLOBAL", "LOAD_NAME"
    own = {x.argval for x in dis.get_instructions(code) if x.opname in lookups}
    inner = [x for x in code.co_consts if isinstance(x, types.CodeType)]
    return sorted(own.union(*map(_names, inner)))


def _class(value: type, within: Within) -> Any:
    """Its name; what is in it too if its file does not say that."""
    origin = _origin(value.__module__)
    name = f"{value.__module__}.{value.__qualname__}{origin}"
    if origin != TYPED and "<" not in value.__qualname__:
        return name
    held, methods = vars(value), types.FunctionType
    own = [x for x in sorted(held) if x[:2] != "__" or isinstance(held[x], methods)]
    body = {x: within(held[x]) for x in own}
    return {"type": name, "bases": within(value.__bases__), "body": body}


def _attributes(value: Any) -> dict[str, Any]:
    """Fields of a dataclass or of a named tuple; else what an object holds itself."""
    if hasattr(value, "_fields"):
        return value._asdict()
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return {x: getattr(value, x) for x in names if x not in FLAX_OWN}
    state: Any = object.__getstate__(value)
    parts = state if isinstance(state, tuple) else (state,)  # attributes, slots
    own = {k: v for part in parts for k, v in (part or {}).items() if k[:2] != "__"}
    if hasattr(value, "__wrapped__"):  # jax.jit, functools.cache, staticmethod
        if not _origin(type(value).__module__):  # theirs may be places of files
            own = {k: v for k, v in own.items() if k[0] != "_"}
        return own | {"__wrapped__": value.__wrapped__}
    if own:
        return own
    if hasattr(value, "__name__"):  # of a builtin function
        return {"name": value.__name__, "of": getattr(value, "__self__", None)}
    text = repr(value)
    return {} if " at 0x" in text else {"is": text}


def _origin(module: str) -> str:
    """What stands for a module's source: nothing if its version does, or a digest."""
    top, _, inner = module.partition(".")
    own = top == "normjax" and inner.partition(".")[0] in PARTS
    return "" if own or origins.is_versioned(module) else origins.origin(module)


KINDS: dict[Any, Callable[[Any, Within], Any]] = {
    type: _class,
    types.FunctionType: _function,
    types.MethodType: lambda x, within: within([x.__func__, x.__self__]),
    types.ModuleType: lambda x, within: f"{x.__name__}{_origin(x.__name__)}",
    types.CodeType: lambda x, within: within([x.co_code, x.co_names, x.co_consts]),
    types.CellType: lambda x, within: (
        "empty" if x == types.CellType() else [within(x.cell_contents)]
    ),
    functools.partial: lambda x, within: within([type(x), x.func, x.args, x.keywords]),
    property: lambda x, within: {"property": within(x.fget)},
    np.dtype: lambda x, within: {"dtype": str(x)},
}
