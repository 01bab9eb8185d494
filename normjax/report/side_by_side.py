"""Several studies as one record, so that one page shows them side by side.

    python -m normjax.report runs/a runs/b --out=page.html

The record has one more factor, `record`, whose level is the name of a study's folder.
Nothing is written into the folders, and nothing in them is changed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from normjax.errors import InputError
from normjax.report import conditions
from normjax.study import trials
from normjax.study.columns import FINAL, Level
from normjax.study.record import CURVES, Record

FACTOR = "record"
UNKNOWN = "not varied"  # the level of a factor that only other studies have
SHARED = (  # what makes seeds of the same number the same weights and batches
    "root_seed",
    "data",
    "num_examples",
)


def combine(records: Sequence[Record]) -> Record:
    """One record of the networks of several, with the factor `record`.

    Arms and seeds keep their numbers: seeds of the same number are paired. They begin
    with the same weights and see the same batches if the studies have the same data and
    `root_seed`; if not, `.record["notices"]` says that they are independent. Where
    every arm of the others is in the first study too, that one is the baseline;
    otherwise the baseline is that of all studies, if they agree on one. A setting or a
    factor that a study does not have is nan, or `not varied`.

    Raises:
        InputError: if a study is tuned and has not chosen its settings yet.
    """
    names = record_names([record.workdir for record in records])
    for record in records:
        if trials.is_tuning(record.record):
            rule = "must have chosen its settings, and has trials only"
            raise InputError(str(record.workdir), ..., rule, "finish its tuning first")
    each = dict(zip(names, records))
    contents = [record.record for record in records]
    factors = list(dict.fromkeys(x for content in contents for x in content["factors"]))
    settings = sorted({x for content in contents for x in content["settings"]})
    seeds = sorted({x for content in contents for x in content["seeds"]})
    arms = {
        arm_name(name, arm): _entry(name, record, arm, factors)
        for name, record in each.items()
        for arm in record.record["arm_order"]
    }
    about = {
        "study": " and ".join(dict.fromkeys(x["study"] for x in contents)),
        "question": question(each),
        "config": {f"record {name}": record.config for name, record in each.items()},
        "factors": [FACTOR, *factors],
        "settings": settings,
        "seeds": seeds,
        "baseline": baseline(each, arms),
        "target_accuracy": _common([x.get("target_accuracy") for x in contents]),
        "probes": {k: v for x in contents for k, v in x.get("probes", {}).items()},
        "num_examples": _common([x.get("num_examples") for x in contents]) or {},
        "arm_order": list(arms),
        "arms": arms,
        "environment": _environment(each),
        "damaged": [x for content in contents for x in content["damaged"]],
        "notices": notices(each),
        "about": [(name, _about(record)) for name, record in each.items()],
    }
    tables = [
        pd.concat(
            [_table(name, record, kind, about) for name, record in each.items()],
            ignore_index=True,
        )
        for kind in ("networks", "epochs")
    ]
    arrays = [
        {
            f"{arm_name(name, key.rpartition('/')[0])}/{key.rpartition('/')[2]}": (
                _by_seed(values, record.record["seeds"], seeds)
            )
            for name, record in each.items()
            for key, values in getattr(record, kind).items()
        }
        for kind in ("curves", "probes")
    ]
    workdir = Path(" ".join(str(record.workdir) for record in records))
    return Record(workdir, about["config"], about, *tables, *arrays)  # type: ignore[arg-type]


def record_names(folders: Sequence[Path]) -> list[str]:
    """The last parts of the paths of folders, as many as tell them apart."""
    paths = [path.resolve() for path in folders]
    for number in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-number:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({i})" for i, name in enumerate(names, 1)]  # one folder, twice


def arm_name(name: str, arm: str) -> str:
    """The name that an arm of a study has beside those of others."""
    return f"{name}: {arm}"


def baseline(
    each: Mapping[str, Record], arms: Mapping[str, Mapping[str, Any]]
) -> dict[str, Level]:
    """The first study, if it has the arms of all others; or what all agree on."""
    by_record: dict[str, set[tuple]] = {}
    for entry in arms.values():
        (_, name), *others = entry["factors"].items()
        by_record.setdefault(name, set()).add(tuple(others))
    first, *rest = by_record
    if all(by_record[name] <= by_record[first] for name in rest):
        return {FACTOR: first}
    own = [record.record.get("baseline") or {} for record in each.values()]
    return dict(own[0]) if all(x == own[0] for x in own) else {}


def notices(each: Mapping[str, Record]) -> list[str]:
    """Which seeds are paired, and which differences are between independent networks."""
    (first, record), *others = each.items()
    found = []
    for name, other in others:
        shared = set(record.record["seeds"]) & set(other.record["seeds"])
        here, there = _origin(record), _origin(other)
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


def question(each: Mapping[str, Record]) -> str:
    """The question of the studies, or each one under the name of its study."""
    asked = {k: x.record["question"] or x.record["study"] for k, x in each.items()}
    if len(set(asked.values())) == 1:
        return next(iter(asked.values()))
    return " ".join(f"{name}: {text}" for name, text in asked.items())


def _entry(
    name: str, record: Record, arm: str, factors: Sequence[str]
) -> dict[str, Any]:
    """An arm of `record.json` with the factors of all studies."""
    entry = record.record["arms"][arm]
    levels = {x: _level(record, entry["factors"], x) for x in factors}
    return entry | {"factors": {FACTOR: name} | levels}


def _level(record: Record, levels: Mapping[str, Level], factor: str) -> Level:
    """The level of a factor, or what the config says of it where it has not varied."""
    if factor in levels:
        return levels[factor]
    field = record.config.get(factor)
    if factor in (model := record.config.get("model", {})):
        field = model[factor]
    elif isinstance(field, Mapping):  # such as the model
        field = field.get("name")
    return field if isinstance(field, str | int | float) and field else UNKNOWN


def _table(
    name: str, record: Record, kind: str, about: Mapping[str, Any]
) -> pd.DataFrame:
    """`networks` or `epochs` of a study with the columns of all."""
    table: pd.DataFrame = getattr(record, kind)
    levels = {
        arm: about["arms"][arm_name(name, arm)]["factors"]
        for arm in record.record["arm_order"]
    }
    last = FINAL if kind == "networks" else ("epoch", "step", *CURVES)
    return pd.DataFrame(
        {
            "arm": [arm_name(name, arm) for arm in table["arm"]],
            **{x: [levels[arm][x] for arm in table["arm"]] for x in about["factors"]},
            "seed": table["seed"],
            **{x: table[x] if x in table else np.nan for x in about["settings"]},
            **{x: table[x] for x in last},
        }
    )


def _by_seed(values: np.ndarray, own: list[int], seeds: list[int]) -> np.ndarray:
    """`[settings, own seeds, ...]` as `[settings, seeds, ...]`, nan where none is."""
    shape = values.shape[0], len(seeds), *values.shape[2:]
    whole = np.full(shape, np.nan, np.result_type(values.dtype, np.float32))
    whole[:, [seeds.index(seed) for seed in own]] = values
    return whole


def _origin(record: Record) -> dict[str, Any]:
    """What gives the seeds of a study their weights and batches; see SHARED."""
    data = {k: x for k, x in record.config.get("data", {}).items() if k != "dir"}
    return {
        "root_seed": record.config.get("root_seed"),
        "data": data,
        "num_examples": record.record.get("num_examples"),
    }


def _about(record: Record) -> str:
    """The data, model, epochs and command of a study, in a line."""
    rows = [f"{term.lower()} {text}" for term, text in conditions.training_rows(record)]
    command = record.record["environment"].get("command", "")
    return "; ".join([*rows, command] if command else rows)


def _common(values: Sequence[Any]) -> Any:
    """The value that all have, or None."""
    return values[0] if all(value == values[0] for value in values) else None


def _environment(each: Mapping[str, Record]) -> dict[str, Any]:
    """What is the same everywhere, and else each under the name of its study."""
    found = {name: record.record["environment"] for name, record in each.items()}
    fields = dict.fromkeys(field for where in found.values() for field in where)
    joined = {
        field: "; ".join(f"{name}: {where.get(field)}" for name, where in found.items())
        for field in fields
    }
    first = next(iter(found.values()))
    same = {x: y for x, y in first.items() if all(z.get(x) == y for z in found.values())}
    versions = {
        f"{package} ({name})": version
        for name, where in found.items()
        for package, version in where.get("versions", {}).items()
    }
    return joined | {"command": "", "commit": "", "versions": versions} | same
