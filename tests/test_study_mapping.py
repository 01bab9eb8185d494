"""The way in which lanes are computed: given, kept, chosen by times, recorded."""

import json
import pathlib

import jax
import numpy as np
import pytest

import normjax
from normjax.study import forecast, groups, mapping, memory, plan, run, timings
from normjax.study.interrupts import Interrupts
from normjax.study.record import read_record
from normjax.study.timings import Times, Way
from normjax.study.train import Stopped
from normjax.study.work import Work, units, work_of

SMALL = {"num_seeds": 2, "num_epochs": 1, "batch_size": 256, "model": {"widths": (8,)}}
CNN = {"model": {"name": "cnn", "widths": (4,), "convolution": "auto"}}
VMAP, BUNDLED = Way("vmap"), Way("map-2")


class Clock:
    """Says what is fastest, and notes who asked."""

    def __init__(self):
        self.found = Times({VMAP: 2.0, BUNDLED: 1.0}, {Way("map"): "no room"})
        self.asked: list[int] = []  # lanes

    def times(self, study, arm, number, num_steps):
        """In the place of `timings.times`."""
        del study, arm, num_steps
        self.asked.append(number)
        return self.found


@pytest.fixture
def clock(tmp_path, monkeypatch):
    """Every run is worth it, as if on an accelerator, and a clock of ours times."""
    ours = Clock()
    monkeypatch.setenv("NORMJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mapping, "LEAST_STEPS", 0)
    monkeypatch.setattr(mapping, "is_timed", lambda: True)
    monkeypatch.setattr(timings, "times", ours.times)
    return ours


def study_of(**choices):
    return plan.study(normjax.config(**SMALL | choices))


def complete(workdir, **choices):
    """The record after a quiet run by the fastest way, unless another is chosen."""
    assert run.complete(study_of(**choices), workdir, quiet=True) == {}
    return read_record(workdir)


def way_in(workdir, *, measure=True, **choices) -> str:
    """The mapping of an arm that would be trained now."""
    if measure:
        workdir.mkdir(exist_ok=True)  # as `run.complete` does
    study = study_of(**choices)
    study, (arm,), _ = mapping.with_ways(study, workdir, study.arms, measure=measure)
    assert study.arms[0].program == arm.program
    return arm.program.mapping


def cached(tmp_path) -> list[pathlib.Path]:
    return sorted((tmp_path / "cache" / "mappings").glob("*"))


def test_the_fastest_way_is_recorded_and_kept(clock, tmp_path):
    """By its networks: also where what was timed is gone, and the clock says another.

    One that is given is taken; of several ways that of most networks goes on.
    """
    folder = tmp_path / "run"
    entry = complete(folder).record["arms"]["none"]
    assert entry["mapping"] == "map-2"
    assert entry["step_seconds"] == {"vmap": 2.0, "map-2": 1.0}
    for path in (*cached(tmp_path), *(folder / groups.LOCKS).glob("way-*.json")):
        path.unlink()
    clock.found = Times({VMAP: 1.0}, {})
    assert way_in(folder, num_seeds=3, mapping="vmap") == "vmap"
    record = complete(folder, num_seeds=3, mapping="data-parallel")
    assert list(record.networks["mapping"]) == ["map-2", "map-2", "data-parallel"]
    assert way_in(folder, num_seeds=4) == "map-2"
    assert clock.asked == [2]


def test_networks_of_another_device_decide_nothing(clock, tmp_path, monkeypatch):
    complete(tmp_path / "run", mapping="map")
    assert way_in(tmp_path / "run", num_seeds=3) == "map"
    there = mapping.environment() | {"device": "another"}
    monkeypatch.setattr(mapping, "environment", lambda: there)
    assert way_in(tmp_path / "run", num_seeds=3) == "map-2"
    assert clock.asked == [1]


def test_a_group_that_was_begun_goes_on_in_its_way(clock, tmp_path):
    """Also where networks of another way are finished."""
    complete(tmp_path, num_epochs=2, mapping="map")
    interrupts = Interrupts(str)
    interrupts.code = 143
    more = {"num_epochs": 2, "num_seeds": 3, "checkpoint_seconds": 0.0}
    study = study_of(**more, mapping="map-2")
    with pytest.raises(Stopped):
        run.complete(study, tmp_path, quiet=True, interrupts=interrupts)
    assert way_in(tmp_path, **more) == "map-2"
    assert clock.asked == []


def test_processes_of_one_folder_take_what_the_first_one_chose(clock, tmp_path):
    """Though another says otherwise, and has a cache of its own."""
    assert way_in(tmp_path / "run") == "map-2"
    cached(tmp_path)[0].unlink()
    clock.found = Times({VMAP: 1.0}, {})
    assert way_in(tmp_path / "run") == "map-2"
    assert way_in(tmp_path / "other") == "vmap"
    assert clock.asked == [2, 2]


def test_what_was_timed_is_remembered_by_all_that_speed_depends_on(clock, tmp_path):
    """So is what failed, with its reason."""
    numbers = iter(range(100))
    way = lambda **choices: way_in(tmp_path / f"{next(numbers)}", **choices)
    way()
    (path,) = cached(tmp_path)
    known = json.loads(path.read_text())
    assert known["step_seconds"] == {"vmap": 2.0, "map-2": 1.0}
    assert known["failed"] == {"map": "no room"}
    assert known["of"]["lanes_per_device"] == 1
    assert known["of"]["numerics"]["jax"] == jax.__version__
    grid = {"settings": {"learning_rate": (0.5,)}}
    for same in ({"root_seed": 1}, {"num_epochs": 2}, grid):
        assert way(**same) == "map-2"
        assert len(clock.asked) == 1
    clipped = {"settings": {"clip_norm": (0.5,)}}
    misses = {"num_seeds": 3}, {"batch_size": 128}, clipped
    for number, other in enumerate(misses, 2):
        way(**other)
        assert len(clock.asked) == number


@pytest.mark.parametrize("text", ["{", "[]", '{"of": 1}', '"map-2"', '"vmap": 2.0'])
def test_a_damaged_cache_is_timed_again(clock, tmp_path, text):
    way_in(tmp_path / "run")
    (path,) = cached(tmp_path)
    good = path.read_text()
    broken = {'"map-2"': '"map-0"', '"vmap": 2.0': '"vmap": null'}
    path.write_text(good.replace(text, broken[text]) if text in broken else text)
    assert way_in(tmp_path / "other") == "map-2"
    assert len(clock.asked) == 2
    assert path.read_text() == good


def test_a_cache_that_cannot_be_written_is_no_error(clock, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("NORMJAX_CACHE", str(tmp_path / "file"))
    assert way_in(tmp_path / "run") == "map-2"
    assert clock.asked == [2]


def test_nothing_is_timed_on_a_cpu_or_in_a_short_run(clock, tmp_path, monkeypatch):
    monkeypatch.setattr(mapping, "LEAST_STEPS", 10_000)
    assert way_in(tmp_path) == "map"
    monkeypatch.undo()
    monkeypatch.setattr(mapping, "LEAST_STEPS", 0)
    assert way_in(tmp_path) == "map"
    assert (clock.asked, cached(tmp_path)) == ([], [])


def test_the_convolution_that_is_fastest_is_recorded_and_kept(clock, tmp_path):
    clock.found = Times({VMAP: 2.0, Way("map", "lax"): 1.0}, {})
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
    clock.found = Times({VMAP: 2.0, Way("map", "winograd"): 1.0}, {})
    for size, name in ((3, "winograd"), (5, "images")):
        study = study_of(model=CNN["model"] | {"kernel_size": size})
        _, (arm,), _ = mapping.with_ways(study, tmp_path, study.arms)
        assert arm.convolution == "winograd"
        assert arm.convolutions == {"conv_0": name}


def test_a_dry_run_times_nothing_and_knows_what_was(clock, tmp_path):
    folder, study = tmp_path / "none", study_of()
    assert way_in(folder, measure=False) == "map"
    assert clock.asked == []
    way_in(tmp_path / "other")
    _, (arm,), lines = mapping.with_ways(study, folder, study.arms, measure=False)
    assert arm.program.mapping == "map-2"
    assert lines == [
        "mapping: none: map-2 (vmap 2,000,000, map-2 1,000,000 microseconds per"
        " network and step)"
    ]
    assert clock.asked == [2]
    assert not folder.exists()


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


def test_a_lane_whose_batches_are_divided_lies_on_every_device(monkeypatch):
    """The memory of CPU devices is one; on others every device has room of its own."""
    study = plan.study(normjax.config(**SMALL, mapping="data-parallel"))
    (arm,), num_devices = study.arms, len(jax.devices())
    needs = memory.lane_needs(arm, study.data)
    fixed = memory.tree_bytes(study.data) + needs.working
    free = (fixed + needs.working + 7.5 * needs.kept * num_devices) / memory.USABLE
    monkeypatch.setattr(memory, "free_bytes", lambda: free)
    assert num_devices == 2
    assert memory.lanes_that_fit(arm, study.data) == 7
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    free = (fixed + 7.5 * needs.kept) / memory.USABLE
    assert memory.lanes_that_fit(arm, study.data) == 7
