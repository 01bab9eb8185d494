"""From flags to a config: whatever is wrong with them becomes one line."""

import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from absl import flags

from normjax.errors import InputError, suggest
from normjax.study.config import DEFAULTS, wrong_type

EXAMPLES = {"config": "configs/quickstart.py", "workdir": "runs/quickstart"}


def parse(argv: Sequence[str]) -> list[str]:
    """Parses flags as absl does, and ends the program if they are not right."""
    path = ""
    try:
        for word, following in zip(argv, [*argv[1:], ""]):
            given = re.match(r"--?config(?:=|$)([^:]*)", word)
            if given:
                path = given[1] or following.partition(":")[0]
                check_file(path)
        rest = flags.FLAGS(argv)
        for word in rest[1:]:
            raise InputError(repr(word), ..., "must be a flag", "let it begin with --")
        for name, example in EXAMPLES.items():
            if not flags.FLAGS[name].value:
                rule, remedy = "must be given", f"add --{name}={example}"
                raise InputError(f"--{name}", ..., rule, remedy)
        return rest
    except Exception as error:  # a config runs code of its own
        stop(line(mistake_behind(error, path)))


def check_file(path: str) -> None:
    """Raises an InputError unless the config is a Python file that is there."""
    if not os.path.isfile(path):
        folder = os.path.dirname(path) or "configs"
        there = os.listdir(folder) if os.path.isdir(folder) else []
        rule = f"must be a Python file such as {EXAMPLES['config']}"
        files = [f"{folder}/{name}" for name in there]
        remedy = suggest(path, files, "name a file of configs/")
        raise InputError(f"--config={path}", ..., rule, remedy)


def mistake_behind(error: BaseException, path: str) -> InputError | str:
    """The mistake behind an error of parsing, or the line of it that says most."""
    cause: BaseException | None = error
    while cause is not None:  # a config's own InputError, raised while it was loaded
        if isinstance(cause, InputError):
            return cause
        cause = cause.__cause__ or cause.__context__
    remedy = f"name a file with get_config(), such as {EXAMPLES['config']}"
    if isinstance(error, SyntaxError):
        rule = f"cannot be read as Python ({error})"
        return InputError("--config", ..., rule, remedy)
    lines = [text.strip() for text in str(error).splitlines() if text.strip()]
    override = re.match(r"flag --config\.([\w.]+)=(.*?): ", lines[0])  # absl's text
    if override:
        return wrong_type(*override.groups())
    if isinstance(error, flags.Error) and not lines[0].startswith("flag --config="):
        return lines[-1]
    why = lines[-1] if isinstance(error, flags.Error) else repr(error)
    return InputError(f"--config={path}", ..., f"must be loadable ({why})", remedy)


def line(error: InputError | str) -> str:
    """One line in the words of the command line: fields as the flags that set them."""
    field = error.field if isinstance(error, InputError) else ""
    if field == "workdir":
        return f"--{error}"
    return f"--config.{error}" if field.split(".")[0] in DEFAULTS else str(error)


def stop(message: str, code: int = 2) -> NoReturn:
    """Ends the program with one line."""
    print(message, file=sys.stderr)
    sys.exit(code)
