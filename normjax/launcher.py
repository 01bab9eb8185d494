"""What launch.py does once its flags are read: run, grow or forecast a study.

What loads pandas and matplotlib is imported after training, where it is used.
"""

import functools
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from normjax import looks
from normjax.errors import InputError
from normjax.export import writers
from normjax.report import terminal
from normjax.study import (
    distribute,
    folder,
    forecast,
    mapping,
    plan,
    run,
    trials,
    tuning,
)
from normjax.study.description import headline
from normjax.study.environment import environment
from normjax.study.groups import held
from normjax.study.interrupts import Interrupts
from normjax.study.record import read_record
from normjax.study.work import check_memory, units, work_of
from normjax.training import devices

REPORT = "python -m normjax.report"
GO_ON = "the same command goes on"


def join(flags: Any) -> tuple[int, int] | None:
    """The number of this process and of all, or None if it is to be the only one."""
    given = {name: flags[name].value for name in ("coordinator", "num_processes")}
    given["process"] = flags["process"].value
    if flags.distributed and flags.until:
        rule = "must not be given with --distributed: processes would look apart"
        raise InputError("--until", flags.until, rule, "leave one of them out")
    if flags.distributed:
        return distribute.join(**given)
    for name, value in given.items():
        if value != flags[name].default:
            rule = "must be given with --distributed"
            raise InputError(f"--{name}", ..., rule, "add it")
    return None


def launch(
    flags: Any,
    workdir: str | Path,
    process: tuple[int, int] | None,
    interrupts: Interrupts,
) -> dict[str, str]:
    """Trains and reports, as the flags say; returns the arms that failed."""
    tools = writers.chosen_writers(flags.export, flags.export_as)
    devices.configure()
    devices.start()
    study = plan.study(flags.config)
    arms = [name for name in flags.arms.split(",") if name]
    try:
        run.chosen_arms(study, arms)
    except InputError as error:
        raise error.at("--arms", error.value) from error
    if flags.dry_run:
        print("\n".join(dry_run(study, workdir, arms)))
        return {}
    train = functools.partial(
        run.complete, workdir=workdir, arms=arms, interrupts=interrupts, process=process
    )
    if flags.until:
        failed = until_decided(study, flags.config, workdir, flags.max_seeds, train)
    else:
        failed = train(study)
    if process and process[0]:
        print(f"the first process builds the page, or: {REPORT} {workdir}")
        return failed
    if failed and read_record(workdir).networks.empty:
        return failed
    report(workdir, tools, flags.export_as)
    return failed


def report(workdir: str | Path, tools: Sequence[str], export_as: str) -> None:
    """Builds the page, prints the table, and exports the record."""
    from normjax.report import conditions, equal_numbers, names, page, tables

    path = page.build(workdir)
    record = read_record(workdir)
    print(f"\n{tables.text(record)}")
    if few := conditions.few_seeds(record):
        print(textwrap.fill(f"notice: {few}", terminal.columns()))
    for text in equal_numbers.sentences(record):
        print(f"notice: {text}")
    print(f"page: {path.resolve().as_uri()}")
    labels = names.of_record(record)
    for line in writers.export(record, tools, labels, export_as):
        print(line)


def failures(failed: Mapping[str, str], workdir: str | Path) -> list[str]:
    """What the launcher says at the end if arms could not be trained."""
    lines = [f"failed: {arm}: {why}" for arm, why in failed.items()]
    if read_record(workdir).networks.empty:
        return [*lines, f"no network is trained, so there is no page; {GO_ON}"]
    return [*lines, f"the others are trained; {GO_ON}"]


def dry_run(study: plan.Study, workdir: str | Path, arms: Sequence[str]) -> list[str]:
    """What a run would train, and what it takes; measured on lanes thrown away."""
    stage, chosen = next(tuning.stages(study, workdir, run.chosen_arms(study, arms)))
    check_memory(stage, chosen, workdir)
    stage, chosen, _ = mapping.with_ways(stage, workdir, chosen, measure=False)
    work = work_of(stage, workdir, units(stage, chosen, shared=False))
    lines = headline(stage, environment()) + tuning.lines(stage)
    lines += folder.progress_lines(stage, held(workdir), work)
    if work:
        lines += ["", terminal.table(*forecast.table(stage, work), terminal.columns())]
    if trials.is_tuning({"tuning": stage.tuning}):
        number = len(tuning.competitors(study))
        lines.append(
            f"then: {number} arms x {len(study.seeds)} seeds"
            f" = {number * len(study.seeds)} networks at the settings that are chosen"
        )
    return [*lines, "nothing was trained: this is a dry run"]


def until_decided(
    study: plan.Study, config: Any, workdir: str | Path, max_seeds: int, train: Callable
) -> dict[str, str]:
    """Adds seeds until every difference and claim is decided, or there are `max_seeds`.

    Intervals have the levels of `looks`, which keep their error over all looks. `train`
    is `run.complete`, but for the study and its looks.
    """
    from normjax.report import decisions

    config = config.copy_and_resolve_references()

    def judge(taken: Sequence[looks.Look]) -> tuple[dict[str, str], bool]:
        """Trains up to the last look; the arms that failed, and whether to go on."""
        number = taken[-1].num_seeds
        config.num_seeds, config.seeds = number, more_seeds(config.seeds, number)
        failed = train(plan.study(config), looks=taken)
        record = read_record(workdir)
        if failed and record.networks.empty:
            return failed, False
        open_ones = decisions.undecided(record)
        text = f"undecided: {', '.join(open_ones)}" if open_ones else "all is decided"
        if not decisions.has_comparisons(record):
            text = "there is nothing to decide: choose a baseline or an audit"
        if still_tuning := trials.is_tuning(record.record):
            text = "no arm has its setting yet"
        print(f"look {len(taken)}, at {number} seeds: {text}", flush=True)
        return failed, bool(open_ones) and not failed and not still_tuning

    taken = folder.taken_looks(workdir, study)
    failed, goes_on = judge(taken) if taken else ({}, True)
    for look in looks.plan(len(study.seeds), max_seeds, taken) if goes_on else ():
        taken = (*taken, look)
        failed, goes_on = judge(taken)
        if not goes_on:
            break
    return failed


def more_seeds(listed: Sequence[int], number: int) -> tuple[int, ...]:
    """The seeds of a config, and the smallest others if they are not enough."""
    if not listed:
        return ()
    others = (seed for seed in range(number + len(listed)) if seed not in listed)
    return (*listed, *others)[: max(number, len(listed))]
