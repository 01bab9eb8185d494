"""Where the networks of a record are kept: the file of each, and its place in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from normjax.errors import InputError, pick
from normjax.study import groups
from normjax.study.groups import Group, lane


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
    for name, value in chosen.items():
        pick("lane", dict.fromkeys(("seed", *record.record["settings"])), name)
        rows = rows[rows[name] == value]
    if len(rows) != 1:
        rule = f"must be one network of {arm}, and {len(rows)} are"
        remedy = "give its seed and its settings as they are in networks"
        raise InputError("lane", chosen, rule, remedy)
    arm_id, settings = entries[arm]["id"], entries[arm]["settings"]
    (row,) = rows.to_dict("records")
    key = lane({name: row[name] for name in settings}, row["seed"])
    return fullest(groups.held(record.workdir, [arm_id]).copies[arm_id, key])


def fullest(copies: Sequence[tuple[Path, Group, int]]) -> tuple[Path, Group, int]:
    """Of copies of one network the first that was not archived, or else the first."""
    return min(copies, key=lambda copy: groups.is_archived(copy[1]))


def identities(record: Any) -> list[dict[str, Any]]:
    """What the networks of a record are known by, see `study.identity`."""
    ids = {entry["id"] for entry in record.record["arms"].values()}
    networks = groups.held(record.workdir, ids).networks.values()
    return [group.about["identity"] for _, group, _ in networks]
