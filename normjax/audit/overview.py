"""Every claim with its verdicts in the results that were kept: a page in Markdown.

It reads the folders that a study's tables were copied to, `claims.csv` and
`record.json`; in a record without that table it judges the networks. A claim that no
folder has a row of was not run.
"""

import io
import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from normjax import files
from normjax.audit import claim_data, methods, presentation
from normjax.audit.claim_data import Claim
from normjax.audit.published_numbers import CORRECTED, PROTOCOLS
from normjax.errors import InputError
from normjax.report import formats
from normjax.report.audit_interface import TableRow, audit_sections
from normjax.study import groups
from normjax.study.record import read_record

HEAD = """# Claims

Every claim that this lab has as data, with its verdicts in the results that are kept
here. `make docs` writes this page from their tables; no verdict is typed. A claim of
several comparisons has a line for each of them below its own. Brackets are intervals
over n seeds, of 95% unless the study took several looks. *As published* is a source's
method with its faults, *corrected* is the method as the literature defines it, *not
run* is what has no result yet. A result *of an earlier method* was made by another
config than the study has today, in the fields that are named.
"""
PAPERS = """
The networks here are smaller than the papers', and so are the data and the number of
epochs: a verdict is about the setting of the result that it links to. A published
number is that of the paper's own setting.
"""
TEXTS = ["sentence", "comparison"]  # columns of claims.csv that may lack
TEXTS += [f"{x}_{y}" for x in ("verdict", "stands") for y in PROTOCOLS]


class Result(NamedTuple):
    """The claims of one study's results."""

    folder: Path
    study: str
    rows: list[dict[str, Any]]  # of claims.csv
    changes: list[str]  # of the method since: see methods.differences


def read_results(folders: Sequence[str | Path], configs: str | Path) -> list[Result]:
    """The results in these folders, by name, without those that have no claims.

    Args:
        folders: of a study's tables, its record.json and its config.json; or of a
            record, be it archived or not, whose claims are judged anew.
        configs: the folder of today's configs, each named like its study. A result
            without a config, here or there, is not compared.

    Raises:
        InputError: a folder has no record.json.
    """
    results = []
    for folder in sorted(map(Path, folders)):
        if not (folder / "record.json").is_file():
            rule = "must be a folder of results, with record.json"
            raise InputError("results", str(folder), rule, "name docs/results/NAME")
        study = json.loads((folder / "record.json").read_text())["study"]
        table = _claims_of(folder)
        if table is not None:
            rows = [row | _texts(row) for row in table.to_dict("records")]
            config = folder / "config.json"
            made_by = files.read_json(config) if config.is_file() else None
            changes = methods.differences(made_by, configs) if made_by else []
            results.append(Result(folder, study, rows, changes))
    return results


def _claims_of(folder: Path) -> pd.DataFrame | None:
    """The table `claims.csv` of a folder, or that of the record which it holds."""
    if (folder / "claims.csv").is_file():
        return pd.read_csv(folder / "claims.csv")
    if not (folder / groups.FOLDER).is_dir():
        return None
    tables = {x.name: x.numbers for x in audit_sections(read_record(folder))}
    if "claims" not in tables or tables["claims"].empty:  # it tests no claim
        return None
    return pd.read_csv(io.StringIO(tables["claims"].to_csv(index=False, na_rep="nan")))


def _texts(row: TableRow) -> dict[str, str]:
    """The columns of words, empty where the table has nothing or no such column."""
    known = {x: row.get(x) for x in TEXTS}
    return {x: text if isinstance(text, str) else "" for x, text in known.items()}


def document(
    results: Sequence[Result],
    folder: str | Path,
    studies: Collection[str] | None = None,
) -> str:
    """The page, for a file in `folder`, which its links are relative to.

    It has the claims of these `studies`, or else all.
    """
    parts = [HEAD]
    claims = [
        x for x in claim_data.all_claims() if studies is None or x["study"] in studies
    ]
    for of_papers, title in (
        (False, "Claims of the sources"),
        (True, "Claims of papers"),
    ):
        group = [x for x in claims if claim_data.is_of_paper(x) == of_papers]
        if not group:
            continue
        parts.append(f"\n## {title}\n" + (PAPERS if of_papers else ""))
        for study in dict.fromkeys(claim["study"] for claim in group):
            own = [claim for claim in group if claim["study"] == study]
            lines = [line for x in own for line in _lines(x, results, Path(folder))]
            changed = _changes([x for x in results if x.study == study], Path(folder))
            parts.append(f"\n### {study}\n{changed}\n{_table(lines)}\n{_sources(own)}")
    return "".join(parts)


def _changes(results: Sequence[Result], folder: Path) -> str:
    """A line for each result of an earlier method: the fields that have changed."""
    return "".join(
        f"\n**{_link(x, folder)} is of an earlier method**: {'; '.join(x.changes)}.\n"
        for x in results
        if x.changes
    )


def _link(result: Result, folder: Path) -> str:
    path = Path(os.path.relpath(result.folder, folder)).as_posix()
    return f"[{result.folder.name}]({path})"


def _lines(
    claim: Claim, results: Sequence[Result], folder: Path
) -> list[dict[str, str]]:
    """A claim's lines of the table: those of each result, or one if there is none."""
    lines = []
    for result in results:
        if result.study == claim["study"]:
            earlier = ", earlier method" if result.changes else ""
            link = {"result": _link(result, folder) + earlier}
            lines += [_line(x) | link for x in _rows_of(claim, result.rows)]
    numbers = claim.get("published", []) if claim_data.is_of_paper(claim) else []
    published = ", ".join(f"{x:g}" for x in numbers)
    not_run = {"claim": claim["sentence"], "published": published, CORRECTED: "not run"}
    return lines or [not_run]


def _rows_of(claim: Claim, rows: Sequence[TableRow]) -> list[TableRow]:
    """The claim's own rows, each with the rows of its comparisons below it."""
    found, inside = [], False
    for row in rows:
        inside = row["sentence"] == claim["sentence"] or (
            inside and not row["sentence"]
        )
        found += [row] if inside else []
    return found


def _line(row: TableRow) -> dict[str, str]:
    """One row of claims.csv in words; numbers only where it is one comparison."""
    line = {"claim": row["claim"], "published": ""}
    if pd.notna(row["published"]):
        line["published"] = presentation.estimate("published").text(row)
    for protocol in PROTOCOLS:
        verdict = row[f"verdict_{protocol}"]
        if verdict:
            ours = presentation.estimate(protocol).text(row)
            stands = row[f"stands_{protocol}"]
            verdict += f" (over all choices: {stands})" if stands else ""
            line[protocol] = ": ".join(filter(None, (ours, verdict)))
            line["n"] = f"{row[f'{protocol}_n']:.0f}" if row["comparison"] else ""
    return line


def _table(lines: Sequence[Mapping[str, str]]) -> str:
    """The lines in Markdown, without columns that are empty."""
    names = ["claim", "published", *PROTOCOLS, "n", "result"]
    present = [x for x in names if any(line.get(x) for line in lines)]
    header = [x.replace("_", " ") for x in present]
    return formats.markdown_table(
        header, [[line.get(x, "") for x in present] for line in lines]
    )


def _sources(claims: Sequence[Claim]) -> str:
    """Who made each claim and where, and the reasons of margins, as a list."""
    items: dict[str, None] = {}
    for claim in claims:
        source = claim_data.citation(claim)
        if claim_data.is_of_paper(claim):
            about = f"{source}, {claim['place']}"
            items[f"{claim['sentence']}: " + ". ".join([about, *_reason(claim)])] = None
        else:
            items[source] = None
            items |= {f"{claim['sentence']}: {why}": None for why in _reason(claim)}
    return "".join(f"- {item}.\n" for item in items)


def _reason(claim: Claim) -> list[str]:
    return [f"The margin is {claim['why']}"] if "why" in claim else []
