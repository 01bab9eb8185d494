"""Where the networks of a record are kept: the file of each, and its place in it."""

import numbers
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normjax.errors import InputError, pick, suggest
from normjax.study import groups
from normjax.study.groups import Group, lane

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 12  # values in a message


def network(
    record: Any, arm: str, chosen: Mapping[str, int | float]
) -> tuple[Path, Group, int]:
    """The file of one network, its group, and its position there.

    A copy with variables comes before one that was archived without them.

    Args:
        record: a `record.Record`.
        arm: the name of an arm of which a network is there.
        chosen: its seed and its settings; those with one value may be left out.

    Raises:
        InputError: there is no such arm, or not exactly one such network.
    """
    entries, table = record.record["arms"], record.networks
    there = [x for x in record.record["arm_order"] if entries[x].get("lanes")]
    pick("arm", dict.fromkeys(there), arm)
    rows = table[table["arm"] == arm]
    own = entries[arm]["settings"]
    fields = ("seed", *(x for x in record.record["settings"] if x in own))
    for name, value in chosen.items():
        if name not in fields:
            rule = f"must be one of seed and the settings: {', '.join(fields)}"
            raise InputError(name, value, rule, suggest(name, fields, "leave it out"))
        rows = with_value(rows, name, value)
    if len(rows) != 1:
        open_ones = [x for x in fields if x not in chosen and rows[x].nunique() > 1]
        name = open_ones[0]
        rule = f"must be given, for {len(rows)} networks of {arm} differ in"
        rule = f"{rule} {', '.join(open_ones)}"
        raise InputError(name, ..., rule, f"give {name}={rows[name].iloc[0]}")
    arm_id = entries[arm]["id"]
    (row,) = rows.to_dict("records")
    key = lane({name: row[name] for name in own}, row["seed"])
    return fullest(groups.held(record.workdir, [arm_id]).copies[arm_id, key])


def fullest(copies: Sequence[tuple[Path, Group, int]]) -> tuple[Path, Group, int]:
    """Of copies of one network the first that was not archived, or else the first."""
    return min(copies, key=lambda copy: groups.is_archived(copy[1]))


def with_value(rows: "pd.DataFrame", name: str, value: int | float) -> "pd.DataFrame":
    """The rows with this value of a seed or a setting, of which there has to be one.

    Raises:
        InputError: it is no number, or no row has it.
    """
    if not isinstance(value, numbers.Real):
        rule = f"must be a number, not {type(value).__name__}"
    else:
        found = rows[rows[name] == value]
        if len(found):
            return found
        there = [f"{x}" for x in sorted(rows[name].unique())]
        some = there if len(there) <= SHOWN else [*there[:SHOWN], "..."]
        rule = f"must be one of those that are trained: {', '.join(some)}"
    raise InputError(name, value, rule, f"give {name}={rows[name].iloc[0]}")


def identities(record: Any) -> list[dict[str, Any]]:
    """What the networks of a record are known by, see `study.identity`."""
    ids = {entry["id"] for entry in record.record["arms"].values()}
    networks = groups.held(record.workdir, ids).networks.values()
    return [group.about["identity"] for _, group, _ in networks]
