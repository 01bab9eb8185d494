"""Rebuilds tables, figures and page from the record alone.

python -m normjax.report runs/optimizers [runs/more ...]
"""

import argparse
import sys
from collections.abc import Sequence

from normjax.errors import InputError
from normjax.report import page
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
    try:
        for workdir in parser.parse_args(argv).workdir:
            path = page.build(workdir)
            for line in page.lacks(read_record(workdir)):
                print(line, file=sys.stderr)
            print(path)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
