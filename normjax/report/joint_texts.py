"""What a page says of several studies: their questions, machines, and shared seeds."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from normjax import files, looks
from normjax.report import conditions, estimates, formats
from normjax.statistics import LEVEL
from normjax.study import kept
from normjax.study.record import Record

SHARED = (  # what makes seeds of the same number the same examples and random keys
    "root_seed",
    "data",
    "num_examples",
)
BATCHES = (  # fields of a program that decide, with a key, what is in each batch
    *("batch_size", "sampling", "last_batch", "augmentation"),
    *("num_train", "steps_per_epoch"),
)
NO_WEIGHTS = "norm", "placement", "dropout", "convolution"  # decide none that is drawn

Values = Mapping[str, set[str]]  # field -> the texts of what the networks have there


def notices(each: Mapping[str, Record]) -> list[str]:
    """Which seeds are paired, and where differences are of independent networks."""
    (first, record), *others = each.items()
    found = [text] if (text := level_notice(each)) else []
    for name, other in others:
        shared = set(record.record["seeds"]) & set(other.record["seeds"])
        unlike = not_shared(record, other)
        if not shared:
            found.append(f"{first} and {name} have no seed in common")
        elif {*unlike} - {"root_seed"}:
            found.append(
                f"{first} and {name} do not have the same {' and '.join(unlike)}, so"
                " their arms are not compared with each other, and no performance"
                " profiles are drawn"
            )
        elif unlike:
            found.append(
                f"{first} and {name} do not have the same {' and '.join(unlike)}, so"
                " differences between them are between independent networks, although"
                " their seeds have the same numbers"
            )
        else:
            found.append(
                f"{first} and {name} are paired by seed: {len(shared):,} seeds of both"
                f" have the same {in_common(record, other)}"
            )
    return found


def origins(each: Mapping[str, Record]) -> list[int]:
    """A number for each study: the same where seeds of the same number are paired."""
    records = list(each.values())
    return [
        next(i for i, other in enumerate(records) if not not_shared(other, record))
        for record in records
    ]


def same_data(each: Mapping[str, Record]) -> list[int]:
    """A number for each study: the same where accuracies are of the same data."""
    records = list(each.values())
    return [
        next(
            i
            for i, other in enumerate(records)
            if not {*not_shared(other, record)} - {"root_seed"}
        )
        for record in records
    ]


def not_shared(record: Record, other: Record) -> list[str]:
    """Why seeds of the same number are independent; empty if they are paired."""
    here, there = origin(record), origin(other)
    unlike = [field for field in SHARED if here[field] != there[field]]
    if differing(digests(record), digests(other)) and "data" not in unlike:
        unlike.append("data")
    return unlike


def in_common(record: Record, other: Record) -> str:
    """What seeds of the same number have in common, beside the root seed."""
    unlike = {
        "initial weights": differing(weights(record), weights(other)),
        "order of examples": differing(batches(record), batches(other)),
    }
    same = ["data", *(part for part, fields in unlike.items() if not fields)]
    others = [f"{x} ({' and '.join(y)} not equal)" for x, y in unlike.items() if y]
    *start, last = same
    text = f"{', '.join(start)} and {last}" if start else last
    return f"{text}, but not the same {' or '.join(others)}" if others else text


def differing(here: Values, there: Values) -> list[str]:
    """The fields of which neither study has all the values of the other."""
    fields = sorted({*here} | {*there})
    pairs = {x: (here.get(x, set()), there.get(x, set())) for x in fields}
    return [x for x, (a, b) in pairs.items() if not (a <= b or b <= a)]


def digests(record: Record) -> Values:
    """The digests of the data that the networks of a study were trained on."""
    return values({"data": x.get("data_digest")} for x in kept.identities(record))


def weights(record: Record) -> Values:
    """What decides the initial weights of the networks, but for their norms."""
    models = [program(x).get("model") or {} for x in kept.identities(record)]
    drawn = [
        {f"model.{k}": x for k, x in model.items() if k not in NO_WEIGHTS}
        for model in models
    ]
    scales = [
        {"init_scale": scale}
        for entry in record.record["arms"].values()
        for scale in entry["settings"].get("init_scale", [1.0])
    ]
    return values([*drawn, *scales])


def batches(record: Record) -> Values:
    """What decides the batches of the networks."""
    programs = map(program, kept.identities(record))
    return values({field: x.get(field) for field in BATCHES} for x in programs)


def program(identity: Mapping[str, Any]) -> Mapping[str, Any]:
    """The program of networks, as `study.identity` describes it."""
    return identity.get("program") or {}


def values(each: Iterable[Mapping[str, Any]]) -> Values:
    """The values of each field, as texts."""
    found: dict[str, set[str]] = {}
    for fields in each:
        for field, value in fields.items():
            text = json.dumps(files.plain({"": value}), sort_keys=True)
            found.setdefault(field, set()).add(text)
    return found


def joint_looks(each: Mapping[str, Record]) -> list[dict[str, Any]]:
    """The looks of all studies, each at the strictest level of their intervals."""
    taken = [looks.taken(record.record) for record in each.values()]
    numbers = sorted({look.num_seeds for some in taken for look in some})
    level = max(map(estimates.level_of, each.values()), default=LEVEL)
    return [looks.Look(number, level)._asdict() for number in numbers]


def level_notice(each: Mapping[str, Record]) -> str:
    """Which level the intervals have if a study was looked at while it grew."""
    levels = {name: estimates.level_of(record) for name, record in each.items()}
    if not joint_looks(each):
        return ""
    own = ", ".join(
        f"{name} {formats.confidence(level)}" for name, level in levels.items()
    )
    return (
        f"intervals have the level {formats.confidence(max(levels.values()))}, the"
        " strictest of the studies, some of which were looked at while they grew:"
        f" {own}"
    )


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
