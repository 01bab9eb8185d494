"""Whether a result is of the method that its config file has today.

What decides the numbers of a study is compared field by field, and neither the code nor
the defaults of optimizers and layers, which no config names.
"""

import contextlib
import importlib.util
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from normjax import files
from normjax.errors import InputError
from normjax.study.config import arguments
from normjax.study.fields import DEFAULTS, FACTOR_FIELDS

METHOD = (
    *("model", "data", "arms", "protocols", "readings", "settings", "settings_for"),
    *("sampling", "batch_size", "last_batch", "num_epochs", "schedule", "tuning"),
    *("augmentation", "precision", "reference_batch_size"),
)
PLACES = ("data.dir",)  # where something is, not what it is
NOTHING: tuple[Any, ...] = (
    [],
    {},
    "",
    0,
    ["none"],
)  # what a field without effect holds
Fields = dict[str, Any]  # dotted name -> value, as JSON has it


def differences(config: Mapping[str, Any], folder: str | Path) -> list[str]:
    """How a result's config differs from today's, a phrase for each field.

    Today's config is the one of `folder/STUDY.py` whose arguments (size, dataset, ...)
    give the nearest config. Without such a file nothing is known and nothing said. A
    field that the result lacks has its default: what is new has no effect by default.
    """
    study = str(config["study"])
    path = Path(folder) / f"{study}.py"
    if not (study.isidentifier() and path.is_file()):
        return []
    made = _configs(path)
    same = [x for x in made if x["data"]["name"] == config["data"]["name"]]
    result = _fields(config)
    return min((_phrases(result, _fields(x)) for x in same or made), key=len)


def _configs(path: Path) -> list[dict[str, Any]]:
    """The config of a file for each combination of its arguments, the defaults first.

    A file that does not call `arguments` has one config.
    """
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    allowed: dict[str, tuple[str, ...]] = {}

    def noted(text: str, **values: tuple[str, ...]) -> list[str]:
        allowed.update(values)
        return arguments(text, **values)

    vars(module).update(arguments=noted)
    made = [module.get_config()]
    for values in itertools.product(*allowed.values()):
        text = ",".join(map("=".join, zip(allowed, values)))
        with contextlib.suppress(InputError):  # these do not go together
            made += [module.get_config(text)] if text else []
    return [files.plain(config.to_dict()) for config in made]


def _fields(config: Mapping[str, Any]) -> Fields:
    """The fields of the method, and those that no config has today.

    A field with a factor of its own has a list, the levels: its own value if there are
    none.
    """
    fields: Fields = {}
    for group, value in files.plain(config).items():
        if group in METHOD or group not in DEFAULTS:
            inner = isinstance(value, Mapping)
            own = {f"{group}.{k}": x for k, x in value.items()} if inner else None
            fields |= {group: value} if own is None else own
    for name, value in fields.items():
        if name.startswith("arms.") and isinstance(value, str):
            fields[name] = [value]
    for factor, field in FACTOR_FIELDS.items():
        levels = fields.pop(f"arms.{factor}", None) or [fields.get(field)]
        if levels != [None]:
            fields[field] = [str(level) for level in levels]
    return {name: x for name, x in fields.items() if name not in PLACES}


def _phrases(result: Fields, today: Fields) -> list[str]:
    """A phrase for each field in which the two differ."""
    defaults = _fields(DEFAULTS)
    phrases = []
    for name in sorted(result | today):
        old, new = result.get(name), today.get(name)
        idle = old in NOTHING and new in NOTHING
        if old == new or idle or (old is None and new == defaults.get(name)):
            continue
        if new is not None and isinstance(old, Mapping) and isinstance(new, Mapping):
            phrases.append(f"{name}, now another")
        elif new is not None:
            phrases.append(f"{_worded(name, old)}, now {_text(new)}")
        elif old not in NOTHING:
            phrases.append(f"{_worded(name, old)}, which is gone")
    return phrases


def _worded(name: str, value: Any) -> str:
    return name if value is None else f"{name} {_text(value)}"


def _text(value: Any) -> str:
    """A value in short."""
    if isinstance(value, Mapping):
        return f"of {', '.join(value)}"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "empty"
    return f"{value:g}" if isinstance(value, float) else str(value) or "empty"
