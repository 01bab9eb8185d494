"""From flags to a config: whatever is wrong with them becomes one line."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from normjax.errors import InputError, reason, suggest
from normjax.study import overrides
from normjax.study.config import DEFAULTS, wrong_type
from normjax.study.usage import EXAMPLES

OTHERWISE = "name a file of configs/, or the config.json of a record"
FLAGS: dict[str, tuple[Callable, Any, str]] = {  # name -> kind, default, what it is
    "workdir": (flags.DEFINE_string, None, "folder of the record and the page"),
    "dry_run": (flags.DEFINE_boolean, False, "train nothing, tell what it would take"),
    "arms": (flags.DEFINE_string, "", "the arms to train, all if empty"),
    "until": (flags.DEFINE_string, "", "add seeds until then: decided"),
    "max_seeds": (flags.DEFINE_integer, 200, "the most seeds that --until adds"),
    "export": (flags.DEFINE_string, "", "other tools to write the record for"),
    "export_as": (
        flags.DEFINE_string,
        "networks",
        "what is a run there: networks, or arms",
    ),
    "distributed": (flags.DEFINE_boolean, False, "share the work of a workdir"),
    "coordinator": (flags.DEFINE_string, "", "host of process 0, and a port there"),
    "num_processes": (flags.DEFINE_integer, 0, "how many share the work"),
    "process": (flags.DEFINE_integer, -1, "the number of this one, from 0"),
}


def parse(argv: Sequence[str]) -> list[str]:
    """Defines and parses the flags, and ends the program if they are not right."""
    path = ""
    try:
        path = config_path(argv)
        define(overrides.paths(argv))
        logging.set_verbosity(logging.ERROR)  # what absl warns of is a line below
        rest = flags.FLAGS(argv)
        for word in rest[1:]:
            raise InputError(repr(word), ..., "must be a flag", "let it begin with --")
        for name, example in EXAMPLES.items():
            if not flags.FLAGS[name].value and not (name == "config" and path):
                remedy = f"add --{name}={folder_of(path) or example}"
                raise InputError(f"--{name}", ..., "must be given", remedy)
        if os.path.expanduser(flags.FLAGS.workdir).startswith("~"):
            rule = "must be in the home folder of a user, and there is none"
            raise InputError("workdir", flags.FLAGS.workdir, rule, "write it in full")
        if flags.FLAGS.until not in ("", "decided"):
            rule = "must be decided"
            raise InputError("--until", flags.FLAGS.until, rule, "add --until=decided")
        check_returned(flags.FLAGS["config"].value, path)
        refuse_only_check_args()
        parser: Any = flags.FLAGS["config"].parser
        for notice in parser.fit_shape(flags.FLAGS["config"].value):
            print(f"notice: {notice}")
        return rest
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a config runs code of its own, which may exit
        if isinstance(error, SystemExit) and not path:
            raise
        stop(line(mistake_behind(error, path)))


def refuse_only_check_args() -> None:
    """Refuses a flag of absl that would end the program with code 0, unchecked."""
    name = "only_check_args"
    if name in flags.FLAGS and flags.FLAGS[name].value:
        rule = "must be left out, for it checks no config"
        raise InputError(f"--{name}", ..., rule, "add --dry_run")


def define(paths: Sequence[overrides.Path]) -> None:
    """Defines the flags of the launcher, which reads them from `flags.FLAGS`.

    `paths` are those that the command line sets: a config has their groups once it is
    loaded.
    """
    config_flags.DEFINE_config_file(
        "config",
        None,
        "a file of configs/, with arguments after a colon",
        lock_config=False,
        accept_new_attributes=True,  # a user's optimizer has settings of its own
        flag_values=flags.FLAGS,
    )
    flags.FLAGS["config"].parser = overrides.Parser(paths)
    for name, (kind, default, about) in FLAGS.items():
        kind(name, default, about, flag_values=flags.FLAGS)


def config_path(argv: Sequence[str]) -> str:
    """The file that --config names, which is there, or an empty text."""
    given = dict.fromkeys(EXAMPLES, 0)
    for word in argv:
        flag = re.match(r"--?(config|workdir)(?:=|$)", word)
        if not flag:
            continue
        given[flag[1]] += 1
        if given[flag[1]] > 1:
            rule, remedy = "must be given once", "leave one of them out"
            raise InputError(f"--{flag[1]}", ..., rule, remedy)
    path = overrides.config_text(argv).partition(":")[0]
    if given["config"]:
        check_file(path)
    return path


def folder_of(path: str) -> str:
    """A workdir for the study of a config's file; empty without a file."""
    stem, kind = os.path.splitext(path)
    if kind == ".json":  # of a record, which the folder is called after
        stem = os.path.dirname(os.path.abspath(path))
    return f"runs/{os.path.basename(stem)}" if path else ""


def check_returned(config: Any, path: str) -> None:
    """Raises an InputError unless a file's `get_config` returned a whole config."""
    if isinstance(config, ConfigDict):
        config.to_dict()  # raises where a placeholder is required
        return
    if not hasattr(config, "items"):  # raises where absl has kept an error
        rule = f"must return a config from get_config, not {type(config).__name__}"
        raise InputError(f"--config={path}", ..., rule, "return normjax.config(...)")


def check_file(path: str) -> None:
    """Raises an InputError unless the config is a Python file that is there.

    Or it is the config of a record, as JSON.
    """
    if os.path.isdir(path) and os.path.isfile(os.path.join(path, "config.json")):
        rule, remedy = "must be a file", f"add --config={path.rstrip('/')}/config.json"
        raise InputError(f"--config={path}", ..., rule, remedy)
    if not os.path.isfile(path):
        folder = os.path.dirname(path) or "configs"
        there = os.listdir(folder) if os.path.isdir(folder) else []
        rule = f"must be a file such as {EXAMPLES['config']}, and there is none"
        kind = os.path.splitext(path)[1] or ".py"
        files = [f"{folder}/{name}" for name in there if name.endswith(kind)]
        remedy = suggest(path, files, OTHERWISE)
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
    if not isinstance(error, flags.Error):
        rule = f"must be loadable ({reason(error)})"
        return InputError(f"--config={path}", ..., rule, remedy)
    lines = [text.strip() for text in str(error).splitlines() if text.strip()]
    override = re.match(r"flag --config\.([\w.]+)=(.*?): ", lines[0])  # absl's text
    if override:
        return wrong_type(*override.groups())
    if not lines[0].startswith("flag --config="):
        return lines[-1]
    rule = f"must be loadable ({lines[-1]})"
    return InputError(f"--config={path}", ..., rule, remedy)


def line(error: InputError | str) -> str:
    """One line in the words of the command line: fields as the flags that set them."""
    field = error.field if isinstance(error, InputError) else ""
    if field in FLAGS and field not in DEFAULTS:
        return f"--{error}"
    return f"--config.{error}" if field.split(".")[0] in DEFAULTS else str(error)


def stop(message: str, code: int = 2) -> NoReturn:
    """Ends the program with one line."""
    print(message, file=sys.stderr)
    sys.exit(code)
