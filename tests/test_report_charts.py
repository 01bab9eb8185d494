"""What the charts of a record hold, on records made from a formula."""

import itertools
import json
import pathlib
import re
from typing import Any

import _records
import numpy as np
import pandas as pd
import pytest
from _records import Arm

from normjax import bounded, outliers, statistics
from normjax.report import (
    bands,
    curves,
    estimates,
    figures,
    formats,
    layout,
    maps,
    networks,
    searches,
)
from normjax.report.audit_interface import (
    Comparison,
    Evidence,
    Kind,
    Reason,
    Verdict,
)
from normjax.report.chart import Chart, Charts, Series, as_json
from normjax.statistics import Interval
from normjax.study.record import FINAL, Record

EPOCHS = 4
OPTIMIZERS = {"optimizer": ("sgd", "adam", "third_moment")}
PENALTIES = {**OPTIMIZERS, "penalty": ("none", "l2")}
SIZES = {"norm": ("none", "batch"), "batch_size": (2, 8, 32)}
ADAM = {"optimizer": "adam"}


def measured(arm: int, seed: int, value: float) -> dict[str, np.ndarray]:
    """Measurements after each epoch: no two networks have the same."""
    t = np.arange(1, EPOCHS + 1)
    own = 0.01 * np.sin(7 * seed + arm) + 0.002 * np.log10(value)
    accuracy = 0.6 + 0.01 * arm - 0.3 * np.exp(-t) + own * t
    loss = np.exp(-2 * t) * (1 + own)
    return {
        "train_loss": loss,
        "train_accuracy": accuracy + 0.05,
        "validation_loss": loss + 0.1,
        "validation_accuracy": accuracy + 0.04,
        "test_loss": loss + 0.2,
        "test_accuracy": accuracy,
    }


def arm_of(
    number: int,
    name: str,
    levels: dict[str, Any],
    settings: dict[str, tuple[float, ...]],
    seeds: range,
) -> Arm:
    """The networks of an arm, at every combination of its settings."""
    rows, epochs = [], []
    for values in itertools.product(*settings.values()):
        for seed in seeds:
            lane = {"arm": name, **levels, "seed": seed, **dict(zip(settings, values))}
            found = measured(number, seed, values[-1])
            final = {x: found[x][-1] for x in FINAL if x in found}
            rows.append({**lane, **final, "diverged_at_step": -1, "seconds": 1.0})
            t = np.arange(1, EPOCHS + 1)
            epochs.append(pd.DataFrame({**lane, "epoch": t, "step": 10 * t, **found}))
    return Arm(pd.DataFrame(rows), pd.concat(epochs, ignore_index=True))


def make(
    factors: dict[str, tuple],
    *,
    settings: dict[str, tuple[float, ...]] | None = None,
    num_seeds: int = 6,
    probes: tuple[str, ...] = (),
    **about: Any,
) -> Record:
    """A record of every combination of the factors, as it would be read."""
    settings = settings or {"learning_rate": (0.01,)}
    levels = [dict(zip(factors, x)) for x in itertools.product(*factors.values())]
    arms = {
        "-".join(map(str, x.values())): arm_of(
            i, "-".join(map(str, x.values())), x, settings, range(num_seeds)
        )
        for i, x in enumerate(levels)
    }
    content = _records.wanted(arms, list(factors), list(settings), **about)
    num_settings = len(list(itertools.product(*settings.values())))
    shape = num_settings, num_seeds, EPOCHS
    for name, entry in content["arms"].items():
        seconds = [0.1 * len(name)] * 6
        entry |= {"lanes": shape[0] * shape[1], "missing": 0, "epoch_seconds": seconds}
    values = {
        f"{arm}/{probe}": np.linspace(1, 5 + i + j, np.prod(shape)).reshape(shape)
        for i, arm in enumerate(arms)
        for j, probe in enumerate(probes)
    }
    tables = (
        pd.concat([getattr(x, table) for x in arms.values()], ignore_index=True)
        for table in ("networks", "epochs")
    )
    return Record(
        pathlib.Path("made"), {}, content, *tables, {}, values, pd.DataFrame()
    )


def diverged(record: Record, lost: pd.Series) -> Record:
    """The record, had the networks in the rows `lost` diverged in epoch 2."""
    rows, epochs = record.networks.copy(), record.epochs.copy()
    rows.loc[lost, "diverged_at_step"] = 15
    rows.loc[lost, "train_loss"] = 1e30  # of the steps before
    gone = np.repeat(lost.to_numpy(), EPOCHS) & (epochs["epoch"] > 1).to_numpy()
    epochs.loc[gone, ["train_loss", "train_accuracy"]] = np.nan
    return record._replace(networks=rows, epochs=epochs)


def chart(record: Record, name: str) -> Chart:
    (found,) = [x for x in figures.charts(record).charts if x.name == name]
    return found


def names(record: Record) -> list[str]:
    return [x.name for x in figures.charts(record).charts]


def marks(found: Chart) -> list[Any]:
    return [mark for panel in found.panels for mark in panel.marks]


def accuracy(record: Record, arm: str, **levels: float) -> np.ndarray:
    """The final test accuracies of an arm, by seed."""
    rows = record.networks[record.networks["arm"] == arm]
    for name, value in levels.items():
        rows = rows[rows[name] == value]
    return rows["test_accuracy"].to_numpy()


@pytest.fixture(scope="module")
def penalties() -> Record:
    return make(PENALTIES, baseline=ADAM)


@pytest.fixture(scope="module")
def rates() -> Record:
    return make(OPTIMIZERS, settings={"learning_rate": (0.03, 0.1, 0.3)}, baseline=ADAM)


# which charts, and in which order

ALWAYS = ["seeds", "test_accuracy", "train_loss", "validation_accuracy"]
SPREADS = ["probability", "profiles"]
STARTS = ("", "best_validation_", "best_train_", "final_train_loss_")


def against(axis: str) -> list[str]:
    return [f"{start}against_{axis}" for start in STARTS]


def test_the_first_chart_answers_the_question(penalties):
    found = figures.charts(penalties).charts
    assert [x.name for x in found] == ["differences", *ALWAYS, *SPREADS, "cost"]
    assert [x.name for x in found if x.group == "answer"] == ["differences"]
    alone = figures.charts(make(PENALTIES)).charts
    assert [x.name for x in alone] == [*ALWAYS, *SPREADS, "cost"]
    assert [x.name for x in alone if x.group == "answer"] == ["seeds"]


def test_a_grid_of_three_is_drawn_and_one_of_two_is_not(rates):
    grid = [*against("learning_rate"), "map_learning_rate"]
    assert names(rates) == ["differences", *ALWAYS, *SPREADS, *grid, "cost"]
    two = make(OPTIMIZERS, settings={"learning_rate": (0.03, 0.1)})
    assert names(two) == [*ALWAYS, *SPREADS, "cost"]
    sizes = [*against("batch_size"), "map_batch_size"]
    assert names(make(SIZES)) == [*ALWAYS, *SPREADS, *sizes, "cost"]


def test_what_was_probed_is_drawn():
    probes = ("smoothness", "mode_gap_loss", "update_norm.dense_0", "other")
    record = make(OPTIMIZERS, probes=probes)
    more = ["smoothness", "mode_gap_loss", "update_norm"]
    assert names(record) == [*ALWAYS, *more, *SPREADS, "cost"]
    nothing = {k: np.full_like(x, np.nan) for k, x in record.probes.items()}
    assert names(record._replace(probes=nothing)) == [*ALWAYS, *SPREADS, "cost"]


# the claim that answers


def evidence(record: Record, **about: Any) -> Evidence:
    """Two comparisons of the first arm: one holds, the other has no number by seed."""
    values = np.array([1.0, 2.0, 4.0])
    one = Comparison(
        panel="",
        label="depth 2",
        arm=record.record["arm_order"][0],
        seeds=np.arange(3),
        values=values,
        interval=Interval(2.0, 0.5, 8.0, 3),
        text="2.00 [0.500, 8.00]",
        verdict=Verdict(Kind.FAILS),
    )
    other = one._replace(
        label="depth 4", values=None, verdict=Verdict(Kind.UNDECIDED, Reason.ONE_RUN)
    )
    fields = {
        "title": "Loss: a divided by b",
        "measure": "ratio",
        "centre": "geometric mean",
        "holds": "above the line at 1",
        "reference": 1.0,
        "logarithmic": True,
        "comparisons": [one, other],
    }
    return Evidence(**fields | about)


def test_the_claim_that_answers_is_the_picture_and_accuracies_come_after(penalties):
    found = figures.charts(penalties, evidence(penalties)).charts
    alone = figures.charts(penalties).charts
    assert [x.name for x in found] == ["claim", *[x.name for x in alone]]
    assert [x.name for x in found if x.group == "answer"] == ["claim"]
    after = [x._replace(group="") for x in found[1:]]
    assert repr(after) == repr([x._replace(group="") for x in alone])
    assert {x.name for x in found if x.group == "seeds"} == {"differences", "seeds"}
    no_baseline = make(PENALTIES)
    found = figures.charts(no_baseline, evidence(no_baseline)).charts
    assert [x.name for x in found if x.group == "answer"] == ["claim"]


def test_a_claim_is_drawn_with_its_bound_its_verdicts_and_its_colour(penalties):
    given = evidence(penalties)
    found = figures.charts(penalties, given).charts[0]
    assert (found.title, found.x.label) == (given.title, given.measure)
    assert (found.x.logarithmic, found.x.reference) == (True, 1.0)
    (panel,) = found.panels
    one, other = panel.marks
    assert (one.label, one.key, one.kind) == ("depth 2", "sgd", "fails")
    assert (one.estimate, one.low, one.high) == (2.0, 0.5, 8.0)
    assert list(one.values) == [1.0, 2.0, 4.0]
    assert one.text == given.comparisons[0].text
    assert (other.kind, other.seeds, other.values) == ("undecided", [], None)
    assert found.note.startswith("Dots: seeds; bars: geometric mean and 95% interval.")
    assert "lies above the line at 1: \u2713 holds," in found.note
    assert found.note.endswith("The claim holds if all of them do.")


@pytest.mark.parametrize(
    ("values", "told"), [([1.0, 1.0, 2.0], True), ([1.0, np.nan, np.nan], False)]
)
def test_seeds_that_lie_on_each_other_are_told_of(penalties, values, told):
    given = evidence(penalties)
    one = given.comparisons[0]._replace(values=np.array(values))
    found = figures.charts(penalties, given._replace(comparisons=[one])).charts[0]
    assert ("equal numbers are one dot" in found.note) == told


# differences and seeds


def test_differences_are_those_of_the_table_of_differences(penalties):
    rows = {x.label: x for x in chart(penalties, "differences").panels[1].marks}
    table = estimates.arm_differences(penalties).set_index("arm")
    assert list(rows) == ["sgd", "third moment"]
    for arm, row in zip(("sgd-l2", "third_moment-l2"), rows.values()):
        wanted = table.loc[arm]
        columns = ["accuracy_points", "accuracy_points_low", "accuracy_points_high"]
        assert [row.estimate, row.low, row.high] == [wanted[x] for x in columns]
        points = 100 * (accuracy(penalties, arm) - accuracy(penalties, "adam-l2"))
        np.testing.assert_allclose(row.values, points, rtol=0, atol=1e-12)
        assert row.seeds == list(range(6))


def shifted(record: Record, points: dict[str, float], noise: float) -> Record:
    """The record with accuracies of 50% and so many points more, but for noise."""
    rows = record.networks.copy()
    spread = np.cos(np.arange(len(rows)))
    more = rows["arm"].map(points) + noise * spread + rows["seed"]
    return record._replace(networks=rows.assign(test_accuracy=0.5 + 0.01 * more))


def test_a_row_says_its_difference_and_how_it_is_judged():
    """Seeds differ by far more than arms, which is common to both and drops out."""
    record = make(OPTIMIZERS, baseline=ADAM)
    points = {"sgd": -2.0, "adam": 0.0, "third_moment": 2.0}
    sgd, third = marks(chart(shifted(record, points, 0.5), "differences"))
    assert (sgd.kind, third.kind) == ("fails", "holds")
    assert sgd.high < 0 < third.low
    assert third.text == formats.signed(Interval(*third[2:5], 6))
    assert re.fullmatch(r"\+\d\.\d+ \[\d\.\d+, \d\.\d+\]", third.text)
    assert sgd.text.startswith("\N{MINUS SIGN}")
    assert "-" not in sgd.text
    rows = marks(chart(shifted(record, points, 50.0), "differences"))
    assert {x.kind for x in rows} == {"undecided"}


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ((1.64, 1.03, 2.25), "+1.64 [1.03, 2.25]"),
        ((-0.31, -0.9, 0.28), "\N{MINUS SIGN}0.31 [\N{MINUS SIGN}0.90, 0.28]"),
        ((-0.001, -0.16, 0.158), "0.00 [\N{MINUS SIGN}0.16, 0.16]"),
        ((0.5, np.nan, np.nan), "+0.5000"),
        ((np.nan, np.nan, np.nan), "-"),
    ],
)
def test_a_difference_has_a_sign_unless_it_is_zero(bounds, text):
    assert formats.signed(Interval(*bounds, 5)) == text


def test_where_a_seed_collapsed_the_trimmed_mean_must_agree():
    """One collapse of ten: the trimmed means still have a side, the means have none."""
    record = make(OPTIMIZERS, num_seeds=10, baseline=ADAM)
    points = {"sgd": -0.2, "adam": 0.0, "third_moment": 2.0}
    found = shifted(record, points, 0.1)
    assert [x.kind for x in marks(chart(found, "differences"))] == ["fails", "holds"]
    rows = found.networks.copy()
    rows.loc[rows["seed"] == 9, "test_accuracy"] -= 0.09 * (rows["arm"] != "adam")
    sgd, third = marks(chart(found._replace(networks=rows), "differences"))
    for row in (sgd, third):
        trimmed = outliers.trimmed_mean(row.values)
        assert row.low < 0 < row.high
        assert not trimmed.low < 0 < trimmed.high
        assert row.kind == "undecided"


def test_each_arm_is_compared_at_its_own_best_setting(rates):
    cells = {x.arm: x for x in networks.best_of_arms(networks.load(rates))}
    assert {x.position for x in cells.values()} == {2}
    rows = rates.networks.copy()
    adam = rows["arm"] == "adam"
    rows.loc[adam & (rows["learning_rate"] == 0.03), "validation_accuracy"] = 0.99
    moved = rates._replace(networks=rows)
    sgd, _ = marks(chart(moved, "differences"))
    points = accuracy(moved, "sgd", learning_rate=0.3)
    points = 100 * (points - accuracy(moved, "adam", learning_rate=0.03))
    np.testing.assert_allclose(sgd.values, points, rtol=0, atol=1e-12)
    note = chart(moved, "differences").note
    assert "setting of its highest mean validation accuracy" in note


def test_a_seed_that_an_arm_lacks_is_in_no_difference():
    record = make(OPTIMIZERS, baseline=ADAM)
    lost = (record.networks["arm"] == "adam") & (record.networks["seed"] == 2)
    epochs = ~((record.epochs["arm"] == "adam") & (record.epochs["seed"] == 2))
    part = record._replace(
        networks=record.networks[~lost], epochs=record.epochs[epochs]
    )
    for row in marks(chart(part, "differences")):
        assert row.seeds == [0, 1, 3, 4, 5]
    of_adam = [x for x in marks(chart(part, "seeds")) if x.key == "adam"]
    assert of_adam[0].seeds == [0, 1, 3, 4, 5]


def test_seeds_have_the_interval_of_the_mean(penalties):
    for panel, penalty in zip(chart(penalties, "seeds").panels, ("none", "l2")):
        for row in panel.marks:
            values = accuracy(penalties, f"{row.key}-{penalty}")
            mean, low, high, _ = statistics.mean_interval(values)
            assert (row.estimate, row.low, row.high) == (mean, low, high)
            assert row.text == formats.by_width(Interval(mean, low, high, 6))
            np.testing.assert_array_equal(row.values, values)


# against the epoch


def test_a_line_is_the_mean_and_a_band_the_interval(penalties):
    found = chart(penalties, "test_accuracy")
    assert [x.title for x in found.panels] == ["no penalty", "penalty l2"]
    for cell in networks.load(penalties):
        panel = found.panels[("none", "l2").index(cell.factors["penalty"])]
        (line,) = [x for x in panel.marks if x.key == cell.factors["optimizer"]]
        wanted = statistics.mean_interval(cell.curves["test_accuracy"])
        np.testing.assert_array_equal(line.y, wanted.estimate)
        np.testing.assert_array_equal(line.low, wanted.low)
        np.testing.assert_array_equal(line.high, wanted.high)
        assert list(line.x) == [1, 2, 3, 4]
        np.testing.assert_array_equal(line.values, cell.curves["test_accuracy"])
    assert found.smooth
    assert not found.y.may_switch


def test_losses_far_apart_have_a_log_axis_and_bands_above_zero():
    """Losses of 1, 1 and 1000: Student's band would begin below zero."""
    record = make(OPTIMIZERS, num_seeds=3)
    epochs = record.epochs.copy()
    epochs.loc[epochs["seed"] == 2, "train_loss"] *= 1000
    found = chart(record._replace(epochs=epochs), "train_loss")
    assert found.y.logarithmic
    assert found.y.may_switch
    for line in marks(found):
        student = statistics.mean_interval(line.values)
        assert (student.low < 0).all()
        assert (line.low > 0).all()
        np.testing.assert_array_equal(line.y, student.estimate)
        np.testing.assert_allclose(line.low * line.high, line.y**2, rtol=1e-12)
    assert bands.ON_LOG in found.note


def test_a_gap_below_zero_keeps_a_linear_axis():
    record = make(OPTIMIZERS, probes=("mode_gap_loss",))
    assert chart(record, "mode_gap_loss").y.may_switch
    negative = {k: x - 2 for k, x in record.probes.items()}
    found = chart(record._replace(probes=negative), "mode_gap_loss")
    assert (found.y.logarithmic, found.y.may_switch) == (False, False)
    assert found.y.reference == 0


def test_a_band_of_accuracies_ends_at_one_and_the_axis_too():
    record = make(OPTIMIZERS, num_seeds=3)
    high = 1 - 0.1 * (record.epochs["seed"] == 1)
    found = chart(
        record._replace(epochs=record.epochs.assign(test_accuracy=high)),
        "test_accuracy",
    )
    for line in marks(found):
        assert statistics.mean_interval(line.values).high.max() > 1
        assert line.high.max() == 1
        assert line.low.min() >= 0
    assert found.y.limits[1] == 1
    assert bands.CLIPPED in found.note
    assert bands.CLIPPED not in chart(record, "test_accuracy").note


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ([0.5, 0.7, np.nan], None),  # a renderer follows what it shows
        ([0.9, 0.999], (0.89505, 1.0)),
        ([0.001, 0.501], (0.0, 0.526)),
        ([0.1, 0.1], (0.05, 0.15)),
        ([np.nan], (0.0, 1.0)),
    ],
)
def test_an_axis_of_accuracies_stays_between_zero_and_one(values, limits):
    found = bands.share_axis("accuracy", [np.array(values)]).limits
    assert found == (limits and pytest.approx(limits, rel=1e-12))


@pytest.mark.parametrize(("num_seeds", "banded"), [(1, False), (2, False), (3, True)])
def test_fewer_than_three_seeds_have_no_band(num_seeds, banded):
    record = make(OPTIMIZERS, num_seeds=num_seeds)
    for name in ("test_accuracy", "train_loss", "profiles"):
        found = chart(record, name) if name in names(record) else None
        if found:
            assert all((line.low is not None) == banded for line in marks(found))
            assert (bands.too_few(0.95) in found.note) == (not banded)
    found = chart(record, "seeds")
    table = estimates.summary(record)
    for row, low, high in zip(
        marks(found), table["test_accuracy_low"], table["test_accuracy_high"]
    ):  # the interval of the table, from two seeds on
        expected = np.clip([low, high], 0, 1)
        assert np.array_equal([row.low, row.high], expected, equal_nan=True)
        assert np.isfinite(row.low) == (num_seeds > 1)
    assert ("A single seed has no interval." in found.note) == (num_seeds == 1)
    assert ("profiles" in names(record)) == (num_seeds > 1)


@pytest.mark.parametrize(("epochs", "drawn"), [(8, "bars"), (9, "bands")])
def test_the_note_names_what_the_page_draws(epochs, drawn):
    x, values = np.arange(epochs), np.ones((3, epochs)) * [[1.0], [2.0], [3.0]]
    line = bands.series("a", "a", x, values, [0, 1, 2], level=0.95, scale="size")
    sentence, *_ = bands.notes([line], 0.95, "signed")
    assert sentence == f"Lines: mean over seeds; {drawn}: its 95% interval."
    script = (pathlib.Path(bands.__file__).parent / "assets" / "lines.js").read_text()
    assert f"const FEW = {bands.FEW};" in script


def test_diverged_networks_are_left_out_of_the_band_and_told_of():
    record = make(OPTIMIZERS, num_seeds=5)
    lost = (record.networks["arm"] == "sgd") & (record.networks["seed"] < 3)
    found = chart(diverged(record, lost), "train_loss")
    sgd, adam, _ = marks(found)
    assert np.isfinite(sgd.y).all()
    assert list(np.isfinite(sgd.low)) == [True, False, False, False]  # two are left
    assert np.isfinite(adam.low).all()
    assert "3 of 15 networks diverged" in found.note
    every = diverged(record, record.networks["seed"] >= 0)
    for line in marks(chart(every, "train_loss")):
        assert list(np.isfinite(line.y)) == [True, False, False, False]


def test_the_level_of_a_look_is_that_of_every_interval():
    looks = [{"num_seeds": 6, "level": 0.99}]
    record = make(OPTIMIZERS, baseline=ADAM, looks=looks)
    (line, *_) = marks(chart(record, "test_accuracy"))
    wanted = statistics.mean_interval(line.values, 0.99)
    np.testing.assert_array_equal(line.low, wanted.low)
    for name in ("differences", *ALWAYS, *SPREADS, "cost"):
        said = "p of at most 0.01" if name == "probability" else "99% interval"
        assert said in chart(record, name).note
        assert "95%" not in chart(record, name).note


def test_too_many_numbers_leave_the_seeds_out(monkeypatch):
    record = make(OPTIMIZERS)
    size = sum(line.values.size for line in marks(chart(record, "train_loss")))
    monkeypatch.setattr(bands, "MOST_NUMBERS", size)
    assert all(x.values is not None for x in marks(chart(record, "train_loss")))
    monkeypatch.setattr(bands, "MOST_NUMBERS", size - 1)
    found = chart(record, "train_loss")
    assert all(x.values is None and not x.seeds for x in marks(found))
    assert bands.UNDRAWN in found.note


def test_of_many_epochs_some_are_drawn_the_ends_among_them(monkeypatch):
    record = make(OPTIMIZERS)
    assert "epochs are drawn" not in chart(record, "train_loss").note
    monkeypatch.setattr(curves, "MOST_EPOCHS", 3)
    found = chart(record, "train_loss")
    loss = networks.load(record)[0].curves["train_loss"]
    line = marks(found)[0]
    assert list(line.x) == [1, 3, 4]
    np.testing.assert_array_equal(line.values, loss[:, [0, 2, 3]])
    assert "3 of 4 epochs are drawn." in found.note


# by layer

LAYERS = ("dense_0", "norm_0", "dense_1", "norm_1", "dense_10", "logits")


def test_each_layer_has_a_panel_and_each_arm_its_colour():
    record = make(OPTIMIZERS, probes=tuple(f"gradient_norm.{x}" for x in LAYERS))
    lost = {"sgd/gradient_norm.norm_0"}
    part = {k: x for k, x in record.probes.items() if k not in lost}
    found = chart(record._replace(probes=part), "gradient_norm")
    assert [x.title for x in found.panels] == [
        *("dense 0", "norm 0", "dense 1", "norm 1", "dense 10", "logits")
    ]
    keys = [[line.key for line in panel.marks] for panel in found.panels]
    assert keys[0] == ["sgd", "adam", "third_moment"]
    assert keys[1] == ["adam", "third_moment"]
    line = found.panels[2].marks[0]
    values = part["sgd/gradient_norm.dense_1"][0]
    np.testing.assert_array_equal(line.y, bounded.positive_mean(values).estimate)


def test_of_many_layers_some_are_drawn_the_ends_among_them():
    probes = tuple(f"update_norm.conv_{i}" for i in range(60))
    found = chart(make(PENALTIES, probes=probes), "update_norm")
    titles = [x.title for x in found.panels]
    assert len(titles) == curves.MOST_PANELS
    assert titles[0] == "conv 0, no penalty"
    assert titles[-1] == "conv 59, penalty l2"
    assert "12 of 60 layers are drawn." in found.note


# who beats whom


def test_the_probabilities_of_a_pair_add_up_to_one(penalties):
    tiles = {(x.y, x.x): x for x in marks(chart(penalties, "probability"))}
    assert len(tiles) == 6 * 5
    for (a, b), tile in tiles.items():
        assert a != b
        assert tile.value + tiles[b, a].value == pytest.approx(100, abs=1e-12)
        assert tile.marked == tiles[b, a].marked
    points = {"sgd": -2.0, "adam": 0.0, "third_moment": 2.0}
    found = marks(chart(shifted(make(OPTIMIZERS), points, 0.1), "probability"))
    (better,) = [x for x in found if (x.y, x.x) == ("third moment", "sgd")]
    assert (better.value, better.text, better.marked) == (100, "100", True)
    title = "third moment beats sgd on 6 of 6 seeds: 100% [61, 100]"
    assert better.title == title


@pytest.mark.parametrize(
    ("wins", "losses", "ties", "framed"),
    [
        (4, 0, 0, False),
        (6, 0, 0, True),
        (5, 0, 1, False),
        (7, 1, 0, False),
        (8, 1, 0, True),
        (6, 0, 3, True),
        (0, 6, 0, True),
        (3, 3, 0, False),
    ],
)
def test_a_pair_is_framed_by_the_exact_sign_test(wins, losses, ties, framed):
    """Wilson's interval excludes one half with four wins; their p is 0.125."""
    n = wins + losses + ties
    record = make({"norm": ("none", "batch")}, num_seeds=n)
    rows = record.networks.copy()
    ahead = np.repeat([0.01, -0.01, 0.0], [wins, losses, ties])
    rows["test_accuracy"] = np.concatenate([np.full(n, 0.5), 0.5 + ahead])
    found = record._replace(networks=rows)
    tiles = marks(chart(found, "probability"))
    assert [x.marked for x in tiles] == [framed, framed]
    assert sorted(x.value for x in tiles) == pytest.approx(
        sorted([100 * (wins + ties / 2) / n, 100 * (losses + ties / 2) / n])
    )


def test_a_tie_is_half_a_win_and_an_unpaired_seed_none():
    record = make(OPTIMIZERS)
    rows = record.networks.copy()
    of = {x: rows["arm"] == x for x in OPTIMIZERS["optimizer"]}
    rows.loc[of["sgd"], "test_accuracy"] = [0.5, 0.6, 0.7, 0.8, 0.9, 0.9]
    rows.loc[of["adam"], "test_accuracy"] = [0.5, 0.5, 0.8, 0.9, 0.95, np.nan]
    tiles = marks(chart(record._replace(networks=rows), "probability"))
    (tile,) = [x for x in tiles if (x.y, x.x) == ("sgd", "adam")]
    assert tile.value == 30  # one win and a tie of five pairs
    assert "on 1.5 of 5 seeds" in tile.title


def test_more_than_thirty_arms_have_no_matrix():
    levels = tuple(f"n{i}" for i in range(31))
    assert "probability" not in names(make({"norm": levels}, num_seeds=2))
    assert "probability" in names(make({"norm": levels[:30]}, num_seeds=2))
    assert "probability" not in names(make({"norm": levels[:1]}))


def test_a_profile_falls_from_one_to_zero_in_steps_of_a_seed(penalties):
    found = chart(penalties, "profiles")
    for panel, penalty in zip(found.panels, ("none", "l2")):
        for line in panel.marks:
            values = np.sort(accuracy(penalties, f"{line.key}-{penalty}"))
            assert (line.y[0], line.y[-1]) == (1, 0)
            assert (np.diff(line.y) <= 0).all()
            assert (np.diff(line.x) >= 0).all()
            inner = slice(1, -1)  # a band from the lowest seed to the highest
            assert np.isnan([line.low[[0, -1]], line.high[[0, -1]]]).all()
            assert (line.low[inner] <= line.y[inner]).all()
            assert (line.y[inner] <= line.high[inner]).all()
            falls = line.x[1:][np.diff(line.y) < 0]
            np.testing.assert_array_equal(falls, values)
            between = (values[2] + values[3]) / 2  # three of six are above
            assert np.interp(between, line.x, line.y) == 0.5
            assert [line.x[0], line.x[-1]] == list(found.x.limits)


# against a grid


def test_a_grid_of_rates_has_a_log_axis_with_its_values(rates):
    found = chart(rates, "against_learning_rate")
    assert list(found.x.ticks) == [0.03, 0.1, 0.3]
    assert found.x.logarithmic
    for line in marks(found):
        assert list(line.x) == [0.03, 0.1, 0.3]
        values = [accuracy(rates, line.key, learning_rate=x) for x in line.x]
        np.testing.assert_array_equal(line.values, np.array(values).T)
        np.testing.assert_array_equal(line.y, statistics.mean_interval(line.values)[0])
        assert line.marked == [2]  # of the highest validation accuracy


@pytest.mark.parametrize(
    ("values", "logarithmic", "may_switch"),
    [
        ((0.1, 0.2, 0.3), True, True),
        ((0.1, 0.15, 0.2), False, True),
        ((0.0, 0.1, 1.0), False, False),
    ],
)
def test_an_axis_is_logarithmic_from_a_factor_of_three(values, logarithmic, may_switch):
    axis = bands.grid_axis("rate", values)
    assert (axis.logarithmic, axis.may_switch) == (logarithmic, may_switch)
    assert bands.grid_axis("rate", np.linspace(1, 9, 20).tolist()).ticks == ()


def test_accuracy_against_a_factor_of_numbers():
    record = make(SIZES)
    found = chart(record, "against_batch_size")
    assert [line.key for line in marks(found)] == ["none", "batch"]
    for line in marks(found):
        values = [accuracy(record, f"{line.key}-{size}") for size in (2, 8, 32)]
        np.testing.assert_array_equal(line.values, np.array(values).T)
        assert line.marked == []
    alone = make({"batch_size": (32, 2, 8)})
    (line,) = marks(chart(alone, "against_batch_size"))
    assert (line.key, list(line.x)) == ("", [2, 8, 32])
    assert "map_batch_size" not in names(alone)


def test_diverged_networks_have_no_final_loss(rates):
    lost = (rates.networks["learning_rate"] == 0.3) & (rates.networks["seed"] == 1)
    found = chart(diverged(rates, lost), "final_train_loss_against_learning_rate")
    assert found.title.endswith("without 3 of 54 networks, which diverged")
    for line in marks(found):
        assert np.isnan(line.values[1]).tolist() == [False, False, True]
        assert (line.y < 1).all()


def test_a_map_has_the_mean_of_every_arm_at_every_value(rates):
    lost = (rates.networks["learning_rate"] == 0.3) & (rates.networks["seed"] == 1)
    found = chart(diverged(rates, lost), "map_learning_rate")
    assert list(found.x.names) == ["0.03", "0.1", "0.3"]
    assert list(found.y.names) == ["sgd", "adam", "third moment"]
    tiles = {(x.y, x.x): x for x in marks(found)}
    assert len(tiles) == 9
    mean = accuracy(rates, "third_moment", learning_rate=0.1).mean()
    assert tiles["third moment", "0.1"].value == pytest.approx(100 * mean, rel=1e-12)
    assert tiles["third moment", "0.1"].text == f"{100 * mean:.1f}"
    assert {x.x for x in tiles.values() if x.marked} == {"0.3"}
    assert tiles["sgd", "0.3"].title.endswith("6 seeds, 1 of them diverged")
    assert tiles["sgd", "0.1"].title.endswith("6 seeds")


def test_two_settings_that_were_crossed_have_a_map():
    settings = {"learning_rate": (0.1, 0.2), "momentum": (0.1, 0.5, 0.9)}
    found = chart(make(OPTIMIZERS, settings=settings), "map_learning_rate_momentum")
    assert [x.title for x in found.panels] == ["sgd", "adam", "third moment"]
    assert list(found.y.names) == ["0.9", "0.5", "0.1"]
    assert [len(panel.marks) for panel in found.panels] == [6, 6, 6]
    assert [sum(x.marked for x in panel.marks) for panel in found.panels] == [1, 1, 1]


def test_two_settings_that_go_up_together_are_no_map():
    record = make(OPTIMIZERS, settings={"learning_rate": (0.1, 0.2), "eps": (1.0, 2.0)})
    cells = networks.load(record)
    assert list(maps.crossed_arms(cells, ("learning_rate", "eps"))) == [
        *OPTIMIZERS["optimizer"]
    ]
    line = [x for x in cells if x.settings["eps"] == 10 * x.settings["learning_rate"]]
    assert len(line) == 6
    assert maps.crossed_arms(line, ("learning_rate", "eps")) == {}


def test_values_close_together_have_texts_of_their_own():
    assert maps.texts([1e-4, 0.5]) == {1e-4: "0.0001", 0.5: "0.5"}
    assert list(maps.texts([1.0001, 1.0002]).values()) == ["1.0001", "1.0002"]


# cost


def test_cost_is_the_speed_and_the_mean(penalties):
    found = chart(penalties, "cost")
    assert found.x.logarithmic
    plan = layout.of_record(penalties)
    for cell in networks.load(penalties):
        (panel,) = [x for x in found.panels if x.title == plan.title(cell.arm)]
        (point,) = [x for x in panel.marks if x.key == plan.key(cell.arm)]
        assert point.label == plan.strokes[point.key].label  # the panel says the rest
        assert (point.x, point.x_low, point.x_high, 6) == estimates.speed(cell)
        assert (point.y, point.y_low, point.y_high, 6) == estimates.robustness(cell)
    assert "say nothing of another" in found.note
    entries = {
        k: {**x, "epoch_seconds": []} for k, x in penalties.record["arms"].items()
    }
    timeless = penalties._replace(record={**penalties.record, "arms": entries})
    with pytest.warns(RuntimeWarning):  # the median of no epochs
        assert "cost" not in names(timeless)


# tuning


RATES = (0.01, 0.1, 1.0)


def trial_rows(arm: str, factors: dict[str, str], best: float) -> list[dict[str, Any]]:
    """Three rates with two seeds each; the second rate is the best."""
    return [
        {
            "arm": arm,
            **factors,
            "learning_rate": rate,
            "trial": i,
            "seed": seed,
            "validation_accuracy": best - 0.1 * (i - 1) ** 2 + 0.001 * seed,
            "diverged_at_step": -1,
        }
        for (i, rate), seed in itertools.product(enumerate(RATES), (8, 9))
    ]


def tuned(*, judged: bool, complete: int = 3) -> Record:
    """Each optimizer chooses of two schedules and three rates; some are complete."""
    record = make(OPTIMIZERS)
    arms: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    trials: dict[str, list[str]] = {}
    for i, optimizer in enumerate(OPTIMIZERS["optimizer"]):
        for schedule in ("constant", "cosine"):
            arm = f"{optimizer}-{schedule}"
            factors = {"optimizer": optimizer, "schedule": schedule}
            grid = {"learning_rate": list(RATES)}
            arms[arm] = {"id": arm, "factors": factors, "settings": grid}
            trials.setdefault(optimizer, []).append(arm)
            if i < complete:
                rows += trial_rows(arm, factors, 0.5 + 0.1 * i)
    tuning = {
        "search": "grid",
        "seeds": [8, 9],
        "choose": ["schedule"],
        "chance": 0.1,
        "arms": arms,
        "judged": {name: {"trials": x} for name, x in trials.items()},
        "stage": "judged" if judged else "trials",
    }
    content = {**record.record, "tuning": tuning}
    if not judged:  # then the arms of the record are those of the trials
        content |= {"arms": arms, "arm_order": list(arms)}
    table = pd.DataFrame(rows, columns=list(rows[0]) if rows else ["arm"])
    return record._replace(record=content, trials=table)


def test_while_trials_run_there_are_the_charts_of_the_search_alone():
    assert names(tuned(judged=False, complete=0)) == []
    found = figures.charts(tuned(judged=False, complete=2))
    assert [x.name for x in found.charts] == ["tuning_trials", "tuning_learning_rate"]
    assert {x.group for x in found.charts} == {"tuning"}
    assert list(found.strokes) == ["sgd", "adam"]
    judged = figures.charts(tuned(judged=True))
    assert [x.name for x in judged.charts][-2:] == [
        "tuning_trials",
        "tuning_learning_rate",
    ]
    assert {k: judged.strokes[k] for k in found.strokes} == found.strokes
    assert "the setting that its trials chose" in judged.charts[0].note


def test_a_ring_marks_the_trial_that_was_chosen():
    record = tuned(judged=True)
    scores = searches.scores_of_arms(record)
    found = chart(record, "tuning_learning_rate")
    points = [x for x in marks(found) if not x.joined]
    lines = [x for x in marks(found) if x.joined]
    for series, line in zip(points, lines):
        np.testing.assert_array_equal(series.y, scores[series.key][0])
        assert len(series.x) == 6
        assert [series.x[i] for i in series.marked] == [0.1]
        assert list(line.x) == [0.01, 0.1, 1.0]
        assert line.y.max() == series.y.max()
    assert found.x.logarithmic
    for line in marks(chart(record, "tuning_trials")):
        assert list(line.x) == [1, 2, 3, 4, 5, 6]
        assert line.y[-1] == scores[line.key][0].max()


# colours, words and JSON


def test_a_key_has_one_stroke_and_neighbours_differ_in_colour_and_dashes(penalties):
    found = figures.charts(penalties)
    assert found.legend == "optimizer"
    assert [x.label for x in found.strokes.values()] == ["sgd", "adam", "third moment"]
    strokes = list(found.strokes.values())
    for a, b in itertools.combinations(strokes, 2):
        assert a.colour != b.colour
        assert a.dash != b.dash
    plan = layout.of_record(
        make({"norm": tuple(f"n{i}" for i in range(32))}, num_seeds=1)
    )
    many = list(plan.strokes.values())
    assert len({(x.colour, x.dash) for x in many}) == 32
    assert len({x.colour for x in many[:8]}) == 8
    for a, b in itertools.pairwise(many):
        assert a.colour != b.colour
        assert a.dash != b.dash


@pytest.mark.parametrize(("arms", "sizes"), [(8, [8]), (9, [5, 4]), (23, [8, 8, 7])])
def test_no_panel_has_two_lines_of_a_colour(arms, sizes):
    record = make({"norm": tuple(f"n{i}" for i in range(arms))})
    found = figures.charts(record)
    for name in ("test_accuracy", "profiles"):
        (lines,) = [x for x in found.charts if x.name == name]
        keys = [[mark.key for mark in panel.marks] for panel in lines.panels]
        assert [len(x) for x in keys] == sizes
        assert list(itertools.chain(*keys)) == [f"n{i}" for i in range(arms)]
        for some in keys:
            assert len({found.strokes[key].colour for key in some}) == len(some)
        assert len({panel.part_of for panel in lines.panels}) == 1
        assert (layout.CONTEXT in lines.note) == (len(sizes) > 1)
    assert len(lines.panels) == 1 or lines.panels[0].title == f"n0 to n{sizes[0] - 1}"
    (cost,) = [x for x in found.charts if x.name == "cost"]
    assert len(cost.panels) == 1  # its points have labels


def test_axes_of_counts_are_marked_at_whole_numbers(rates):
    found = {x.name: x for x in figures.charts(tuned(judged=True)).charts}
    assert found["tuning_trials"].x.whole
    assert found["test_accuracy"].x.whole
    assert not found["tuning_learning_rate"].x.whole
    assert bands.grid_axis("batch size", [32.0, 64.0]).whole
    assert not bands.grid_axis("learning rate", [1.0, 0.5]).whole


def test_colours_stay_while_arms_are_missing():
    record = make(OPTIMIZERS)
    part = record._replace(
        networks=record.networks[record.networks["arm"] != "sgd"],
        epochs=record.epochs[record.epochs["arm"] != "sgd"],
    )
    whole, found = figures.charts(record), figures.charts(part)
    assert list(found.strokes) == ["adam", "third_moment"]
    assert all(whole.strokes[k] == x for k, x in found.strokes.items())


def test_arms_that_factors_do_not_tell_apart_have_colours_of_their_own():
    record = make(OPTIMIZERS)
    for entry in record.record["arms"].values():
        entry["factors"] = {"optimizer": "adam"}
    plan = layout.of_record(record)
    assert (plan.colour, plan.others) == ("arm", [])
    assert list(plan.strokes) == ["sgd", "adam", "third_moment"]
    assert plan.strokes["third_moment"].label == "third moment"


def words(charts: Charts) -> list[str]:
    """Every text that a reader sees."""
    texts = [charts.legend, *(x.label for x in charts.strokes.values())]
    for found in charts.charts:
        texts += [found.title, found.note, *found.x.names, *found.y.names]
        texts += [found.x.label, found.y.label, *(x.title for x in found.panels)]
        for mark in marks(found):
            texts += [getattr(mark, x, "") for x in ("label", "text", "title")]
    return texts


RECORDS = {
    "one arm": lambda: make({"norm": ("layer_example",)}),
    "one seed": lambda: make(PENALTIES, num_seeds=1, baseline=ADAM),
    "two seeds": lambda: make(PENALTIES, num_seeds=2, baseline=ADAM),
    "a baseline of none": lambda: make(SIZES, baseline={"norm": "none"}),
    "a hundred cells": lambda: make(
        OPTIMIZERS,
        num_seeds=2,
        settings={"learning_rate": tuple(np.logspace(-3, 0, 100).tolist())},
    ),
    "24 arms": lambda: make(
        {f"factor_{i}": (f"a_{i}", "b") for i in range(3)} | OPTIMIZERS
    ),
    "all diverged": lambda: diverged(
        record := make(SIZES), record.networks["seed"] >= 0
    ),
    "no accuracy": lambda: (record := make(SIZES))._replace(
        networks=record.networks.assign(train_loss=np.nan, test_accuracy=np.nan)
    ),
    "probed": lambda: make(PENALTIES, probes=("update_norm.conv_1_0", "smoothness")),
    "tuning": lambda: tuned(judged=False),
    "tuned": lambda: tuned(judged=True),
}


@pytest.mark.parametrize("name", RECORDS)
def test_any_record_has_charts_of_words_and_plain_numbers(name):
    """No warning, no identifier, the same JSON again; every key has its stroke."""
    record = RECORDS[name]()
    found = figures.charts(record)
    assert found.charts
    assert not [text for text in words(found) if "_" in text]
    content = json.dumps(as_json(found), allow_nan=False)
    assert content == json.dumps(as_json(figures.charts(record)), allow_nan=False)
    ids = [x.name for x in found.charts]
    assert len(set(ids)) == len(ids)
    for chart in found.charts:
        assert chart.title
        assert chart.note or chart.kind == "tiles"
        for mark in marks(chart):
            assert getattr(mark, "key", "") in {"", *found.strokes}
            if chart.kind == "tiles":
                assert mark.x in chart.x.names
                assert mark.y in chart.y.names
            if chart.kind == "rows":
                assert mark.label in chart.y.names
            if isinstance(mark, Series) and mark.low is not None:
                known = np.isfinite(mark.low)
                assert (mark.low[known] <= mark.y[known]).all()
                assert (mark.y[known] <= mark.high[known]).all()
        for axis in (chart.x, chart.y):
            if (
                axis.limits
                and "accuracy" in axis.label
                and "difference" not in axis.label
            ):
                assert 0 <= axis.limits[0] < axis.limits[1] <= 1
