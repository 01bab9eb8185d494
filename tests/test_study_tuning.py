"""Nested tuning: what chose a setting judges nothing, and what judges chose nothing.

Most studies here are planned as users' are, and their networks are made up: a number
that depends on the arm, the setting and the seed stands for training.
"""

import ast
import contextlib
import functools
import hashlib
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from _compiling import FLAGS

import normjax
from normjax import launcher, merge, status
from normjax.errors import InputError
from normjax.report import (
    answers,
    conditions,
    figures,
    networks,
    page,
    searches,
    tables,
    tuning_notices,
    tuning_tables,
)
from normjax.report.chart import Chart
from normjax.study import claims, groups, memory, plan, run, search, trials, tuning
from normjax.study.columns import CURVES
from normjax.study.groups import Group
from normjax.study.record import Record, read_record
from normjax.study.train import Stopped, settings_of

ROOT = pathlib.Path(__file__).parents[1]
RATES = (0.01, 0.1, 1.0)
ENVIRONMENT = {"device": "cpu", "versions": {}, "commit": "", "command": ""}


def config(**choices):
    """Two optimizers with grids of their own, four networks of each arm to judge."""
    return normjax.config(
        **{
            "num_seeds": 4,
            "num_epochs": 1,
            "batch_size": 256,
            "model": {"widths": (4,)},
            "arms": {"optimizer": ("sgd", "adam")},
            "settings": {"learning_rate": RATES},
            "settings_for": {"optimizer": {"adam": {"learning_rate": (0.001, 0.01)}}},
            "tuning": {"search": "grid", "num_seeds": 2},
        }
        | choices
    )


def uniform(*identity: object) -> float:
    """A number in [0, 1) that depends on what it is of, and on nothing else."""
    digest = hashlib.sha256(repr(identity).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


class Made:
    """In the place of training: writes made-up networks, and counts them."""

    def __init__(self, accuracy=lambda arm, settings, seed: uniform(arm, seed)):
        self.accuracy = accuracy
        self.test_accuracy = lambda *network: 0.5
        self.lanes: list[tuple] = []  # arm, settings, seed
        self.fails: str = ""  # an arm
        self.stops_after = 10**9

    def __call__(self, study, work, workdir, bar, interrupts):
        if work.arm.name == self.fails:
            raise ValueError("no such norm")
        if len(self.lanes) >= self.stops_after:
            raise Stopped
        new = [(work.arm.name, dict(settings), seed) for settings, seed in work.lanes]
        self.lanes += new
        curves = {name: np.full((len(new), 1), 0.5, np.float32) for name in CURVES}
        for split, number in zip(("validation", "test"), (self.accuracy, self.test)):
            values = [number(*each) for each in new]
            curves[f"{split}_accuracy"] = np.array(values, np.float32)[:, None]
        lost = ~np.isfinite(curves["validation_accuracy"][:, 0])
        group = Group(
            about={
                "id": work.arm.id,
                "identity": {},
                "environment": ENVIRONMENT,
                "mapping": "map",
                "num_devices": 1,
                "compile_seconds": 0.0,
                "epoch_seconds": [0.1],
            },
            seeds=np.array([seed for *_, seed in new]),
            settings=settings_of(work),
            diverged_at_step=np.where(lost, 3, -1),
            curves=curves,
            probes={},
        )
        groups.write(workdir, group, {"params/x": np.zeros(len(new))})

    def test(self, *network) -> float:
        return self.test_accuracy(*network)


@pytest.fixture
def made(monkeypatch) -> Made:
    instead = Made()
    monkeypatch.setattr(run, "train_group", instead)
    monkeypatch.setattr(memory, "lanes_that_fit", lambda *_: 1_000)
    monkeypatch.setattr(launcher.forecast, "table", lambda *_: (["arm"], [["sgd"]]))
    return instead


@functools.cache
def planned(choices: str) -> plan.Study:
    return plan.study(config(**ast.literal_eval(choices)))


def complete(workdir, only=(), process=None, **choices):
    """The record after a run, and the arms that failed."""
    study = planned(repr(choices))
    failed = run.complete(study, workdir, quiet=True, arms=only, process=process)
    return read_record(workdir), failed


def chosen(record) -> dict[str, dict[str, float]]:
    return {k: x.get("settings") for k, x in record.record["tuning"]["judged"].items()}


def rates(record) -> dict[str, float]:
    return {k: x["learning_rate"] for k, x in chosen(record).items() if x}


MANY = {
    "num_seeds": 200,
    "settings": {"learning_rate": tuple(np.geomspace(0.001, 1, 40).tolist())},
    "settings_for": {},
}
NOISE = np.sqrt(1 / 12)  # the standard deviation of `uniform`


def excess(record) -> tuple[float, float]:
    """How far the judged mean, and the best score of trials, are from the truth, 1/2.

    In standard errors of the judged mean of an arm, the larger one of both arms.
    """
    judged = record.networks.groupby("arm")["validation_accuracy"].mean() - 0.5
    scores = [
        x["validation_accuracy"] for x in record.record["tuning"]["judged"].values()
    ]
    error = NOISE / np.sqrt(len(record.record["seeds"]))
    return judged.abs().max() / error, (max(scores) - 0.5) / error


def lucky(arm, settings, seed):
    """All settings are equal in truth: what differs is luck."""
    return uniform(arm, settings["learning_rate"], seed)


def test_the_luck_of_a_trial_is_not_in_what_is_judged(made, tmp_path):
    """The best of 40 scores is luck. The mean over judging seeds is near the truth."""
    made.accuracy = lucky
    record, _ = complete(tmp_path, **MANY)
    judged, best = excess(record)
    assert judged < 3
    assert best > 10


def test_seeds_that_chose_and_judged_would_show(made, tmp_path, monkeypatch):
    """The counter-case: with the same seeds in both stages the mean is far too high."""
    made.accuracy = lucky
    monkeypatch.setattr(search, "FIRST_SEED", 0)
    record, _ = complete(tmp_path, **MANY | {"num_seeds": 2})
    leaked = record.networks.groupby("arm")["validation_accuracy"].mean() - 0.5
    assert (leaked > 3 * NOISE / np.sqrt(2) / 2).all()
    assert excess(record)[1] == pytest.approx(excess(record)[0], rel=1e-6)


def test_no_network_is_in_both_stages(made, tmp_path):
    record, _ = complete(tmp_path)
    tuned, judged = set(record.trials["seed"]), set(record.networks["seed"])
    assert tuned == {2**31, 2**31 + 1}
    assert judged == {0, 1, 2, 3}
    assert len(record.trials) == 2 * (3 + 2)
    assert len(record.networks) == 2 * 4
    assert len(made.lanes) == len(record.trials) + len(record.networks)
    assert not [name for name in record.trials if "test" in name]


def test_what_judges_does_not_choose(made, tmp_path):
    """Other test accuracies, and other networks of the judging seeds: equal choices."""
    first, _ = complete(tmp_path / "a")
    made.test_accuracy = lambda arm, settings, seed: settings["learning_rate"] / 2
    second, _ = complete(tmp_path / "b")
    truth = made.accuracy
    made.accuracy = lambda *x: truth(*x) if x[-1] >= 2**31 else -truth(*x)
    third, _ = complete(tmp_path / "c")
    assert chosen(first) == chosen(second) == chosen(third)
    # the counter-case: other validation accuracies of trials choose another setting
    made.accuracy = lambda arm, settings, seed: settings["learning_rate"] / 2
    fourth, _ = complete(tmp_path / "d")
    assert rates(fourth) == {"sgd": 1.0, "adam": 0.01}
    assert chosen(fourth) != chosen(first)


def test_a_diverged_network_loses_and_ties_go_to_the_smaller_rate(made, tmp_path):
    best = {0.01: 0.8, 0.1: 0.8, 1.0: np.nan, 0.001: 0.2}
    made.accuracy = lambda arm, settings, seed: best[settings["learning_rate"]]
    record, _ = complete(tmp_path, settings={"learning_rate": (1.0, 0.1, 0.01)})
    assert rates(record) == {"sgd": 0.01, "adam": 0.01}
    assert record.record["tuning"]["judged"]["sgd"]["trial"] == 2


def test_more_seeds_train_the_second_stage_only(made, tmp_path):
    complete(tmp_path)
    made.lanes.clear()
    record, _ = complete(tmp_path, num_seeds=5)
    assert [(arm, seed) for arm, _, seed in made.lanes] == [("sgd", 4), ("adam", 4)]
    assert len(record.networks) == 10


def test_more_tuning_and_a_wider_grid_train_new_trials_and_the_new_choice(
    made, tmp_path
):
    made.accuracy = lambda arm, settings, seed: settings["learning_rate"] / 20
    first, _ = complete(tmp_path)
    made.lanes.clear()
    more = {"tuning": {"search": "grid", "num_seeds": 3}}
    record, _ = complete(tmp_path, **more)
    assert {seed for *_, seed in made.lanes} == {2**31 + 2}
    assert len(made.lanes) == 3 + 2
    assert record.networks.equals(first.networks)
    made.lanes.clear()
    wider = more | {"settings": {"learning_rate": (*RATES, 10.0)}}
    record, _ = complete(tmp_path, **wider)
    new = [("sgd", 10.0, seed) for seed in (2**31, 2**31 + 1, 2**31 + 2, 0, 1, 2, 3)]
    assert [(a, x["learning_rate"], seed) for a, x, seed in made.lanes] == new
    assert rates(record) == {"sgd": 10.0, "adam": 0.01}
    made.lanes.clear()
    assert complete(tmp_path)[0].networks.equals(first.networks)  # the old ones stay
    assert made.lanes == []


@pytest.mark.parametrize("groups_done", [1, 3])
def test_a_study_that_is_stopped_goes_on_in_either_stage(made, tmp_path, groups_done):
    whole, _ = complete(tmp_path / "whole")
    lanes, made.lanes = made.lanes, []
    made.stops_after = {1: 1, 3: 11}[groups_done]
    with pytest.raises(Stopped):
        complete(tmp_path / "new")
    stopped = read_record(tmp_path / "new")
    assert trials.is_tuning(stopped.record) == (groups_done == 1)
    made.stops_after = 10**9
    record, _ = complete(tmp_path / "new")
    assert made.lanes == lanes
    assert record.networks.equals(whole.networks)
    assert record.trials.equals(whole.trials)
    assert record.record["tuning"] == whole.record["tuning"]


def test_while_trials_run_nothing_is_judged(made, tmp_path, capsys):
    made.stops_after = 1
    with pytest.raises(Stopped):
        complete(tmp_path, audit="normjax.audit.claims", baseline={"optimizer": "sgd"})
    record = read_record(tmp_path)
    assert status.main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "study: 6 of 10 networks trained, still tuning: of trials",
        "sgd   complete      6 of 6",
        "adam  missing       0 of 4",
    ]
    text = page.build(tmp_path, stills=False).read_text()
    assert "Still tuning: 6 of 10 networks of trials are trained." in text
    assert "So far all trials of 1 of 2 arms are trained: sgd." in text
    assert tuning_tables.sentence(record) == (
        "Each arm is tried at every setting of its grid with 2 seeds that judge nothing"
        " (2147483648 to 2147483649); so far all trials of 1 of 2 arms are trained:"
        " sgd. Its setting will be that of the highest mean validation accuracy over"
        " these seeds. It will be judged with other seeds, on the test split."
    )
    run_of = dict(conditions.rows(record))
    assert run_of["Networks"] == "1 arm, 6 networks, all of trials"
    assert run_of["Seeds"] == "2 in each arm and setting, which judge nothing"
    tables = {path.stem for path in (tmp_path / "tables").glob("*.md")}
    assert tables == {"tuning"}
    assert not (tmp_path / "stats.json").exists()
    assert list(record.trials["arm"]) == ["sgd"] * 6


def test_an_edge_is_told_as_soon_as_the_trials_of_its_arm_are_there(made, tmp_path):
    """And only then: of an arm with a trial missing, another one may be best."""
    made.accuracy = lambda arm, settings, seed: settings["learning_rate"] / 2
    told = (
        "The best learning_rate is the largest that was tried, so a wider range may"
        " hold a better one: sgd (1)."
    )
    made.stops_after = 1
    with pytest.raises(Stopped):
        complete(tmp_path)
    record = read_record(tmp_path)
    assert tuning_notices.notices(record) == [told]
    assert tuning_tables.unfinished(record)[-1] == told.replace("_", " ")
    (file,) = (tmp_path / groups.FOLDER).glob("*.npz")
    group = groups.read(file)
    file.unlink()
    fewer = {x: y[:-1] for x, y in group.settings.items()}
    curves = {x: y[:-1] for x, y in group.curves.items()}
    group = group._replace(seeds=group.seeds[:-1], settings=fewer, curves=curves)
    group = group._replace(diverged_at_step=group.diverged_at_step[:-1])
    groups.write(tmp_path, group, {"params/x": np.zeros(len(group.seeds))})
    record = read_record(tmp_path)
    assert tuning_notices.notices(record) == []
    assert tuning_tables.unfinished(record)[:2] == [
        "Still tuning: 5 of 10 networks of trials are trained.",
        "So far no arm of 2 has all of its trials.",
    ]


def test_before_a_choice_a_ring_is_the_best_so_far(made, tmp_path):
    """And the charts say which arms they do not have yet."""
    made.stops_after = 1
    with pytest.raises(Stopped):
        complete(tmp_path)
    record = read_record(tmp_path)
    (chart,) = tuning_charts(record, "tuning_learning_rate")
    assert chart.note == (
        "Mean over the tuning seeds. A ring: the best trial so far; a choice is made"
        " when all are there. Lines join the best at each rate. These accuracies choose"
        " the settings; other seeds judge the arms. Not drawn, for trials are missing:"
        " adam."
    )
    assert list(tuning_tables.table(record)["chosen"]) == [
        "nothing yet, for trials of other arms are missing",
        "nothing yet, for trials are missing",
    ]
    assert dict(conditions.gaps(record))["No network yet"] == "adam"
    made.stops_after = 10**9
    record, _ = complete(tmp_path)
    (chart,) = tuning_charts(record, "tuning_learning_rate")
    assert chart.note == (
        "Mean over the tuning seeds. A ring: the trial that was chosen. Lines join the"
        " best at each rate. These accuracies choose the settings; other seeds judge"
        " the arms."
    )
    assert searches.rings(["adam", "lion"], 3) == (
        "A ring: the trial that was chosen or, of arms without a setting yet (adam;"
        " lion), the best so far."
    )


def tuning_charts(record: Record, name: str) -> list[Chart]:
    """The charts of that name."""
    return [x for x in figures.charts(record).charts if x.name == name]


def test_an_arm_whose_trials_fail_is_recorded_and_the_others_go_on(
    made, tmp_path, capsys
):
    made.fails = "adam"
    record, failed = complete(tmp_path)
    assert failed == {"adam": "ValueError: no such norm"}
    assert list(record.record["arms"]) == ["sgd"]
    assert len(record.networks) == 4
    assert status.main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines()[2:] == [
        "trials: 6 of 10 networks",
        f"chosen: sgd: learning_rate={rates(record)['sgd']:g}",
        "chosen: adam: nothing yet, for trials are missing",
        "trials of adam: failed, 0 of 4: ValueError: no such norm",
    ]
    assert "adam: trials could not be trained (ValueError: no such norm)." in (
        page.build(tmp_path, stills=False).read_text()
    )
    made.fails = ""
    record, failed = complete(tmp_path)
    assert failed == {}
    assert list(record.record["arms"]) == ["sgd", "adam"]
    assert status.main([str(tmp_path)]) == 0


CHOOSE = {
    "arms": {"optimizer": ("sgd", "adam"), "placement": ("pre", "post")},
    "tuning": {"search": "grid", "num_seeds": 2, "choose": ("placement",)},
    "baseline": {"optimizer": "sgd"},
}


def better_after(arm, settings, seed):
    """Adam is better before the norm, SGD after it."""
    good = arm in ("pre-adam", "post-sgd", "adam", "sgd")
    return 0.25 * good + settings["learning_rate"] / 4


def test_a_factor_that_is_chosen_is_not_one_of_what_is_judged(made, tmp_path):
    made.accuracy = better_after
    record, _ = complete(tmp_path, **CHOOSE)
    judged = record.record["tuning"]["judged"]
    assert {k: x["arm"] for k, x in judged.items()} == {
        "sgd": "post-sgd",
        "adam": "pre-adam",
    }
    assert judged["sgd"]["factors"] == {"placement": "post"}
    assert "placement" not in record.record["factors"]
    assert "placement" not in record.networks
    ids = {k: x["id"] for k, x in record.record["tuning"]["arms"].items()}
    assert record.record["arms"]["sgd"]["id"] == ids["post-sgd"]
    page.build(tmp_path, stills=False)
    text = (tmp_path / "tables" / "differences.md").read_text()
    assert text.splitlines()[2].startswith("| adam ")  # they still make a pair


def test_what_each_arm_chose_is_not_said_to_be_that_of_the_config(made, tmp_path):
    """And what else is not as usual in a training is told."""
    choices = {
        "arms": {
            "optimizer": ("sgd", "adam"),
            "batch_size": (64, 128),
            "schedule": ("constant", "cosine"),
        },
        "tuning": {
            "search": "grid",
            "num_seeds": 2,
            "choose": ("batch_size", "schedule"),
        },
        "last_batch": "kept",
        "precision": "bfloat16",
    }
    record, _ = complete(tmp_path, **choices)
    rows = dict(conditions.training_rows(record))
    rest = "the rest of an epoch is a smaller batch"
    assert rows["Batch size"] == f"64, 128, as each arm chose ({rest})"
    assert rows["Schedule"] == "constant, cosine, as each arm chose"
    assert rows["Precision"] == "bfloat16"
    assert "Augmentation" not in rows


def test_what_lost_is_a_part_of_the_study(made, tmp_path, capsys):
    study = plan.study(config(**CHOOSE))
    run.complete(study, tmp_path)
    assert "does not want" not in capsys.readouterr().out
    lines = launcher.dry_run(plan.study(config(num_epochs=2, **CHOOSE)), tmp_path, [])
    lost = 2 * 2 * (3 + 2) + 2 * 4  # the counter-case: other epochs, other networks
    assert [x for x in lines if x.startswith(f"kept: {lost} networks of other studies")]


def test_networks_of_an_old_choice_are_kept_and_told(made, tmp_path, capsys):
    made.accuracy = lambda arm, settings, seed: settings["learning_rate"] / 20
    complete(tmp_path)
    wider = plan.study(config(settings={"learning_rate": (*RATES, 10.0)}))
    run.complete(wider, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    told = "kept: 4 networks at settings that are not chosen"
    assert [x for x in lines if x.startswith(("kept", "resuming"))] == [
        "resuming: 10 networks are trained",
        told,
        "resuming: 4 networks are trained",
    ]


def chart_names(record: Record) -> set[str]:
    return {chart.name for chart in figures.charts(record).charts}


def test_the_table_of_tuning_has_the_numbers_of_the_trials(made, tmp_path):
    """Validation images are 13% of the most frequent class."""
    by_rate = {0.001: 0.2, 0.01: 0.8, 0.1: 0.795, 1.0: 0.45}
    made.accuracy = lambda arm, settings, seed: by_rate[settings["learning_rate"]]
    record, _ = complete(tmp_path)
    sgd, adam = tuning_tables.table(record).to_dict("records")
    assert (sgd["chosen"], adam["chosen"]) == ("learning_rate=0.01",) * 2
    assert (sgd["trials"], adam["trials"]) == (3, 2)
    assert sgd["best_validation_accuracy"] == 0.8
    assert (sgd["share_within_a_point"], adam["share_within_a_point"]) == (2 / 3, 0.5)
    assert (sgd["largest_rate"], adam["largest_rate"]) == (0.1, 0.01)  # 0.45 < 0.465
    assert record.record["tuning"]["chance"] == 0.13
    (section,) = tuning_tables.sections(record)
    assert section.remarks == [
        "The chosen learning_rate is the smallest that was tried, so a wider range may"
        " hold a better one: sgd (0.01).",
        "The chosen learning_rate is the largest that was tried, so a wider range may"
        " hold a better one: adam (0.01).",
    ]
    header, rows = tables.display(section, [])
    assert dict(zip(header, rows[0]))["largest rate that trains"] == "0.1"
    assert dict(zip(header, rows[1]))["largest rate that trains"] == ">= 0.01"
    assert [x["searched"] for x in (sgd, adam)] == [
        "learning_rate 0.01, 0.1, 1",
        "learning_rate 0.001, 0.01",
    ]
    assert {"tuning_trials", "tuning_learning_rate"} <= chart_names(record)


@pytest.mark.parametrize("number", [9, 10])
def test_a_random_search_is_judged_by_the_ends_of_its_ranges(made, tmp_path, number):
    """The best draw is the largest: at 0.79 of the range of 9, and at 0.92 of 10."""
    made.accuracy = lambda arm, settings, seed: settings["learning_rate"] / 4
    largest = search.quantiles(0, "learning_rate", number).max()
    assert (largest > 0.9) == (number == 10)
    several = {"tuning": {"search": "random", "num_trials": number}}
    record, _ = complete(tmp_path, **RANDOM | several)
    (section,) = tuning_tables.sections(record)
    advice = {
        9: "but well inside its range, so more trials may find a better one",
        10: "so a wider range may hold a better one",
    }
    arms = ", ".join(f"{arm} ({rate:g})" for arm, rate in rates(record).items())
    assert section.remarks[:1] == [
        f"The chosen learning_rate is the largest that was tried, {advice[number]}:"
        f" {arms}."
    ]
    assert list(section.numbers["searched"]) == [
        "learning_rate 0.01 to 1",
        "learning_rate 0.0001 to 0.01",
    ]


def test_trials_at_chance_are_told(made, tmp_path):
    made.accuracy = lambda arm, settings, seed: 0.13 if arm == "sgd" else 0.14
    (section,) = tuning_tables.sections(complete(tmp_path)[0])
    assert section.remarks[-1] == (
        "No trial is above chance, 0.13, so what was chosen is of no use: sgd (0.13)."
    )


def test_an_answer_names_the_settings_of_its_arms(made, tmp_path):
    made.accuracy = lambda arm, settings, seed: settings["learning_rate"] / 2
    made.test_accuracy = lambda arm, settings, seed: 0.6 if arm == "sgd" else 0.5
    found = "Sgd (at learning rate 1) has the higher mean test accuracy of 2 arms, "
    other = " against adam (at learning rate 0.01): "
    record, _ = complete(tmp_path / "tuned")
    tuning = record.record["tuning"]
    first, *_, last = answers.answer(networks.load(record), tuning=tuning)
    assert first.startswith(found)
    assert other in first
    assert last == "Each arm is at the setting that its trials chose."
    record, _ = complete(tmp_path / "untuned", tuning={"search": "none"})
    first, *_, last = answers.answer(networks.load(record))
    assert first.startswith(found)
    assert other in first
    assert last == "Each arm is at the setting of its highest validation accuracy."
    assert dict(conditions.training_rows(record)) == {
        "Data": "digits (1,237 train, 200 validation, 360 test examples)",
        "Model": "mlp (widths 4)",
        "Epochs": "1",
        "Batch size": "256 (the rest of an epoch is dropped)",
        "Optimizer": "sgd, adam",
    }


def test_an_untuned_study_has_nothing_of_tuning(made, tmp_path):
    record, _ = complete(tmp_path, tuning={"search": "none"})
    assert "tuning" not in record.record
    assert record.trials.empty
    assert not tuning_tables.sections(record)
    assert not [name for name in chart_names(record) if "tuning" in name]
    assert len(made.lanes) == len(record.networks) == 4 * 5


def test_arms_that_compete_wait_for_each_other(made, tmp_path):
    made.accuracy = better_after
    record, _ = complete(tmp_path, only=["pre-adam"], **CHOOSE)
    assert trials.is_tuning(record.record)
    assert len(made.lanes) == 4
    record, _ = complete(tmp_path, only=["adam"], **CHOOSE)
    assert list(record.record["arms"]) == ["adam"]
    assert len(made.lanes) == 4 + 4 + 4
    made.fails = "post-sgd"
    record, failed = complete(tmp_path, **CHOOSE)
    assert list(failed) == ["post-sgd"]
    assert record.record["tuning"]["judged"]["sgd"]["arm"] == "pre-sgd"


def test_every_process_waits_for_all_trials(made, tmp_path, monkeypatch):
    """And for the networks that are judged only the first one does."""
    waits: list[tuple[bool, bool]] = []
    claim = claims.claim

    @contextlib.contextmanager
    def noted(locks, name, *, wait=False, shared=False):
        if name != "study":
            waits.append((trials.is_tuning(read_record(tmp_path).record), wait))
        with claim(locks, name, wait=wait, shared=shared) as ours:
            yield ours

    monkeypatch.setattr(claims, "claim", noted)
    complete(tmp_path, process=(1, 2))
    assert {wait for tuning, wait in waits if tuning} == {False, True}
    assert {wait for tuning, wait in waits if not tuning} == {False}


def test_a_study_grows_until_it_is_decided_with_its_choice(made, tmp_path, capsys):
    made.test_accuracy = lambda arm, settings, seed: uniform(seed, settings.get("b1"))
    chosen = config(baseline={"optimizer": "sgd"})
    study = plan.study(chosen)
    train = lambda study, looks: run.complete(study, tmp_path, quiet=True, looks=looks)
    launcher.until_decided(study, chosen, tmp_path, 12, train)
    seeds = [seed for *_, seed in made.lanes]
    assert sum(seed >= 2**31 for seed in seeds) == 10
    assert sorted({seed for seed in seeds if seed < 2**31}) == list(range(12))
    looks = [look["num_seeds"] for look in read_record(tmp_path).record["looks"]]
    assert looks == [5, 8, 12]
    assert "look 1, at 5 seeds: undecided: adam against sgd" in capsys.readouterr().out


def test_a_dry_run_tells_of_both_stages(made, tmp_path):
    study = plan.study(config())
    lines = launcher.dry_run(study, tmp_path, [])
    assert "tuning: these are trials, over 2 seeds that judge nothing" in lines
    assert lines[-2:] == [
        "then: 2 arms x 4 seeds = 8 networks at the settings that are chosen",
        "nothing was trained: this is a dry run",
    ]
    record, _ = complete(tmp_path)
    lines = launcher.dry_run(study, tmp_path, [])
    assert f"chosen: sgd: learning_rate={rates(record)['sgd']:g}" in lines
    assert "complete: every network is trained" in lines


def test_a_tuned_record_is_not_merged(made, tmp_path):
    complete(tmp_path / "a")
    with pytest.raises(InputError) as caught:
        merge.merge([tmp_path / "a"], tmp_path / "b")
    assert str(caught.value) == (
        f"{tmp_path / 'a'}: must not be tuned, for what is chosen depends on all"
        " trials; copy the files of networks/ of all folders into that of one of them,"
        " and run the command of the study there."
    )
    assert not (tmp_path / "b").exists()


RANDOM = {
    "settings": {"learning_rate": (0.01, 1.0), "momentum": (0.8,)},
    "settings_for": {"optimizer": {"adam": {"learning_rate": (0.0001, 0.01)}}},
    "tuning": {"search": "random", "num_trials": 50},
}


def test_random_draws_have_the_same_quantiles_in_every_arm():
    sgd, adam = plan.study(config(**RANDOM)).arms
    assert sgd.settings["learning_rate"].dtype == np.float32
    np.testing.assert_allclose(
        sgd.settings["learning_rate"],
        100 * adam.settings["learning_rate"],
        rtol=2.0**-22,  # each is rounded once to float32
    )
    assert set(sgd.settings["momentum"]) == {np.float32(0.8)}
    other, _ = plan.study(config(**RANDOM | {"root_seed": 1})).arms
    assert not np.isin(
        other.settings["learning_rate"], sgd.settings["learning_rate"]
    ).any()


def test_random_draws_are_log_uniform_and_more_of_them_begin_with_fewer():
    u = search.quantiles(0, "learning_rate", 10_000)
    np.testing.assert_array_equal(u[:16], search.quantiles(0, "learning_rate", 16))
    assert not np.array_equal(u[:16], search.quantiles(0, "momentum", 16))
    drawn = search.log_uniform(1e-4, 1e-1, u)
    assert drawn.min() >= np.float32(1e-4)
    assert drawn.max() <= np.float32(1e-1)
    share = np.mean(drawn < 1e-3)  # one of three decades
    assert abs(share - 1 / 3) < 3 * np.sqrt(2 / 9 / 10_000)
    ends = search.log_uniform(1e-4, 1e-1, np.array([0.0, 1 - 2.0**-53]))
    np.testing.assert_array_equal(ends, np.array([1e-4, 1e-1], np.float32))


def test_a_random_search_grows_by_its_new_trials(made, tmp_path):
    few = RANDOM | {"tuning": {"search": "random", "num_seeds": 1, "num_trials": 4}}
    complete(tmp_path, **few)
    made.lanes.clear()
    few["tuning"] = few["tuning"] | {"num_trials": 6}
    complete(tmp_path, **few)
    assert sum(seed >= 2**31 for *_, seed in made.lanes) == 2 * 2


def test_an_arm_without_a_range_has_one_trial():
    fixed = RANDOM | {"settings_for": {"optimizer": {"adam": {"learning_rate": 0.1}}}}
    study = plan.study(config(**fixed))
    assert [len(arm.settings["learning_rate"]) for arm in study.arms] == [50, 1]


def test_settings_for_replace_the_settings_of_their_arms_only():
    study = plan.study(config(tuning={"search": "none"}))
    grids = [arm.settings["learning_rate"].tolist() for arm in study.arms]
    assert grids == [np.float32(RATES).tolist(), np.float32([0.001, 0.01]).tolist()]
    numbers = {"batch_size": {"32": {"learning_rate": 0.5}}}
    study = plan.study(
        config(
            arms={"batch_size": (32, 64)},
            settings_for=numbers,
            tuning={"search": "none"},
        )
    )
    grids = [arm.settings["learning_rate"].tolist() for arm in study.arms]
    assert grids == [[0.5], np.float32(RATES).tolist()]


def test_settings_for_a_recipe_of_the_user():
    dotted = {"optimizer": {"optax.lion": {"learning_rate": (0.001, 0.1)}}}
    study = plan.study(config(arms={"optimizer": ("optax.lion",)}, settings_for=dotted))
    assert len(study.arms[0].settings["learning_rate"]) == 2


def test_a_level_without_an_arm_is_a_notice():
    study = plan.study(config(arms={"optimizer": ("sgd",)}))
    assert study.notices == (
        "settings_for.optimizer.adam is not used, for no arm has that level",
    )


FACTORS = "batch_size, norm, optimizer, penalty, placement"
MISTAKES = {
    "search": (
        {"tuning": {"search": "gird"}},
        "tuning.search='gird': must be one of grid, none, random; did you mean 'grid'?",
    ),
    "field": (
        {"tuning": {"num_trial": 3}},
        "tuning.num_trial: must be one of the fields num_trials, num_seeds, search,"
        " choose; did you mean 'num_trials'?",
    ),
    "number of seeds": (
        {"tuning": {"num_seeds": 0}},
        "tuning.num_seeds=0: must be from 1 to 10000; set tuning.num_seeds=3.",
    ),
    "chosen factor": (
        {"tuning": {"choose": ("placment",)}},
        f"tuning.choose='placment': must be one of {FACTORS}; did you mean"
        " 'placement'?",
    ),
    "chosen baseline": (
        {"tuning": {"search": "grid", "choose": "optimizer"}}
        | {"baseline": {"optimizer": "sgd"}},
        "baseline={'optimizer': 'sgd'}: must not name optimizer, for tuning chooses its"
        " level; leave optimizer out there or in tuning.choose.",
    ),
    "factor": (
        {"settings_for": {"optimiser": {"sgd": {"learning_rate": (0.1,)}}}},
        "settings_for='optimiser': must be one of batch_size, norm, optimizer, penalty,"
        " placement, protocol; did you mean 'optimizer'?",
    ),
    "level": (
        {"settings_for": {"placement": {"por": {"learning_rate": (0.1,)}}}},
        "settings_for.placement='por': must be one of pooled, post, pre; did"
        " you mean 'pre'?",
    ),
    "setting": (
        {"settings_for": {"optimizer": {"sgd": {"learning_rat": (0.1,)}}}},
        "settings_for.optimizer.sgd.learning_rat=(0.1,): must be a setting of these"
        " arms, which use init_scale, learning_rate, momentum; did you mean"
        " 'learning_rate'?",
    ),
    "value": (
        {"settings_for": {"optimizer": {"sgd": {"learning_rate": (-0.1,)}}}},
        "settings_for.optimizer.sgd.learning_rate=-0.1: must be a float32 above 0; set"
        " settings_for.optimizer.sgd.learning_rate=0.1.",
    ),
    "no group": (
        {"settings_for": {"optimizer": {"sgd": 0.1}}},
        "settings_for.optimizer.sgd=0.1: must be a group: factor -> level -> setting"
        ' -> values; set settings_for.optimizer.sgd={"learning_rate": (0.001, 0.01)}.',
    ),
    "two grids": (
        {
            "settings_for": {
                "optimizer": {"sgd": {"learning_rate": (0.1,)}},
                "norm": {"none": {"learning_rate": (0.2,)}},
            }
        },
        "settings_for.optimizer.sgd.learning_rate=(0.1,): must be the only grid of such"
        " an arm, for settings_for.norm.none.learning_rate is one; leave one of them"
        " out.",
    ),
    "range": (
        {"tuning": {"search": "random"}},
        "settings.learning_rate=(0.01, 0.1, 1.0): must be one number, or a range (low,"
        " high) with 0 < low < high; set settings.learning_rate=(0.0001, 0.1), or"
        " tuning.search=grid.",
    ),
    "range from 0": (
        {"tuning": {"search": "random"}, "settings": {"learning_rate": (0, 0.1)}},
        "settings.learning_rate=(0, 0.1): must be one number, or a range (low, high)"
        " with 0 < low < high; set settings.learning_rate=(0.0001, 0.1), or"
        " tuning.search=grid.",
    ),
    "no range": (
        {"tuning": {"search": "random"}, "settings_for": {}}
        | {"settings": {"learning_rate": (0.1,)}},
        "tuning.search='random': must be none or grid where no setting is a range (low,"
        " high); set settings.learning_rate=(0.0001, 0.1).",
    ),
    "choice without a search": (
        {"tuning": {"search": "none", "choose": ("placement",)}},
        "tuning.choose=('placement',): must be empty where tuning.search is none, for"
        " nothing is chosen; set tuning.search=grid, or leave it out.",
    ),
    "seeds that tune": (
        {"seeds": (0, 2**31, 3, 4)},
        "seeds=(0, 2147483648, 3, 4): must be distinct whole numbers from 0 to"
        " 2^31 - 1; set seeds=().",
    ),
    "lanes": (
        {"tuning": {"search": "random", "num_seeds": 10_000}}
        | {"settings": {"learning_rate": (0.1, 1.0)}},
        "settings: must make at most 100,000 lanes in an arm, with the seeds; ask for"
        " fewer settings or seeds, for these make 160,000.",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_whole_lines(name):
    choices, expected = MISTAKES[name]
    with pytest.raises(InputError) as caught:
        plan.study(config(**choices))
    assert str(caught.value) == expected


def test_arms_are_named_as_they_are_judged_or_tried():
    study = plan.study(config(**CHOOSE))
    names = lambda *asked: [arm.name for arm in run.chosen_arms(study, asked)]
    assert names("adam") == ["pre-adam", "post-adam"]
    assert names("post-adam", "adam") == ["post-adam", "pre-adam"]
    assert [arm.name for arm in study.arms] == names()
    assert tuning.content(study)["judged"]["sgd"] == {"trials": ["pre-sgd", "post-sgd"]}


CONFIG = """
import normjax

def get_config():
    return normjax.config(
        study="tuned",
        num_seeds=2,
        num_epochs=1,
        batch_size=128,
        model={"widths": (4,)},
        settings={"learning_rate": (0.1, 1e-5)},
        tuning={"search": "grid", "num_seeds": 1},
    )
"""


def test_the_launcher_runs_both_stages(tmp_path):
    """Trained for once: the network that is judged is that of an untuned study."""
    path = tmp_path / "tuned.py"
    path.write_text(CONFIG)
    command = [sys.executable, "launch.py", f"--config={path}"]
    ran = subprocess.run(
        [*command, f"--workdir={tmp_path / 'run'}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": FLAGS},
    )
    assert ran.returncode == 0, ran.stderr
    assert "chosen: none: learning_rate=0.1\n" in ran.stdout
    record = read_record(tmp_path / "run")
    untuned = {
        "tuning": record.config["tuning"] | {"search": "none"},
        "settings": {"learning_rate": (0.1,)},
    }
    again = normjax.run(record.config | untuned)
    columns = ["seed", "learning_rate", "train_loss", "test_accuracy"]
    assert record.networks[columns].equals(again.networks[columns])
    assert (tmp_path / "run" / "trials.csv").exists()
    assert (tmp_path / "run" / "figures" / "tuning_learning_rate.svg").exists()
