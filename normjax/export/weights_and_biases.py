"""Runs of Weights & Biases, on this machine unless WANDB_MODE asks for more.

    <folder>/networks/wandb/offline-run-<time>-<id of the run>/    a run, as W&B has it
    <folder>/networks/exported.json                 id -> digest of what it shows
    <folder>/arms/...                               the same, where runs are arms

The variables of wandb say where runs go: WANDB_MODE=online sends them, WANDB_PROJECT
and WANDB_ENTITY name another place than the project that is called as the study. Runs
that were kept here are sent later by `wandb sync`.
"""

import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb
from tqdm import tqdm

from normjax import files
from normjax.errors import InputError, reason
from normjax.export.runs import Run, runs
from normjax.export.writers import made_folder
from normjax.study.record import Record

LEDGER = "exported.json"
QUIET: dict[str, Any] = {  # nothing but the record belongs into a run
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "silent": True,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
}


def write(record: Record, labels: Mapping[str, str], kind: str, folder: Path) -> str:
    """Logs the runs that were not logged, or not as they are now; how to see them."""
    mode = os.environ.get("WANDB_MODE") or "offline"
    project = os.environ.get("WANDB_PROJECT") or record.record["study"]
    folder = made_folder(folder / kind)  # what is sent from there is of one kind
    found, path = runs(record, labels, kind), folder / LEDGER
    known = files.read_json(path) if path.exists() else {}
    target = "/".join((mode, os.environ.get("WANDB_ENTITY", ""), project))
    logged = known.setdefault(target, {})
    new = [run for run in found if logged.get(run.id) != run.digest]
    try:
        for run in tqdm(new, "wandb", unit=" runs", leave=False, disable=None):
            log(run, project, kind, mode, folder)
            logged[run.id] = run.digest
    except wandb.Error as error:
        rule = f"refused by wandb ({reason(error)})"
        remedy = "run wandb login, or set WANDB_MODE=offline"
        raise InputError("--export", "wandb", rule, remedy) from error
    finally:
        files.write_json(path, known)
    see = "on its server"
    if mode == "offline":
        see = f"wandb sync {shlex.quote(str(folder))}/wandb/offline-run-*"
    return f"{len(found)} runs, {len(new)} of them new ({see})"


def log(run: Run, project: str, kind: str, mode: str, folder: Path) -> None:
    """Logs one run, in the place of what was logged of it."""
    for old in (folder / "wandb").glob(f"offline-run-*-{run.id}"):
        shutil.rmtree(old)
    logged = wandb.init(
        dir=folder,
        id=run.id,
        name=run.name,
        group=run.group,
        job_type=kind,
        project=project,
        config=run.config,
        mode=mode,  # type: ignore[arg-type]  # whatever the user has asked for
        resume="allow" if mode == "online" else None,
        reinit="create_new",
        settings=wandb.Settings(**QUIET),
    )
    for step, row in run.rows():
        logged.log(row, step=step)
    logged.finish()
