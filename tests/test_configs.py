"""Every config of configs/ runs at smoke size, to its page."""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from _compiling import FLAGS

import normjax
from normjax.errors import InputError
from normjax.report import page
from normjax.study import plan, run
from normjax.study.record import complete_arms, read_record

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
CNN = "batch_norm_placement.py:size=smoke,model=cnn"
PROTOCOLS = ("corrected", "as_published")


def get_config(name: str, text: str = ""):
    """The config of a file, as the launcher would load it."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"configs/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(text)


def launch(name: str, text: str, workdir: pathlib.Path):
    """The record of a run by the command, in a process of its own."""
    ran = subprocess.run(
        [
            *(sys.executable, "launch.py", f"--config=configs/{name}.py:{text}"),
            f"--workdir={workdir}",
        ],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": f"{FLAGS} --xla_backend_optimization_level=1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert (workdir / "report.html").exists()
    return read_record(workdir)


def complete(name: str, text: str, workdir: pathlib.Path, **arms):
    """The record and the page as the launcher makes them, with some of the levels."""
    config = get_config(name, text)
    config.arms.update(arms)
    run.complete(plan.study(config), workdir, quiet=True)
    page.build(workdir, stills=False)
    return read_record(workdir)


@pytest.mark.parametrize("name", CONFIGS)
def test_full_and_smoke_differ_in_size_only(name):
    full, smoke = get_config(name), get_config(name, "size=smoke")
    assert full.arms == smoke.arms
    assert smoke.num_seeds < full.num_seeds == 10
    assert smoke.num_epochs < full.num_epochs
    assert smoke.model == full.model


@pytest.mark.parametrize("name", CONFIGS)
def test_an_unknown_argument_is_refused(name):
    with pytest.raises(InputError, match=r"^config argument dataset='iris': must be "):
        get_config(name, "dataset=iris")


def test_what_the_sources_leave_open_is_a_factor_of_at_most_100_arms():
    """Arms that are equal are trained once; the baseline of each choice is there."""
    for name, number in (("optimizers", 91), ("smoothness", 8), (CNN[:20], 16)):
        config = get_config(name, "size=smoke,dataset=digits,unstated=yes")
        (factor,) = config.unstated
        assert not get_config(name).unstated
        arms = plan.study(config).arms
        assert len({arm.id for arm in arms}) == number <= 100
        ours = plan.study(get_config(name, "size=smoke,dataset=digits")).arms
        usual = arms[0].factors[factor]
        same = {arm.id for arm in arms if arm.factors[factor] == usual}
        assert same == {arm.id for arm in ours}


# the quick start is run by tests/test_launch.py
SMOKES = {f"{name}:size=smoke": {} for name in CONFIGS if name != "quickstart"} | {
    # levels that say no more about whether a config runs are left out
    "norms:size=smoke": {"batch_size": (2, 128)},
    "batch_size:size=smoke": {"norm": ("batch", "group"), "batch_size": (2, 128)},
    "catalogue:size=smoke": {"norm": ("batch", "weight", "evonorm_s0")},
    "rate_by_norm:size=smoke": {"norm": ("none", "batch"), "depth": (2, 16)},
    "resnet:size=smoke": {"norm": ("batch",)},
    "tuned_optimizers:size=smoke": {"optimizer": ("adam", "muon")},
    # the corrected ones are in the test below
    "optimizers:size=smoke": {
        "protocol": ("as_published",),
        "penalty": ("none", "dropout"),
    },
    "batch_norm_placement:size=smoke,model=cnn": {},
}


@pytest.mark.parametrize("name", SMOKES)
def test_smoke_runs_on_the_embedded_digits(name, tmp_path):
    config, text = f"{name},dataset=digits".split(":")
    if config == "smoothness":  # it trains for long, so it is worth to optimize
        record = launch(config, text, tmp_path / "run")
    else:
        record = complete(config, text, tmp_path / "run", **SMOKES[name])
    order = record.record["arm_order"]
    assert list(complete_arms(record.record)) == order
    assert set(record.networks["seed"].groupby(record.networks["arm"]).nunique()) == {2}
    trains = record.networks["learning_rate"] < 10  # the top of the map of rates
    assert np.isfinite(record.networks["test_loss"][trains]).all()
    best = record.networks.groupby("arm")["test_accuracy"].max()
    assert best.max() > 0.15  # better than a guess
    for name in record.config["probes"]:
        assert record.record["probes"][name]


def test_smoke_of_the_optimizers_on_the_published_data(
    tfds_folder, tmp_path, monkeypatch
):
    """Paired seeds, three levels of stats, and the third moment beside Adam."""
    monkeypatch.setenv("TFDS_DATA_DIR", tfds_folder)
    levels = {"optimizer": ("adam", "third_moment"), "penalty": ("none",)}
    record = complete("optimizers", "size=smoke", tmp_path / "run", **levels)
    rows = record.networks.set_index(["arm", "seed"])["test_accuracy"]
    for seed in (36549, 13790):
        published = rows["as_published-third_moment", seed]
        assert rows["corrected-third_moment", seed] == published
    losses = record.networks.set_index(["arm", "seed"])["train_loss"]
    remembers, forgets = (losses[f"{x}-adam", 36549] for x in PROTOCOLS)
    assert abs(remembers - forgets) > 0.01  # the fault is kept
    share = record.probes["corrected-third_moment/adam_difference_share"]
    assert share.shape == (1, 2, 2)
    assert ((share >= 0) & (share < 0.2)).all()
    assert np.isnan(record.probes["corrected-adam/adam_difference_share"]).all()
    stats = json.loads((tmp_path / "run" / "stats.json").read_text())
    assert set(stats) == {"adam", "third_moment"}
    assert set(stats["adam"]["none"]) == {
        *("test_cce_list", "test_acc_list", "cputime_list"),
        *("train_acc_list_dict", "val_acc_list_dict", "train_cce_list_dict"),
    }
    assert (tmp_path / "run" / "stats_as_published.json").exists()
    published = (tmp_path / "run" / "tables" / "published.csv").read_text()
    assert published.splitlines()[1].startswith("adam-none,")


def test_a_users_npz_is_a_data_set(tmp_path):
    draw = np.random.default_rng(0)
    y = np.arange(300) % 3
    x = draw.normal(size=(300, 5)) + 4 * np.eye(3, 5)[y]
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=x[:200], y_train=y[:200], x_test=x[200:], y_test=y[200:])
    study = plan.study(
        normjax.config(data={"name": str(path), "num_validation": 40}, batch_size=20)
    )
    assert study.arms[0].num_parameters == 5 * 128 + 128 + 128 * 129 + 128 * 3 + 3
    assert len(study.data.train.labels) == 160


def test_the_example_of_the_readme_runs():
    """The Python block, word for word; its seeds are paired and batch norm learns."""
    text = (ROOT / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 14
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert ran.returncode == 0, ran.stderr
    number = r"-?0\.\d{3}"
    expected = rf"batch - none: {number} \[{number}, {number}\]\n"
    assert re.fullmatch(expected, ran.stdout), ran.stdout
