"""Fields that the command line sets, `--config.settings.momentum=0.9`, by their paths.

A path may lead through groups that the config file has not got: `settings_for` is empty
by default, and `--config.settings_for.optimizer.sgd.learning_rate=0.1` sets a number in
a group in a group of it.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_flags import config_flags, config_path

from normjax.errors import InputError
from normjax.study.config import check_names, from_file, own_fields

Path = tuple[str, ...]

ARGUMENTS = ("size", "dataset")  # of the files in configs/, that are no field
LISTED = "of launch.py --list=fields"


class Parser(config_flags.ConfigFileFlagParser):
    """Loads a config file, and adds the groups that `paths` lead through."""

    def __init__(self, paths: Sequence[Path]):
        super().__init__("config", lock_config=False)
        self.paths = paths
        self.model = ""  # that the file chooses

    def parse(self, path: str) -> Any:
        """What a file chooses, in `get_config` or as JSON; mistakes are told later."""
        is_json = isinstance(path, str) and path.endswith(".json")
        config = from_file(path) if is_json else super().parse(path)
        if isinstance(config, ConfigDict):
            self.model = dict(config.get("model", {})).get("name", "")
            for each in self.paths:
                add_groups(config, each)
        return config

    def fit_shape(self, config: ConfigDict) -> list[str]:
        """Gives a model that the command line chooses its own shape; a notice if so.

        The widths of a file belong to the model of the file. Fields that the command
        line sets stay as they are.
        """
        model = config.get("model")
        if not isinstance(model, ConfigDict) or model.get("name") == self.model:
            return []
        changed, before = [], model.to_dict()
        asked = {path[:2] for path in self.paths}
        for field, value in own_fields(model.name).items():
            if ("model", field) not in asked and before.get(field) != value:
                changed.append(f"model.{field}={value!r}")
                with model.ignore_type():
                    model[field] = value
        if not changed or "." in str(model.name):  # hers does not use them
            return []
        whose = f"as is usual for {model.name}: the file's are for {self.model}"
        return [f"{', '.join(changed)}, {whose}"]


def paths(argv: Sequence[str]) -> list[Path]:
    """The names of each field that a command line sets.

    Raises:
        InputError: for a name that no field has, or that cannot be read.
    """
    found, file = [], config_text(argv)
    for word, following in zip(argv[1:], [*argv[2:], ""]):
        flag = re.match(r"(--?(?:no)?config\.([^=]*))(?:=(.*))?", word, re.DOTALL)
        if not flag:
            continue
        value = following if flag[3] is None else flag[3]
        found.append(names(flag[2]))
        refuse_dots(flag[1], value)
        content: dict[str, Any] = {}
        for name in reversed(found[-1]):
            content = {name: content}
        try:
            check_names(content, LISTED)
        except InputError as error:
            of_file = not file.endswith(".json") and error.field in ARGUMENTS
            if of_file and len(found[-1]) == 1:
                raise argument(file, error.field, value) from error
            raise error.at(f"--config.{error.field}", error.value) from error
    return found


def config_text(argv: Sequence[str]) -> str:
    """`configs/norms.py:size=smoke`, the value of --config; empty without one."""
    for word, following in zip(argv, [*argv[1:], ""]):
        if flag := re.match(r"--?config(?:=|$)(.*)", word):
            return flag[1] or following
    return ""


def refuse_dots(flag: str, text: str) -> None:
    """Refuses a dotted name in braces, of which absl's flags can make no group.

    Raises:
        InputError: with the flag that sets the same.
    """
    try:
        found = dotted_number(ast.literal_eval(text))
    except (SyntaxError, ValueError):
        return  # a text, or a mistake that is told later
    if found:
        inside, value = found
        quoted = "".join(f"'[\"{x}\"]'" if "." in x else f".{x}" for x in inside)
        rule = "must have no name with dots in braces"
        raise InputError(flag, ..., rule, f"write {flag}{quoted}='{value}'")


def dotted_number(value: Any, inside: Path = ()) -> tuple[Path, Any] | None:
    """The first number in a group of groups that dotted names lead to, and the way."""
    if not isinstance(value, Mapping):
        return (inside, value) if any("." in name for name in inside) else None
    found = (dotted_number(x, (*inside, str(name))) for name, x in value.items())
    return next(filter(None, found), None)


def argument(config: str, name: str, value: str) -> InputError:
    """The error that `--config.name=value` is an argument of the file of --config."""
    file, _, others = (config or "FILE").partition(":")
    kept = [x for x in others.split(",") if x and x.partition("=")[0] != name]
    own = f"{name}={'VALUE' if value.startswith('-') else value or 'VALUE'}"
    rule = "must be given with the file, for it chooses several fields"
    remedy = f"write --config={file}:{','.join([*kept, own])}"
    return InputError(f"--config.{name}", ..., rule, remedy)


def names(text: str) -> Path:
    """`settings_for.optimizer["optax.lion"].learning_rate` as its four names."""
    try:
        split: tuple[Any, ...] = config_path.split(text)
    except (ValueError, TypeError):
        split = (None,)
    if all(isinstance(name, str) for name in split):
        return split
    rule = "must be names joined by dots, and other names in brackets and quotes"
    remedy = "write it as settings_for.batch_size['32'].learning_rate"
    raise InputError(f"--config.{text}", ..., rule, remedy)


def add_groups(config: ConfigDict, path: Path) -> None:
    """Adds the groups that a path leads through, empty, where a config lacks them."""
    group = config
    for number, name in enumerate(path[:-1], start=1):
        if name not in group:
            group[name] = ConfigDict(allow_dotted_keys=True)
        group = group[name]
        if not isinstance(group, ConfigDict):
            field, whole = ".".join(path[:number]), ".".join(path)
            rule = f"must be a field, and {field} is no group of fields"
            remedy = f"set --config.{field}"
            raise InputError(f"--config.{whole}", ..., rule, remedy)
