"""From flags to a config: whatever is wrong with them becomes one line."""

import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from absl import flags

from normjax.errors import InputError, suggest
from normjax.study.config import DEFAULTS, flat

EXAMPLES = {"config": "configs/quickstart.py", "workdir": "runs/quickstart"}
PARSING = (
    *(flags.Error, AttributeError, ImportError, KeyError, OSError),
    *(SyntaxError, TypeError, ValueError),
)


def parse(argv: Sequence[str]) -> list[str]:
    """Parses flags as absl does, and ends the program if they are not right."""
    try:
        for word, following in zip(argv, [*argv[1:], ""]):
            given = re.match(r"--?config(?:=|$)([^:]*)", word)
            if given:
                check_file(given[1] or following.partition(":")[0])
        rest = flags.FLAGS(argv)
        for word in rest[1:]:
            raise InputError(f"{word!r}: not a flag; flags begin with --.")
        for name, example in EXAMPLES.items():
            if not flags.FLAGS[name].value:
                raise InputError(f"--{name}: must be given, as in --{name}={example}.")
        return rest
    except PARSING as error:
        stop(explain(error))


def check_file(path: str) -> None:
    """A config is a Python file that is there."""
    if not os.path.isfile(path):
        folder = os.path.dirname(path) or "configs"
        there = os.listdir(folder) if os.path.isdir(folder) else []
        raise InputError(
            f"--config={path}",
            rule=f"must be a Python file such as {EXAMPLES['config']}",
            remedy=suggest(
                path, [f"{folder}/{name}" for name in there], "name a file of configs/"
            ),
        )


def explain(error: Exception) -> str:
    """The one line of an error that says what is wrong."""
    if isinstance(error, SyntaxError):
        return f"--config: cannot be read as Python ({error}); name a file of configs/."
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    override = re.match(r"flag --config\.([\w.]+)=(.*?): ", lines[0])
    if override:
        return wrong_type(*override.groups())
    if lines[0].startswith("flag --config="):  # the file itself: a mistake, or a bug
        kind, _, text = lines[-1].partition(": ")
        if kind.endswith("InputError"):
            return text
        path = lines[0].removeprefix("flag --config=").partition(":")[0]
        return (
            f"--config={path}: cannot be loaded ({lines[-1]}); must be a Python file"
            " with get_config(), as configs/quickstart.py is."
        )
    return lines[-1]


def wrong_type(field: str, value: str) -> str:
    """An override that its field cannot take."""
    group = DEFAULTS.get(field)
    if isinstance(group, dict):
        example = next(iter(group), "norm")
        return (
            f"{field}={value!r}: is a group of fields; set one of them,"
            f" as in --config.{field}.{example}=..."
        )
    default = flat(DEFAULTS).get(field, ())
    return (
        f"{field}={value!r}: must be {type(default).__name__}, as {default!r} is;"
        f" set --config.{field}=..."
    )


def stop(message: str, code: int = 2) -> NoReturn:
    """Ends the program with one line."""
    print(message, file=sys.stderr)
    sys.exit(code)
