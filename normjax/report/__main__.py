"""Rebuilds tables, figures and page from the record alone.

python -m normjax.report runs/optimizers [runs/more ...]
python -m normjax.report runs/a runs/b --out=page.html    one page for all of them
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from normjax.errors import InputError
from normjax.report import page, side_by_side
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
    parser.add_argument("--out", help="one page that shows all studies side by side")
    given = parser.parse_args(argv)
    try:
        if given.out:
            return _side_by_side(given.workdir, Path(given.out))
        for workdir in given.workdir:
            path = page.build(workdir)
            for line in page.lacks(read_record(workdir)):
                print(line, file=sys.stderr)
            print(path)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _side_by_side(workdirs: Sequence[str], path: Path) -> int:
    records = [read_record(workdir) for workdir in workdirs]
    whole = side_by_side.combine(records)
    names = side_by_side.record_names([record.workdir for record in records])
    page.write(whole, path, dict(zip(names, records)))
    for line in page.lacks(whole):
        print(line, file=sys.stderr)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
