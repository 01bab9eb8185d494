"""The launcher as a user meets it: a run, the same again, and what goes wrong."""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys

import pandas as pd
import pytest

from normjax import layers
from normjax.study import claims
from normjax.study.record import read_record

ROOT = pathlib.Path(__file__).parents[1]
QUICK = "--config=configs/quickstart.py:size=smoke"


def launch(*flags: str, **options) -> subprocess.CompletedProcess:
    """One call of launch.py, to its end."""
    command = [sys.executable, "launch.py", *flags]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished quick start, and what it printed; TensorFlow would have ended it."""
    folder = tmp_path_factory.mktemp("runs")
    workdir = folder / "quickstart"
    (folder / "tensorflow.py").write_text("raise SystemExit('TensorFlow imported')")
    ran = launch(
        QUICK,
        f"--workdir={workdir}",
        "--config.arms.norm=none,batch",
        env=dict(os.environ) | {"PYTHONPATH": str(folder)},
    )
    assert ran.returncode == 0, ran.stderr
    return workdir, ran


def test_a_run_says_where_and_what_and_ends_with_the_table_and_the_page(run):
    workdir, ran = run
    first, versions, second, third, *_ = ran.stdout.splitlines()
    assert re.fullmatch(r"device: 2 x cpu.*", first)
    assert re.fullmatch(r"versions: jax [\d.]+, .*", versions)
    assert second == (
        "study: quickstart: 2 arms x 2 seeds = 4 networks, 2 epochs of 38 steps"
    )
    assert third == "parameters per network: 26,122 to 26,634"
    assert ran.stdout.splitlines()[-1] == f"page: file://{workdir}/report.html"
    assert max(map(len, ran.stdout.splitlines()[:-1])) <= 80
    assert "Paired differences to no norm" in ran.stdout
    assert "\n\nAccuracy, spread and cost of each arm" in ran.stdout
    few = (
        "notice: 2 seeds are too few to conclude from: the sign-flip test of 2 pairs\n"
        "cannot give a p below 0.5; 6 can go below 0.05.\n"
    )
    assert few in ran.stdout
    readme = (ROOT / "README.md").read_text("utf-8").partition("It prints\n\n")[2]
    assert readme.split("\n")[0].split() in map(str.split, ran.stdout.splitlines())
    assert [line.split(":")[0] for line in ran.stderr.splitlines()] == ["none", "batch"]
    assert "\r" not in ran.stderr
    assert "\x1b" not in ran.stdout + ran.stderr


def test_the_record_is_complete(run):
    workdir, _ = run
    record = read_record(workdir)
    assert {p.name for p in workdir.iterdir()} == {
        "config.json",
        "record.json",
        "networks.csv",
        "epochs.csv",
        "probes.npz",
        "report.html",
        "networks",
        "locks",
        "figures",
        "tables",
    }
    assert list(record.networks["arm"]) == ["none", "none", "batch", "batch"]
    assert list(record.networks.columns) == [
        *("arm", "protocol", "norm", "placement", "optimizer", "penalty"),
        *("batch_size", "seed"),
        *("init_scale", "learning_rate", "momentum", "train_loss", "train_accuracy"),
        *("validation_accuracy", "test_loss", "test_accuracy", "diverged_at_step"),
        *("seconds", "mapping"),
    ]
    assert len(record.epochs) == 2 * 2 * 2
    arm = record.record["arms"]["batch"]
    assert arm["compile_seconds"] > 0
    assert arm["run_seconds"] > 0
    assert len(arm["epoch_seconds"]) == 2
    assert record.record["environment"]["prng"] == "threefry2x32"


def test_the_same_command_again_says_that_the_study_is_complete(run):
    workdir, _ = run
    before = {p: p.read_bytes() for p in workdir.glob("*.csv")}
    again = launch(QUICK, f"--workdir={workdir}", "--config.arms.norm=none,batch")
    assert again.returncode == 0, again.stderr
    assert "complete: every network is trained\n" in again.stdout
    assert {p: p.read_bytes() for p in workdir.glob("*.csv")} == before


def test_a_second_run_gives_the_same_numbers_and_a_kept_arm_is_not_run_again(
    run, tmp_path
):
    """The arm `none` is taken out of a copy: only it is trained, to the same bits."""
    workdir, _ = run
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", workdir, copy], check=True)
    arm = read_record(copy).record["arms"]["none"]["id"]
    (path,) = (copy / "networks").glob(f"{arm}-*")
    path.unlink()
    again = launch(QUICK, f"--workdir={copy}", "--config.arms.norm=none,batch")
    assert again.returncode == 0, again.stderr
    assert "resuming: 2 networks are trained\n" in again.stdout
    for name in ("networks.csv", "epochs.csv"):
        old, new = (pd.read_csv(folder / name) for folder in (workdir, copy))
        timing = [c for c in ("seconds",) if c in old]
        pd.testing.assert_frame_equal(
            old.drop(columns=timing), new.drop(columns=timing), check_exact=True
        )
    kept = read_record(copy).record["arms"]["batch"]
    assert kept == read_record(workdir).record["arms"]["batch"]


SETTINGS = "init_scale, learning_rate, momentum"
MISTAKES = {
    "field": (
        [QUICK, "--config.batchsize=3"],
        "--config.batchsize: must be one of the fields of launch.py --list=fields;"
        " did you mean 'batch_size'?",
    ),
    "inner field": (
        [QUICK, "--config.data.nam=mnist"],
        "--config.data.nam: must be one of the fields name, num_test, num_train,"
        " num_validation, scaling, dir, subset; did you mean 'name'?",
    ),
    "group": (
        [QUICK, "--config.data=mnist"],
        "--config.data='mnist': must be a group of fields; set one, data.name.",
    ),
    "type": (
        [QUICK, "--config.batch_size=many"],
        "--config.batch_size='many': must be int, as 128 is; set batch_size=128.",
    ),
    "size": (
        [QUICK, "--config.batch_size=0"],
        "--config.batch_size=0: must be from 1 to 2^31 - 1; set batch_size=128.",
    ),
    "setting": (
        [QUICK, "--config.settings.momentun=0.9"],
        "--config.settings.momentun=(0.9,): must be a setting of some arm; the arms"
        f" use {SETTINGS}; did you mean 'momentum'?",
    ),
    "setting out of float32": (
        [QUICK, "--config.settings.learning_rate=1e39"],
        "--config.settings.learning_rate=1e+39: must be a float32 above 0;"
        " set settings.learning_rate=0.1.",
    ),
    "norm": (
        [QUICK, "--config.arms.norm=none,bach"],
        f"--config.arms.norm='bach': must be one of {', '.join(sorted(layers.NORMS))};"
        " did you mean 'batch'?",
    ),
    "norm in the place of all": (
        [QUICK, "--config.arms.norm=nope"],
        f"--config.arms.norm='nope': must be one of {', '.join(sorted(layers.NORMS))};"
        " did you mean 'none'?",
    ),
    "batch of one": (
        [QUICK, "--config.arms.norm=none,batch", "--config.batch_size=1"],
        "--config.arms.norm='batch': cannot be used with batch_size=1 (x.shape=(1,"
        " 128): ",
    ),
    "protocol": (
        [QUICK, "--config.arms.protocol=as_published"],
        "--config.arms.protocol='as_published': must be one of corrected;"
        " choose one of them.",
    ),
    "config argument": (
        ["--config=configs/quickstart.py:size=smok"],
        "config argument size='smok': must be one of full, smoke;"
        " did you mean 'smoke'?",
    ),
    "config file": (
        ["--config=configs/quickstrt.py"],
        "--config=configs/quickstrt.py: must be a file such as"
        " configs/quickstart.py, and there is none;"
        " did you mean 'configs/quickstart.py'?",
    ),
    "config of a record that is not there": (
        ["--config=runs/none/config.json"],
        "--config=runs/none/config.json: must be a file such as configs/quickstart.py,"
        " and there is none; name a file of configs/, or the config.json of a record.",
    ),
    "damaged config": (
        ["--config={tmp}/broken.json"],
        "--config={tmp}/broken.json: must hold a config, and is damaged (Expecting"
        " value: line 1 column 11 (char 10)); name the config.json of a record.",
    ),
    "config that raises": (
        ["--config={tmp}/broken.py"],
        "--config={tmp}/broken.py: must be loadable (ZeroDivisionError: division by"
        " zero); name a file with get_config(), such as configs/quickstart.py.",
    ),
    "flag": (
        [QUICK, "--workdri=runs"],
        "Unknown command line flag 'workdri'. Did you mean: workdir ?",
    ),
    "check of nothing": (
        [QUICK, "--only_check_args"],
        "--only_check_args: must be left out, for it checks no config; add --dry_run.",
    ),
    "list": (
        ["--list=norm"],
        "--list='norm': must be one of augmentations, configs, datasets, fields,"
        " initial_weights, models, norms, optimizers, penalties, placements, probes,"
        " samplings, scalings, schedules; did you mean 'norms'?",
    ),
    "word": (
        [QUICK, "workdir"],
        "'workdir': must be a flag; let it begin with --.",
    ),
    "npz": (
        [QUICK, "--config.data.name={tmp}/broken.npz"],
        "--config.data.name='{tmp}/broken.npz': ",
    ),
    "data not prepared": (
        ["--config=configs/quickstart.py:dataset=mnist,size=smoke"],
        "--config.data.name='mnist': ",
    ),
}


# Launches in processes that share one import of what the launcher imports.
FORKS = """
import json, os, runpy, sys, warnings
from absl import app, flags, logging
from ml_collections import config_flags
import normjax.study.command_line, normjax.study.run, normjax.report.page

codes = []
for argv, stdout, stderr in json.load(sys.stdin):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
        process = os.fork()
    if not process:
        for number, path in (1, stdout), (2, stderr):
            os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY), number)
        sys.argv = ["launch.py", *argv]
        runpy.run_path("launch.py", run_name="__main__")
    codes.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
print(json.dumps(codes))
"""


def test_a_mistake_is_one_line_with_code_2_and_leaves_no_folder(tmp_path):
    """Each in a process of its own, which a process that has imported all forks."""
    (tmp_path / "broken.npz").write_bytes(b"PK but no archive")
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "broken.json").write_text('{"study": ')
    variables = dict(os.environ) | {"TFDS_DATA_DIR": str(tmp_path / "nothing")}
    variables.pop("JAX_PLATFORMS")  # what jax tells of them must not be heard

    here = lambda text: text.replace("{tmp}", str(tmp_path))
    runs = {
        name: (
            [*map(here, flags), f"--workdir={tmp_path / name}"],
            f"{tmp_path / name}.out",
            f"{tmp_path / name}.err",
        )
        for name, (flags, _) in MISTAKES.items()
    }
    ran = subprocess.run(
        [sys.executable, "-c", FORKS],
        input=json.dumps(list(runs.values())),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=variables,
    )
    assert ran.returncode == 0, ran.stderr
    for (name, (_, out, err)), code in zip(runs.items(), json.loads(ran.stdout)):
        stderr, expected = pathlib.Path(err).read_text(), here(MISTAKES[name][1])
        assert code == 2, (name, stderr)
        assert pathlib.Path(out).read_text() == "", name
        assert len(stderr.splitlines()) == 1, (name, stderr)
        if expected.endswith(": "):  # the rest is tested where it is said
            assert stderr.startswith(expected), (name, stderr)
        else:
            assert stderr == f"{expected}\n"
        assert not (tmp_path / name).exists(), name


def test_a_workdir_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "tables").mkdir()
    ran = launch(QUICK, f"--workdir={tmp_path}")
    assert ran.returncode == 2
    assert ran.stderr == (
        f"--workdir='{tmp_path}': must be new or hold a record, and holds another"
        " 'tables'; give another workdir.\n"
    )
    assert list(tmp_path.iterdir()) == [tmp_path / "tables"]


def test_a_second_process_in_a_workdir_is_refused(run):
    """As long as the first one lives, whatever it does."""
    workdir, _ = run
    with claims.claim(workdir / "locks", "study"):
        ran = launch(QUICK, f"--workdir={workdir}", "--config.arms.norm=none,batch")
    assert ran.returncode == 2
    assert ran.stderr == (
        f"--workdir='{workdir}': must be free, and process {os.getpid()} on host"
        f" {socket.gethostname()} trains in it; wait for its end, or start all of them"
        " with --distributed.\n"
    )


def test_a_dry_run_trains_and_writes_nothing(tmp_path):
    ran = launch(QUICK, f"--workdir={tmp_path}/run", "--dry_run", "--arms=none,layer")
    assert ran.returncode == 0, ran.stderr
    assert not (tmp_path / "run").exists()
    assert ran.stderr == "compiling none, 1 of 2\ncompiling layer, 2 of 2\n"
    lines = ran.stdout.splitlines()
    assert lines[-1] == "nothing was trained: this is a dry run"
    assert lines[5].split() == (
        ["arm", "parameters", "lanes", "groups", "memory", "compile", "run"]
    )
    rows = [line.split() for line in lines[7:10]]
    assert [row[:4] for row in rows[:2]] == [
        ["none", "26,122", "2", "1"],
        ["layer", "26,634", "2", "1"],
    ]
    assert rows[2][:3] == ["together", "4", "2"]


def test_processes_share_a_study_and_one_takes_over_what_another_left(run, tmp_path):
    """Two processes meet and train all of it; the tables are those of one."""
    workdir, _ = run
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    flags = [
        *(QUICK, f"--workdir={tmp_path}/run", "--config.arms.norm=none,batch"),
        *("--distributed", f"--coordinator=localhost:{port}", "--num_processes=2"),
    ]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "launch.py", *flags]
    several = [
        subprocess.Popen([*command, f"--process={k}"], cwd=ROOT, **options)
        for k in range(2)
    ]
    printed, told = zip(*(process.communicate() for process in several))
    assert [process.returncode for process in several] == [0, 0], told
    assert ["page: " in text for text in printed] == [True, False]
    old, new = (read_record(x).networks for x in (workdir, tmp_path / "run"))
    pd.testing.assert_frame_equal(
        old.drop(columns="seconds"), new.drop(columns="seconds"), check_exact=True
    )


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--until=bored"], "--until='bored': must be decided; add --until=decided."),
        (["--process=1"], "--process: must be given with --distributed; add it."),
        (
            ["--arms=nun"],
            "--arms='nun': must be one of batch, layer, none, weight; choose one of"
            " them.",
        ),
        (
            ["--until=decided", "--max_seeds=1"],
            "--max_seeds=1: must be at least the number of seeds to begin with, 2; set"
            " max_seeds=20.",
        ),
    ],
)
def test_flags_that_are_wrong(tmp_path, flags, expected):
    ran = launch(QUICK, f"--workdir={tmp_path}/run", *flags)
    assert (ran.returncode, ran.stderr) == (2, f"{expected}\n")
    assert not (tmp_path / "run").exists()


def test_a_study_grows_until_it_is_decided(tmp_path):
    """Batch norm against none: the looks are on the page, and again nothing is done."""
    flags = (QUICK, f"--workdir={tmp_path}", "--config.arms.norm=none,batch")
    for looks in (True, False):
        ran = launch(*flags, "--until=decided", "--max_seeds=30")
        assert ran.returncode == 0, ran.stderr
        assert ("look 1, at 5 seeds: " in ran.stdout) == looks
    record = read_record(tmp_path)
    numbers = [look["num_seeds"] for look in record.record["looks"]]
    assert numbers == [5, 8, 12, 18, 27, 30][: len(numbers)]
    assert record.networks["seed"].nunique() == numbers[-1]
    assert "complete: every network is trained" in ran.stdout


def test_a_workdir_that_cannot_be_written(tmp_path):
    """A file stands where the folder should be: no user, not even root, can write."""
    (tmp_path / "file").write_text("mine")
    ran = launch(QUICK, f"--workdir={tmp_path}/file/run")
    assert ran.returncode == 2
    assert ran.stderr == (
        f"--workdir='{tmp_path}/file/run': must be a folder that can be made"
        " (Not a directory); give another workdir.\n"
    )


def test_without_a_workdir():
    ran = launch(QUICK)
    assert ran.returncode == 2
    assert ran.stderr == ("--workdir: must be given; add --workdir=runs/quickstart.\n")
