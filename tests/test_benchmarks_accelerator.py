"""The measurements of an accelerator go on where they stopped, and all work at all."""

import json
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest

from benchmarks import ours
from benchmarks.accelerator import (
    agreement,
    deadline,
    ledger,
    parts,
    plan,
    tables,
    training,
)
from benchmarks.accelerator.ledger import Absent, Budget, CutOff, Ledger, Measurement
from benchmarks.accelerator.sizes import SIZES
from normjax.errors import InputError
from normjax.types import TrainState

SMOKE, FULL = SIZES["smoke"], SIZES["full"]
ABOUT = {
    "device": "gpu",
    "platform": "gpu",
    "platform_version": "cuda",
    "num_devices": 1,
    "versions": {"jax": "0"},
    "commit": "c",
    "size": "smoke",
    "data": "",
}


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def measured(folder, *measurements, seconds=1000.0, clock=None, about=ABOUT):
    """Status, reason and rows of each measurement after one run."""
    book = Ledger(folder, about)
    ledger.measure_all(measurements, book, Budget(seconds, clock or Clock()))
    entries = ledger.read(folder)["measurements"]
    return {k: (x["status"], x["reason"], x["rows"]) for k, x in entries.items()}


def counted(name, calls, seconds=1.0, fails=None, takes=0.0, clock=None):
    """A measurement that takes note of its calls and may raise an error."""

    def measure():
        calls.append(name)
        if clock:
            clock.now += takes
        yield {"number": np.float32(1.5), "missing": float("nan")}
        if fails:
            raise fails

    return Measurement(name, "ceilings", seconds, measure)


def test_a_second_run_measures_what_is_not_done_and_what_failed_comes_last(tmp_path):
    calls = []
    fails = counted("fails", calls, fails=ValueError("out of it\nand more"))
    out = {"number": 1.5, "missing": None}
    assert measured(tmp_path, counted("works", calls), fails) == {
        "works": ("done", "", [out]),
        "fails": ("failed", "ValueError: out of it", [out]),
    }
    calls.clear()
    later = counted("later", calls)
    found = measured(tmp_path, counted("works", calls), fails, later)
    assert calls == ["later", "fails"]
    assert [status for status, _, _ in found.values()] == ["done", "failed", "done"]
    calls.clear()
    found = measured(tmp_path, counted("fails", calls))
    assert found["fails"][0] == "done"
    assert calls == ["fails"]


def test_what_a_process_died_of_does_not_stop_the_next_one(tmp_path):
    calls = []
    dies = counted("dies", calls, fails=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path, dies)
    why = "the process ended before it was finished"
    assert ledger.read(tmp_path)["measurements"]["dies"]["reason"] == why
    measured(tmp_path, counted("dies", calls), counted("other", calls))
    assert calls == ["dies", "other", "dies"]


def ended(folder, body, guard):
    """A process whose only measurement gives a row and then never ends by itself."""
    program = f"""
    import ctypes, sys, threading
    from benchmarks.accelerator import deadline
    from benchmarks.accelerator.ledger import Budget, Ledger, Measurement, measure_all

    deadline.GRACE = 0.0

    def measure():
        yield {{"number": 1}}
        with deadline.{guard}:
            {body}

    book, budget = Ledger(sys.argv[1], {ABOUT!r}), Budget(1000.0)
    measure_all([Measurement("slow", "ceilings", 1.0, measure)], book, budget)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_what_never_ends_is_cut_off_with_its_name_and_comes_last(tmp_path):
    waits = "threading.Event().wait()"
    ran = ended(tmp_path, waits, "watchdog(book, Budget(0.0))")
    why = "the minutes were over before it was finished"
    assert ran.returncode == 124
    line = f"slow: cut off, {why}; the same command goes on with the rest\n"
    assert ran.stderr == line
    entry = ledger.read(tmp_path)["measurements"]["slow"]
    assert (entry["status"], entry["reason"]) == ("cut off", why)
    assert entry["rows"] == [{"number": 1}]
    logged = (tmp_path / ledger.LOG).read_text().splitlines()
    assert logged[-1].endswith(f"s  slow: cut off, {why}")
    calls = []
    found = measured(tmp_path, counted("slow", calls), counted("other", calls))
    assert calls == ["other", "slow"]
    assert found["slow"][0] == "done"


def test_what_keeps_the_lock_of_python_ends_too(tmp_path):
    """There no thread of Python can run, and no error can be raised."""
    keeps = "ctypes.PyDLL(None).pause()"
    ran = ended(tmp_path, keeps, "last_resort(Budget(0.0))")
    assert ran.returncode == 1
    assert ran.stderr.startswith("Timeout (0:00:01)!")
    assert ledger.read(tmp_path)["measurements"]["slow"]["status"] == "running"


def test_a_process_of_its_own_takes_no_longer_than_is_left(tmp_path):
    never = "import threading; threading.Event().wait()"
    with pytest.raises(CutOff, match=r"^its process was not finished after 0 s$"):
        plan.output("-c", never, seconds=0.0)
    found = measured(tmp_path, counted("a", [], fails=CutOff("its process")))
    assert found["a"][:2] == ("cut off", "its process")
    calls = []
    measured(tmp_path, counted("a", calls), counted("b", calls))
    assert calls == ["b", "a"]


def test_what_is_absent_is_left_out_with_a_word(tmp_path):
    absent = counted("a", [], fails=Absent("PyTorch is not installed"))
    found = measured(tmp_path, absent)
    assert found["a"][:2] == ("left out", "PyTorch is not installed")


def test_the_budget_leaves_out_what_no_longer_fits_by_the_pace_so_far(tmp_path):
    calls, clock = [], Clock()
    slow = counted("slow", calls, seconds=60, takes=180.0, clock=clock)
    # 60 trusted seconds and 60 that took 180: everything takes twice as long
    long, short = (counted(f"{n}", calls, seconds=n) for n in (100, 50))
    found = measured(tmp_path, slow, long, short, seconds=300.0, clock=clock)
    assert calls == ["slow", "50"]
    assert found["100"] == ("left out", "expected to take 200 s, 120 s are left", [])
    lines = (tmp_path / ledger.LOG).read_text().splitlines()
    assert lines == [
        " 180.0 s  slow: done in 180.0 s",
        " 180.0 s  100: left out, expected to take 200 s, 120 s are left",
        " 180.0 s  50: done in 0.0 s",
    ]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"device": "h100"}, "device 'gpu', not 'h100'"),
        ({"versions": {"jax": "1"}}, "versions {'jax': '0'}, not {'jax': '1'}"),
        ({"size": "full"}, "size 'smoke', not 'full'"),
    ],
)
def test_one_file_holds_one_device_with_one_set_of_versions(tmp_path, changed, told):
    measured(tmp_path, counted("a", []))
    with pytest.raises(InputError) as error:
        Ledger(tmp_path, ABOUT | changed)
    rule = f"--out: holds what was measured with {told}; give another folder."
    assert str(error.value) == rule
    Ledger(tmp_path, ABOUT | {"commit": "another"})


def test_names_are_unique_and_every_mapping_and_convolution_is_trained(monkeypatch):
    new = (*plan.MAPPINGS, "new")
    monkeypatch.setattr(plan, "MAPPINGS", new)
    for size in (FULL, SMOKE):
        names = [one.name for one in plan.measurements(size, "")]
        assert len(names) == len(set(names))
        words = {word for name in names for word in name.split("/")}
        assert words >= {
            "lax",
            "patches",
            "float32",
            "bfloat16",
            *new,
            *training.WORKLOADS,
        }
        assert words >= {"optimizers", "init_scale", *parts.NORMS, *parts.CONVOLUTIONS}


def test_the_ways_that_are_worth_most_fit_nine_minutes_as_expected():
    first, total = set(), 0.0
    for one in plan.measurements(FULL, ""):
        total += one.seconds
        if total <= 540 - 10 - deadline.GRACE - deadline.LAST:
            first.add(one.name)
    assert {"ceilings", "agreement/mlp", "agreement/cnn"} <= first
    assert {"study/optimizers", "study/init_scale", "pytorch/default/default"} <= first
    assert {f"norm/{name}" for name in parts.NORMS} <= first
    lanes = {f"training/mlp-sgd/{10**i}/vmap/auto/default" for i in range(4)}
    assert lanes <= first


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """What a run at the small size leaves, of one measurement of each kind."""
    folder = tmp_path_factory.mktemp("smoke")
    kinds = "ceilings", "agreement/mlp", "norm/rms", "convolution/patches"
    kinds += ("training/mlp-sgd/2/map/auto/float32", "training/mlp-sgd/2")
    wanted = [x for x in plan.measurements(SMOKE, "") if x.name.startswith(kinds)]
    with jax.numpy_rank_promotion("allow"):  # flax' norms
        measured(folder, *wanted)
    return folder


def test_each_kind_gives_plain_rows_with_units(smoke):
    content = json.loads((smoke / ledger.CONTENT).read_text())
    assert set(content) == {"about", "measurements"}
    for name, entry in content["measurements"].items():
        assert entry["status"] == "done", (name, entry["reason"])
        assert set(entry) == {
            *("table", "status", "reason", "expected_seconds", "commit"),
            *("seconds", "rows"),
        }
        assert entry["table"] in tables.TITLES
        for row in entry["rows"]:
            assert {type(x) for x in row.values()} <= {
                *(str, int, float, bool, list, type(None))
            }
            if entry["table"] != "agreement":
                low, middle, high = (
                    row[f"{bound}seconds"] for bound in ("least_", "", "most_")
                )
                assert 0 < low <= middle <= high
                assert row["compile_seconds"] > 0


def test_the_table_has_each_kind_with_its_share_of_the_limits(smoke):
    text = tables.markdown(ledger.read(smoke))
    shown = [line.removeprefix("### ") for line in text.splitlines() if "###" in line]
    assert shown == [
        tables.TITLES[x]
        for x in ("ceilings", "agreement", "training", "norms", "convolutions")
    ]
    for block in text.split("### ")[1:]:
        heads, bar, *rows = (x for x in block.splitlines() if x.startswith("|"))
        assert {line.count("|") for line in (bar, *rows)} == {heads.count("|")}
    assert text.count("share of products") == 2  # training, convolutions
    assert text.count("share of copy") == 1


def test_pytorch_is_compared_at_the_same_precision_and_at_its_fastest():
    row = {"workload": "resnet20-sgd", "images_per_second": 1.0}
    entry = lambda table, *rows: {"table": table, "rows": [row | x for x in rows]}
    ours = {"lanes": 10, "images_per_second": 12.0}
    content = {
        "measurements": {
            "slow": entry("pytorch", {"products": "default", "images_per_second": 4.0}),
            "slower": entry("pytorch", {"products": "default"}),
            "half": entry("pytorch", {"products": "bfloat16"}),
            "ours": entry("training", ours | {"products": "default"}),
            "exact": entry("training", ours | {"products": "float32"}),
        }
    }
    rows = tables.rows_of(content, "training")
    compared = tables.with_shares(rows, content)
    assert [x.get("times_pytorch") for x in compared] == [3.0, None]


def test_a_device_that_rounds_more_is_outside_of_the_budget(monkeypatch):
    """The counter-case: factors of 8 bits. In float32 the same program is within."""
    runs, right = [], agreement.second_epoch

    def rounded(keys, settings, data, program, *where):
        runs.append(program)
        again = "float32" if len(runs) == 1 else "bfloat16"
        return right(keys, settings, data, program._replace(precision=again), *where)

    exact, _ = agreement.agreement_rows("mlp-sgd", SMOKE)
    assert exact["within"]
    monkeypatch.setattr(agreement, "second_epoch", rounded)
    row, _ = agreement.agreement_rows("mlp-sgd", SMOKE)
    assert row["loss_difference"] > row["loss_budget"] == exact["loss_budget"]
    assert row["weights_difference"] > row["weights_budget"]
    assert not row["within"]


def test_weights_are_moved_by_a_unit_at_most_and_those_of_the_first_lane_not():
    params = {"kernel": np.linspace(-2, 2, 5 * 70, dtype=np.float32).reshape(5, 70)}
    state = TrainState(np.zeros(5), params, {}, (), np.zeros(5))
    (moved,) = (x for x in agreement.moved_weights(state) if x.ndim == 2)
    units = np.abs(moved - params["kernel"]) / np.spacing(np.abs(params["kernel"]))
    assert np.all(units[0] == 0)
    assert set(np.unique(units[1:])) <= {0, 1, 2}  # of 1 to 2, in units of the weight
    assert np.any(units[1:])


def test_the_error_of_products_tells_how_they_are_multiplied():
    """A factor is rounded by 2^-9 at most in bfloat16, and the product once more."""
    errors = {
        row["products"]: row["relative_error"]
        for row in parts.ceilings(SMOKE)
        if row["products"] != "copy"
    }
    assert errors["float32"] <= SMOKE.matrix**0.5 * 2**-24
    assert 2**-11 < errors["bfloat16"] <= 3 * 2**-9


def test_operations_are_those_of_the_products():
    work = training.WORKLOADS["mlp-sgd"]
    program = training.program_for(work, training.Setup(1), 1, FULL)
    products = 784 * 128, 128 * 128, 128 * 10
    operations = ours.image_operations(program.model, (28, 28, 1))
    assert operations == 2 * (3 * sum(products) - products[0])


def test_pytorch_trains_the_network_of_the_workload():
    torch = pytest.importorskip("torch")
    program = training.program_for(
        training.WORKLOADS["resnet20-sgd"], training.Setup(1), 1, FULL
    )
    init = lambda key, x: program.model.init(key, x, train=False)["params"]
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    params = jax.eval_shape(init, jax.random.key(0), image)
    number = sum(x.size for x in jax.tree.leaves(params))
    options = {"steps": 1, "batch": 2, "repeats": 1, "device": "cpu", "mode": "eager"}
    flags = [f"--{name}={value}" for name, value in options.items()]
    row = json.loads(plan.output("-m", "benchmarks.accelerator.peer", *flags))
    assert row["parameters"] == number
    assert row["images_per_second"] == pytest.approx(2 / row["seconds"])
    assert row["library"] == f"PyTorch {torch.__version__}"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "error: give either --out or --table"),
        (
            ["--out={folder}", "--only=trainings/"],
            "--only='trainings/': must be how the name of a measurement begins; "
            "did you mean 'training'?",
        ),
        (
            ["--out={folder}", "--minutes=nan"],
            "--minutes=nan: must be from 0.5 to 1440; leave it out for nine.",
        ),
        (
            ["--table={folder}"],
            "--table='{folder}': must hold accelerator.json; measure first: "
            "python -m benchmarks.accelerator --out {folder}.",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(tmp_path, words, told):
    words = [word.format(folder=tmp_path) for word in words]
    command = [sys.executable, "-m", "benchmarks.accelerator", *words]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1].endswith(told.format(folder=tmp_path))
