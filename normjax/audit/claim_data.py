"""The claims and their sources as data, and what a claim compares.

A claim is an entry of `claims_of_sources.json`, which are the documents that this lab
reproduces, or of `claims_of_papers.json`. It has

    study, where, at: the study, the config fields and their values that it is about;
        `at` is "tuned" if it is about arms that were tuned, each on its own;
    sentence: what is claimed;
    answers: true, if its verdict answers the question of the study; otherwise the
        answer is the most accurate arm;
    source, place: a name in `sources.json`, and where in that source it stands;
    statistic: a row of `measures.STATISTICS`, or one for each protocol;
    direction, margin, why: what must be true of it, and the reason of the margin;
    arms, each, of, against: levels that all sides share, those that are compared one
        after the other, and the sides; each `of` is compared with each `against`;
    published: where in `published.json` the numbers of a side are or, of a paper, the
        published number of each comparison, in the unit of the statistic.
"""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from normjax import files

FILES = ("claims_of_sources", "claims_of_papers")
TUNED = "tuned"

Claim = dict[str, Any]
Side = Mapping[str, str | int]  # factor -> level


def all_claims() -> list[Claim]:
    """Every claim, of the sources and then of papers."""
    return [claim for name in FILES for claim in _read(name)]


def all_sources() -> dict[str, dict[str, Any]]:
    """Who published a claim: `title` and, of a paper, `authors`, `year`, `arxiv`."""
    return _read("sources")


def is_of_paper(claim: Claim) -> bool:
    """Whether a claim is one of a paper, which has no protocols and another scale."""
    return "authors" in all_sources()[claim["source"]]


def citation(claim: Claim) -> str:
    """`Wu and He, 2018. Group Normalization. arXiv:1803.08494`, or a title."""
    source = all_sources()[claim["source"]]
    if not is_of_paper(claim):
        return source["title"]
    name = f"arXiv:{source['arxiv']}" if "arxiv" in source else source["url"]
    title = source["title"] + ("" if source["title"].endswith("?") else ".")
    return f"{source['authors']}, {source['year']}. {title} {name}"


def applies(claim: Claim, config: Mapping[str, Any]) -> bool:
    """Whether a claim is about the study, the data and the model of a config.

    One about tuned arms is about the study only if its arms were tuned.
    """
    where = {"study": [claim["study"]]} | claim["where"]
    fields = files.flat(config)
    if claim.get("at") == TUNED and fields.get("tuning.search", "none") == "none":
        return False
    return all(fields.get(name) in values for name, values in where.items())


def answering(config: Mapping[str, Any]) -> Claim | None:
    """The claim whose verdict answers the question of a study, if there is one."""
    found = (x for x in all_claims() if x.get("answers") and applies(x, config))
    return next(found, None)


def statistic_name(claim: Claim, protocol: str) -> str:
    """The name of a claim's statistic: one for all protocols, or one for each."""
    name = claim["statistic"]
    return name if isinstance(name, str) else name[protocol]


def comparisons(claim: Claim) -> list[list[Side]]:
    """The sides of each comparison: one side or two, by their levels."""
    sides = [claim["of"], *([claim["against"]] if "against" in claim else [])]
    return [
        [side | each for side in pair]
        for each in claim.get("each", [{}])
        for pair in itertools.product(*sides)
    ]


def _read(name: str) -> Any:
    return json.loads((Path(__file__).parent / f"{name}.json").read_text())
