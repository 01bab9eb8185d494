"""The face: `normjax.run`, `normjax.load`, and what comes back from them."""

import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import normjax
from normjax import layers, models
from normjax.data import sources
from normjax.study import plan, run
from normjax.training import devices

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = {
    "num_seeds": 2,
    "num_epochs": 2,
    "batch_size": 32,
    "arms": {"norm": "none,batch"},
    "settings": {"learning_rate": (0.03, 0.1)},
}


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "new"
    return normjax.run(normjax.config(**CONFIG), workdir)


def test_a_record_has_frames_and_arrays(record):
    assert list(record.networks["arm"]) == ["none"] * 4 + ["batch"] * 4
    assert record.networks["batch_size"].dtype == np.int64
    assert set(record.networks["batch_size"]) == {32}
    assert len(record.epochs) == 2 * 2 * 2 * 2
    accuracy = record.curves["batch/test_accuracy"]
    assert accuracy.shape == (2, 2, 2)
    of_arm = record.networks[record.networks["arm"] == "batch"]
    np.testing.assert_array_equal(accuracy[:, :, -1].ravel(), of_arm["test_accuracy"])


def test_variables_of_a_lane_have_the_recorded_accuracy(record):
    data = sources.data_set("digits")
    inputs = jnp.asarray(data.x_test) / np.float32(16)
    model = models.MLP((128, 128), 10, layers.NORMS["batch"])
    for row in record.networks[record.networks["arm"] == "batch"].itertuples():
        lane = {"seed": row.seed, "learning_rate": row.learning_rate}
        variables = jax.tree.map(jnp.asarray, record.variables("batch", **lane))
        logits = model.apply(variables, inputs, train=False)
        accuracy = np.mean(np.argmax(logits, -1) == data.y_test)
        assert accuracy == pytest.approx(row.test_accuracy)


def test_the_same_call_again_trains_nothing_and_load_reads_it(
    record, capfd, monkeypatch
):
    monkeypatch.setattr(run, "train_group", None)  # a call would raise
    again = normjax.run(normjax.config(**CONFIG), record.workdir)
    loaded = normjax.load(record.workdir)
    for other in (again, loaded):
        assert other.networks.equals(record.networks)
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_a_record_keeps_a_config_that_gives_it_again(record):
    again = normjax.run(record.config)
    assert again.workdir != record.workdir
    old, new = (x.networks.drop(columns="seconds") for x in (record, again))
    assert new.equals(old)


def test_what_was_taken_away_is_a_warning(tmp_path):
    config = normjax.config(**CONFIG | {"arms": {"norm": "batch"}})
    config.baseline = {"norm": "none"}
    config.num_epochs = 1
    with pytest.warns(UserWarning, match=r"^baseline\.norm='none' is left out, for it"):
        assert normjax.run(config, tmp_path).record["baseline"] == {}


def test_the_data_are_placed_and_summed_once(tmp_path, monkeypatch):
    """For all arms: what `train` gets lies on every device already."""
    placed, summed = [], []
    place, digest = devices.place, plan.files.arrays_digest
    monkeypatch.setattr(devices, "place", lambda x: placed.append(1) or place(x))
    monkeypatch.setattr(
        plan.files, "arrays_digest", lambda x: summed.append(1) or digest(x)
    )
    config = CONFIG | {"num_epochs": 1, "settings": {}}
    run.complete(plan.study(normjax.config(**config)), tmp_path, quiet=True)
    assert (len(placed), len(summed)) == (1, 1)


def test_a_run_from_scratch_is_quiet_and_configures_jax():
    """A process of its own, with a backend that had started before the second run."""
    code = """
import jax, normjax
choices = dict(num_seeds=1, num_epochs=1, batch_size=256, model={"widths": (4,)})
record = normjax.run(normjax.config(**choices))
jax.config.update("jax_num_cpu_devices", len(jax.devices()))
normjax.run(normjax.config(**choices))
assert record.workdir.exists()
print(record.workdir, len(jax.devices()))
"""
    variables = {"PATH": "", "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=variables
    )
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    workdir, num_devices = ran.stdout.split()
    assert not pathlib.Path(workdir).exists()  # a temporary folder goes with Python
    assert int(num_devices) == devices.num_cores()


def test_the_face_is_lazy_and_lists_its_names():
    code = """
import sys
import normjax
assert not {"jax", "pandas", "flax", "numpy"} & set(sys.modules)
names = ["config", "layers", "load", "models", "ops", "optimizers", "outliers", "run"]
names += ["statistics", "InputError"]
assert set(names) == set(normjax.__all__)
assert {*names, "__version__"} <= set(dir(normjax))
from normjax import run, load, config
assert callable(run) and callable(load) and callable(config)
from normjax import *
print(normjax.__version__)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split(".")[0].isdigit()
    with pytest.raises(AttributeError) as caught:
        normjax.layer  # noqa: B018
    assert str(caught.value) == "module 'normjax' has no attribute 'layer'"
    assert isinstance(jax.devices(), list)
