"""Writes the tables of docs/ and README.md that come from the code and docs/results.

Run    python -m docs.generate
"""

from pathlib import Path

from docs.generate import (
    columns,
    comparison,
    fields,
    found,
    library,
    notebooks,
    records,
)
from docs.generate.found import ROOT
from normjax import files
from normjax.checks import document


def tables() -> dict[Path, dict[str, str]]:
    """Document -> name of a table -> the table."""
    reference = {**fields.tables(), **library.tables(), **columns.tables()}
    pages = {ROOT / "docs" / "reference" / name: x for name, x in reference.items()}
    return {
        ROOT / "README.md": {
            **found.tables("."),
            **comparison.tables(),
            **notebooks.tables(),
        },
        ROOT / "docs" / "findings.md": found.tables("docs"),
        ROOT / "docs" / "comparison.md": comparison.tables(),
        **pages,
    }


def pages() -> dict[Path, str]:
    """Document -> its whole text."""
    return {ROOT / "docs" / "results.md": records.page()}


def main() -> None:
    """Writes all of them."""
    for path, of_path in tables().items():
        document.write(path, of_path)
    for path, text in pages().items():
        files.write_text(path, text)


if __name__ == "__main__":
    main()
