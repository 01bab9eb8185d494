"""One HTML page from a record: self-contained, for a screen, a phone and paper."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from normjax import files
from normjax.report import (
    answers,
    conditions,
    equal_numbers,
    estimates,
    figures,
    formats,
    networks,
    tables,
    tuning_tables,
)
from normjax.report.audit_interface import Section, Verdict, audit_documents
from normjax.report.figures import Drawing
from normjax.study import trials
from normjax.study.record import Record, present_arms, read_record, write_tables


def build(workdir: str | Path) -> Path:
    """Writes tables, figures, an audit's documents and the page; returns its path.

    Raises:
        InputError: `workdir` is not a record, is damaged, has no complete arm, names
            an audit that cannot be imported, or cannot be written.
    """
    record = read_record(workdir)
    cells = networks.load(record)
    write_tables(record)
    sections = tables.write_tables(record, record.workdir / "tables")
    plots = figures.plots(record)
    drawn = figures.write_figures(plots, record.workdir / "figures")
    for name, content in audit_documents(record).items():
        files.write_json(record.workdir / name, content)
    where, tuning = record.record["environment"], record.record.get("tuning")
    study = record.record["study"]
    page = TEMPLATES.get_template("page.html.j2").render(
        study=study,
        question=record.record["question"] or study,
        answer=tuning_tables.unfinished(record)
        or answers.answer(cells, level=estimates.level_of(record), tuning=tuning),
        run=_run(record),
        leading=[_table(record, x) for x in sections if x.leads],
        tables=[_table(record, x) for x in sections if not x.leads],
        figures=[_figure(name, plots[name].caption, drawn[name]) for name in plots],
        figures_note="" if trials.is_tuning(record.record) else figures.note(cells),
        command=where["command"],
        commit=where["commit"],
        config=json.dumps(record.config, indent=2, ensure_ascii=False),
    )
    path = record.workdir / "report.html"
    files.write_text(path, page)
    return path


def _run(record: Record) -> list[tuple[str, str]]:
    """What ran where, as pairs of term and text."""
    content = record.record
    entries = content["arms"]
    arms = {name: entries[name] for name in present_arms(content)}
    where = content["environment"]
    total = sum(arm["lanes"] for arm in arms.values())
    parameters = sorted({entry["num_parameters"] for entry in arms.values()})
    range_ends = dict.fromkeys([*parameters[:1], *parameters[-1:]])
    versions = where.get("versions", {})
    counts = formats.plural(len(arms), "arm"), formats.plural(total, "lane")
    rows = [
        ("Device", f"{where.get('num_devices', 1)} x {where.get('device', 'unknown')}"),
        ("Platform", where.get("machine") or where.get("platform", "unknown")),
        ("Software", ", ".join(f"{k} {v}" for k, v in versions.items())),
        ("Python", where.get("python", "unknown")),
        *conditions.training_rows(record),
        ("Networks", ", ".join(counts)),
        ("Seeds", f"{record.networks['seed'].nunique()} in each arm and setting"),
        ("Trials", tuning_tables.cost(record)),
        ("Looks", estimates.looks_sentence(record)),
        ("Parameters", " to ".join(f"{x:,}" for x in range_ends)),
        ("Compiling", _seconds(arms, "compile_seconds")),
        ("Running", _seconds(arms, "run_seconds")),
        *_lacking(content),
        ("Notice", "; ".join(equal_numbers.sentences(record))),
    ]
    return [(term, text) for term, text in rows if text]


def lacks(record: Record) -> list[str]:
    """What is missing, has failed, is damaged or is equal, a line for each of them."""
    lines = [f"{term.lower()}: {x}" for term, x in _lacking(record.record) if x]
    return lines + [f"notice: {x}" for x in equal_numbers.sentences(record)]


def _lacking(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    arms = tuning_tables.tried(content) | content["arms"]
    return [
        ("Missing", ", ".join(missing_networks(arms))),
        ("Failed", "; ".join(failed_arms(arms))),
        ("Damaged", ", ".join(content["damaged"])),
    ]


def missing_networks(arms: Mapping[str, Any]) -> list[str]:
    """`batch (3 of 10)` for each arm that lacks networks."""
    return [
        f"{name} ({entry['missing']} of {entry['missing'] + entry['lanes']})"
        for name, entry in arms.items()
        if entry["missing"]
    ]


def failed_arms(arms: Mapping[str, Any]) -> list[str]:
    """`batch: ValueError: ...` for each arm that could not be trained."""
    failures = {name: entry.get("failure") for name, entry in arms.items()}
    return [f"{name}: {why}" for name, why in failures.items() if why]


def _seconds(arms: dict[str, dict[str, Any]], field: str) -> str:
    total = sum(arm[field] for arm in arms.values())
    return f"{formats.three_digits(total)} s in all"


def _table(record: Record, section: Section) -> dict[str, Any]:
    """A section for the template: its texts, and the CSS classes of its cells."""
    header, rows = tables.display(section, record.record["settings"])
    keys = [column.key for column in tables.present_columns(section).values()]
    plain = [""] * (len(header) - len(keys))
    classes = [
        plain + [x.kind.name.lower() if isinstance(x, Verdict) else "" for x in row]
        for row in section.numbers[keys].to_numpy(object)
    ]
    parts = section.parts or [False] * len(rows)
    return {
        "section": section,
        "header": header,
        "judged": [any(column) for column in zip(*classes)],
        "rows": [
            {"part": part, "name": row[0], "cells": list(zip(row, kinds))[1:]}
            for part, row, kinds in zip(parts, rows, classes)
        ],
    }


def _figure(name: str, caption: str, drawn: Drawing) -> dict[str, Any]:
    """An SVG for a page, without XML head, with its own ids and an accessible name."""
    svg = drawn.svg[drawn.svg.index("<svg") :]
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    label = markupsafe.escape(caption)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    return {
        "caption": caption,
        "svg": markupsafe.Markup(svg),
        "width": drawn.width,  # letters stay legible from `least` to `most`
        "least": round(0.66 * drawn.width),
        "most": round(1.35 * drawn.width),
    }


def _breakable(name: str) -> markupsafe.Markup:
    """A long name that may be broken after `-`, `/`, `_`, `.` and `=`."""
    escaped = str(markupsafe.escape(name))  # re.sub would escape a Markup twice
    return markupsafe.Markup(re.sub(r"([-/_.=])", r"\1<wbr>", escaped))


TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
TEMPLATES.filters["breakable"] = _breakable
