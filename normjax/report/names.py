"""What a reader calls an arm: `third moment, no penalty`, not its identifier."""

import itertools
import re
from collections.abc import Mapping, Sequence

import pandas as pd

from normjax import numerals
from normjax.study.columns import Level
from normjax.study.record import Record

NONE = "none"  # the level of a factor that is left out
MOST_NAMED = 6  # arms, in a list of arms


def words(name: str) -> str:
    """An identifier as words: `third_moment` is `third moment`."""
    return name.replace("_", " ")


def level(factor: str, value: Level, *, titled: bool = False) -> str:
    """A level as words; a number and a `none` say of what: `batch size 32`, `no norm`.

    Args:
        factor: the name of the factor.
        value: its level.
        titled: every level says of what it is: `optimizer adam`.
    """
    if value == NONE:
        return f"no {words(factor)}"
    if isinstance(value, bool) or not isinstance(value, str):
        return f"{words(factor)} {value}"
    return f"{words(factor)} {words(value)}" if titled else words(value)


def arm_labels(factors: Mapping[str, Mapping[str, Level]]) -> dict[str, str]:
    """Arm -> its levels of the factors that vary, as words; each arm has its own.

    Args:
        factors: arm -> factor -> level.
    """
    varying = varying_factors(list(factors.values()))
    labels = {
        arm: ", ".join(level(name, levels[name]) for name in varying) or single(arm)
        for arm, levels in factors.items()
    }
    if len(set(labels.values())) < len(labels):  # arms that the factors do not tell
        return {arm: words(arm) for arm in factors}
    return labels


def some(labels: Sequence[str], most: int = MOST_NAMED) -> str:
    """`a; b; and 3 more arms`: the first labels, which may have commas, and a count."""
    shown = list(labels[:most])
    if more := len(labels) - len(shown):
        shown.append(f"and {numerals.plural(more, 'more arm')}")
    return "; ".join(shown)


def single(arm: str) -> str:
    """The name of an arm that no factor tells from others: `no norm`, not `none`."""
    return level("norm", arm)


def varying_factors(levels: Sequence[Mapping[str, Level]]) -> list[str]:
    """The factors with more than one level among these arms, in their order."""
    names = dict.fromkeys(name for arm in levels for name in arm)
    return [
        x
        for x in names
        if len({arm[x] for arm in levels if x in arm and pd.notna(arm[x])}) > 1
    ]


def of_record(record: Record) -> dict[str, str]:
    """`arm_labels` of the arms of a record, complete or not."""
    entries, factors = record.record["arms"], record.record["factors"]
    return arm_labels(
        {
            arm: {x: entries[arm]["factors"][x] for x in factors}
            for arm in record.record["arm_order"]
        }
    )


def factor_columns(record: Record) -> dict[str, dict[str, str]]:
    """Arm -> factor that varies -> level, as words: the columns that name a row.

    Where the factors do not tell the arms, or none varies, the one column is `arm`.
    """
    entries, labels = record.record["arms"], of_record(record)
    factors = {arm: entries[arm]["factors"] for arm in labels}
    varying = varying_factors(list(factors.values()))
    rows = {tuple(levels.get(x) for x in varying) for levels in factors.values()}
    if not varying or len(rows) < len(labels):
        return {arm: {"arm": label} for arm, label in labels.items()}
    return {
        arm: {words(x): words(str(levels.get(x, ""))) for x in varying}
        for arm, levels in factors.items()
    }


def glossary(record: Record) -> dict[str, str]:
    """What to call the identifiers in the texts of tables and claims.

    Those of arms, and those that are made of the levels of some of their factors, such
    as `adam-l2` for arms under two protocols. One that could mean two things is left
    out.
    """
    meanings: dict[str, set[str]] = {}
    arms = [entry["factors"] for entry in record.record["arms"].values()]
    varying = varying_factors(arms)
    for factors in arms:
        own = [x for x in varying if x in factors and pd.notna(factors[x])]
        for number in range(1, len(own) + 1):
            for some in itertools.combinations(own, number):
                name = "-".join(str(factors[x]) for x in some)
                label = ", ".join(level(x, factors[x]) for x in some)
                meanings.setdefault(name, set()).add(label)
    known = {name: labels.pop() for name, labels in meanings.items() if len(labels) < 2}
    return known | of_record(record)


def readable(text: str, known: Mapping[str, str]) -> str:
    """A text in which identifiers are replaced by words.

    Args:
        text: a sentence, or `adam-l2 against sgd-l2`, whose sides may be one word.
        known: see `glossary`.
    """
    if AGAINST in text:
        sides = text.split(AGAINST)
        return AGAINST.join(_side(x, known) for x in sides)
    return IDENTIFIER.sub(lambda found: known.get(found[0]) or _words(found[0]), text)


def label_arms(text: str, known: Mapping[str, str]) -> str:
    """A program's own words, such as an error, in which only whole arms are replaced.

    Args:
        text: words among which commands, fields and paths stay as they are.
        known: see `glossary`.
    """
    return IDENTIFIER.sub(lambda found: known.get(found[0], found[0]), text)


def _side(text: str, known: Mapping[str, str]) -> str:
    """One side of a comparison, and what may stand behind it: `none, test accuracy`."""
    arm, comma, rest = text.partition(", ")
    return f"{known.get(arm) or readable(arm, known)}{comma}{readable(rest, known)}"


def _words(identifier: str) -> str:
    """Identifiers as words, but for options, fields, files and modules.

    They begin with two hyphens, or have a dot or a slash.
    """
    name, equals, value = identifier.partition("=")
    if identifier.startswith("--") or {".", "/"} & set(name):
        return identifier
    return f"{words(name)} {_words(value)}" if equals else words(name)


AGAINST = " against "
IDENTIFIER = re.compile(r"[\w./=-]*[a-z0-9][_=-][\w./=-]*[\w]")
