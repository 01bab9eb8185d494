"""One HTML page from a record: self-contained, for a screen, a phone and paper."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import numpy as np

from normjax import files, statistics
from normjax.report import estimates, figures, formats, networks, tables
from normjax.report.networks import Cell
from normjax.report.sections import Section, Verdict, audit_documents
from normjax.statistics import LEVEL, Interval
from normjax.study.record import Record, complete_arms, read_record


def build(workdir: str | Path) -> Path:
    """Writes tables, figures, an audit's documents and the page; returns its path.

    Raises:
        InputError: `workdir` is not a record, is damaged, has no complete arm, names
            an audit that cannot be imported, or cannot be written.
    """
    record = read_record(workdir)
    cells = networks.load(record)
    sections = tables.write(record, record.workdir / "tables")
    plots = figures.plots(record)
    svgs = figures.write(plots, record.workdir / "figures")
    for name, content in audit_documents(record).items():
        files.write_json(record.workdir / name, content)
    where = record.record.get("environment", {})
    study = record.record["study"]
    repeat = f"python launch.py --config=configs/{study}.py --workdir=runs/{study}"
    page = ENVIRONMENT.get_template("page.html.j2").render(
        study=study,
        question=record.record.get("question", study),
        answer=answer(cells, level=estimates.level_of(record)),
        run=_run(record),
        leading=[_table(record, x) for x in sections if x.leads],
        tables=[_table(record, x) for x in sections if not x.leads],
        figures=[_figure(name, plots[name].caption, svgs[name]) for name in plots],
        figures_note=figures.note(cells),
        command=where.get("command", repeat),
        commit=where.get("commit", "unknown"),
        config=json.dumps(record.config, indent=2, ensure_ascii=False),
    )
    path = record.workdir / "report.html"
    files.write_text(path, page)
    return path


def answer(cells: Sequence[Cell], *, level: float = LEVEL) -> list[str]:
    """Sentences computed from the numbers: who is most robust, fastest, most stable.

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
    mean = f"test accuracy {accuracy}, mean over {_count(seeds, 'seed')}"
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
    return f"Runner-up: {second.arm}, {points} below on the same seeds ({verdict})."


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
    arms = {name: content["arms"][name] for name in complete_arms(content)}
    where = content.get("environment", {})
    total = sum(arm.get("lanes", 0) for arm in arms.values())
    missing = [name for name in content["arm_order"] if name not in arms]
    parameters = sorted(set(content.get("num_parameters", {}).values()))
    range_ends = dict.fromkeys([*parameters[:1], *parameters[-1:]])
    versions = where.get("versions", {})
    rows = [
        ("Device", f"{where.get('num_devices', 1)} x {where.get('device', 'unknown')}"),
        ("Platform", where.get("machine") or where.get("platform", "unknown")),
        ("Software", ", ".join(f"{k} {v}" for k, v in versions.items())),
        ("Python", where.get("python", "unknown")),
        ("Networks", f"{_count(len(arms), 'arm')}, {_count(total, 'lane')}"),
        ("Seeds", f"{record.networks['seed'].nunique()} in each arm and setting"),
        ("Looks", estimates.looks_sentence(record)),
        ("Parameters", " to ".join(f"{x:,}" for x in range_ends)),
        ("Compiling", _seconds(arms, "compile_seconds")),
        ("Running", _seconds(arms, "run_seconds")),
        ("Not finished", ", ".join(missing)),
    ]
    return [(term, text) for term, text in rows if text]


def _seconds(arms: dict[str, dict[str, Any]], field: str) -> str:
    total = sum(arm.get(field, 0.0) for arm in arms.values())
    return f"{formats.three_digits(total)} s in all"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _table(record: Record, section: Section) -> dict[str, Any]:
    """A section as the template takes it: texts, and the classes of its cells."""
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


def _figure(name: str, caption: str, svg: str) -> dict[str, Any]:
    """An SVG for a page: no XML head, ids of its own, a name for screen readers."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    label = markupsafe.escape(caption)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    width = float(svg.split(' width="', 1)[1].split("pt", 1)[0])
    return {
        "caption": caption,
        "svg": markupsafe.Markup(svg),
        "width": width,  # in points; letters stay legible from `least` to `most`
        "least": round(0.66 * width),
        "most": round(1.35 * width),
    }


def _breakable(name: str) -> markupsafe.Markup:
    """A long name that may be broken after `-`, `/`, `_`, `.` and `=`."""
    escaped = str(markupsafe.escape(name))  # re.sub would escape a Markup twice
    return markupsafe.Markup(re.sub(r"([-/_.=])", r"\1<wbr>", escaped))


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
ENVIRONMENT.filters["breakable"] = _breakable
