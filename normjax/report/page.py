"""One HTML page from a record: self-contained, for a screen, a phone and paper."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from normjax import files, statistics
from normjax.audit import stats_json
from normjax.report import estimates, figures, formats, tables
from normjax.report import networks as cells_
from normjax.report.networks import Cell
from normjax.study.record import Record, complete_arms, read_record


def build(workdir: str | Path) -> Path:
    """Writes tables, figures, `stats.json` and the page; returns the page's path.

    Raises:
        InputError: `workdir` is not a record, is damaged, has no complete arm or
            cannot be written.
    """
    record = read_record(workdir)
    found = tables.write(record, record.workdir / "tables")
    drawn = figures.write(record, record.workdir / "figures")
    stats_json.write(record, record.workdir)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    where = record.record.get("environment", {})
    study = record.record["study"]
    repeat = f"python launch.py --config=configs/{study}.py --workdir=runs/{study}"
    environment.filters |= {"breakable": _breakable, "mark": _mark}
    page = environment.get_template("page.html.j2").render(
        study=study,
        question=record.record.get("question", study),
        answer=answer(cells_.cells(record)),
        run=_run(record),
        tables=[_table(record, name, table) for name, table in found.items()],
        figures=[_figure(drawing) for drawing in drawn],
        figures_note=figures.note(cells_.cells(record)),
        command=where.get("command", repeat),
        commit=where.get("commit", "unknown"),
        config=json.dumps(record.config, indent=2, ensure_ascii=False),
    )
    path = record.workdir / "report.html"
    files.write_text(path, page)
    return path


def answer(cells: Sequence[Cell]) -> list[str]:
    """Sentences computed from the numbers: who is most robust, fastest, most stable.

    Each arm stands at its chosen setting, and of several protocols the corrected one
    is asked. An arm of which a network diverged is not called stable. The best two
    arms are found and compared on the same seeds, which makes their interval a little
    too narrow; the page says so.
    """
    arms = cells_.chosen(cells)
    corrected = [c for c in arms if c.factors.get("protocol") == "corrected"]
    scope = "Corrected arms only. " if 0 < len(corrected) < len(arms) else ""
    arms = sorted(corrected or arms, key=_accuracy, reverse=True)
    best = arms[0]
    sentences = [
        f"{scope}Most robust: {best.arm}, test accuracy"
        f" {formats.by_width(estimates.robustness(best))}, mean over"
        f" {_count(len(best.seeds), 'seed')}."
    ]
    if len(arms) == 1:
        return sentences
    sentences.append(_runner_up(best, arms[1]))
    fastest = min(arms, key=lambda c: estimates.speed(c).estimate)
    seconds = formats.by_three_digits(estimates.speed(fastest))
    sentences.append(f"Fastest: {fastest.arm}, {seconds} s a network.")
    counts = {c.arm: int((c.final["diverged_at_step"] >= 0).sum()) for c in arms}
    spread = {
        c.arm: statistics.stability(c.curves["train_loss"])
        for c in arms
        if len(c.seeds) > 1 and not counts[c.arm]
    }
    if spread:
        arm = min(spread, key=lambda arm: spread[arm].estimate)
        variance = formats.by_digits(spread[arm])
        sentences.append(
            f"Most stable: {arm}, variance of the train loss {variance} nats²."
        )
    diverged = [f"{n} of {arm}" for arm, n in counts.items() if n]
    if diverged:
        sentences.append(f"Diverged networks: {', '.join(diverged)}.")
    return sentences


def _runner_up(best: Cell, second: Cell) -> str:
    i, j = cells_.pairs(best, second)
    difference = statistics.paired_difference(
        100 * best.final["test_accuracy"][i], 100 * second.final["test_accuracy"][j]
    )
    verdict = "too few seeds for an interval"
    if difference.low > 0:
        verdict = "the interval excludes zero"
    elif difference.low <= 0:
        verdict = "the interval includes zero, so the lead may be luck"
    points = formats.by_width(statistics.Interval(*difference[:4]))
    return (
        f"Runner-up: {second.arm}, {points} percentage points"
        f" below on the same seeds ({verdict})."
    )


def _accuracy(cell: Cell) -> float:
    estimate = estimates.robustness(cell).estimate
    return float(estimate) if estimate == estimate else -1.0


def _run(record: Record) -> list[tuple[str, str]]:
    """What ran where, as pairs of term and text."""
    content = record.record
    arms = {name: content["arms"][name] for name in complete_arms(content)}
    where = content.get("environment", {})
    total = sum(arm.get("lanes", 0) for arm in arms.values())
    missing = [name for name in content["arm_order"] if name not in arms]
    parameters = sorted(set(content.get("num_parameters", {}).values()))
    versions = where.get("versions", {})
    rows = [
        ("Device", f"{where.get('num_devices', 1)} x {where.get('device', 'unknown')}"),
        ("Platform", where.get("machine") or where.get("platform", "unknown")),
        ("Software", ", ".join(f"{k} {v}" for k, v in versions.items())),
        ("Python", where.get("python", "unknown")),
        ("Networks", f"{_count(len(arms), 'arm')}, {_count(total, 'lane')}"),
        ("Seeds", f"{record.networks['seed'].nunique()} in each arm and setting"),
        ("Parameters", " to ".join(f"{x:,}" for x in _ends(parameters))),
        ("Compiling", f"{_seconds(arms, 'compile_seconds')} in all"),
        ("Running", f"{_seconds(arms, 'run_seconds')} in all"),
        ("Not finished", ", ".join(missing)),
    ]
    return [(term, text) for term, text in rows if text]


def _seconds(arms: dict[str, dict[str, Any]], field: str) -> str:
    total = sum(arm.get(field, 0.0) for arm in arms.values())
    return f"{formats.three_digits(total)} s"


def _ends(values: Sequence[int]) -> Sequence[int]:
    return values if len(values) < 2 else (values[0], values[-1])


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _table(record: Record, name: str, table: Any) -> dict[str, Any]:
    header, rows = tables.display(name, table, record.record["settings"])
    title = tables.title(name, record)
    found = {"name": name, "title": title, "header": header, "rows": rows}
    return found | {"margins": _margins(table) if name == "claims" else {}}


def _margins(table: Any) -> dict[str, str]:
    """Sentence -> why its margin is what it is."""
    chosen = table[(table["sentence"] != "") & (table["why"] != "")]
    return dict(zip(chosen["sentence"], chosen["why"]))


def _mark(text: str) -> str:
    """The class of a cell of the claims: that of its verdict, or none."""
    return {"holds": "holds", "does": "fails", "undecided": "undecided"}.get(
        text.partition(" ")[0], ""
    )


def _figure(drawing: figures.Drawing) -> dict[str, Any]:
    """An SVG to stand in a page: no XML head, ids of its own, a name for readers."""
    svg = drawing.svg[drawing.svg.index("<svg") :]
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{drawing.name}-", svg)
    label = markupsafe.escape(drawing.caption)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    width = float(re.search(r'width="([\d.]+)pt"', svg)[1])
    return {
        "caption": drawing.caption,
        "svg": markupsafe.Markup(svg),
        "width": width,  # in points, as drawn; letters stay legible in between:
        "least": round(0.66 * width),
        "most": round(1.35 * width),
    }


def _breakable(name: str) -> markupsafe.Markup:
    """A long name that may be broken after `-`, `/`, `_`, `.` and `=`."""
    escaped = str(markupsafe.escape(name))  # re.sub would escape again in a Markup
    return markupsafe.Markup(re.sub(r"([-/_.=])", r"\1<wbr>", escaped))
