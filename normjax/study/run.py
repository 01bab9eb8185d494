"""Running a study is training the networks that it wants and that nobody has trained.

The only loop over groups of lanes, and over the epochs of one.
"""

import atexit
import contextlib
import dataclasses
import pathlib
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from normjax.errors import InputError, pick, reason
from normjax.looks import Look
from normjax.study import claims, groups, mapping, memory, plan, trials, tuning
from normjax.study.display import Display
from normjax.study.environment import environment
from normjax.study.folder import check_path, finish, prepare
from normjax.study.groups import LOCKS
from normjax.study.interrupts import Interrupts
from normjax.study.pace import Pace, remember
from normjax.study.plan import Arm, Study
from normjax.study.record import Record, read_record
from normjax.study.train import Stopped, train_group
from normjax.study.wanted import check_folder
from normjax.study.work import Unit, Work, check_memory, units, work_of
from normjax.training import devices, lanes

KEPT_PROGRAMS = 16  # of arms; more are compiled again, from the cache on disk


def run(
    config: Any,
    workdir: str | pathlib.Path | None = None,
    *,
    model: Any = None,
    data: Any = None,
) -> Record:
    """Trains the networks of a config that `workdir` does not hold yet.

    Shows a progress bar in a terminal or a notebook and is silent elsewhere. On a CPU
    it makes one device per core, unless jax has started already. `config` is of
    `normjax.config`, or a record's `.config`. Without `workdir` the folder is a
    temporary one, `.workdir` of what is returned, which is removed when Python ends.

    Args:
        config: the choices; see `study.fields`.
        workdir: the folder of the record.
        model: in the place of `model.name`: a module of flax.linen, its class or a
            partial of it, called as `(x)` or as `(x, train)`, where `training`,
            `is_training`, `deterministic` and `use_running_average` are understood too.
            Its norms are exchanged if the config chooses levels of `norm`: by its field
            `norm`, or else as `layers.replace` does.
        data: in the place of `data.name`: arrays `(x_train, y_train, x_test, y_test)`,
            with `x_validation, y_validation` before the last two if there are some, or
            a mapping of these names; see `data.arrays`.

    Warns if an arm could not be trained; its message is in `.record["arms"]`.

    Raises:
        InputError: for a mistake in the config, or a folder that cannot be written or
            that another process works on.
    """
    if not isinstance(config, ConfigDict | Mapping):
        rule = f"must be a config, not {type(config).__name__}"
        raise InputError("config", ..., rule, "make it with normjax.config(...)")
    check_path(workdir)
    with contextlib.suppress(RuntimeError):  # jax has started: it stays as it is
        devices.configure()
    study = plan.study(config, model=model, data=data)
    for notice in study.notices:
        warnings.warn(notice, stacklevel=2)
    if workdir is None:
        workdir = tempfile.mkdtemp(prefix="normjax-")
        atexit.register(shutil.rmtree, workdir, ignore_errors=True)
    for arm, message in complete(study, workdir, quiet=True).items():
        warnings.warn(f"arm {arm} could not be trained: {message}", stacklevel=2)
    return read_record(workdir)


def complete(
    study: Study,
    workdir: str | pathlib.Path,
    *,
    arms: Sequence[str] = (),
    quiet: bool = False,
    interrupts: Interrupts | None = None,
    process: tuple[int, int] | None = None,
    looks: Sequence[Look] = (),
) -> dict[str, str]:
    """Trains what the study wants and `workdir` does not hold.

    A group of lanes is written when it is finished, and a checkpoint of it every
    `checkpoint_seconds`. With `quiet` nothing is printed but the bar of a terminal or
    of a notebook.

    Args:
        study: the wanted networks.
        workdir: the folder of the record.
        arms: those to train; all of them if empty.
        quiet: whether to print nothing.
        interrupts: who asks to stop; nobody if None.
        process: the number of this process and how many there are, where several
            share the work; the only one if None, and then another one is refused.
        looks: at which the study is judged while it grows, this one included; those
            that the record has if empty.

    Returns:
        Maps each arm that could not be trained to the reason.

    Raises:
        InputError: as `check_folder` does, if there is no such arm, if one does not fit
            into memory, or if another process works on the folder.
        Stopped: if `interrupts` asked for it.
    """
    chosen = chosen_arms(study, arms)
    check_memory(*next(tuning.stages(study, workdir, chosen)), workdir)
    check_folder(workdir)
    locks = pathlib.Path(workdir) / LOCKS
    with claims.claim(locks, "study", shared=process is not None) as ours:
        if not ours:
            rule = f"must be free, and {claims.holder(locks, 'study')} trains in it"
            remedy = "wait for its end, or start all of them with --distributed"
            raise InputError("workdir", str(workdir), rule, remedy)
        failed: dict[str, str] = {}
        for stage, those in tuning.stages(study, workdir, chosen):
            failed |= complete_stage(
                stage, workdir, those, quiet, interrupts, process, looks
            )
    return failed


def complete_stage(
    study: Study,
    workdir: str | pathlib.Path,
    arms: Sequence[Arm],
    quiet: bool,
    interrupts: Interrupts | None,
    process: tuple[int, int] | None,
    looks: Sequence[Look],
) -> dict[str, str]:
    """What `complete` does in a folder that it has claimed, of one stage of tuning."""
    shared = process is not None
    study, arms, timed = mapping.with_ways(study, workdir, arms)
    wanted = units(study, arms, shared=shared)
    lines, missing = prepare(study, workdir, wanted, looks, not shared)
    lines += timed
    if not quiet:
        print("\n".join(lines), flush=True)
    study = dataclasses.replace(study, data=devices.place(study.data))
    pace = Pace()
    remember(pace, study.arms, groups.held(workdir), environment())
    share = process[1] if process else 1
    shown = Display(missing, study.num_epochs, quiet=quiet, pace=pace, share=share)
    with shown as display:
        lacking = {work.arm.id for work in missing}
        wanted = [unit for unit in wanted if unit.arm.id in lacking]
        failed = train_units(study, wanted, workdir, display, interrupts, process)
    missing = finish(study, workdir, wanted)
    if missing and not quiet:
        number = sum(len(work.lanes) for work in missing)
        print(f"missing: {number} networks (python -m normjax.status {workdir})")
    return failed


def chosen_arms(study: Study, names: Sequence[str]) -> list[Arm]:
    """The arms of these names, or all of them if there are none.

    Where tuning chooses levels too, the name without these levels stands for all arms
    that compete for it.
    """
    arms = tuning.competitors(study) | {arm.name: [arm] for arm in study.arms}
    found = [arm for name in names for arm in pick("arms", arms, name)]
    return list({arm.name: arm for arm in found}.values()) or list(study.arms)


def train_units(
    study: Study,
    wanted: Sequence[Unit],
    workdir: str | pathlib.Path,
    display: Display,
    interrupts: Interrupts | None,
    process: tuple[int, int] | None,
) -> dict[str, str]:
    """Trains what is missing of units that no other process has claimed.

    The list is gone over twice. The second time takes over the units of processes that
    have died meanwhile; there the first process waits for those that still train. Of
    trials every process waits, for what is chosen needs all of them.
    """
    locks = pathlib.Path(workdir) / LOCKS
    index, count = process or (0, 1)
    begin = index * len(wanted) // count
    failed: dict[str, str] = {}
    trained: set[str] = set()
    last = index == 0 or trials.is_tuning({"tuning": study.tuning})
    for wait in (False, last) if process else (False,):
        for unit in (*wanted[begin:], *wanted[:begin]):
            claim = claims.claim(locks, unit.name, wait=wait) if process else None
            with claim or contextlib.nullcontext(True) as ours:
                work = work_of(study, workdir, [unit]) if ours else []
                if work and len(trained := trained | {unit.arm.id}) > KEPT_PROGRAMS:
                    lanes.forget_programs()
                    trained = {unit.arm.id}
                while work:
                    each = work.pop(0)
                    again = attempt(study, each, workdir, display, failed, interrupts)
                    work[:0] = again
    return failed


def attempt(
    study: Study,
    work: Work,
    workdir: str | pathlib.Path,
    display: Display,
    failed: dict[str, str],
    interrupts: Interrupts | None,
) -> list[Work]:
    """Trains a group; returns its halves, to be trained next, if memory ran out.

    An error of the arm itself is written to the record, and the others go on.
    """
    arm = work.arm
    if arm.name in failed:
        display.skip(work)
        return []
    try:
        deferred = interrupts.deferred() if interrupts else contextlib.nullcontext()
        with deferred:
            train_group(study, work, workdir, display, interrupts)
        groups.forget_failure(workdir, arm.id)
    except (InputError, Stopped):
        raise
    except Exception as error:  # whatever a norm or an optimizer of the user raises
        if memory.is_exhausted(error) and len(work.lanes) > 1:
            half = len(work.lanes) // 2
            return [Work(arm, work.lanes[:half]), Work(arm, work.lanes[half:])]
        failed[arm.name] = reason(error)
        content = {"arm": arm.name, "message": failed[arm.name]}
        groups.write_failure(workdir, arm.id, content)
        display.skip(work, failed[arm.name])
    return []
