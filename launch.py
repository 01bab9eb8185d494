"""Runs a study: flags -> specs -> studies -> report.

python launch.py --config=configs/quickstart.py --workdir=runs/quickstart
python launch.py --config=configs/optimizers.py:dataset=mnist,size=smoke \
    --workdir=runs/smoke --config.num_seeds=3
"""

import pathlib
import re
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from normjax.tables import InputError, nearest

CONFIG = config_flags.DEFINE_config_file("config", None, "a file of configs/")
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the record and the page")


def parse(argv: list[str]) -> list[str]:
    """absl's parser; what it or a config file objects to becomes one line."""
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise InputError(
                f"{rest[1]!r}: not a flag; write --config=... --workdir=..."
            )
        for name in ("config", "workdir"):
            if not flags.FLAGS[name].value:
                raise InputError(f"--{name}: must be given; see launch.py --help.")
        CONFIG.value.lock()
        return rest
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as e:
        return stop(explain(e, argv))


def explain(error: Exception, argv: list[str]) -> str:
    """The one line of an error that says what is wrong."""
    text = str(error)
    field = re.search(r"Did you mean \"(.+?)\" instead of \"(.+?)\"", text)
    if field:
        return f"--config: no field {field[2]!r}. Did you mean {field[1]!r}?"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (
        re.sub(r"^[\w.]*(Error|Exception): ", "", lines[-1]) if lines else repr(error)
    )


def stop(message: str, code: int = 2):
    """Ends the program with one line."""
    print(message, file=sys.stderr)
    sys.exit(code)


def main(argv: list[str]) -> None:
    """Imports what is slow only once the flags are right."""
    del argv
    from normjax.training import devices

    devices.configure()
    from normjax import records, specs, studies
    from normjax.report import page, tables

    workdir = WORKDIR.value
    try:
        studies.run(specs.study(CONFIG.value), workdir)
        path = page.build(pathlib.Path(workdir))
        print(tables.text(records.read(workdir)))
        print(f"page: {path}")
    except InputError as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop("interrupted: finished arms are kept; the same command goes on", 130)


if __name__ == "__main__":
    logging.set_verbosity(logging.WARNING)
    app.run(main, flags_parser=parse)
