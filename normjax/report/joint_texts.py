"""What a page says of several studies: their questions, machines, and shared seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

from normjax.report import conditions
from normjax.study.record import Record

SHARED = (  # what makes seeds of the same number the same weights and batches
    "root_seed",
    "data",
    "num_examples",
)


def notices(each: Mapping[str, Record]) -> list[str]:
    """Which seeds are paired, and where differences are of independent networks."""
    (first, record), *others = each.items()
    found = []
    for name, other in others:
        shared = set(record.record["seeds"]) & set(other.record["seeds"])
        here, there = origin(record), origin(other)
        unlike = [field for field in SHARED if here[field] != there[field]]
        if not shared:
            found.append(f"{first} and {name} have no seed in common")
        elif unlike:
            found.append(
                f"{first} and {name} do not have the same {' and '.join(unlike)}, so"
                " differences between them are between independent networks, although"
                " their seeds have the same numbers"
            )
        else:
            found.append(
                f"{first} and {name} are paired by seed: {len(shared):,} seeds of both"
                " have the same data, initial weights and order of examples"
            )
    return found


def origins(each: Mapping[str, Record]) -> list[int]:
    """A number for each study: the same where seeds of the same number are paired."""
    found = [origin(record) for record in each.values()]
    return [found.index(x) for x in found]


def question(each: Mapping[str, Record]) -> str:
    """The question of the studies, or each one under the name of its study."""
    asked = {k: x.record["question"] or x.record["study"] for k, x in each.items()}
    if len(set(asked.values())) == 1:
        return next(iter(asked.values()))
    return " ".join(f"{name}: {text}" for name, text in asked.items())


def training(record: Record) -> str:
    """The data, model, epochs and batch size of a study, in a line."""
    rows = conditions.training_rows(record)
    return "; ".join(f"{term.lower()} {text}" for term, text in rows)


def environment(each: Mapping[str, Record]) -> dict[str, Any]:
    """What is the same everywhere, and else each under the name of its study."""
    found = {name: record.record["environment"] for name, record in each.items()}
    fields = dict.fromkeys(field for where in found.values() for field in where)
    joined = {
        field: "; ".join(f"{name}: {where.get(field)}" for name, where in found.items())
        for field in fields
    }
    first = next(iter(found.values()))
    same = {
        x: y for x, y in first.items() if all(z.get(x) == y for z in found.values())
    }
    versions = {
        f"{package} ({name})": version
        for name, where in found.items()
        for package, version in where.get("versions", {}).items()
    }
    lines = {
        "command": "\n".join(x.get("command", "") for x in found.values()),
        "commit": ", ".join(x.get("commit", "") for x in found.values()),
    }
    return joined | lines | {"versions": versions} | same


def origin(record: Record) -> dict[str, Any]:
    """What gives the seeds of a study their weights and batches; see SHARED."""
    data = {k: x for k, x in record.config.get("data", {}).items() if k != "dir"}
    return {
        "root_seed": record.config.get("root_seed"),
        "data": data,
        "num_examples": record.record.get("num_examples"),
    }


def common(values: Sequence[Any]) -> Any:
    """The value that all have, or None."""
    return values[0] if all(value == values[0] for value in values) else None
