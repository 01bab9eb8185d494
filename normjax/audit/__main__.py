"""Lists every claim with its verdicts in the results that are kept.

python -m normjax.audit docs/results/* [--write docs/claims.md]

A result whose config is not today's, of the folder `configs`, is marked.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from normjax import files
from normjax.audit import overview
from normjax.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the page or writes it; one line with exit code 2 for a wrong folder."""
    parser = argparse.ArgumentParser(
        prog="python -m normjax.audit",
        description="List every claim with its verdicts in the results that are kept.",
    )
    parser.add_argument(
        "results", nargs="*", help="folder with claims.csv, record.json"
    )
    parser.add_argument("--write", metavar="FILE", help="write the page to this file")
    parser.add_argument(
        "--configs", metavar="DIR", default="configs", help="today's configs, by study"
    )
    given = parser.parse_args(argv)
    if not given.results:
        rule, remedy = "must be given", "name folders, such as docs/results/*"
        print(InputError("results", ..., rule, remedy), file=sys.stderr)
        return 2
    path = Path(given.write) if given.write else None
    try:
        results = overview.read_results(given.results, given.configs)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    for folder in sorted(
        {Path(x) for x in given.results} - {x.folder for x in results}
    ):
        print(f"{folder}: its study has no claims", file=sys.stderr)
    if not (results or path):
        return 0
    asked = None if path else {x.study for x in results}  # a file has all claims
    text = overview.document(results, path.parent if path else Path(), asked)
    if path:
        files.write_text(path, text)
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
