"""One HTML page from a record: self-contained, for a screen, a phone and paper."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import numpy as np

from normjax import files, statistics
from normjax.report import (
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
from normjax.report.networks import Cell
from normjax.statistics import LEVEL, Interval
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
    where = record.record["environment"]
    study = record.record["study"]
    page = TEMPLATES.get_template("page.html.j2").render(
        study=study,
        question=record.record["question"] or study,
        answer=tuning_tables.unfinished(record)
        or answer(cells, level=estimates.level_of(record)),
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


def answer(cells: Sequence[Cell], *, level: float = LEVEL) -> list[str]:
    """Says, in computed sentences, which arm is most robust, fastest and most stable.

    Each arm is represented by its best setting. If there are several protocols, the
    answer is about the first. An arm with a diverged network is not called stable.
    """
    arms = networks.best_of_arms(cells)
    scope = ""
    if "protocol" in networks.varying_names(cells, "factors"):
        first = arms[0].factors["protocol"]
        arms = [cell for cell in arms if cell.factors["protocol"] == first]
        scope = f"{str(first).replace('_', ' ').capitalize()} arms only. "
    means = {x.arm: estimates.robustness(x).estimate for x in arms}
    arms.sort(key=lambda x: np.nan_to_num(means[x.arm], nan=-1.0), reverse=True)
    best = arms[0]
    interval, seeds = estimates.robustness(best, level=level), len(best.seeds)
    accuracy = formats.by_width(interval)
    mean = f"test accuracy {accuracy}, mean over {_plural(seeds, 'seed')}"
    sentences = [f"{scope}Most robust: {best.arm}, {mean}."]
    if len(arms) == 1:
        return sentences
    sentences.append(_runner_up(best, arms[1], level))
    fastest = min(arms, key=lambda cell: estimates.speed(cell).estimate)
    seconds = formats.by_three_digits(estimates.speed(fastest))
    sentences.append(f"Fastest: {fastest.arm}, {seconds} s per network.")
    sentences += _most_stable(arms, level)
    lost = [f"{x.diverged.sum()} of {x.arm}" for x in arms if x.diverged.any()]
    if lost:
        sentences.append(f"Diverged networks: {', '.join(lost)}.")
    return sentences


def _runner_up(best: Cell, second: Cell, level: float) -> str:
    difference = estimates.accuracy_difference(best, second, level=level)
    verdict = "too few seeds for an interval"
    if difference.low > 0:
        verdict = "the interval excludes zero"
    elif difference.low <= 0:
        verdict = "the interval includes zero, so the lead may be luck"
    points = f"{formats.by_width(Interval(*difference[:4]))} percentage points"
    found = estimates.outlying_difference(best, second, level=level)
    text = f"Runner-up: {second.arm}, {points} below on the same seeds ({verdict})."
    if found is None:
        return text
    lie = "lies" if len(found.seeds) == 1 else "lie"
    seeds = f"{_plural(len(found.seeds), 'seed')} {lie} far from the others"
    trimmed = (
        f"the trimmed mean of this difference is {formats.by_width(found.trimmed)}"
    )
    return f"{text} Here {seeds}: {trimmed}."


def _most_stable(arms: Sequence[Cell], level: float) -> list[str]:
    variances = {
        cell.arm: statistics.stability(cell.curves["train_loss"], level=level)
        for cell in arms
        if len(cell.seeds) > 1 and not cell.diverged.any()
    }
    if not variances:
        return []
    arm = min(variances, key=lambda arm: variances[arm].estimate)
    variance = formats.by_digits(variances[arm])
    return [f"Most stable: {arm}, variance of the train loss {variance} nats²."]


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
    rows = [
        ("Device", f"{where.get('num_devices', 1)} x {where.get('device', 'unknown')}"),
        ("Platform", where.get("machine") or where.get("platform", "unknown")),
        ("Software", ", ".join(f"{k} {v}" for k, v in versions.items())),
        ("Python", where.get("python", "unknown")),
        ("Networks", f"{_plural(len(arms), 'arm')}, {_plural(total, 'lane')}"),
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


def _plural(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


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
