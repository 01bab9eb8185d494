"""The times of ways, the choice by them, and which ways are tried."""

import jax
import pytest

import normjax
from normjax.study import mapping, plan, timings
from normjax.study.timings import Times, Way

SMALL = {"num_seeds": 4, "num_epochs": 1, "batch_size": 256, "model": {"widths": (8,)}}
CNN = {"model": {"name": "cnn", "widths": (4,), "convolution": "auto"}}
VMAP, BUNDLED = Way("vmap"), Way("map-2")


def study_of(**choices):
    return plan.study(normjax.config(**SMALL | choices))


@pytest.mark.parametrize(
    ("seconds", "way"),
    [
        ({VMAP: 1.06, BUNDLED: 1.0}, BUNDLED),
        ({VMAP: 1.04, BUNDLED: 1.0}, VMAP),
        ({BUNDLED: 1.0, Way("map"): 1.04}, BUNDLED),  # the usual one has failed
    ],
)
def test_a_way_must_be_faster_by_more_than_a_margin(seconds, way):
    assert timings.choice(seconds) == way


def test_a_way_that_fails_is_told_and_the_others_are_timed(monkeypatch, capsys):
    """None is where compiling them would take too much of a run."""
    study = study_of(num_seeds=4)
    (arm,) = study.arms
    monkeypatch.setattr(timings, "MAPPINGS", ("vmap", "map-1", "map"))
    monkeypatch.setattr(timings, "bundle_size", lambda name: int(name == "map"))
    found = timings.times(study, arm, 4, 10**12)
    assert list(found.seconds) == [VMAP, Way("map")]
    assert all(step > 0 for step in found.seconds.values())
    assert list(found.failed) == [Way("map-1")]
    assert capsys.readouterr().err.startswith(
        "notice: mapping map-1 of none is not tried again: "
    )
    assert timings.times(study, arm, 4, 1) == Times({}, {})


def test_a_network_that_is_lost_has_no_time(capsys):
    """A mapped lane takes no steps then; a learning rate alone loses none."""
    for settings, number in (
        ({"learning_rate": (1e30,)}, 0),
        ({"init_scale": (1e30,)}, 1),
    ):
        study, found = study_of(settings=settings), Times({}, {})
        timings.add_way(found, study, study.arms[0], Way("map"), 2)
        assert (len(found.seconds), len(found.failed)) == (1 - number, number)
        told = "has lost its numbers" in capsys.readouterr().err
        assert told == bool(number)


def test_the_ways_that_are_tried_on_an_accelerator(monkeypatch):
    config = normjax.config(**SMALL | CNN | {"num_seeds": 100})
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert mapping.is_timed()
    (arm,) = plan.study(config).arms
    assert arm.program.mapping == timings.MAPPINGS[0] == "vmap"
    ways, convolutions = timings.candidates(arm, 100)
    assert list(map(str, ways)) == ["vmap", "map-32", "map-8", "map"]
    assert convolutions == ["lax", "images"]
    assert timings.candidates(arm, 2)[0] == [VMAP]
