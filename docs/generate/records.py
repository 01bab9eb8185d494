"""The page of the records that are kept: what each is, its files and its pictures."""

import json
from pathlib import Path
from typing import Any

from docs.generate.found import RESULTS, file_of
from normjax.numerals import plural

HEAD = """# Records

`python -m docs.generate` writes this page. Every number of [the findings](findings.md)
comes from these folders of `docs/results`. Each holds the resolved config, which
`python launch.py` repeats, the versions and the device, a row for each network, and the
tables and pictures of the report. [The columns](reference/columns.md) are explained.
"""


SHOWN = (".csv", ".json", ".html")  # files that have a link


def page() -> str:
    """A section for each folder."""
    folders = sorted(path.parent for path in RESULTS.glob("*/record.json"))
    return HEAD + "".join(map(section, folders))


def section(folder: Path) -> str:
    """The question, how it was run, the files, the pictures."""
    record = json.loads((folder / "record.json").read_text())
    paths = sorted(x.relative_to(RESULTS) for x in folder.rglob("*") if x.is_file())
    links = ", ".join(
        f"[{x.name}](results/{x.as_posix()})" for x in paths if x.suffix in SHOWN
    )
    pictures = "".join(
        f"\n![{folder.name}: {words(x.name)}](results/{x.as_posix()})\n"
        for x in paths
        if x.suffix == ".svg"
    )
    return (
        f"\n## {folder.name}\n\n{record['question']}\n\n{circumstances(folder, record)}"
        f"\n\n{links}\n{pictures}"
    )


def circumstances(folder: Path, record: dict[str, Any]) -> str:
    """How many networks, on what, with which versions and which commit."""
    rows = file_of(folder.name, "networks.csv").read_text().count("\n") - 1
    environment = record["environment"]
    numbers = record["num_examples"]
    return (
        f"{plural(rows, 'network')}, {plural(len(record['seeds']), 'seed')},"
        f" {numbers['train']:,} training examples,"
        f" {numbers['test']:,} test examples; {environment['device']};"
        f" Python {environment['python']}, jax {environment['versions']['jax']}."
    )


def words(name: str) -> str:
    """`test accuracy` for `test_accuracy.svg`."""
    return Path(name).stem.replace("_", " ")
