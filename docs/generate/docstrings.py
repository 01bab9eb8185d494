"""What a docstring says, as a cell of a Markdown table."""

import inspect
import re
from typing import Any

AUTHORS = re.compile(r"([A-Z][\w ,.'-]*?, (?:19|20)\d\d)\. ")  # `Ioffe, 2017. `


def cell(text: str) -> str:
    """Text on one line whose bars do not end the cell."""
    return " ".join(text.split()).replace("|", "\\|")


def first_paragraph(thing: Any) -> str:
    """The text up to the first blank line."""
    return (inspect.getdoc(thing) or "").split("\n\n")[0]


def formula(thing: Any) -> str:
    """The first sentence: the formula, where there is one.

    A point within backticks ends no sentence, and neither does one inside a word.
    """
    text = " ".join(first_paragraph(thing).split())
    ends = re.match(r"(?:`[^`]*`|[^`])*?[.](?=\s|$)", text)
    return cell((ends[0] if ends else text).removesuffix("."))


def references(thing: Any) -> list[str]:
    """The entries of the section References, each on one line."""
    text = inspect.getdoc(thing) or ""
    found = re.search(r"^References:\n((?: {4}.*\n?|\n)+)", text, re.M)
    return entries(found[1].splitlines()) if found else []


def entries(lines: list[str]) -> list[str]:
    """The lines of the section References, joined to an entry for each source."""
    made: list[str] = []
    for line in filter(None, (line.strip() for line in lines)):
        ended = not made or re.search(r"[.)]$|https?://\S+$", made[-1])
        if not made or (ended and AUTHORS.match(line)):
            made.append(line)
        else:
            made[-1] = f"{made[-1]} {line}"
    return made


def papers(thing: Any) -> str:
    """Authors and year of each source, with a link where it has an arXiv id."""
    found = []
    for entry in references(thing):
        text = AUTHORS.match(entry)[1]  # type: ignore[index]
        number = re.search(r"arXiv:(\d{4}\.\d{4,5})", entry)
        found.append(f"[{text}](https://arxiv.org/abs/{number[1]})" if number else text)
    return cell("; ".join(found))
