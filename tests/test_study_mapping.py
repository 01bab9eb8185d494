"""The way in which lanes are computed: given, kept, remembered, measured, recorded."""

import json
import pathlib

import jax
import numpy as np
import pytest

import normjax
from normjax.study import forecast, mapping, memory, plan, run, timings
from normjax.study.interrupts import Interrupts
from normjax.study.record import read_record
from normjax.study.timings import Timing, Way
from normjax.study.train import Stopped
from normjax.study.work import Work, units, work_of

SMALL = {"num_seeds": 2, "num_epochs": 1, "batch_size": 256, "model": {"widths": (8,)}}
CNN = {"model": {"name": "cnn", "widths": (4,), "convolution": "auto"}}
BUNDLED = Way("map-2")


class Clock:
    """Says what is fastest, and notes who asked."""

    def __init__(self):
        self.steps = {Way("map"): 2.0, BUNDLED: 1.0}  # seconds by way
        self.whole = True
        self.asked: list[int] = []  # lanes

    def measured(self, study, arm, number, num_steps):
        """In the place of `timings.measured`."""
        del study, arm, num_steps
        self.asked.append(number)
        return {way: Timing(3.0, x, x) for way, x in self.steps.items()}, self.whole


@pytest.fixture
def clock(tmp_path, monkeypatch):
    """Every run is worth measuring, and a clock of ours does."""
    ours = Clock()
    monkeypatch.setenv("NORMJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mapping, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(timings, "measured", ours.measured)
    return ours


def study_of(**choices):
    return plan.study(normjax.config(**{"mapping": "fastest"} | SMALL | choices))


def complete(workdir, **choices):
    """The record after a quiet run by the fastest way, unless another is chosen."""
    assert run.complete(study_of(**choices), workdir, quiet=True) == {}
    return read_record(workdir)


def way_in(workdir, *, measure=True, **choices) -> str:
    """The mapping of an arm that would be trained now."""
    study = study_of(**choices)
    study, (arm,), _ = mapping.with_ways(study, workdir, study.arms, measure=measure)
    assert study.arms[0].program == arm.program
    return arm.program.mapping


def cached(tmp_path) -> list[pathlib.Path]:
    return sorted((tmp_path / "cache" / "mappings").glob("*"))


def test_the_fastest_way_is_recorded_and_kept(clock, tmp_path):
    """By its networks: also where the cache is gone, and the clock says another.

    One that is given is taken, and kept then; the first file by name tells it.
    """
    folder = tmp_path / "run"
    entry = complete(folder).record["arms"]["none"]
    assert entry["mapping"] == "map-2"
    assert entry["step_seconds"] == {"map": 2.0, "map-2": 1.0}
    (path,) = cached(tmp_path)
    path.unlink()
    clock.steps = {Way("map"): 1.0}
    assert way_in(folder, mapping="auto", num_seeds=3) == "map-2"
    assert way_in(folder, mapping="vmap", num_seeds=3) == "vmap"
    record = complete(folder, num_seeds=3)
    assert list(record.networks["mapping"]) == ["map-2"] * 3
    assert clock.asked == [2]


def test_networks_of_another_device_decide_nothing(clock, tmp_path, monkeypatch):
    complete(tmp_path / "run", mapping="vmap")
    assert way_in(tmp_path / "run", num_seeds=3) == "vmap"
    there = mapping.environment() | {"device": "another"}
    monkeypatch.setattr(mapping, "environment", lambda: there)
    assert way_in(tmp_path / "run", num_seeds=3) == "map-2"
    assert clock.asked == [1]


def test_a_group_that_was_begun_goes_on_in_its_way(clock, tmp_path):
    """It was stopped before any network was finished."""
    interrupts = Interrupts(str)
    interrupts.code = 143
    study = study_of(num_epochs=2, checkpoint_seconds=0.0)
    with pytest.raises(Stopped):
        run.complete(study, tmp_path / "run", quiet=True, interrupts=interrupts)
    clock.steps = {Way("map"): 1.0}
    for path in cached(tmp_path):
        path.unlink()
    assert way_in(tmp_path / "run", num_epochs=2) == "map-2"
    assert clock.asked == [2]


def test_what_was_measured_is_remembered_by_all_that_speed_depends_on(clock, tmp_path):
    way_in(tmp_path)
    (path,) = cached(tmp_path)
    known = json.loads(path.read_text())
    assert known["ways"][1] == {
        "mapping": "map-2",
        "convolution": "",
        "compile_seconds": 3.0,
        "step_seconds": 1.0,
        "least_step_seconds": 1.0,
    }
    assert known["of"]["lanes_per_device"] == 1
    assert known["of"]["jax"] == jax.__version__
    for same in (
        {"root_seed": 1},
        {"num_epochs": 2},
        {"settings": {"momentum": (0.5,)}},
    ):
        assert way_in(tmp_path, **same) == "map-2"
        assert len(clock.asked) == 1
    misses = {"num_seeds": 3}, {"batch_size": 128}, {"arms": {"optimizer": "adam"}}
    for number, other in enumerate(misses, 2):
        way_in(tmp_path, **other)
        assert len(clock.asked) == number


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"of": 1}', '"map-2"', '"step_seconds": 2.0']
)
def test_a_damaged_cache_is_measured_again(clock, tmp_path, text):
    way_in(tmp_path)
    (path,) = cached(tmp_path)
    good = path.read_text()
    broken = {'"map-2"': '"map-0"', '"step_seconds": 2.0': '"step_seconds": null'}
    path.write_text(good.replace(text, broken[text]) if text in broken else text)
    assert way_in(tmp_path) == "map-2"
    assert len(clock.asked) == 2
    assert path.read_text() == good


def test_a_cache_that_cannot_be_written_costs_the_measurement_only(
    clock, tmp_path, monkeypatch
):
    study = study_of()
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("NORMJAX_CACHE", str(tmp_path / "file"))
    for number in (1, 2):
        _, (arm,), _ = mapping.with_ways(study, tmp_path, study.arms)
        assert arm.program.mapping == "map-2"
        assert len(clock.asked) == number


def test_a_longer_run_measures_what_a_shorter_one_did_not(clock, tmp_path):
    """A way takes three seconds to compile, two networks of four steps take sixteen:
    5% of that are too few, and enough of a hundred epochs.
    """
    clock.whole = False
    for num_epochs, number in ((1, 1), (1, 1), (100, 2)):
        way_in(tmp_path, num_epochs=num_epochs)
        assert len(clock.asked) == number


@pytest.mark.parametrize("asked", ["auto", "map", "fastest"])
def test_nothing_is_measured_where_it_cannot_pay(clock, tmp_path, monkeypatch, asked):
    """`auto` on a CPU keeps the bits; a mapping is given; or the run is short."""
    if asked == "fastest":
        monkeypatch.setattr(mapping, "LEAST_SECONDS", 60.0)
    assert way_in(tmp_path, mapping=asked) == "map"
    assert (clock.asked, cached(tmp_path)) == ([], [])


def test_a_timing_that_fails_leaves_the_usual_way(clock, tmp_path, monkeypatch):
    def fail(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(timings, "measured", fail)
    assert way_in(tmp_path) == "map"
    assert cached(tmp_path) == []


def test_the_convolution_that_is_fastest_is_recorded_and_kept(clock, tmp_path):
    clock.steps = {Way("map"): 2.0, Way("map", "lax"): 1.0}
    for number in (1, 2):
        record = complete(tmp_path / "run", **CNN, num_seeds=number)
        entry = record.record["arms"]["none"]
        assert entry["convolution"] == "lax"
        assert entry["convolutions"] == {"conv_0": "lax"}
    assert clock.asked == [1]
    usual = complete(tmp_path / "usual", **CNN, mapping="map")
    ids = {x.record["arms"]["none"]["id"] for x in (record, usual)}
    assert len(ids) == 1
    found, right = (x.networks["train_loss"].to_numpy() for x in (record, usual))
    np.testing.assert_allclose(found, right, rtol=1e-5)


def test_a_convolution_that_does_not_suit_is_recorded_as_what_runs(clock, tmp_path):
    clock.steps = {Way("map"): 2.0, Way("map", "winograd"): 1.0}
    for size, name in ((3, "winograd"), (5, "images")):
        study = study_of(model=CNN["model"] | {"kernel_size": size})
        _, (arm,), _ = mapping.with_ways(study, tmp_path, study.arms)
        assert arm.convolution == "winograd"
        assert arm.convolutions == {"conv_0": name}


def test_a_dry_run_measures_nothing_and_knows_what_was(clock, tmp_path):
    folder = tmp_path / "none"
    assert way_in(folder, measure=False) == "map"
    assert clock.asked == []
    study = study_of()
    for measure in (True, False):
        _, (arm,), lines = mapping.with_ways(study, folder, study.arms, measure=measure)
        assert arm.program.mapping == "map-2"
        assert lines == [
            "mapping: none: map-2 (microseconds per network and step: map 2,000,000,"
            " map-2 1,000,000)"
        ]
    assert clock.asked == [2]
    assert not folder.exists()


@pytest.mark.parametrize(
    ("step", "least", "way"),
    [(1.06, 1.06, BUNDLED), (1.04, 1.06, Way("map")), (1.06, 1.04, Way("map"))],
)
def test_a_way_must_be_faster_by_more_than_a_margin(step, least, way):
    """In the median and in the least."""
    found = {Way("map"): Timing(1.0, step, least), BUNDLED: Timing(1.0, 1.0, 1.0)}
    assert timings.chosen(found) == way


def test_ways_are_timed_while_they_are_worth_their_compilation():
    """None but the usual one for a single step, all of them for a long run."""
    study = plan.study(normjax.config(**SMALL | {"num_seeds": 16}))
    ways = timings.mapped_ways(study.arms[0], 16)
    assert list(map(str, ways)) == ["map", "map-4", "map-8"]
    for num_steps, number in ((1, 1), (10**12, len(ways))):
        found = timings.timed(study, study.arms[0], ways, 16, num_steps)
        assert list(found) == ways[:number]
        assert all(x.step > 0 and x.compiling >= 0 for x in found.values())


def test_on_an_accelerator_more_ways_are_timed(monkeypatch):
    config = normjax.config(**SMALL | CNN | {"num_seeds": 100})
    (arm,) = plan.study(config).arms
    assert timings.convolved_ways(arm, "map") == []
    assert timings.mapped_ways(arm, 100) == [Way("map")]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    (arm,) = plan.study(config).arms
    assert arm.program.mapping == "vmap"
    assert mapping.is_measured("auto")
    assert not mapping.is_measured("vmap")
    found = [str(way) for way in timings.mapped_ways(arm, 100)]
    assert found == ["vmap", "map-32", "map-8", "map"]
    assert timings.mapped_ways(arm, 2) == [Way("vmap")]
    others = [str(way) for way in timings.convolved_ways(arm, "map-8")]
    names = "images", "lax", "planes", "winograd"
    assert others == [f"map-8, {name}" for name in names]


def test_memory_and_the_forecast_know_bundles(monkeypatch):
    """A bundle works at once on each device, and one that is not full is padded."""
    study = plan.study(normjax.config(**SMALL | {"num_seeds": 5}, mapping="map-4"))
    (arm,), num_devices = study.arms, len(jax.devices())
    needs = memory.lane_needs(arm, study.data)
    fixed = memory.tree_bytes(study.data) + 4 * needs.working * num_devices
    free = (fixed + 7.5 * needs.kept) / memory.USABLE
    monkeypatch.setattr(memory, "free_bytes", lambda: free)
    assert memory.lanes_that_fit(arm, study.data) == 7
    monkeypatch.undo()
    timed: list[int] = []

    def seconds(study, work):
        del study
        timed.append(len(work.lanes))
        return [9.0, 2.0, 2.0]

    monkeypatch.setattr(forecast, "_epoch_seconds", seconds)
    work: list[Work] = work_of(study, "nowhere", units(study, [arm], shared=False))
    _, (row, _) = forecast.table(study, work)
    taken = 8 * needs.kept + min(8, 4 * num_devices) * needs.working
    assert row[4] == f"{taken / 2**20:,.0f} MiB"
    assert timed == [min(5, 4 * num_devices)] * 2
