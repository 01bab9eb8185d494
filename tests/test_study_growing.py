"""A study grows and goes on: only what is missing is trained, to the same bits."""

import contextlib
import functools
import shutil
import types

import flax.linen as nn
import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

import normjax
from normjax import launcher
from normjax.errors import InputError
from normjax.study import checkpoints, claims, groups, memory, plan, run, train
from normjax.study.interrupts import Interrupts
from normjax.study.record import complete_arms, read_record

pytestmark = pytest.mark.compiled_as_users_do  # it is about bits

SMALL = {"num_seeds": 3, "num_epochs": 3, "batch_size": 256, "model": {"widths": (8,)}}
RATE = {"learning_rate": (0.1,)}


BROKEN: list[str] = []  # what the norm below raises, while an arm trains


class Raises(nn.Module):
    """A norm whose error shows only after the study was planned."""

    @nn.compact
    def __call__(self, x, train: bool):
        if train and BROKEN:
            raise ValueError(BROKEN[0])
        return x


def unstable(learning_rate: float = 0.1, limit: float = 1e30):
    """SGD that is nan for the settings whose `limit` is 0."""

    def update(updates, state, params=None):
        bad = np.float32(limit) if isinstance(limit, float) else limit
        return jax.tree.map(lambda g: -learning_rate * g / bad * bad, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def config(**choices):
    return normjax.config(**SMALL | {"settings": RATE} | choices)


def complete(workdir, *, interrupts=None, only=(), **choices):
    """The record after a run, and the arms that failed."""
    study = plan.study(config(**choices))
    failed = run.complete(study, workdir, quiet=True, interrupts=interrupts, arms=only)
    return read_record(workdir), failed


def numbers(record):
    return [x.drop(columns="seconds", errors="ignore") for x in (record[3], record[4])]


def same(a, b) -> bool:
    tables = all(x.equals(y) for x, y in zip(numbers(a), numbers(b)))
    curves = all(np.array_equal(a.curves[k], b.curves[k]) for k in b.curves)
    return tables and curves and a.curves.keys() == b.curves.keys()


def group_files(workdir) -> set[str]:
    return {path.name for path in (workdir / groups.FOLDER).glob("*.npz")}


TWO = {"arms": {"norm": ("batch", "none")}}
WHOLE = TWO | {"settings": {"learning_rate": (0.1, 0.2)}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two arms, three seeds, two settings, trained at once."""
    return complete(tmp_path_factory.mktemp("whole"), **WHOLE)[0]


def test_seeds_arms_and_settings_that_are_added_give_the_study_at_once(whole, tmp_path):
    """Every step trains what is new, and no file that was there is touched."""
    steps = (
        {"arms": {"norm": ("batch",)}, "num_seeds": 1},
        {"arms": {"norm": ("batch",)}, "num_seeds": 2},
        TWO | {"num_seeds": 2},
        TWO,
        WHOLE,
    )
    before: set[str] = set()
    for step, lanes in zip(steps, (1, 2, 4, 6, 12)):
        record, _ = complete(tmp_path, **step)
        assert len(record.networks) == lanes
        assert before < group_files(tmp_path)
        before = group_files(tmp_path)
    assert same(record, whole)
    record, _ = complete(tmp_path, **WHOLE)
    assert group_files(tmp_path) == before
    record, _ = complete(tmp_path, **WHOLE | {"num_seeds": 1})
    assert list(record.networks["seed"]) == [0] * 4
    assert group_files(tmp_path) == before


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_size_of_a_group_changes_no_bit(whole, tmp_path, size):
    record, _ = complete(tmp_path, **WHOLE | {"lanes_per_group": size})
    assert len(group_files(tmp_path)) == 2 * -(-6 // size)
    assert same(record, whole)


def test_lanes_in_bundles_grow_to_the_same_bits_too(tmp_path):
    """A bundle of two that lacks a lane is padded: it is the same program."""
    bundled = {"arms": {"norm": ("batch",)}, "mapping": "map-2"}
    at_once, _ = complete(tmp_path / "at_once", **bundled)
    for number in (1, 3):
        record, _ = complete(tmp_path / "grown", **bundled, num_seeds=number)
    assert same(record, at_once)
    assert list(record.networks["mapping"]) == ["map-2"] * 3


def test_what_decides_no_number_is_no_reason_to_train_again(tmp_path, monkeypatch):
    complete(tmp_path, **TWO)
    monkeypatch.setattr(run, "train_group", None)  # a call would raise
    others = {"question": "Why?", "target_accuracy": 0.5, "study": "other"}
    record, _ = complete(tmp_path, **TWO, **others, baseline={"norm": "none"})
    assert record.record["question"] == "Why?"
    assert record.record["baseline"] == {"norm": "none"}


@pytest.mark.parametrize(
    "change",
    [
        {"num_epochs": 2},
        {"root_seed": 1},
        {"batch_size": 128},
        {"data": {"num_train": 300}},
        {"model": {"widths": (9,)}},
        {"arms": {"norm": ("layer",)}},
        {"settings": {"learning_rate": (0.3,)}},
        {"settings": RATE | {"clip_norm": (0.1,)}},
        {"schedule": "cosine"},
    ],
)
def test_what_decides_numbers_gives_other_networks(tmp_path, change):
    """More epochs too: they are trained anew, and the old networks are kept."""
    one = {"num_seeds": 1, "arms": {"norm": ("none",)}}
    complete(tmp_path, **one)
    before = group_files(tmp_path)
    complete(tmp_path, **one | change)
    assert before < group_files(tmp_path)


def test_arms_that_are_the_same_network_are_trained_once(tmp_path):
    """A protocol that changes nothing about an arm shares its networks."""
    record, _ = complete(
        tmp_path,
        protocols={"mine": {"norm": {"batch": "layer"}}},
        arms={"protocol": ("corrected", "mine"), "norm": ("batch", "none")},
    )
    ids = {name: entry["id"] for name, entry in record.record["arms"].items()}
    assert ids["corrected-none"] == ids["mine-none"]
    assert len(set(ids.values())) == len(group_files(tmp_path)) == 3
    assert len(record.networks) == 12


class Asks(Interrupts):
    """Asks to stop when it is looked at for the n-th time, without any signal."""

    def __init__(self, n: int) -> None:
        self.left = n

    @property
    def code(self) -> int:
        self.left -= 1
        return 130 if self.left <= 0 else 0

    @contextlib.contextmanager
    def deferred(self):
        yield


@pytest.mark.parametrize("looks", [1, 2, 3])
def test_a_group_that_is_stopped_goes_on_from_its_checkpoint(whole, tmp_path, looks):
    """At the end of every epoch but the last, in either arm; the bits are the same."""
    with pytest.raises(train.Stopped):
        complete(tmp_path, interrupts=Asks(looks), **WHOLE)
    begun, broken = checkpoints.pending(tmp_path)
    assert broken == []
    (checkpoint,) = begun
    assert checkpoint.about["epoch"] == (looks - 1) % 2 + 1
    record, _ = complete(tmp_path, **WHOLE)
    assert same(record, whole)
    assert checkpoints.pending(tmp_path) == ([], [])


def test_a_schedule_goes_on_where_it_was_stopped(tmp_path):
    """The number of steps is in the optimizer's state, and so in the checkpoint."""
    warmed = {"num_seeds": 1, "schedule": "warmup_cosine"}
    at_once, _ = complete(tmp_path / "at once", **warmed)
    with pytest.raises(train.Stopped):
        complete(tmp_path / "stopped", interrupts=Asks(2), **warmed)
    record, _ = complete(tmp_path / "stopped", **warmed)
    assert same(record, at_once)


def test_a_checkpoint_after_every_epoch_changes_nothing(whole, tmp_path, monkeypatch):
    saved = []
    save = checkpoints.save
    monkeypatch.setattr(
        checkpoints, "save", lambda *x, **y: saved.append(y["epoch"]) or save(*x, **y)
    )
    monkeypatch.setattr(train, "SHARE", np.inf)
    record, _ = complete(tmp_path, **WHOLE | {"checkpoint_seconds": 0.0})
    assert saved == [1, 2] * 2
    assert same(record, whole)


def test_a_damaged_checkpoint_is_set_aside_and_its_group_trained_again(
    whole, tmp_path, capsys
):
    with pytest.raises(train.Stopped):
        complete(tmp_path, interrupts=Asks(2), **WHOLE)
    (checkpoint,) = (tmp_path / "checkpoints").glob("*/2")
    files = [x for x in (checkpoint / "arrays").rglob("*") if x.is_file()]
    largest = max(files, key=lambda x: x.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 4
    largest.write_bytes(content)
    run.complete(plan.study(config(**WHOLE)), tmp_path)
    moved = tmp_path / "checkpoints" / "damaged"
    (aside,) = moved.iterdir()
    assert f"damaged: {checkpoint} was moved to {aside}" in capsys.readouterr().out
    assert same(read_record(tmp_path), whole)


def change_about(path, old, new):
    """Another text of the same length in the about.json of a checkpoint."""
    text = (path / "about.json").read_text()
    assert text.count(old) == 1
    (path / "about.json").write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"), [('"epoch": 2', '"epoch": 1'), ('"lanes"', '"lames"')]
)
def test_what_a_checkpoint_says_of_itself_is_checked(whole, tmp_path, old, new):
    with pytest.raises(train.Stopped):
        complete(tmp_path, interrupts=Asks(2), **WHOLE)
    (path,) = (tmp_path / "checkpoints").glob("*/2")
    change_about(path, old, new)
    record, failed = complete(tmp_path, **WHOLE)
    assert failed == {}
    assert same(record, whole)
    assert len(list((tmp_path / "checkpoints" / "damaged").iterdir())) == 1


def test_a_checkpoint_in_the_place_of_another_is_damaged(whole, tmp_path):
    with pytest.raises(train.Stopped):
        complete(tmp_path, interrupts=Asks(2), **WHOLE)
    (group,) = (tmp_path / "checkpoints").iterdir()
    group.rename(group.with_name(group.name[:-1] + "x"))
    record, _ = complete(tmp_path, **WHOLE)
    assert same(record, whole)


def test_checkpoints_of_networks_that_are_trained_are_removed(tmp_path):
    """Begun with three seeds, gone on with one, then with three."""
    with pytest.raises(train.Stopped):
        complete(tmp_path, interrupts=Asks(1), **TWO)
    complete(tmp_path, **TWO | {"num_seeds": 1})
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    complete(tmp_path, **TWO)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    """And nothing of somebody else, whatever its name."""
    complete(tmp_path, **TWO)
    theirs = [tmp_path / ".mine.part", tmp_path / "mine" / ".x.npz.7.part"]
    ours = [
        tmp_path / "networks" / ".x.npz.7.part",
        tmp_path / ".record.json.7.part",
        tmp_path / "earlier" / "0a" / ".record.json.7.part",
        tmp_path / "earlier" / "0a" / "networks" / ".x.npz.7.part",
        tmp_path / "checkpoints" / "group" / ".2.7.part" / "arrays",
    ]
    for path in (*theirs, *ours):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    complete(tmp_path, **TWO)
    assert [path.exists() for path in (*theirs, *ours)] == [True] * 2 + [False] * 5
    assert not ours[-1].parent.exists()


def test_a_checkpoint_that_the_disk_does_not_hold_is_one_line(tmp_path, monkeypatch):
    """Orbax passes it on as a ValueError; it is no failure of the arm."""

    class Full:
        def save(self, *_):
            raise ValueError("RESOURCE_EXHAUSTED: No space left on device")

    monkeypatch.setattr(ocp, "Checkpointer", lambda *_: contextlib.nullcontext(Full()))
    with pytest.raises(InputError) as caught:
        complete(tmp_path, interrupts=Asks(1), **TWO)
    (group,) = (tmp_path / "checkpoints").iterdir()
    assert str(caught.value) == (
        f"{group}: cannot be written (ValueError: RESOURCE_EXHAUSTED: No space left on"
        " device); make room or allow it, or give another workdir."
    )
    assert groups.failures(tmp_path) == {}


def test_a_folder_that_is_removed_meanwhile_is_one_line(tmp_path, monkeypatch):
    begin = run.train_group

    def removed(*arguments):
        shutil.rmtree(tmp_path / "run")
        begin(*arguments)

    monkeypatch.setattr(run, "train_group", removed)
    with pytest.raises(InputError) as caught:
        complete(tmp_path / "run", **TWO)
    assert str(caught.value) == (
        f"{tmp_path / 'run' / 'networks'}: must be a folder and cannot be made one (No"
        " such file or directory); move what is there or allow it, or give another"
        " workdir."
    )
    assert not (tmp_path / "run").exists()


def test_a_damaged_record_is_set_aside_with_a_line(whole, tmp_path, capsys):
    complete(tmp_path, **WHOLE)
    path = tmp_path / "record.json"
    path.write_text(path.read_text().replace('"seeds"', '"seats"'))
    run.complete(plan.study(config(**WHOLE)), tmp_path)
    assert f"damaged: {path} was moved to {path}.damaged" in capsys.readouterr().out
    assert same(read_record(tmp_path), whole)


def test_a_second_process_is_refused_before_it_writes_anything(tmp_path):
    complete(tmp_path, **TWO)
    before = (tmp_path / "record.json").read_bytes()
    with (
        claims.claim(tmp_path / "locks", "study"),
        pytest.raises(InputError, match=r"^workdir=.*: must be free, and process "),
    ):
        complete(tmp_path, **TWO, question="Mine?")
    assert (tmp_path / "record.json").read_bytes() == before


def test_a_damaged_group_is_set_aside_and_trained_again(whole, tmp_path, capsys):
    complete(tmp_path, **WHOLE)
    before = group_files(tmp_path)
    path = tmp_path / groups.FOLDER / min(before)
    path.write_bytes(path.read_bytes()[:-7])
    run.complete(plan.study(config(**WHOLE)), tmp_path)
    aside = tmp_path / groups.FOLDER / "damaged" / path.name
    assert f"damaged: {path} was moved to {aside}" in capsys.readouterr().out
    assert aside.exists()
    assert len(group_files(tmp_path) & before) == 1
    assert same(read_record(tmp_path), whole)


def test_an_arm_that_fails_is_recorded_and_the_others_run(tmp_path, monkeypatch):
    """The same again tries it again; what is mended is no failure any more."""
    name = f"{__name__}.Raises"
    study = plan.study(config(arms={"norm": ("none", name, "batch")}))
    monkeypatch.setitem(globals(), "BROKEN", ["not today\nsecond line"])
    for _ in range(2):
        failed = run.complete(study, tmp_path, quiet=True)
        assert failed == {name: "ValueError: not today"}
        record = read_record(tmp_path).record
        assert complete_arms(record) == ("none", "batch")
        entry = record["arms"][name]
        assert (entry["status"], entry["failure"]) == ("failed", failed[name])
    monkeypatch.setitem(globals(), "BROKEN", [])
    assert run.complete(study, tmp_path, quiet=True) == {}
    assert read_record(tmp_path).record["arms"][name]["status"] == "complete"
    assert groups.failures(tmp_path) == {}


def test_a_run_from_python_warns_of_an_arm_that_fails(tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("not today")

    monkeypatch.setattr(run, "train_group", fail)
    message = r"^arm none could not be trained: ValueError: not today$"
    with pytest.warns(UserWarning, match=message):
        normjax.run(config(arms={"norm": ("none",)}), tmp_path)


def test_where_every_arm_fails_the_launcher_says_why(tmp_path, monkeypatch):
    """In the words of the user's own error, which jax wraps into a traceback."""
    head = "INTERNAL: error calling callback: Traceback (most recent call last):"
    text = f'{head}\n  File "mine.py", line 3, in f\nOSError: disk on fire\nto ashes'
    monkeypatch.setattr(run, "train_group", functools.partial(fail, text))
    monkeypatch.setattr(launcher.devices, "configure", lambda: None)
    arms = {"norm": ("none", "batch")}
    flags = types.SimpleNamespace(
        config=config(arms=arms),
        arms="",
        dry_run=False,
        until="",
        max_seeds=9,
        export="",
        export_as="networks",
    )
    for flags.until in ("", "decided"):
        failed = launcher.launch(flags, tmp_path, None, Interrupts(str))
        assert launcher.failures(failed, tmp_path) == [
            "failed: none: OSError: disk on fire",
            "failed: batch: OSError: disk on fire",
            "no network is trained, so there is no page; the same command goes on",
        ]


def fail(text, *_):
    raise jax.errors.JaxRuntimeError(text)


def test_a_lane_that_is_nan_freezes_alone(tmp_path):
    """Beside it the others are what they are without it, to the bit."""
    arms = {"optimizer": (f"{__name__}.unstable",)}
    fine = {"learning_rate": (0.1,), "limit": (1e30,)}
    alone, _ = complete(tmp_path / "alone", arms=arms, settings=fine)
    both = fine | {"limit": (1e30, 0.0)}
    record, failed = complete(tmp_path / "both", arms=arms, settings=both)
    assert failed == {}
    lost = record.networks["limit"] == 0
    assert list(record.networks[lost]["diverged_at_step"]) == [1] * 3
    for old, new in zip(numbers(alone), numbers(record)):
        kept = new[new["limit"] != 0].reset_index(drop=True)
        assert kept.equals(old)


@pytest.mark.parametrize("most", [1, 2])
def test_a_group_that_memory_does_not_hold_is_trained_in_halves(
    whole, tmp_path, monkeypatch, most
):
    """As XLA says it, until a group of so many lanes fits."""
    train_group, tried = run.train_group, []

    def small(study, work, *rest):
        tried.append(len(work.lanes))
        if len(work.lanes) > most:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return train_group(study, work, *rest)

    monkeypatch.setattr(run, "train_group", small)
    record, failed = complete(tmp_path, **WHOLE)
    assert failed == {}
    assert tried[:2] == [6, 3]
    assert same(record, whole)


def test_one_lane_that_memory_does_not_hold_is_a_failure(tmp_path, monkeypatch):
    def none(*_):
        raise MemoryError

    monkeypatch.setattr(run, "train_group", none)
    record, failed = complete(tmp_path, **TWO)
    assert failed == {"batch": "MemoryError", "none": "MemoryError"}
    assert record.networks.empty


def test_lanes_are_divided_into_groups_that_fit(monkeypatch):
    study = plan.study(config(**WHOLE))
    needs = memory.lane_needs(study.arms[0], study.data)
    state = 64 * 8 + 8 + 8 * 10 + 10 + 4 * 8  # weights, biases, norm and its statistics
    assert needs.kept >= 2 * 4 * state
    fixed = memory.tree_bytes(study.data) + needs.working * len(jax.devices())
    for lanes in (1, 7, 40):
        free = (fixed + (lanes + 0.5) * needs.kept) / memory.USABLE
        monkeypatch.setattr(memory, "free_bytes", lambda free=free: free)
        assert memory.lanes_that_fit(study.arms[0], study.data) == lanes
        size = memory.lanes_per_group(study.arms[0], study.data, 41)
        assert size == {1: 1, 7: 7, 40: 21}[lanes]
    least = memory.least_needed(study.arms[0], study.data)
    assert least >= 3 * 4 * (state - 2 * 8)  # without the statistics
    monkeypatch.setattr(memory, "free_bytes", lambda: least)
    assert memory.lanes_that_fit(study.arms[0], study.data) == 1
    memory.check_fits(study.arms[0], study.data)


def test_a_failure_that_is_damaged_is_none(tmp_path):
    complete(tmp_path, **TWO)
    (tmp_path / "failed").mkdir()
    (tmp_path / "failed" / "0123456789abcdef.json").write_text("rubbish")
    assert complete(tmp_path, **TWO)[1] == {}


def test_a_part_of_the_arms_is_trained(tmp_path):
    record, _ = complete(tmp_path, only=("none",), **TWO)
    assert set(record.networks["arm"]) == {"none"}
    assert record.record["arms"]["batch"]["status"] == "missing"
    with pytest.raises(InputError) as caught:
        complete(tmp_path, only=("bach",), **TWO)
    assert str(caught.value) == (
        "arms='bach': must be one of batch, none; did you mean 'batch'?"
    )
