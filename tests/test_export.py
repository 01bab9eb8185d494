"""Other tools show what the record holds: each is read back by its own reader."""

import doctest
import functools
import importlib.util
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys

import _records
import jax
import numpy as np
import pandas as pd
import pytest

import normjax
from normjax import files, statistics
from normjax.errors import InputError
from normjax.export import writers
from normjax.export.runs import runs
from normjax.report import __main__ as command
from normjax.report import names
from normjax.study import groups
from normjax.study.columns import CURVES
from normjax.study.record import Record, read_record
from normjax.study.wanted import start_record

ROOT = pathlib.Path(__file__).parents[1]
ARMS, SEEDS, RATES, EPOCHS = ("sgd", "third_moment"), (3, 1), (0.1, 0.2), 3
KERNEL = np.random.default_rng(0).normal(size=(8, 2, 3)).astype(np.float32)


def made(arm: str, seeds=SEEDS) -> _records.Arm:
    """Two settings of an arm; its last network diverges in the second epoch."""
    generator = np.random.default_rng(ARMS.index(arm))
    lanes = pd.DataFrame(
        [
            {"arm": arm, "optimizer": arm, "seed": s, "learning_rate": r}
            for r in RATES
            for s in seeds
        ]
    )
    n = len(lanes)
    draws = {x: generator.normal(size=n * EPOCHS).astype(np.float32) for x in CURVES}
    draws["train_loss"][-2:] = np.nan
    numbers = np.tile(np.arange(1, EPOCHS + 1), n)
    epochs = lanes.loc[lanes.index.repeat(EPOCHS)].reset_index(drop=True)
    probe = generator.normal(size=(n, EPOCHS)).astype(np.float32)
    lost = [-1] * (n - 1) + [15]
    return _records.Arm(
        lanes.assign(diverged_at_step=lost, seconds=1.5),
        epochs.assign(epoch=numbers, step=10 * numbers, **draws),
        {"update_norm.dense_0": probe, "of_another_arm": np.full_like(probe, np.nan)},
    )


def written(folder: pathlib.Path, arms=ARMS, seeds=SEEDS) -> Record:
    """The record of these arms in `folder`, with kernels as variables."""
    table = {arm: made(arm, seeds) for arm in arms}
    about = _records.wanted(table, ["optimizer"], ["learning_rate"])
    start_record(folder, about)
    for name, arm in table.items():
        path = _records.write_group(folder, name, arm, ["learning_rate"])
        group = groups.read(path)
        path.unlink()
        kernels = {"params/dense_0/kernel": KERNEL[: len(arm.networks)]}
        groups.write(folder, group, kernels)
    return read_record(folder)


@pytest.fixture
def record(tmp_path):
    return written(tmp_path / "run")


@pytest.fixture
def no_servers(monkeypatch):
    """The tools are told nothing by the variables of whoever runs the tests."""
    for name in os.environ:
        if name.startswith(("WANDB_", "MLFLOW_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


def export(record: Record, name: str, kind: str = "networks") -> str:
    """The line about an export; a test of a tool that is not installed is skipped."""
    for package in writers.WRITERS[name].needs:
        pytest.importorskip(package)
    (line,) = writers.export(record, [name], names.of_record(record), kind)
    return line


def content(folder: pathlib.Path) -> dict[str, bytes]:
    inside = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in inside}


def refused(call, *args, **keywords) -> str:
    with pytest.raises(InputError) as caught:
        call(*args, **keywords)
    return str(caught.value)


def epochs_of(record: Record, run) -> pd.DataFrame:
    """The rows of epochs.csv of the network that a run shows."""
    rows = record.epochs
    for key in ("arm", "seed", "learning_rate"):
        rows = rows[rows[key] == run.config[key]]
    assert len(rows) == EPOCHS
    return rows


def assert_shows(record: Record, run, history: dict[str, dict[int, float]]) -> None:
    """A tool's history, name -> step -> number, is that of the tables, to float32."""
    rows = epochs_of(record, run)
    columns = {name.replace("_", "/"): rows[name] for name in CURVES}
    columns["epoch"] = rows["epoch"]
    place = RATES.index(run.config["learning_rate"]), SEEDS.index(run.config["seed"])
    probe = record.probes[f"{run.config['arm']}/update_norm.dense_0"]
    columns["probes/update_norm/dense_0"] = probe[place]
    last = int(rows["step"].iloc[-1])
    lost = 15 if place == (1, 1) else -1
    assert set(history) == {*columns, "seconds", "diverged_at_step"}
    for name, expected in columns.items():
        assert list(history[name]) == list(rows["step"]), name
        np.testing.assert_array_equal(
            np.float32(list(history[name].values())), np.float32(expected)
        )
    assert history["seconds"] == {last: 1.5}
    assert history["diverged_at_step"] == {last: lost}


def test_runs_have_readable_names_and_ids_of_their_own(record):
    found = runs(record, names.of_record(record))
    assert [run.name for run in found[:2]] == [
        "sgd, learning_rate=0.1, seed=3",
        "sgd, learning_rate=0.1, seed=1",
    ]
    assert found[-1].group == "third moment"
    assert found[-1].config == {
        "arm": "third_moment",
        "optimizer": "third_moment",
        "learning_rate": 0.2,
        "seed": 1,
        "num_parameters": 118_282,
    }
    assert len({run.id for run in found}) == len(found) == 8


def test_an_id_is_that_of_the_network_whatever_its_arm_is_called(record):
    """Another factor renames arms; two arms that share networks stay apart."""
    before = [run.id for run in runs(record, names.of_record(record))]
    entries = record.record["arms"]
    renamed = {f"{arm}-none": entries[arm] for arm in ARMS}
    twin = {"again-none": entries["sgd"]}
    about = record.record | {"arms": renamed | twin, "arm_order": [*renamed, *twin]}
    start_record(record.workdir, about)
    other = read_record(record.workdir)
    after = [run.id for run in runs(other, {arm: arm for arm in other.record["arms"]})]
    assert after[:8] == before
    assert len(set(after)) == 12


def test_runs_of_arms_are_means_over_the_seeds(record):
    found = runs(record, names.of_record(record), "arms")
    assert [run.name for run in found] == [
        f"{arm}, learning_rate={rate}"
        for arm in ("sgd", "third moment")
        for rate in RATES
    ]
    for run in found:
        place = RATES.index(run.config["learning_rate"])
        curve = record.curves[f"{run.config['arm']}/train_loss"][place]
        interval = statistics.mean_interval(curve)
        for bound, expected in zip(("mean", "low", "high"), interval):
            np.testing.assert_array_equal(run.metrics[f"train/loss/{bound}"], expected)
        assert run.summary["num_diverged"] == place
    assert "probes/of_another_arm/mean" not in found[0].metrics


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        (
            "wandbb",
            "networks",
            "--export='wandbb': must be one of mlflow, safetensors, tensorboard, wandb;"
            " did you mean 'wandb'?",
        ),
        (
            "",
            "arm",
            "--export_as='arm': must be one of arms, networks; did you mean 'arms'?",
        ),
    ],
)
def test_unknown_tools_are_refused(text, kind, expected):
    assert refused(writers.chosen_writers, text, kind) == expected


def test_a_tool_that_is_not_installed_is_named_with_what_installs_it(monkeypatch):
    needs = ("tensorboard_is_absent",)
    absent = writers.WRITERS["tensorboard"]._replace(needs=needs)
    monkeypatch.setitem(writers.WRITERS, "tensorboard", absent)
    present = writers.WRITERS["safetensors"]._replace(needs=())
    monkeypatch.setitem(writers.WRITERS, "safetensors", present)
    assert writers.chosen_writers("safetensors,,safetensors") == ("safetensors",)
    assert refused(writers.chosen_writers, "tensorboard") == (
        "--export='tensorboard': needs tensorboard_is_absent, which is not installed;"
        " run pip install -c constraints.txt -e '.[export]'."
    )


def test_tensorboard_reads_what_the_tables_hold(record):
    line = export(record, "tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    root = record.workdir / "exports" / "tensorboard" / "networks"
    assert line == f"export: tensorboard: 8 runs (tensorboard --logdir {root})"
    for run in runs(record, names.of_record(record)):
        read = EventAccumulator(str(root.joinpath(*run.folders))).Reload()
        history = {
            tag: {event.step: event.value for event in read.Scalars(tag)}
            for tag in read.Tags()["scalars"]
        }
        assert_shows(record, run, history)
        times = [event.wall_time for event in read.Scalars("epoch")]
        assert times == [0.5, 1.0, 1.5]
        start = metadata.parse_session_start_info_plugin_data(
            read.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
        )
        config = {
            name: value.string_value or value.number_value
            for name, value in start.hparams.items()
        }
        assert config == run.config


def test_event_files_are_repeated_to_the_byte_and_grow_with_the_record(tmp_path):
    small = written(tmp_path / "run", ARMS[:1], SEEDS[:1])
    export(small, "tensorboard")
    folder = small.workdir / "exports"
    before = content(folder)
    kept = folder / "tensorboard" / "networks" / "sgd" / "notes.txt"
    kept.write_text("mine")
    export(small, "tensorboard")
    assert content(folder) == before | {str(kept.relative_to(folder)): b"mine"}
    shutil.rmtree(small.workdir / "networks")
    large = written(tmp_path / "run")
    export(large, "tensorboard")
    files_of = [x for x in content(folder) if "tfevents" in x]
    assert len(files_of) == 8
    assert set(before) < set(files_of)
    shutil.rmtree(small.workdir / "networks")
    export(written(tmp_path / "run", ARMS[1:]), "tensorboard")
    assert {x.split("/")[2] for x in content(folder)} == {"third moment", "sgd"}
    assert sum("tfevents" in x for x in content(folder)) == 4
    assert kept.read_text() == "mine"


def wandb_records(path: pathlib.Path) -> list:
    """The messages in a .wandb file: a log in blocks of 32 KiB, as LevelDB has it."""
    from wandb.proto.wandb_internal_pb2 import Record as Message

    data, at, parts, found = path.read_bytes(), 7, b"", []
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        left = 32_768 - at % 32_768
        if left < 7:
            at += left
            continue
        size, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            found.append(Message.FromString(parts))
            parts = b""
    return found


def number(text: str) -> float:
    return float(json.loads(text))


@pytest.mark.usefixtures("no_servers")
def test_wandb_keeps_what_the_tables_hold(record):
    line = export(record, "wandb")
    folder = record.workdir / "exports" / "wandb" / "networks"
    see = f"(wandb sync {folder}/wandb/offline-run-*)"
    assert line == f"export: wandb: 8 runs, 8 of them new {see}"
    for run in runs(record, names.of_record(record)):
        (path,) = folder.glob(f"wandb/offline-run-*-{run.id}/run-{run.id}.wandb")
        history, config = {}, {}
        for message in wandb_records(path):
            if message.WhichOneof("record_type") == "run":
                about = message.run
                config |= {x.key: json.loads(x.value_json) for x in about.config.update}
                assert (about.display_name, about.run_group) == (run.name, run.group)
                assert (about.project, about.run_id) == ("made", run.id)
            if message.WhichOneof("record_type") == "history":
                for item in message.history.item:
                    name = item.key or "/".join(item.nested_key)
                    if not name.startswith("_"):
                        steps = history.setdefault(name, {})
                        steps[message.history.step.num] = number(item.value_json)
        assert {k: x for k, x in config.items() if k != "_wandb"} == run.config
        assert_shows(record, run, history)
    before = content(folder)
    assert export(record, "wandb") == f"export: wandb: 8 runs, 0 of them new {see}"
    assert content(folder) == before
    labels = {"sgd": "plain", "third_moment": "third moment"}
    (line,) = writers.export(record, ["wandb"], labels)
    assert line == f"export: wandb: 8 runs, 4 of them new {see}"
    assert len(list(folder.glob("wandb/offline-run-*"))) == 8


@pytest.mark.usefixtures("no_servers")
@pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")
def test_mlflow_keeps_what_the_tables_hold(record):
    line = export(record, "mlflow")
    from mlflow import MlflowClient

    uri = f"sqlite:///{record.workdir}/exports/mlflow/mlflow.db"
    see = f"(mlflow ui --backend-store-uri {uri})"
    assert line == f"export: mlflow: 8 runs, 8 of them new {see}"
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("made").experiment_id
    logged = lambda: {
        x.data.tags["normjax.run"]: x for x in client.search_runs([experiment])
    }
    first = logged()
    for run in runs(record, names.of_record(record)):
        found = first[run.id]
        assert found.info.run_name == run.name
        assert found.info.status == "FINISHED"
        assert found.data.tags["arm"] == run.group
        assert found.data.params == {k: str(x) for k, x in run.config.items()}
        read = lambda name, run_id=found.info.run_id: {
            x.step: x.value for x in client.get_metric_history(run_id, name)
        }
        assert_shows(record, run, {name: read(name) for name in found.data.metrics})
    interrupted, *others = first.values()
    client.delete_tag(interrupted.info.run_id, "normjax.digest")
    assert export(record, "mlflow") == f"export: mlflow: 8 runs, 1 of them new {see}"
    second = logged()
    assert len(client.search_runs([experiment])) == 8
    assert second.keys() == first.keys()
    same = lambda run: second[run.data.tags["normjax.run"]].info.run_id
    assert all(same(run) == run.info.run_id for run in others)
    assert same(interrupted) != interrupted.info.run_id


def test_safetensors_are_the_variables_to_the_bit(record):
    line = export(record, "safetensors", "arms")
    from safetensors import safe_open
    from safetensors.numpy import load_file

    folder = record.workdir / "exports" / "safetensors"
    assert line == f"export: safetensors: 8 files in {folder}"
    for i, run in enumerate(runs(record, names.of_record(record))):
        path = folder.joinpath(*run.folders[:-1], f"{run.folders[-1]}.safetensors")
        tensors = load_file(path)
        assert list(tensors) == ["params/dense_0/kernel"]
        assert tensors["params/dense_0/kernel"].tobytes() == KERNEL[i % 4].tobytes()
        with safe_open(path, "np") as file:
            about = json.loads(file.metadata()["normjax"])
        assert about == {"id": run.id, "name": run.name, "config": run.config}
    before = content(folder)
    shutil.rmtree(folder)
    export(record, "safetensors")
    assert content(folder) == before


@pytest.mark.usefixtures("no_servers")
def test_what_a_tool_refuses_is_a_line(record, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # whoever runs the tests may be logged in
    monkeypatch.setenv("WANDB_MODE", "online")
    assert refused(export, record, "wandb") == (
        "--export='wandb': refused by wandb (UsageError: No API key configured. Use"
        " `wandb login` to log in); run wandb login, or set WANDB_MODE=offline."
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://there")
    first, *_, last = refused(export, record, "mlflow").partition(" (")[::2]
    assert first == "--export='mlflow': refused by mlflow"
    assert last.endswith("); set MLFLOW_TRACKING_URI to a store that takes runs.")
    assert "nowhere://there" in last


def without_variables(folder: pathlib.Path) -> list[pathlib.Path]:
    """The groups of a record, rewritten as those of one whose weights were left out."""
    paths = []
    for path in sorted((folder / "networks").glob("*.npz")):
        group = groups.read(path)
        path.unlink()
        paths.append(groups.write(folder, group, {}))
    return paths


def test_a_record_without_variables_says_so(record):
    without_variables(record.workdir)
    message = (
        f"workdir='{record.workdir}': is archived without the variables of its"
        " networks; give the folder that the study was run in, or run it in a new one."
    )
    assert refused(record.variables, "sgd", seed=3, learning_rate=0.1) == message
    assert refused(export, record, "safetensors") == message
    assert export(record, "tensorboard").startswith("export: tensorboard: 8 runs")


def test_a_copy_with_variables_is_exported_whatever_its_name(record):
    """Beside each group lies one without its variables, here often the first by name.

    Both would count, were it not for their variables.
    """
    before = [x.name for x in sorted((record.workdir / "networks").glob("*.npz"))]
    archived = []
    for name in before:
        group = groups.read(record.workdir / "networks" / name)
        about = group.about | {groups.ARCHIVED: True}
        path = groups.write(record.workdir, group._replace(about=about), {})
        archived.append(path.name)
    assert any(a < b for a, b in zip(archived, before))
    assert export(record, "safetensors").startswith("export: safetensors: 8 files")
    assert record.variables("sgd", seed=3, learning_rate=0.1)


def test_the_report_exports_a_finished_record(record, capsys):
    pytest.importorskip("tensorboard")
    arguments = [str(record.workdir), "--export=tensorboard", "--export_as=arms"]
    assert command.main(arguments) == 0
    root = record.workdir / "exports" / "tensorboard" / "arms"
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == f"export: tensorboard: 4 runs (tensorboard --logdir {root})"
    page = record.workdir / "report.html"
    page.unlink()
    assert command.main([str(record.workdir), "--export=tensorbord"]) == 2
    assert capsys.readouterr().err == (
        "--export='tensorbord': must be one of mlflow, safetensors, tensorboard, wandb;"
        " did you mean 'tensorboard'?\n"
    )
    assert not page.exists()


def test_no_tool_is_loaded_before_it_is_asked_for():
    code = "import sys, normjax.report.__main__, launch; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    loaded = {name.split(".")[0] for name in ran.stdout.split()}
    assert "pandas" in loaded
    needed = {x for writer in writers.WRITERS.values() for x in writer.needs}
    assert loaded & needed == set()


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """Where launch.py has trained runs/quickstart, and what it printed."""
    folder = tmp_path_factory.mktemp("here")
    words = [
        *(sys.executable, "launch.py", "--config=configs/quickstart.py:size=smoke"),
        *(f"--workdir={folder}/runs/quickstart", "--config.arms.norm=none,batch"),
    ]
    if importlib.util.find_spec("safetensors"):
        words.append("--export=safetensors")
    (folder / "runs").mkdir()
    ran = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    return folder, ran.stdout.splitlines()


def test_the_launcher_exports_after_the_page(quickstart):
    pytest.importorskip("safetensors")
    folder, printed = quickstart
    page, line = printed[-2:]
    assert page.startswith("page: ")
    exported = folder / "runs" / "quickstart" / "exports" / "safetensors"
    assert line == f"export: safetensors: 4 files in {exported}"
    record = normjax.load(folder / "runs" / "quickstart")
    found = content(exported)
    assert len(found) == len(record.networks) == 4
    assert "batch/seed=1.safetensors" in found


def test_the_model_of_a_lane_has_the_recorded_accuracy(quickstart):
    """Exactly: as many test images are classified right, of every network."""
    record = normjax.load(quickstart[0] / "runs" / "quickstart")
    for split in ("test", "validation"):
        images, labels = record.data(split)
        assert len(images) == record.record["num_examples"][split]
        for row in record.epochs[record.epochs["epoch"] == 2].to_dict("records"):
            model, variables = record.model(row["arm"], seed=row["seed"])
            logits = model.apply(variables, images, train=False)
            right = int((logits.argmax(-1) == labels).sum())
            assert right == round(row[f"{split}_accuracy"] * len(labels))
        another = jax.tree.map(lambda x: -x, variables)
        wrong = model.apply(another, images, train=False).argmax(-1) == labels
        assert int(wrong.sum()) < right


def test_the_examples_of_the_docs_run(quickstart, monkeypatch):
    monkeypatch.chdir(quickstart[0])
    with jax.numpy_rank_promotion("allow"):
        (example,) = doctest.DocTestFinder().find(Record.model, globs={})
        assert doctest.DocTestRunner().run(example) == (0, 7)
        page = (ROOT / "docs" / "export.md").read_text()
        (code,) = re.findall(r"```python\n(.+?)```", page, re.S)
        exec(code, {})


def changed_config(folder: pathlib.Path, to: pathlib.Path, **changes) -> Record:
    """A copy of a record whose config has other fields."""
    shutil.copytree(folder, to)
    about = files.read_json(to / "record.json")
    about.pop("digest")
    about["config"] = {
        k: x | changes[k] if k in changes else x for k, x in about["config"].items()
    }
    start_record(to, about)
    return read_record(to)


def test_what_a_record_cannot_give_is_said_in_a_line(quickstart, tmp_path):
    folder = quickstart[0] / "runs" / "quickstart"
    record = normjax.load(folder)
    chosen = functools.partial(refused, record.variables, "batch")
    assert chosen(seed=9) == (
        "seed=9: must be one of those that are trained: 0, 1; give seed=0."
    )
    assert chosen(seed=1, learning_rate=0.5) == (
        "learning_rate=0.5: must be one of those that are trained: 0.1;"
        " give learning_rate=0.1."
    )
    assert chosen(sed=1) == (
        "sed=1: must be one of seed and the settings: seed, init_scale, learning_rate,"
        " momentum; did you mean 'seed'?"
    )
    assert chosen() == (
        "seed: must be given, for 2 networks of batch differ in seed; give seed=0."
    )
    assert refused(record.data, "tests") == (
        "split='tests': must be one of test, train, validation; did you mean 'test'?"
    )
    objects = {"model": {"name": "<__main__.Mine>"}, "data": {"name": "<arrays>"}}
    typed = changed_config(folder, tmp_path / "typed", **objects)
    assert refused(typed.model, "batch", seed=1) == (
        "model: must be given, for <__main__.Mine> was trained as an object without a"
        " name; call record.model(arm, model=...) with that object."
    )
    assert refused(typed.data) == (
        "data: must be given, for the record was trained on arrays without a name;"
        " call record.data(split, data=...) with these arrays."
    )
    gone = {"model": {"name": "gone_package.Mine"}}
    imported = changed_config(folder, tmp_path / "gone", **gone)
    assert "gone_package" in refused(imported.model, "batch", seed=1)
    fewer = changed_config(folder, tmp_path / "fewer", data={"num_test": 10})
    assert refused(fewer.data) == (
        "data: must be what the record was trained on, and it is not;"
        " give the arrays, or the same version of the set."
    )


def test_an_own_model_and_own_arrays_are_given_again(tmp_path):
    import flax.linen as nn

    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(40, 4)).astype(np.float32), np.arange(40) % 2
    arrays = (x, y, x[:10], y[:10])
    config = normjax.config(
        num_seeds=1, num_epochs=1, batch_size=8, data={"num_validation": 8}
    )
    hers = nn.Sequential([nn.Dense(3), nn.relu, nn.Dense(2)])
    record = normjax.run(config, tmp_path / "own", model=hers, data=arrays)
    (arm,) = record.record["arm_order"]
    model, variables = record.model(arm, model=hers)
    images, labels = record.data(data=arrays)
    right = model.apply(variables, images, train=False).argmax(-1) == labels
    assert int(right.sum()) == round(record.networks["test_accuracy"].item() * 10)
