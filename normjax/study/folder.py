"""The folder of a study: what is done in it before and after networks are trained."""

import os
import pathlib
import shutil
from collections.abc import Iterable, Sequence
from typing import Any

from normjax import files
from normjax.errors import InputError
from normjax.looks import Look, taken
from normjax.study import checkpoints, earlier, groups, trials, tuning
from normjax.study.description import describe, headline
from normjax.study.groups import FOLDERS, Held, Lane, wanted_lanes
from normjax.study.plan import Study
from normjax.study.record import read_record, write_tables
from normjax.study.trials import JUDGED
from normjax.study.wanted import WRITTEN, read_wanted, write_wanted
from normjax.study.work import Unit, Work, work_of


def check_path(workdir: Any) -> None:
    """Refuses what is no path, such as a model in the place of the folder."""
    if not isinstance(workdir, str | os.PathLike | None):
        rule = f"must be the path of a folder, not of {type(workdir).__name__}"
        remedy = "give others by name: normjax.run(config, model=..., data=...)"
        raise InputError("workdir", ..., rule, remedy)


def prepare(
    study: Study,
    workdir: str | pathlib.Path,
    wanted: Sequence[Unit],
    looks: Sequence[Look],
    alone: bool,
) -> tuple[list[str], list[Work]]:
    """Writes what the study wants, after damaged files were set aside.

    A process that is alone in the folder removes files that others left half written.

    Returns:
        The lines to print before training, and the groups that are missing.
    """
    about = describe(study)
    lines = headline(study, about["environment"]) + tuning.lines(study)
    taken = looks or taken_looks(workdir, study)
    lines += set_aside_damage(workdir)
    about["looks"] = [look._asdict() for look in taken]
    earlier.keep(workdir, study)
    write_wanted(workdir, about)
    if alone:
        remove_parts(pathlib.Path(workdir))
    missing = work_of(study, workdir, wanted)
    return lines + progress_lines(study, groups.held(workdir), missing), missing


def remove_parts(workdir: pathlib.Path) -> None:
    """Removes what a killed process left half written: of files of a record only."""
    parts = [part for name in WRITTEN for part in workdir.glob(f".{name}.*.part")]
    for name in (*FOLDERS, groups.EARLIER):
        parts += (workdir / name).glob(".*.part")
        parts += (workdir / name).glob("*/.*.part")
    for name in earlier.PARTS:
        parts += (workdir / groups.EARLIER).glob(f"*/{name}/.*.part")
    for part in parts:
        shutil.rmtree(part) if part.is_dir() else part.unlink()


def finish(
    study: Study, workdir: str | pathlib.Path, wanted: Sequence[Unit]
) -> list[Work]:
    """Writes the tables, removes checkpoints of networks that are trained.

    Returns:
        What is missing still, because its arm failed or another process is at it.
    """
    held = groups.held(workdir).copies
    for checkpoint in checkpoints.pending(workdir)[0]:
        arm_id, lanes = checkpoint.about["id"], checkpoint.lanes
        if all((arm_id, key) in held for key in lanes):
            checkpoints.remove(workdir, arm_id, lanes)
    write_tables(read_record(workdir))
    return work_of(study, workdir, wanted)


def taken_looks(workdir: str | pathlib.Path, study: Study) -> tuple[Look, ...]:
    """The looks that were taken at arms of this study, if a workdir has any."""
    try:
        record = read_wanted(workdir)
    except InputError:
        return ()
    known = {entry["id"] for entry in record["arms"].values()}
    return taken(record) if known & {arm.id for arm in study.arms} else ()


def set_aside_damage(workdir: str | pathlib.Path) -> list[str]:
    """Moves damaged files out of the way; a line for each."""
    lines = []
    record = pathlib.Path(workdir) / "record.json"
    if record.exists():
        try:
            read_wanted(workdir)
        except InputError:
            aside = files.move(record, record.with_name("record.json.damaged"))
            lines.append(
                f"damaged: {record} was moved to {aside}; how often the study was"
                " looked at is not known any more"
            )
    _, broken = checkpoints.pending(workdir)
    for path in groups.held(workdir).damaged:
        lines.append(f"damaged: {path} was moved to {groups.set_aside(path)}")
    for path in broken:
        lines.append(f"damaged: {path} was moved to {checkpoints.set_aside(path)}")
    return lines


def progress_lines(study: Study, held: Held, work: Sequence[Work]) -> list[str]:
    """What is there already, in the lines printed before a run."""
    ids = earlier.ids(study)
    mine = [key for key in held.networks if key[0] in ids]
    lost = not_chosen(study, mine)
    kept = sum(seed in study.seeds for _, (_, seed) in mine) - len(lost)
    lines = []
    if lost:
        lines.append(f"kept: {len(lost)} networks at settings that are not chosen")
    lines += earlier.lines(study, held)
    lines += archived_lines(held, mine)
    begun = [each.checkpoint.about["epoch"] for each in work if each.checkpoint]
    if not work:
        lines.append("complete: every network is trained")
    elif kept or begun:
        goes_on = ", 1 group goes on where it was left" if begun else ""
        if len(begun) > 1:
            goes_on = f", {len(begun)} groups go on where they were left"
        lines.append(f"resuming: {kept} networks are trained{goes_on}")
    return lines


def archived_lines(held: Held, keys: Iterable[tuple[str, Lane]]) -> list[str]:
    """How many of these networks are there without their variables, if any is."""
    networks = held.networks
    number = sum(groups.is_archived(networks[key][1]) for key in keys)
    of = f"archived: {number} networks are here without their variables"
    return [of] if number else []


def not_chosen(
    study: Study, keys: Iterable[tuple[str, Lane]]
) -> list[tuple[str, Lane]]:
    """Those of an arm's networks that were judged at another setting than the chosen.

    A study has none while it is not tuned, or its arms are those of trials.
    """
    if study.tuning.get("stage") != JUDGED:
        return []
    entries = ((arm.id, arm.settings) for arm in study.arms)
    wanted = {
        (arm_id, key)
        for arm_id, settings in entries
        for key in wanted_lanes({"settings": settings}, study.seeds)
    }
    return [key for key in keys if key[1][1] in study.seeds and key not in wanted]


def progress(workdir: str | pathlib.Path) -> str:
    """How much of a study that was stopped is kept, in words."""
    try:
        record = read_record(workdir).record
    except InputError:
        return "no network is finished"
    entries = record["arms"].values()
    kept, missing = (sum(entry[x] for entry in entries) for x in ("lanes", "missing"))
    of_trials = " of trials" if trials.is_tuning(record) else ""
    return f"{kept} of {kept + missing} networks{of_trials} are finished and kept"
