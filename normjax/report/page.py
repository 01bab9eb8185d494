"""One HTML page from a record: self-contained, for a screen, a phone and paper.

The texts and numbers are written here, so that the page reads without JavaScript; the
charts are data in it, which its scripts draw (`assets`).
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2
import markupsafe

from normjax import files
from normjax.report import (
    browser,
    claim_lines,
    claim_sections,
    conditions,
    estimates,
    figures,
    formats,
    openings,
    still_files,
    tables,
    wide_tables,
)
from normjax.report.audit_interface import Section, audit_documents
from normjax.report.chart import Chart, Charts
from normjax.report.claim_sections import Claims
from normjax.report.wide_tables import Table
from normjax.study import groups, trials
from normjax.study.claims import claim
from normjax.study.record import Record, read_record, write_tables
from normjax.study.wanted import read_wanted

ANSWER = "answer"  # the group of the chart that shows the answer


def build(workdir: str | Path, *, stills: bool = True) -> Path:
    """Writes tables, still figures, an audit's documents and the page.

    It works at any time: while networks are missing, the page says which, and shows
    what the others did. It waits for another process that builds it.

    Args:
        workdir: the folder of a record.
        stills: whether the still figures are drawn, which takes most of the time.

    Returns:
        The path of the page.

    Raises:
        InputError: `workdir` is not a record, is damaged, names an audit that cannot
            be imported, or cannot be written.
    """
    read_wanted(workdir)  # refuses a folder without a record
    with claim(Path(workdir) / groups.LOCKS, "page", wait=True):
        return _build(read_record(workdir), stills)


def _build(record: Record, stills: bool) -> Path:
    """What `build` does of a record in a folder that it has claimed."""
    write_tables(record)
    sections = tables.write_tables(record, record.workdir / "tables")
    charts = _charts(record, sections)
    documents = {} if record.networks.empty else audit_documents(record)
    for name, content in documents.items():
        files.write_json(record.workdir / name, content)
    folder = record.workdir / "figures"
    if stills:
        still_files.update(charts, folder)
    drawn = still_files.current(charts, folder)
    picture = _picture(charts)
    still = ""
    if picture and picture.name in drawn:
        text = (folder / f"{picture.name}.svg").read_text("utf-8")
        still = still_files.inline(text, picture.title)
    page = _page(record, sections, charts, still, linked=True, drawn=drawn)
    path = record.workdir / "report.html"
    files.write_text(path, page)
    return path


def write(
    record: Record, path: str | Path, parts: Mapping[str, Record] = MappingProxyType({})
) -> None:
    """Writes the page of a record that is in no folder; it links to no other file.

    Args:
        record: the study, or several of them (`side_by_side.combine`).
        path: of the page.
        parts: the studies by name, whose claims are shown under their names.
    """
    sections = [] if record.networks.empty else tables.all_sections(record)
    charts = _charts(record, sections)
    picture, still = _picture(charts), ""
    if picture:
        still = still_files.inline(still_files.svg(picture, charts), picture.title)
    files.write_text(path, _page(record, sections, charts, still, parts))


def lacks(record: Record) -> list[str]:
    """What is missing, has failed, is damaged or is equal, a line for each of them."""
    found = conditions.lacking(record.record)
    lines = [f"{term.lower()}: {text}" for term, text in found if text]
    return lines + [f"notice: {x}" for x in conditions.notices(record)]


def _charts(record: Record, sections: Sequence[Section]) -> Charts:
    if record.networks.empty and not trials.is_tuning(record.record):
        return Charts({}, [], "")
    found = [x.evidence for x in sections if x.evidence]
    return figures.charts(record, found[0] if found else None)


def _picture(charts: Charts) -> Chart | None:
    """The chart that stands under the answer."""
    return next((x for x in charts.charts if x.group == ANSWER), None)


def _page(
    record: Record,
    sections: Sequence[Section],
    charts: Charts,
    still: str,
    parts: Mapping[str, Record] = MappingProxyType({}),
    *,
    linked: bool = False,
    drawn: Collection[str] = (),
) -> str:
    """The text of the page.

    Args:
        record: the study.
        sections: its tables.
        charts: its charts.
        still: the picture of the answer, for those without JavaScript.
        parts: the studies by name, if there are several.
        linked: whether the tables lie beside the page.
        drawn: the charts of which a still figure lies beside the page.
    """
    content = record.record
    has_verdicts = claim_lines.has_verdicts
    claims = [claim_sections.claims(x, record) for x in sections if has_verdicts(x)]
    claims += claim_sections.claims_of(parts)
    shown = [x for x in sections if not has_verdicts(x)]
    wide, first = [wide_tables.wide_table(x, record) for x in shown], _picture(charts)
    return TEMPLATES.get_template("page.html.j2").render(
        study=content["study"],
        question=content["question"] or content["study"],
        answer=openings.sentences(record, parts, claims),
        picked=openings.has_picked_leader(record, parts),
        few=formats.true_minus(conditions.few_seeds(record)),
        gaps=conditions.gaps(record),
        resume=conditions.resume_commands(parts.values() or [record]),
        picture=first,
        claims=claims,
        groups=_groups([x for x in charts.charts if x is not first]),
        tables=wide,
        run=conditions.rows(record),
        command=content["environment"].get("command", ""),
        commit=content["environment"].get("commit", ""),
        config=json.dumps(record.config, indent=2, ensure_ascii=False),
        chart_data=markupsafe.Markup(browser.chart_data(charts)),
        table_data=_script(_copies(shown, wide, claims)),
        linked=linked,
        drawn=drawn,
        still=still,
        target=content.get("target_accuracy"),
        percent=formats.confidence(estimates.level_of(record)),
    )


def _copies(
    shown: Sequence[Section], wide: Sequence[Table], claims: Sequence[Claims]
) -> dict[str, dict[str, str]]:
    """Table -> what can be copied of it; claims are copied as one table too."""
    pairs = [*zip(shown, wide)]
    pairs += [(x.section, wide_tables.wide_table(x.section, x.record)) for x in claims]
    return {section.name: wide_tables.copies(section, x) for section, x in pairs}


def _groups(charts: Sequence[Chart]) -> list[tuple[str, list[Chart]]]:
    """Heading -> charts, in the order of the charts."""
    groups: dict[str, list[Chart]] = {}
    for chart in charts:
        groups.setdefault(chart.group, []).append(chart)
    return list(groups.items())


def _script(content: Any) -> markupsafe.Markup:
    """JSON that can stand in a script element: `<` ends no element there."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return markupsafe.Markup(text.replace("<", "\\u003c"))


def _source(name: str) -> markupsafe.Markup:
    """A file beside the templates, as it is."""
    return markupsafe.Markup((FOLDER / name).read_text("utf-8"))


def _slug(text: str) -> str:
    """An id of the page."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "other"


FOLDER = Path(__file__).parent / "templates"
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(FOLDER),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
TEMPLATES.filters |= {"slug": _slug, "capital": formats.capital}
TEMPLATES.globals |= {
    "source": _source,
    "chart_scripts": lambda: markupsafe.Markup(browser.scripts()),
    "chart_styles": lambda: markupsafe.Markup(browser.styles()),
}
