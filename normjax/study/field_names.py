"""What is said of a name that no field has: the fields that it may stand for."""

import difflib
from collections.abc import Mapping
from typing import Any

from normjax.errors import suggest
from normjax.files import flat
from normjax.study.fields import DEFAULTS, SYNONYMS

FEW = 8  # fields of a group of which all are named
NEAREST = 3  # of a larger group, so many


def name_rule(name: str, known: Mapping[str, Any], listed: str = "") -> str:
    """The rule that a wrong name breaks: the fields of its group, the nearest first.

    Args:
        name: the wrong one.
        known: the fields of the group.
        listed: where the fields of a large group are listed, said in place of the
            nearest ones.
    """
    distance = lambda x: -difflib.SequenceMatcher(None, name, x).ratio()
    nearest = sorted(known, key=distance)
    if len(known) <= FEW:
        return f"must be one of the fields {', '.join(nearest)}"
    some = f", such as {', '.join(nearest[:NEAREST])}"
    return f"must be one of the fields{f' {listed}' if listed else some}"


def nearest_field(prefix: str, name: str, known: Mapping[str, Any]) -> str:
    """A remedy that names the field which a wrong one stands for.

    That is one of this name in another group, one that is known by this name elsewhere,
    or the nearest one in the same group.
    """
    paths = list(flat(DEFAULTS))
    inner = [path for path in paths if path.rpartition(".")[2] == name]
    meant = [SYNONYMS[name]] if name in SYNONYMS else inner
    if meant and meant[0] != prefix + name:
        return f"did you mean {meant[0]!r}?"
    if near := suggest(name, known, ""):
        return near
    last = {path.rpartition(".")[2]: path for path in reversed(paths)}
    close = difflib.get_close_matches(name, last, n=1)
    return f"did you mean {last[close[0]]!r}?" if close else "leave it out"
