r"""Executes the notebooks at full size and keeps what they show.

    python notebooks/execute.py           # those whose code has changed since
    python notebooks/execute.py --again   # all of them

Each notebook remembers the digest of the code that its outputs come from, so a test can
tell that they are out of date. What is printed to stderr, progress that is, is not
kept. The first cell installs normjax from the `url` of setup.cfg, where there is one,
and is written from it; it is no part of the digest.
"""

import argparse
import configparser
import hashlib
import pathlib
import re
import tempfile

import nbclient
import nbformat
from nbformat import NotebookNode

FOLDER = pathlib.Path(__file__).parent
SOURCE = re.compile(r'^SOURCE = "(.*?)"', re.MULTILINE)


def address() -> str:
    """What pip installs normjax from: `git+https://...`, or nothing yet."""
    config = configparser.ConfigParser()
    config.read(FOLDER.parent / "setup.cfg")
    url = config.get("metadata", "url", fallback="")
    return f"git+{url}" if url else ""


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Its cells of code; the first of them installs normjax."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def digest(notebook: NotebookNode) -> str:
    """Of all code but the first cell."""
    code = "\n\n".join(cell.source for cell in code_cells(notebook)[1:])
    return hashlib.sha256(code.encode()).hexdigest()


def is_up_to_date(notebook: NotebookNode) -> bool:
    """Whether its outputs come from the code that it holds."""
    return notebook.metadata.get("normjax", {}).get("executed") == digest(notebook)


def execute(notebook: NotebookNode) -> None:
    """Runs all cells in a folder of their own and keeps their outputs."""
    with tempfile.TemporaryDirectory() as folder:
        nbclient.NotebookClient(
            notebook,
            timeout=None,
            record_timing=False,
            resources={"metadata": {"path": folder}},
        ).execute()
    for cell in code_cells(notebook):
        cell.outputs = [x for x in cell.outputs if x.get("name") != "stderr"]
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata["normjax"] = {"executed": digest(notebook)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Executes the notebooks.")
    parser.add_argument("--again", action="store_true", help="all of them")
    again = parser.parse_args().again
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        first = code_cells(notebook)[0]
        first.source = SOURCE.sub(f'SOURCE = "{address()}"', first.source)
        if again or not is_up_to_date(notebook):
            print(f"executing {path.name}", flush=True)
            execute(notebook)
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
