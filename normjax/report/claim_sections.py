"""The sections of claims on a page: of its study, or of each of several studies."""

from collections.abc import Mapping
from typing import NamedTuple

from normjax.report import claim_lines
from normjax.report.audit_interface import Section, audit_sections
from normjax.report.claim_lines import ClaimLine
from normjax.study.record import Record


class Claims(NamedTuple):
    """A section of claims on the page."""

    section: Section
    lines: list[ClaimLine]
    labels: list[str]  # the protocols that have verdicts
    counts: list[str]  # a sentence for each of them
    record: Record  # that the claims are about


def claims(section: Section, record: Record) -> Claims:
    """The claims of a section."""
    lines = claim_lines.lines(section, record)
    labels = claim_lines.labels(section, lines)
    return Claims(section, lines, labels, claim_lines.count(lines), record)


def claims_of(parts: Mapping[str, Record]) -> list[Claims]:
    """The claims of several studies, each section under the name of its study."""
    return [
        claims(
            section._replace(
                name=f"part-{i}-{section.name}", title=f"{name}: {section.title}"
            ),
            record,
        )
        for i, (name, record) in enumerate(parts.items(), 1)
        for section in audit_sections(record)
        if claim_lines.has_verdicts(section)
    ]
