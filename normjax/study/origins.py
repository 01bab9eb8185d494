"""What stands for the source of a module that a user's model or function is in.

The text of the module as it was loaded, and those of the modules that it imports, and
so on. Modules of normjax, of the standard library and of packages whose version is part
of every id are left out; an installed package stands there with its version.
"""

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import inspect
import marshal
import pathlib
import sys
import types
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from typing import Any, NamedTuple

VERSIONED = ("numpy", "jax", "jaxlib", "flax", "optax")
INSTALLED = ("site-packages", "dist-packages")  # folders
TYPED = ":typed"  # stands for a source that is in no file
MAIN = ("__main__", "__mp_main__")  # a script: an edit of what is not used is none


class Source(NamedTuple):
    """The file of a module as it was when first asked for."""

    loaded: Any  # by which loading: the module's specification
    digest: str
    imports: tuple[str, ...]  # full names, those that are no modules too
    constants: dict[str, Any]  # numbers and texts that the module's top level names


_READ: dict[str, Source] = {}


def is_versioned(name: str) -> bool:
    """Whether a version stands for the module."""
    top = name.partition(".")[0]
    return top in VERSIONED or top in sys.stdlib_module_names


def origin(name: str) -> str:
    """A digest of the module and of those that it imports; TYPED if it is in no file.

    An edit of the file counts once the module is loaded again. Where the file was
    edited after the module was loaded and before this was first asked, its functions
    and its constants as they are in memory are a part of the digest. Modules that are
    imported in another way than by a statement are not seen.
    """
    own = None if name in MAIN or name not in sys.modules else _source(name)
    if own is None:
        return TYPED
    others = {name: own}
    versions = set[str]()
    _collect(own, others, versions)
    text = ":" + _digest_now(name, others.pop(name))
    inner = [f"{x}:{_digest_now(x, others[x])}" for x in sorted(others)]
    if not inner and not versions:
        return text
    rest = "\n".join([*inner, *sorted(versions)])
    return f"{text}+{hashlib.sha256(rest.encode()).hexdigest()[:16]}"


def _collect(source: Source, found: dict[str, Source], versions: set[str]) -> None:
    """Adds what a source imports, and what that does."""
    for name in source.imports:
        top = name.partition(".")[0]
        if name in found or top == "normjax" or is_versioned(name):
            continue
        version = _version(top)
        if version:
            versions.add(f"{top}=={version}")
            continue
        inner = _source(name)
        if inner is not None:
            found[name] = inner
            _collect(inner, found, versions)


def _source(name: str) -> Source | None:
    """What is known of the file of a module, be it loaded or not."""
    module = sys.modules.get(name)
    specification = getattr(module, "__spec__", None) or module or _find(name)
    known = _READ.get(name)
    if known is not None and known.loaded is specification:
        return known
    path = getattr(module, "__file__", None) or getattr(specification, "origin", None)
    try:
        text = pathlib.Path(path or "").read_bytes()
    except OSError:
        return None
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):  # of an extension module
        tree = ast.Module([], [])
    digest = hashlib.sha256(text)
    if module is not None and type(module.__loader__) is SourceFileLoader:
        for code in _codes_of_another_text(module, text):
            digest.update(marshal.dumps(code, 2))  # of version 2: the same each time
    package = getattr(specification, "parent", None) or ""
    imports = tuple(sorted(set(_imports(tree, package))))
    found = Source(specification, digest.hexdigest()[:16], imports, _constants(tree))
    _READ[name] = found
    return found


def _find(name: str) -> Any:
    """The specification of a module that is not loaded; None if there is no such."""
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None


@functools.cache
def _version(top: str) -> str:
    """That of an installed package; nothing if it is none."""
    found = getattr(sys.modules.get(top), "__spec__", None) or _find(top)
    places = [getattr(found, "origin", None) or "", *_folders(found)]
    if not any(x in pathlib.Path(place).parts for x in INSTALLED for place in places):
        return ""
    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        names = importlib.metadata.packages_distributions().get(top, ())
        known = [f"{x} {importlib.metadata.version(x)}" for x in sorted(set(names))]
        return ", ".join(known)


def _folders(specification: Any) -> list[str]:
    return list(getattr(specification, "submodule_search_locations", None) or ())


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    """What the statements of a module import, with the packages around it."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join(filter(None, (*above, base)))
            names = [f"{base}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[: i + 1]) for i in range(len(parts)))


def _constants(tree: ast.Module) -> dict[str, Any]:
    """Numbers and texts by the names that the module gives them, once and for all."""
    names = [x for x in ast.walk(tree) if isinstance(x, ast.Name)]
    stores = [x.id for x in names if isinstance(x.ctx, ast.Store)]
    shared = {x for node in ast.walk(tree) for x in getattr(node, "names", ())}
    found = dict[str, Any]()
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            named = [x.id for x in node.targets if isinstance(x, ast.Name)]
            found |= dict.fromkeys(named, node.value.value)
    return {k: x for k, x in found.items() if stores.count(k) == 1 and k not in shared}


def _digest_now(name: str, source: Source) -> str:
    """The digest, with those constants that are others now than the file says."""
    held = vars(sys.modules[name]) if name in sys.modules else {}
    now = {x: held[x] for x in source.constants if x in held}
    plain = lambda x: repr(x) if isinstance(x, int | float | str | None) else type(x)
    others = [
        f"{x}={plain(value)}"
        for x, value in sorted(now.items())
        if plain(value) != plain(source.constants[x])
    ]
    return ",".join([source.digest, *others])


def _codes_of_another_text(module: types.ModuleType, text: bytes) -> list:
    """The codes of a module's functions, if one is not in this text."""
    try:
        compiled = compile(text, str(module.__file__), "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return []
    right = set(_codes(compiled))
    own = [x for x in vars(module).values() if inspect.isclass(x)]
    places = [vars(module), *(vars(x) for x in own if x.__module__ == module.__name__)]
    loaded = []
    for function in (x for place in places for _, x in sorted(place.items())):
        while hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        code = getattr(function, "__code__", None)
        if getattr(code, "co_filename", None) == module.__file__:
            loaded.append(code)
    return [] if right.issuperset(loaded) else loaded


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _codes(inner)
