"""Rebuilds tables, figures and page from the record alone.

python -m normjax.report runs/optimizers [runs/more ...] [--export=tensorboard,...]
"""

import argparse
import sys
from collections.abc import Sequence

from normjax.errors import InputError
from normjax.export import writers
from normjax.report import names, page
from normjax.study.record import read_record


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the path of each page; one line with exit code 2 for a bad record.

    What a record lacks is told by a line for each kind; the rest is shown.
    """
    parser = argparse.ArgumentParser(
        prog="python -m normjax.report",
        description="Rebuild tables, figures and report.html from a study's record.",
    )
    parser.add_argument("workdir", nargs="+", help="folder that a study was run in")
    tools = ", ".join(writers.WRITERS)
    parser.add_argument("--export", default="", help=f"other tools, of {tools}")
    parser.add_argument(
        "--export_as", default="networks", help="what is a run there: networks, or arms"
    )
    given = parser.parse_args(argv)
    try:
        chosen = writers.chosen_writers(given.export, given.export_as)
        for workdir in given.workdir:
            path, record = page.build(workdir), read_record(workdir)
            for line in page.lacks(record):
                print(line, file=sys.stderr)
            print(path)
            labels = names.of_record(record)
            for line in writers.export(record, chosen, labels, given.export_as):
                print(line)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
