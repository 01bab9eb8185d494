"""Runs of MLflow, in a database of the workdir unless MLFLOW_TRACKING_URI names one.

    <folder>/mlflow.db    an experiment, called as the study, with all runs

A run has the tags `normjax.run`, its id, by which a second export finds it, and
`normjax.digest`, of what it shows; the latter is set last, so a run without it is one
that was interrupted.
"""

import logging
import os
import shlex
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it is read at import

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, ViewType
from mlflow.exceptions import MlflowException
from tqdm import tqdm

from normjax.errors import InputError, reason
from normjax.export.runs import Run, runs
from normjax.study.record import Record

RUN, DIGEST = "normjax.run", "normjax.digest"
PAGE = 1_000  # metrics and runs of one request, at most


def write(record: Record, labels: Mapping[str, str], kind: str, folder: Path) -> str:
    """Logs the runs that are not there, or not as they are now; how to see them."""
    for name in ("mlflow", "alembic"):  # tell of each table that they make
        logging.getLogger(name).setLevel(logging.WARNING)
    local = f"sqlite:///{(folder / 'mlflow.db').resolve()}"
    uri = os.environ.get("MLFLOW_TRACKING_URI") or local
    found = runs(record, labels, kind)
    try:
        client = MlflowClient(uri)
        experiment = experiment_id(client, record.record["study"], folder, uri == local)
        there = logged_runs(client, experiment)
        new = [run for run in found if there.get(run.id, ("", ""))[1] != run.digest]
        for run in tqdm(new, "mlflow", unit=" runs", leave=False, disable=None):
            if run.id in there:
                client.delete_run(there[run.id][0])
            log(client, experiment, run, kind)
    except MlflowException as error:
        rule = f"refused by mlflow ({reason(error)})"
        remedy = "set MLFLOW_TRACKING_URI to a store that takes runs"
        raise InputError("--export", "mlflow", rule, remedy) from error
    see = f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
    return f"{len(found)} runs, {len(new)} of them new ({see})"


def experiment_id(client: MlflowClient, study: str, folder: Path, local: bool) -> str:
    """The experiment that is called as the study, made if there is none."""
    known = client.get_experiment_by_name(study)
    if known is not None:
        return known.experiment_id
    place = (folder / "artifacts").resolve().as_uri() if local else None
    return client.create_experiment(study, artifact_location=place)


def logged_runs(client: MlflowClient, experiment: str) -> dict[str, tuple[str, str]]:
    """Id of a run -> MLflow's own id of it, and the digest of what it shows."""
    found, token = {}, None
    while True:
        page = client.search_runs(
            [experiment],
            run_view_type=ViewType.ACTIVE_ONLY,
            max_results=PAGE,
            page_token=token,
        )
        for run in page:
            tags = run.data.tags
            if RUN in tags:
                found[tags[RUN]] = run.info.run_id, tags.get(DIGEST, "")
        token = page.token
        if not token:
            return found


def log(client: MlflowClient, experiment: str, run: Run, kind: str) -> None:
    """Logs one run: parameters, then metrics at their steps, then its digest."""
    tags = {RUN: run.id, "arm": run.group, "kind": kind}
    made = client.create_run(experiment, start_time=0, tags=tags, run_name=run.name)
    run_id = made.info.run_id
    client.log_batch(run_id, params=[Param(k, str(x)) for k, x in run.config.items()])
    milliseconds = [round(1_000 * x) for x in run.times().tolist()]
    metrics = [
        Metric(name, value, time, step)
        for time, (step, row) in zip(milliseconds, run.rows())
        for name, value in row.items()
    ]
    for first in range(0, len(metrics), PAGE):
        client.log_batch(run_id, metrics=metrics[first : first + PAGE])
    client.set_tag(run_id, DIGEST, run.digest)
    client.set_terminated(run_id, end_time=milliseconds[-1])
