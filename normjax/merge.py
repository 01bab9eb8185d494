"""The union of records, from several machines or of parts of a study.

python -m normjax.merge runs/a runs/b --workdir=runs/all

Networks that two folders hold must be the same: equal to the bit if they were trained
on machines of one kind, else equal to rounding after the first epoch. Rounding grows
while a network trains, so later epochs are not compared.
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
from normjax.study import groups
from normjax.study.groups import Group, Held
from normjax.study.record import read_record, read_wanted, start_record

ROUNDING = 1e-3  # relative, of the train loss of the first epoch


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

    Returns:
        A line for each network that two files hold and that is not the same in both.

    Raises:
        InputError: if a folder has no record, or the records are not of one study.
    """
    if (workdir / "record.json").exists():
        sources = [workdir, *sources]
    wanted = [read_wanted(path) for path in sources]
    for path, other in zip(sources[1:], wanted[1:]):
        for field in ("study", "factors", "num_examples"):
            if other[field] != wanted[0][field]:
                here, there = other[field], wanted[0][field]
                rule = f"must hold the same study: {field} is {here!r}, not {there!r}"
                raise InputError(str(path), ..., rule, "merge parts of one study")
    start_record(workdir, union(wanted))
    folder = files.folder(workdir / groups.FOLDER)
    for source in sources:
        if source.resolve() == workdir.resolve():
            continue
        for path in sorted((source / groups.FOLDER).glob("*.npz")):
            groups.read(path)  # refuses what is damaged
            with files.one_line_errors(folder):
                part = folder / f".{path.name}.part"
                shutil.copyfile(path, part)
                part.replace(folder / path.name)
    arms = read_record(workdir).record["arms"]
    names = {entry["id"]: name for name, entry in arms.items()}
    return list(disagreements(groups.held(workdir, names), names))


def union(wanted: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the records want together; texts and the baseline are those of the first."""
    first = dict(wanted[0])
    seeds = list(dict.fromkeys(seed for each in wanted for seed in each["seeds"]))
    found: dict[str, dict[str, Any]] = {}
    for entry in (entry for each in wanted for entry in each["arms"].values()):
        key = files.text_digest({"factors": entry["factors"], "id": entry["id"]})
        known = found.setdefault(key, dict(entry))
        known["settings"] = _rows_of_both(known["settings"], entry["settings"])
    varying = [
        factor
        for factor in first["factors"]
        if len({str(entry["factors"][factor]) for entry in found.values()}) > 1
    ]
    arms: dict[str, Any] = {}
    for entry in found.values():
        name = "-".join(str(entry["factors"][x]) for x in varying or first["factors"])
        if name in arms:
            rule = "must be the same in all records (data, epochs, version or program)"
            raise InputError(f"arm {name}", ..., rule, "merge parts of one study")
        arms[name] = entry
    settings = sorted(set().union(*(each["settings"] for each in wanted)))
    config = _config([each["config"] for each in wanted], seeds)
    return first | {
        "arms": arms,
        "arm_order": list(arms),
        "seeds": seeds,
        "settings": settings,
        "config": config,
    }


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
    """The first config, with the arms, settings and seeds of all."""
    merged = dict(configs[0]) | {"seeds": seeds, "num_seeds": len(seeds)}
    for group in ("arms", "settings"):
        names = dict.fromkeys(name for each in configs for name in each[group])
        merged[group] = {
            name: list(
                dict.fromkeys(x for c in configs for x in c[group].get(name, []))
            )
            for name in names
        }
    return merged


if __name__ == "__main__":
    sys.exit(main())
