"""Rebuilds tables, figures and page from the record alone.

python -m normjax.report runs/optimizers [runs/more ...] [--export=tensorboard,...]
python -m normjax.report runs/optimizers --serve [--port=8765] [--open]
python -m normjax.report runs/a runs/b --out=page.html    one page for all of them
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from normjax.errors import InputError
from normjax.export import writers
from normjax.report import names, page, serve, side_by_side
from normjax.study.record import read_record


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the path of each page; one line with exit code 2 for a bad record.

    What a record lacks is told by a line for each kind; the rest is shown.
    """
    given = parser().parse_args(argv)
    try:
        if given.serve:
            workdir = serve.only(given.workdir, out=given.out, export=given.export)
            serve.serve(workdir, given.port, opened=given.open)
            return 0
        tools = writers.chosen_writers(given.export, given.export_as)
        if given.out:
            paths = [build_side_by_side(given.workdir, Path(given.out))]
        else:
            paths = [build(workdir) for workdir in given.workdir]
        for workdir in given.workdir if tools else ():
            record = read_record(workdir)
            labels = names.of_record(record)
            print(*writers.export(record, tools, labels, given.export_as), sep="\n")
        for path in paths if given.open else ():
            serve.open_in_browser(path.resolve().as_uri())
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(
        prog="python -m normjax.report",
        description="Rebuild tables, figures and report.html from a study's record.",
    )
    parser.add_argument("workdir", nargs="+", help="folder that a study was run in")
    parser.add_argument("--out", help="one page that shows all studies side by side")
    tools = ", ".join(writers.WRITERS)
    parser.add_argument("--export", default="", help=f"other tools, of {tools}")
    parser.add_argument(
        "--export_as", default="networks", help="what is a run there: networks, or arms"
    )
    parser.add_argument(
        "--serve", action="store_true", help="show it anew as networks are finished"
    )
    about = f"of --serve, {serve.PORT} by default; 0 takes a free one"
    parser.add_argument("--port", type=int, default=serve.PORT, help=about)
    parser.add_argument("--open", action="store_true", help="show it in the browser")
    return parser


def build(workdir: str) -> Path:
    """Builds the page of one record, and says where it is and what is missing."""
    path = page.build(workdir)
    return announce(path, page.lacks(read_record(workdir)))


def build_side_by_side(workdirs: Sequence[str], path: Path) -> Path:
    """Builds one page of all records, and says where it is and what is missing.

    A single record is shown as its own page shows it, without links to its files.
    """
    records = [read_record(workdir) for workdir in workdirs]
    if len(records) == 1:
        page.write(records[0], path)
        return announce(path, page.lacks(records[0]))
    whole = side_by_side.combine(records)
    folders = side_by_side.record_names([record.workdir for record in records])
    page.write(whole, path, dict(zip(folders, records)))
    return announce(path, page.lacks(whole))


def announce(path: Path, lacks: Sequence[str]) -> Path:
    """Prints the path of a page, and what it lacks on the standard error."""
    for line in lacks:
        print(line, file=sys.stderr)
    print(path)
    return path


if __name__ == "__main__":
    sys.exit(main())
