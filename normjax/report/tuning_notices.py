"""What a reader should know of a search: where it ended, and what did not train."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from normjax.report import formats
from normjax.study import search, trials
from normjax.study.record import Record

OUTER = 0.1  # of a range's logarithm: a number so near to its end may lie beyond it
MOST_VALUES = 6  # of a grid that are named one by one


def notices(record: Record) -> list[str]:
    """A sentence for each kind of notice, which names its arms."""
    tuning = record.record["tuning"]
    found = best_of_arms(record)
    return [*edges(record), *at_chance(tuning, found), *failures(tuning)]


def best_of_arms(record: Record) -> dict[str, dict[str, Any]]:
    """Arm -> what is chosen for it, or would be of its trials, once all are there.

    An arm that is judged waits for a choice until another stage begins, so this is
    known earlier. Arms of which a trial is missing are left out.
    """
    tuning = record.record["tuning"]
    failed = {
        entry["id"]: entry["failure"]
        for entry in tuning["arms"].values()
        if entry.get("failure")
    }
    found = trials.choose(tuning, record.trials, failed)
    found |= {name: x for name, x in tuning["judged"].items() if "arm" in x}
    return {name: found[name] for name in tuning["judged"] if name in found}


def edges(record: Record) -> list[str]:
    """Which arms have the smallest, or the largest, number that was tried, by setting.

    A number that was tried with no other one is not such an edge. A random draw is only
    one in the outer tenth of the logarithm of its range; otherwise more draws may help.
    """
    tuning = record.record["tuning"]
    found: dict[tuple[str, str, bool], list[str]] = {}
    for name, entry in best_of_arms(record).items():
        for setting, value in entry["settings"].items():
            arm = tuning["arms"][entry["arm"]]
            low, high = min(arm["settings"][setting]), max(arm["settings"][setting])
            if low == high or value not in (low, high):
                continue
            end = "smallest" if value == low else "largest"
            inside = False
            if tuning["search"] == "random":
                given = search.searched(record.config, arm["factors"])[setting]
                inside = OUTER < position(value, given) < 1 - OUTER
            found.setdefault((setting, end, inside), []).append(f"{name} ({value:g})")
    wider = "so a wider range may hold a better one"
    word = "best" if trials.is_tuning(record.record) else "chosen"
    more = "but well inside its range, so more trials may find a better one"
    return [
        f"The {word} {setting} is the {end} that was tried,"
        f" {more if inside else wider}: {', '.join(names)}."
        for (setting, end, inside), names in found.items()
    ]


def position(value: float, given: Sequence[float]) -> float:
    """Where a number lies in a range on a logarithmic scale: from 0 to 1."""
    low, high = given[0], given[-1]
    return math.log(value / low) / math.log(high / low)


def at_chance(
    tuning: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Which arms were chosen a setting for that is no better than a constant answer.

    Args:
        tuning: the field of `record.json`.
        found: of `best_of_arms`.
    """
    chance = tuning["chance"]
    scores = {name: x["validation_accuracy"] for name, x in found.items()}
    lost = [f"{name} ({x:.3g})" for name, x in scores.items() if x <= chance]
    if not lost:
        return []
    return [
        f"No trial is above chance, {chance:.3g}, so what was chosen is of no use:"
        f" {', '.join(lost)}."
    ]


def failures(tuning: Mapping[str, Any]) -> list[str]:
    """A notice for each arm of which trials failed."""
    return [
        f"{name}: trials could not be trained ({entry['failure']})."
        for name, entry in tuning["arms"].items()
        if entry["status"] == "failed"
    ]


def searched_text(record: Record, names: Sequence[str]) -> str:
    """`learning_rate 0.01, 0.1, 1` or `learning_rate 0.01 to 1`: what was searched.

    Settings of one value are left out; arms that compete and differ in theirs have a
    text each.
    """
    tuning = record.record["tuning"]
    texts = []
    for entry in (tuning["arms"][name] for name in names):
        grids = {k: sorted(set(x)) for k, x in entry["settings"].items()}
        if tuning["search"] == "random":
            grids = {
                k: list(x)
                for k, x in search.searched(record.config, entry["factors"]).items()
                if k in grids
            }
        texts.append(
            ", ".join(
                f"{k} {_values(x, ranged=tuning['search'] == 'random')}"
                for k, x in grids.items()
                if len(x) > 1
            )
        )
    return "; ".join(dict.fromkeys(filter(None, texts))) or "one setting"


def _values(values: Sequence[float], *, ranged: bool) -> str:
    ends = " to ".join(formats.number(x) for x in (values[0], values[-1]))
    if ranged:
        return ends
    if len(values) > MOST_VALUES:
        return f"{ends} ({len(values)} values)"
    return ", ".join(formats.number(x) for x in values)
