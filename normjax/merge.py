"""The union of records, from several machines or of parts of a study.

python -m normjax.merge runs/a runs/b --workdir=runs/all

The union has the trained networks of all folders. What was begun (`checkpoints`) and
what failed (`failed`) stays where it is: the command of the study tries it again.

Of a network that two folders hold, the train loss after the first epoch is compared,
to 0.1%. That tells another training from other rounding. It does not prove that two
copies are equal: rounding grows while a network trains, so later epochs are not
compared, and neither are the variables.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from normjax import files
from normjax.errors import InputError
from normjax.report import page
from normjax.study import claims, groups
from normjax.study.groups import Group, Held
from normjax.study.record import read_record
from normjax.study.wanted import read_wanted, start_record

ROUNDING = 1e-3  # relative, of the train loss of the first epoch
REMEDY = "merge parts of one study"


def main(argv: Sequence[str] | None = None) -> int:
    """Merges; exit code 0, 1 if networks disagree, 2 for a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m normjax.merge", description="Make the union of records."
    )
    parser.add_argument("records", nargs="+", help="folders that a study was run in")
    parser.add_argument("--workdir", required=True, help="folder of the union")
    given = parser.parse_args(argv)
    try:
        different = merge([Path(x) for x in given.records], Path(given.workdir))
        print("\n".join([*different, f"page: {page.build(given.workdir)}"]))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 1 if different else 0


def merge(sources: Sequence[Path], workdir: Path) -> list[str]:
    """Writes the union of `sources`, and of what `workdir` holds, into `workdir`.

    Every group of every source is read before anything is written.

    Returns:
        A line for each network that two files hold and that is not the same in both.

    Raises:
        InputError: if a folder has no record or that of a study that is tuned, a file
            of a source is damaged, the records are not of one study, or another process
            works on `workdir`.
    """
    others = [path for path in sources if path.resolve() != workdir.resolve()]
    wanted = {path: read_wanted(path) for path in others}
    if not others:
        read_wanted(workdir)  # refuses a folder without a record
    paths = [x for path in others for x in sorted((path / groups.FOLDER).glob("*.npz"))]
    for path in paths:
        groups.read(path)  # refuses what is damaged
    if not (workdir / "record.json").exists():
        start_record(workdir, union(wanted))  # makes the folder, if it may
    with claims.claim(workdir / groups.LOCKS, "study") as ours:
        if not ours:
            holder = claims.holder(workdir / groups.LOCKS, "study")
            rule = f"must be free, and {holder} works on it"
            raise InputError("workdir", str(workdir), rule, "wait for its end")
        start_record(workdir, union({workdir: read_wanted(workdir)} | wanted))
        folder = files.folder(workdir / groups.FOLDER)
        for path in paths:
            with files.one_line_errors(folder):
                part = folder / f".{path.name}.part"
                shutil.copyfile(path, part)
                part.replace(folder / path.name)
        arms = read_record(workdir).record["arms"]
        names = {entry["id"]: name for name, entry in arms.items()}
        return list(disagreements(groups.held(workdir, names), names))


def union(records: Mapping[Path, Mapping[str, Any]]) -> dict[str, Any]:
    """What the records want together; texts and the baseline are those of the first.

    Looks belong to one study that grows, so they are kept only if all records have the
    same ones and the same seeds.

    Raises:
        InputError: if the records are not of one study, or one is of a tuned study.
    """
    wanted = list(records.values())
    first = dict(wanted[0])
    for path, other in records.items():
        if "tuning" in other:
            rule = "must not be tuned, for what is chosen depends on all trials"
            remedy = "copy the files of networks/ of all folders into that of one of"
            remedy += " them, and run the command of the study there"
            raise InputError(str(path), ..., rule, remedy)
        for field in ("study", "factors", "num_examples"):
            if other[field] != first[field]:
                here, there = other[field], first[field]
                rule = f"must hold the same study: {field} is {here!r}, not {there!r}"
                raise InputError(str(path), ..., rule, REMEDY)
    seeds = list(dict.fromkeys(seed for each in wanted for seed in each["seeds"]))
    if any(
        set(each["seeds"]) != set(seeds) or each.get("looks") != first.get("looks")
        for each in wanted
    ):
        first.pop("looks", None)
    arms = _arms(wanted, first["factors"])
    settings = sorted(set().union(*(each["settings"] for each in wanted)))
    config = _config([each["config"] for each in wanted], seeds)
    return first | {
        "arms": arms,
        "arm_order": list(arms),
        "seeds": seeds,
        "settings": settings,
        "config": config,
    }


def _arms(
    wanted: Sequence[Mapping[str, Any]], factors: Sequence[str]
) -> dict[str, Any]:
    """The arms of all records by name, which tells the factors that vary."""
    found: dict[str, dict[str, Any]] = {}
    for entry in (entry for each in wanted for entry in each["arms"].values()):
        key = files.text_digest({"factors": entry["factors"], "id": entry["id"]})
        known = found.setdefault(key, dict(entry))
        known["settings"] = _rows_of_both(known["settings"], entry["settings"])
    varying = [
        factor
        for factor in factors
        if len({str(entry["factors"][factor]) for entry in found.values()}) > 1
    ]
    arms: dict[str, Any] = {}
    for entry in found.values():
        name = "-".join(str(entry["factors"][x]) for x in varying or factors)
        if name in arms:
            rule = "must be the same in all records (data, epochs, version or program)"
            raise InputError(f"arm {name}", ..., rule, REMEDY)
        arms[name] = entry
    return arms


def disagreements(held: Held, names: Mapping[str, str]) -> Iterator[str]:
    """A line for each network whose copies are not the same training."""
    for (arm_id, lane), copies in held.copies.items():
        first, *others = ((path, _first_loss(x, i)) for path, x, i in copies)
        for path, loss in others:
            if not np.isclose(loss, first[1], rtol=ROUNDING, equal_nan=True):
                settings = "".join(f", {k}={v:g}" for k, v in lane[0])
                yield (
                    f"different: {names[arm_id]}, seed {lane[1]}{settings}: train loss"
                    f" {first[1]:g} in {first[0].name}, which counts, {loss:g} in"
                    f" {path.name}"
                )


def _first_loss(group: Group, position: int) -> float:
    return float(group.curves["train_loss"][position, 0])


def _rows_of_both(a: Mapping[str, list], b: Mapping[str, list]) -> dict[str, list]:
    """The grid of settings that has the rows of both."""
    rows = dict.fromkeys((*zip(*a.values()), *zip(*(b[name] for name in a))))
    return {name: list(column) for name, column in zip(a, zip(*rows))}


def _config(configs: Sequence[Mapping[str, Any]], seeds: list[int]) -> dict[str, Any]:
    """The first config, with the arms, settings, protocols and seeds of all."""
    merged = dict(configs[0]) | {"seeds": seeds, "num_seeds": len(seeds)}
    for group in ("arms", "settings"):
        names = dict.fromkeys(name for each in configs for name in each[group])
        merged[group] = {
            name: list(
                dict.fromkeys(x for c in configs for x in c[group].get(name, []))
            )
            for name in names
        }
    merged["protocols"] = _protocols([each["protocols"] for each in configs])
    return merged


def _protocols(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What protocols replace, in all records: protocol -> factor -> level -> built."""
    merged: dict[str, Any] = {}
    for name, changes in (pair for protocols in each for pair in protocols.items()):
        known = merged.setdefault(name, {})
        for factor, levels in changes.items():
            replaced = known.setdefault(factor, {})
            for level, built in levels.items():
                if replaced.setdefault(level, built) != built:
                    field = f"protocols.{name}.{factor}.{level}"
                    rule = f"must be the same in all records, not {replaced[level]!r}"
                    raise InputError(field, built, rule, REMEDY)
    return merged


if __name__ == "__main__":
    sys.exit(main())
