"""What a growing study has not decided: differences, claims, and the loop of looks."""

import pathlib
import sys
import types

import _records
import numpy as np
import pandas as pd
import pytest

from normjax import looks, statistics
from normjax.audit import claims
from normjax.report import conditions, decisions, estimates, tables
from normjax.report.audit_interface import Kind, Reason, Section, Verdict
from normjax.study.record import CURVES, FINAL, Record

EPOCHS = 6
SPREAD = 0.01  # of the accuracy over seeds
PRE, POST = ({"norm": "batch", "placement": x} for x in ("pre", "post"))


def made(
    gap: float, num_seeds: int, *, audit: str = "", settings=(0.1,), **about
) -> Record:
    """Two placements of batch norm: `pre` is better by `gap` standard deviations.

    The seeds of a smaller record are the first ones of a larger one.
    """
    rows, steps = [], np.arange(1, EPOCHS + 1)
    for i, levels in enumerate((PRE, POST)):
        generator = np.random.default_rng(i)
        draws = generator.normal(size=(200, len(settings)))[:num_seeds]
        for j, rate in enumerate(settings):
            for seed, z in enumerate(draws[:, j]):
                final = 0.8 + SPREAD * (z + (0 if i else gap * np.sqrt(2)))
                lane = {"arm": levels["placement"], **levels, "learning_rate": rate}
                lane |= {"seed": seed, "epoch": steps, "step": steps}
                lane |= dict.fromkeys(CURVES, 0.5 + 0.01 * z / steps)
                rows.append(pd.DataFrame(lane | {"test_accuracy": final}))
    epochs = pd.concat(rows, ignore_index=True)
    last = epochs[epochs["epoch"] == EPOCHS]
    missing = {x: 0.5 for x in FINAL if x not in last} | {"diverged_at_step": -1}
    config = {"study": "batch_norm_placement", "audit": audit}
    config |= {"data": {"name": "fashion_mnist"}, "model": {"name": "mlp"}}
    content = {"study": config["study"], "factors": list(PRE), "baseline": POST}
    content |= {"settings": ["learning_rate"], "arm_order": ["pre", "post"]}
    entry = {"lanes": 1, "missing": 0, "epoch_seconds": [1.0] * EPOCHS}
    entry |= {"num_parameters": 9, "compile_seconds": 1.0, "run_seconds": 1.0}
    content |= {"environment": _records.ENVIRONMENT, "damaged": []}
    entry["settings"] = {"learning_rate": list(settings)}
    content["seeds"] = list(range(num_seeds))
    content |= {"arms": {x: entry | {"id": x} for x in ("pre", "post")}} | about
    networks = last.assign(**missing)
    tables = networks, epochs, {}, {}, pd.DataFrame()
    return Record(pathlib.Path("made"), config, content, *tables)


def taken(*pairs: tuple[int, float]) -> dict:
    return {"looks": [{"num_seeds": n, "level": level} for n, level in pairs]}


def test_without_a_baseline_there_is_nothing_to_decide():
    assert decisions.has_comparisons(made(0.0, 10))
    assert not decisions.has_comparisons(made(0.0, 10, baseline={}))


def test_a_difference_is_undecided_while_its_interval_includes_zero():
    for gap, expected in ((0.0, ("pre against post",)), (3.0, ()), (-3.0, ())):
        assert decisions.undecided(made(gap, 10)) == expected


def test_a_difference_that_few_seeds_make_is_undecided():
    """Eight of thirty are better by ten points; the trimmed mean may be 0."""
    found = made(0.0, 30)
    lucky = (found.networks["arm"] == "pre") & (found.networks["seed"] >= 22)
    accuracy = found.networks["test_accuracy"] + 0.1 * lucky
    found = found._replace(networks=found.networks.assign(test_accuracy=accuracy))
    (row,) = estimates.arm_differences(found).to_dict("records")
    assert row["trimmed_points_low"] < 0 < row["accuracy_points_low"]
    assert decisions.undecided(found) == ("pre against post",)


def test_too_few_seeds_for_an_interval_decide_nothing():
    assert decisions.undecided(made(3.0, 1)) == ("pre against post",)


def test_the_settings_of_a_grid_are_decided_one_by_one():
    found = made(0.0, 10, settings=(0.1, 0.2))
    assert decisions.undecided(found) == (
        "pre against post at learning_rate=0.1",
        "pre against post at learning_rate=0.2",
    )


def test_a_study_without_baseline_and_claims_has_nothing_to_decide():
    assert decisions.undecided(made(0.0, 10, baseline={})) == ()


def test_the_claims_that_more_seeds_may_decide_are_named():
    """Those about seconds are undecided at any number of seeds, and left out."""
    found = made(0.0, 10, audit="normjax.audit.claims", baseline={})
    table = claims.verdict_table(found)
    verdicts = dict(zip(table["claim"], table["verdict_corrected"]))
    seconds = [k for k, x in verdicts.items() if x.reason is Reason.ONE_RUN]
    expected = [
        f"{k} (corrected)"
        for k, x in verdicts.items()
        if x.kind is Kind.UNDECIDED and k not in seconds
    ]
    assert seconds
    assert expected
    assert list(decisions.undecided(found)) == expected
    far = made(9.0, 10, audit="normjax.audit.claims", baseline={})
    assert not [x for x in decisions.undecided(far) if x.startswith("BN before")]


def test_a_claim_of_several_comparisons_is_named_once(monkeypatch):
    """In an audit of one's own: its rows with a verdict, but not the parts of a row."""
    few, yes = Verdict(Kind.UNDECIDED, Reason.MORE_SEEDS, 12), Verdict(Kind.HOLDS)
    table = pd.DataFrame({"claim": ["a", "b", "c"], "mine": [few, few, yes]})
    own = Section("own", "Own", table, {}, {}, parts=[False, True, False])
    audit = types.ModuleType("own_claims")
    monkeypatch.setattr(audit, "sections", lambda record: [own], raising=False)
    monkeypatch.setitem(sys.modules, "own_claims", audit)
    found = made(3.0, 10, audit="own_claims")
    assert decisions.undecided(found) == ("a (mine)",)


@pytest.mark.parametrize("reason", [None, *Reason])
def test_one_run_and_the_end_of_a_grid_keep_seeds_from_deciding(reason):
    verdict = Verdict(Kind.UNDECIDED, reason, 7)
    hopeless = reason in (Reason.ONE_RUN, Reason.GRID_ENDS)
    assert verdict.more_seeds_may_decide != hopeless
    assert not Verdict(Kind.HOLDS).more_seeds_may_decide
    assert not Verdict(Kind.FAILS).more_seeds_may_decide


# the level of the look


def test_differences_and_summary_have_the_level_of_the_look():
    plain, looked = made(0.5, 8), made(0.5, 8, **taken((5, 0.99), (8, 0.98)))
    assert estimates.level_of(plain) == 0.95
    assert estimates.level_of(looked) == 0.98
    accuracy = 100 * plain.networks["test_accuracy"].to_numpy().reshape(2, 8)
    for record, level in ((plain, 0.95), (looked, 0.98)):
        expected = statistics.paired_difference(*accuracy, level=level)
        (row,) = estimates.arm_differences(record).to_dict("records")
        assert row["accuracy_points_low"] == expected.low
        assert row["accuracy_points_high"] == expected.high
        pre = record.networks["test_accuracy"].to_numpy()[:8]
        own = statistics.mean_interval(pre, level)
        assert estimates.summary(record)["test_accuracy_low"][0] == own.low
        curves = estimates.curves(record).set_index(["arm", "measure", "epoch"])
        low = curves["mean_low"]["pre", "test_accuracy", EPOCHS]
        assert abs(low - own.low) <= 8 * 2.3e-16  # another order of eight additions


def test_claims_have_the_level_of_the_look():
    """The interval, the seeds that it needs, and not the published interval."""
    level = 0.98
    plain, looked = made(0.5, 8), made(0.5, 8, **taken((8, level)))
    a, b = 100 * plain.networks["test_accuracy"].to_numpy().reshape(2, 8)
    rows = [claims.verdict_table(x).iloc[0] for x in (plain, looked)]
    for row, at in zip(rows, (0.95, level)):
        assert row["sentence"] == "BN before the activation is slightly better"
        expected = statistics.paired_difference(a, b, level=at)
        assert row["corrected_low"] == expected.low
        assert row["corrected_high"] == expected.high
    assert rows[0]["published_low"] == rows[1]["published_low"]
    assert rows[1]["verdict_corrected"].seeds > rows[0]["verdict_corrected"].seeds


def test_the_page_and_the_terminal_say_how_often_was_looked():
    record = made(0.5, 8, **taken((5, 0.99), (8, 0.98)))
    sentence = estimates.looks_sentence(record)
    assert sentence.startswith("2 looks, at 5 and 8 seeds. ")
    assert dict(conditions.rows(record))["Looks"] == sentence
    assert " ".join(tables.text(record).split()).endswith(sentence)
    plain = made(0.5, 8)
    assert "Looks" not in dict(conditions.rows(plain))
    assert tables.text(plain).endswith(tables.footnote(plain))
    for shown, percent in ((plain, "95%"), (record, "98%")):
        start = f"± is half the width of a {percent} interval over seeds"
        assert start in tables.text(shown)


# the loop


def run_until_decided(gap: float, first: int, most: int) -> Record:
    """As `launch.py --until=decided` does, with records in place of training."""
    record = made(gap, 1)
    done: list[dict] = []
    for look in looks.plan(first, most):
        done.append(look._asdict())
        record = made(gap, look.num_seeds, looks=done)
        if not decisions.undecided(record):
            break
    return record


def test_a_true_effect_stops_the_loop_and_none_does_not():
    numbers = looks.schedule(5, 200)
    strong = looks.taken(run_until_decided(4.0, 5, 200).record)
    weak = looks.taken(run_until_decided(0.5, 5, 200).record)
    none = looks.taken(run_until_decided(0.0, 5, 200).record)
    assert len(strong) < len(weak) < len(none)
    assert [look.num_seeds for look in none] == list(numbers)
    assert none == looks.plan(5, 200)
