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
from normjax.report import joint_texts
from normjax.report.joint_texts import common
from normjax.report.networks import FACTOR
from normjax.study import trials
from normjax.study.columns import FINAL, Level
from normjax.study.record import CURVES, Record

UNKNOWN = "not varied"  # the level of a factor that only other studies have


def combine(records: Sequence[Record]) -> Record:
    """One record of the networks of several, with the factor `record`.

    Arms and seeds keep their numbers: seeds of the same number are paired. They have
    the same examples and random keys if the studies have the same data and `root_seed`.
    `.record["notices"]` says whether they begin with the same weights and see the same
    batches too, or are independent. Intervals have the strictest level of the studies.
    Factors that vary in no study are left out. A setting that a study does not have is
    nan.

    Raises:
        InputError: if a study is tuned and has not chosen its settings yet.
    """
    names = record_names([record.workdir for record in records])
    for record in records:
        if trials.is_tuning(record.record):
            rule = "must have chosen its settings, and has trials only"
            raise InputError(str(record.workdir), ..., rule, "finish its tuning first")
    each = dict(zip(names, records))
    about = _about(each)
    tables = [
        pd.concat(
            [_table(name, record, kind, about) for name, record in each.items()],
            ignore_index=True,
        )
        for kind in ("networks", "epochs")
    ]
    seeds = about["seeds"]
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
    made: Any = (*tables, *arrays, pd.DataFrame())
    return Record(workdir, about["config"], about, *made)


def _about(each: Mapping[str, Record]) -> dict[str, Any]:
    """The content of `record.json` of several studies by name."""
    records = list(each.values())
    contents = [record.record for record in records]
    factors = varied_factors(records)
    settings = sorted({x for content in contents for x in content["settings"]})
    seeds = sorted({x for content in contents for x in content["seeds"]})
    arms = {
        arm_name(name, arm): _entry(name, record, arm, factors)
        for name, record in each.items()
        for arm in record.record["arm_order"]
    }
    return {
        "study": " and ".join(dict.fromkeys(x["study"] for x in contents)),
        "question": joint_texts.question(each),
        "config": {f"record {name}": record.config for name, record in each.items()},
        "factors": [FACTOR, *factors],
        "settings": settings,
        "seeds": seeds,
        "baseline": baseline(each, arms),
        "target_accuracy": common([x.get("target_accuracy") for x in contents]),
        "probes": {k: v for x in contents for k, v in x.get("probes", {}).items()},
        "num_examples": common([x.get("num_examples") for x in contents]) or {},
        "arm_order": list(arms),
        "arms": arms,
        "environment": joint_texts.environment(each),
        "damaged": [x for content in contents for x in content["damaged"]],
        "notices": joint_texts.notices(each),
        "origins": _of_arms(each, joint_texts.origins(each)),
        "same_data": _of_arms(each, joint_texts.same_data(each)),
        "looks": joint_texts.joint_looks(each),
        "about": [
            (name, joint_texts.training(record)) for name, record in each.items()
        ],
    }


def _of_arms(each: Mapping[str, Record], numbers: Sequence[int]) -> dict[str, int]:
    """Arm -> the number of its study."""
    return {
        arm_name(name, arm): number
        for (name, record), number in zip(each.items(), numbers)
        for arm in record.record["arm_order"]
    }


def record_names(folders: Sequence[Path]) -> list[str]:
    """The last parts of the paths of folders, as many as tell them apart."""
    paths = [path.resolve() for path in folders]
    for number in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-number:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{path.name} ({i})" for i, path in enumerate(paths, 1)]  # one twice


def varied_factors(records: Sequence[Record]) -> list[str]:
    """The factors with several levels in one of the studies, or all if none has."""
    known = dict.fromkeys(x for record in records for x in record.record["factors"])
    varied = [
        factor
        for factor in known
        for record in records
        if len({_level(record, x["factors"], factor) for x in _arms(record)}) > 1
    ]
    return list(dict.fromkeys(varied)) or list(known)


def _arms(record: Record) -> list[dict[str, Any]]:
    return [record.record["arms"][name] for name in record.record["arm_order"]]


def arm_name(name: str, arm: str) -> str:
    """The name that an arm of a study has beside those of others."""
    return f"{name}: {arm}"


def baseline(
    each: Mapping[str, Record], arms: Mapping[str, Mapping[str, Any]]
) -> dict[str, Level]:
    """The first study, if it has the data and the arms of the others.

    Otherwise it is the baseline that all studies have, if they agree on one.
    """
    by_record: dict[str, set[tuple]] = {}
    for entry in arms.values():
        (_, name), *others = entry["factors"].items()
        by_record.setdefault(name, set()).add(tuple(others))
    first, *rest = by_record
    same_arms = all(by_record[name] <= by_record[first] for name in rest)
    if same_arms and len(set(joint_texts.same_data(each))) == 1:
        return {FACTOR: first}
    own = [record.record.get("baseline") or {} for record in each.values()]
    agreed = dict(common(own) or {})
    return agreed if agreed.keys() <= dict(next(iter(by_record[first]))).keys() else {}


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
            **{x: table.get(x, np.nan) for x in about["settings"]},
            **{x: table[x] for x in last},
        }
    )


def _by_seed(values: np.ndarray, own: list[int], seeds: list[int]) -> np.ndarray:
    """`[settings, own seeds, ...]` as `[settings, seeds, ...]`, nan where none is."""
    shape = values.shape[0], len(seeds), *values.shape[2:]
    whole = np.full(shape, np.nan, np.result_type(values.dtype, np.float32))
    whole[:, [seeds.index(seed) for seed in own]] = values
    return whole
