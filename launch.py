"""Runs a study: flags -> specs -> studies -> report.

python launch.py --config=configs/quickstart.py --workdir=runs/quickstart
python launch.py --config=configs/optimizers.py:dataset=mnist,size=smoke \
    --workdir=runs/smoke --config.num_seeds=3
"""

import glob
import os
import re
import sys

from absl import app, flags
from ml_collections import config_flags

from normjax.tables import InputError, nearest

CONFIG = config_flags.DEFINE_config_file("config", None, "a file of configs/")
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the record and the page")
EXAMPLES = {"config": "configs/quickstart.py", "workdir": "runs/quickstart"}


def parse(argv: list[str]) -> list[str]:
    """Parses flags as absl does; what is wrong with them becomes one line."""
    try:
        for words in zip(argv, [*argv[1:], ""]):
            found = re.match(r"--?config(?:=|$)([^:]*)", words[0])
            path = found and (found[1] or words[1].partition(":")[0])
            if path and not os.path.isfile(path):
                near = nearest(path, glob.glob("configs/*.py"))
                raise InputError(f"--config={path}: no such file.{near}")
        rest = flags.FLAGS(argv)
        for word in rest[1:]:
            raise InputError(f"{word!r}: not a flag; flags begin with --.")
        for name, example in EXAMPLES.items():
            if not flags.FLAGS[name].value:
                raise InputError(f"--{name}: must be given, as in --{name}={example}.")
        return rest
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        stop(explain(error))


def explain(error: Exception) -> str:
    """The one line of an error that says what is wrong."""
    field = re.search(r"Did you mean \"(.+?)\" instead of \"(.+?)\"", str(error))
    if field:
        return f"--config: no field {field[2]!r}. Did you mean {field[1]!r}?"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return re.sub(r"^[\w.]*(Error|Exception): ", "", lines[-1])


def stop(message: str, code: int = 2) -> None:
    """Ends the program with one line."""
    print(message, file=sys.stderr)
    sys.exit(code)


def main(argv: list[str]) -> None:
    """Imports what is slow only once the flags are right."""
    del argv
    from normjax import records, specs, studies
    from normjax.report import page, tables
    from normjax.training import devices

    devices.configure()
    try:
        studies.run(specs.study(CONFIG.value), WORKDIR.value)
        path = page.build(WORKDIR.value)
        print(tables.text(records.read(WORKDIR.value)))
        print(f"page: {path}")
    except InputError as error:
        stop(str(error))
    except KeyboardInterrupt as stopped:
        stop(
            f"interrupted: {stopped or 'nothing was lost'}; the same command goes on",
            130,
        )


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
