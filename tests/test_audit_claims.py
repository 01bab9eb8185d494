"""The claims, on records made from a formula: each statistic, each kind of verdict."""

import importlib.util
import itertools
import pathlib
import re
from dataclasses import replace

import _records
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from normjax import outliers, statistics
from normjax.audit import (
    claim_data,
    claims,
    measures,
    presentation,
    published_numbers,
    verdicts,
)
from normjax.report import formats, page, tables
from normjax.report.audit_interface import Kind, Reason, Verdict
from normjax.statistics import Interval
from normjax.study.record import CURVES, Record

ROOT = pathlib.Path(__file__).parents[1]
ALL = claim_data.all_claims()
CLAIMS = [x for x in ALL if x["study"] != "rate_by_norm"]  # see test_audit_papers.py
OF_SOURCES = [x for x in CLAIMS if not claim_data.is_of_paper(x)]
NAMES = [f"{c['study']}, {c['sentence']}" for c in CLAIMS]
OUTCOMES = ("holds", "does not hold", "undecided")
SEEDS, EVALS, SCALES = 10, 6, 4
AS_PUBLISHED = "as_published"


def draws(*shape: int, key: int) -> np.ndarray:
    """Normal numbers, of several seeds with mean 0 and standard deviation 1."""
    x = np.random.default_rng(key).normal(size=shape)
    if len(x) == 1:
        return x
    return (x - x.mean(0, keepdims=True)) / x.std(0, ddof=1, keepdims=True)


def accuracy(name):
    """Points around 80, of the last evaluation."""
    return lambda v, z: {name: np.tile((80 + v + 0.1 * z[:, :1]) / 100, EVALS)}


def alternating(v: float, z: np.ndarray) -> np.ndarray:
    """Smoothness whose changes have the standard deviation 5 + v + 0.1 z."""
    signs = (-1.0) ** np.arange(EVALS)
    size = (5 + v + 0.1 * z[:, :1]) / np.std(np.diff(signs), ddof=1)
    return 9 + size * signs.reshape(1, EVALS)


MADE = {  # statistic -> (number, noise [seeds, evals]) -> what is measured so
    "test_accuracy": accuracy("test_accuracy"),
    "train_accuracy": accuracy("train_accuracy"),
    "train_loss": lambda v, z: {"train_loss": 5 + v + 0.1 * z},
    "accuracy_spread": lambda v, z: {"test_accuracy": 0.8 + np.exp(v) * z / 100},
    "stability": lambda v, z: {"train_loss": 9 + np.exp(v / 2) * z},
    "seconds": lambda v, z: {"seconds": np.exp(v + 0.01 * z[:, 0])},
    "smoothness": lambda v, z: {"smoothness": 5 + v + 0.1 * z},
    "smoothness_of_roots": lambda v, z: {"smoothness_of_roots": 5 + v + 0.1 * z},
    "volatility": lambda v, z: {"smoothness": alternating(v, z)},
    "volatility_of_roots": lambda v, z: {"smoothness_of_roots": alternating(v, z)},
    "loss_range": lambda v, z: {"ranges": v + 0.01 * z[:, 0]},
    "loss_range_ratio": lambda v, z: {"ranges": np.exp(v + 0.1 * z[:, 0])},
    "precise_test_accuracy": accuracy("precise_test_accuracy"),
    "precise_gain": lambda v, z: {
        "precise_test_accuracy": 0.8 + (v + 0.1 * z) / 100,
        "test_accuracy": np.full(z.shape, 0.8),
    },
}


def number(claim: dict, outcome: str) -> float:
    """Where the first side must be, the second at 0, on the scale of the interval."""
    margin = claim.get("margin", 0.0)
    if claim["statistic"] in ("accuracy_spread", "seconds") and margin:
        margin = np.log(margin)
    if outcome == "undecided":
        return margin
    if claim["direction"] == "within":
        return 0.0 if outcome == "holds" else 3 * margin
    sign = 1 if claim["direction"] == "greater" else -1
    away = {"stability": 4.0, "seconds": 4.0, "loss_range": 0.2}
    far = away.get(claim_data.statistic_name(claim, "corrected"), 1.0)
    return margin + far * (sign if outcome == "holds" else -sign)


def arm(number: float, statistic: str, key: int, seeds: int = SEEDS) -> dict:
    return MADE[statistic](number, draws(seeds, EVALS, key=key))


def lanes(name: str, factors: dict, measured: dict) -> list[pd.DataFrame]:
    """An arm's epochs: a frame for each of its scales."""
    curves = {k: x for k, x in measured.items() if k in CURVES}
    ranges = measured.get("ranges")
    num_seeds = len(next(iter(measured.values())))
    frames = []
    for scale in np.linspace(0, 1, 1 if ranges is None else SCALES):
        values = {k: np.full((num_seeds, EVALS), 0.5) for k in CURVES} | curves
        if ranges is not None:
            values["train_loss"] = np.tile(1 + scale * ranges.reshape(-1, 1), EVALS)
        lane = {"arm": name, **factors, "init_scale": scale}
        lane["seed"] = np.repeat(np.arange(num_seeds), EVALS)
        lane["epoch"] = lane["step"] = np.tile(np.arange(1, EVALS + 1), num_seeds)
        frames.append(pd.DataFrame(lane | {k: x.ravel() for k, x in values.items()}))
    return frames


def record(study: str, where: dict, arms: list[tuple[dict, dict]]) -> Record:
    """A record of arms: factors, and what was measured by name, `[seeds, evals]`."""
    epochs, probes, entries = [], {}, {}
    for i, (factors, measured) in enumerate(arms):
        epochs += lanes(f"arm{i}", factors, measured)
        for name in set(measured) - set(CURVES) - {"ranges", "seconds"}:
            probes[f"arm{i}/{name}"] = measured[name][np.newaxis]
        seconds = measured.get("seconds", np.ones(EVALS))
        entries[f"arm{i}"] = {"id": f"{i}", "epoch_seconds": seconds.tolist()}
    table = pd.concat(epochs)
    scales = {"init_scale": table["init_scale"].unique().tolist()}
    entries = {name: entry | {"settings": scales} for name, entry in entries.items()}
    config: dict = {"study": study, "data": {}, "model": {}}
    for name, values in where.items():
        group, _, field = name.partition(".")
        config[group][field] = values[0]
    about = {"study": study, "factors": list(arms[0][0]), "settings": ["init_scale"]}
    about["seeds"] = table["seed"].unique().tolist()
    return Record(
        pathlib.Path("made"),
        config,
        about | {"arms": entries},
        table[table["epoch"] == EVALS].assign(diverged_at_step=-1, seconds=1.0),
        table,
        {},
        probes,
        pd.DataFrame(),
    )


def made(claim: dict, outcomes: dict[str, str], seeds: int = SEEDS) -> Record:
    """The arms of a claim, of those protocols, so that it comes out as wished."""
    arms = []
    levels = claim.get("each", [{}])
    sides = [(side | x, True) for x in levels for side in claim["of"]]
    sides += [(side | x, False) for x in levels for side in claim.get("against", [])]
    each = isinstance(claim["statistic"], dict)
    base = 2.0 if "against" in claim else 0.0
    for i, (side, first) in enumerate(sides):
        found = {}
        for j, (protocol, outcome) in enumerate(outcomes.items()):
            at = base + (number(claim, outcome) if first else 0.0)
            key = 100 * j + i
            measured = arm(at, claim_data.statistic_name(claim, protocol), key, seeds)
            found |= measured
            if not each:
                levels = {"protocol": protocol} | claim["arms"] | side
                arms.append((levels, measured))
        if each:
            arms.append((claim["arms"] | side, found))
    found = record(claim["study"], claim["where"], arms)
    search = "grid" if claim.get("at") == "tuned" else "none"
    return found._replace(config=found.config | {"tuning": {"search": search}})


def own(found: Record, claim: dict) -> pd.Series:
    """The row with the claim's own verdict."""
    table = claims.verdict_table(found)
    return table[table["sentence"] == claim["sentence"]].iloc[0]


def named(study: str, start: str) -> dict:
    (claim,) = [
        c for c in CLAIMS if c["study"] == study and c["sentence"].startswith(start)
    ]
    return claim


# verdicts


OF_SEEDS = [c for c in CLAIMS if c["statistic"] != "seconds"]
OF_TIME = [c for c in CLAIMS if c["statistic"] == "seconds"]


@pytest.mark.parametrize("i", range(3))
@pytest.mark.parametrize("claim", OF_SEEDS, ids=[c["sentence"] for c in OF_SEEDS])
def test_every_claim_can_come_out_in_three_ways(claim, i):
    """And the other protocol in another way, from its own arms or its own measure."""
    outcomes = {"corrected": OUTCOMES[i], AS_PUBLISHED: OUTCOMES[(i + 1) % 3]}
    if claim_data.is_of_paper(claim):
        del outcomes[AS_PUBLISHED]
    row = own(made(claim, outcomes), claim)
    for protocol, outcome in outcomes.items():
        got = str(row[f"verdict_{protocol}"])
        if outcome == "undecided":
            assert got.endswith(" seeds needed)")
        else:
            assert got == outcome


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("claim", OF_TIME, ids=[c["sentence"] for c in OF_TIME])
def test_the_epochs_of_one_run_decide_nothing(claim, outcome):
    """However far the interval lies from the bound; it is shown all the same."""
    found = made(claim, {"corrected": outcome, AS_PUBLISHED: "holds"})
    table = claims.verdict_table(found)
    rows = table[table["statistic"] == "seconds"]
    judged = rows[["verdict_corrected", "verdict_as_published"]].to_numpy().ravel()
    assert set(judged) == {Verdict(Kind.UNDECIDED, Reason.ONE_RUN)}
    assert {str(verdict) for verdict in judged} == {"undecided (one run)"}
    ends = ["corrected", "corrected_low", "corrected_high"]
    assert np.isfinite(rows.iloc[-1][ends].astype(float)).all()
    header, lines = tables.display(presentation.claims_section(table, ""), [])
    column = header.index("corrected")
    shown = {line[0]: line[column] for line in lines}
    assert " [" in shown[rows["claim"].iloc[-1]]


def test_the_label_of_the_smoothness_says_that_small_is_smooth():
    for name in ("smoothness", "smoothness_of_roots"):
        expected = "smoothness, mean of passes (small is smooth)"
        assert measures.STATISTICS[name].title == expected


LINEAR = measures.STATISTICS["test_accuracy"]
RATIO = measures.STATISTICS["stability"]


@pytest.mark.parametrize(
    ("statistic", "direction", "margin", "low", "high", "expected"),
    [
        (LINEAR, "greater", None, 0.1, 0.3, "holds"),
        (LINEAR, "greater", None, -0.3, -0.1, "does not hold"),
        (LINEAR, "greater", None, 0.0, 0.2, "undecided"),
        (LINEAR, "greater", None, 0.0, 0.0, "does not hold"),
        (LINEAR, "greater", 0.2, 0.1, 0.3, "undecided"),
        (LINEAR, "less", None, -0.3, -0.1, "holds"),
        (LINEAR, "less", None, 0.1, 0.3, "does not hold"),
        (LINEAR, "less", None, -0.1, 0.3, "undecided"),
        (LINEAR, "less", 0.4, 0.1, 0.3, "holds"),
        (LINEAR, "within", 0.4, -0.3, 0.1, "holds"),
        (LINEAR, "within", 0.4, 0.0, 0.0, "holds"),
        (LINEAR, "within", 0.4, 0.5, 0.9, "does not hold"),
        (LINEAR, "within", 0.4, -0.9, -0.5, "does not hold"),
        (LINEAR, "within", 0.4, 0.3, 0.5, "undecided"),
        (LINEAR, "within", 0.4, -0.9, 0.9, "undecided"),
        (RATIO, "greater", None, 1.1, 3.0, "holds"),
        (RATIO, "greater", None, 0.5, 0.9, "does not hold"),
        (RATIO, "greater", None, 0.5, 3.0, "undecided"),
        (RATIO, "within", 2.0, 0.51, 1.9, "holds"),
        (RATIO, "within", 2.0, 0.1, 0.49, "does not hold"),
        (RATIO, "within", 2.0, 0.49, 1.9, "undecided"),
        (RATIO, "less", 2.0, 0.1, 1.9, "holds"),
    ],
)
def test_a_verdict_is_where_the_interval_lies(
    statistic, direction, margin, low, high, expected
):
    interval = Interval((low + high) / 2, low, high, 10)
    got = verdicts.verdict(interval, statistic, direction, margin)
    assert got.kind == Kind(expected)


def test_an_undecided_verdict_names_the_seeds_of_the_nearest_bound():
    """Within 1, centre 0.9: from the bound 1, not from -1 or from 0."""
    interval = Interval(0.9, 0.7, 1.1, 10)
    got = verdicts.verdict(interval, LINEAR, "within", 1.0)
    assert got.seeds == statistics.seeds_needed(interval, 1.0) > 10
    assert str(got) == f"undecided (about {got.count} seeds needed)"
    near = Interval(1e-4, -1.0, 1.0002, 10)
    got = verdicts.verdict(near, LINEAR, "greater", None)
    assert str(got) == "undecided (more than 10,000 seeds needed)"
    assert got.seeds == np.inf
    ratio = Interval(1.0, 0.5, 4.0, 10)  # the centre of the logarithm: sqrt(2)
    got = verdicts.verdict(ratio, RATIO, "greater", None)
    logarithm = Interval(0.0, np.log(0.5), np.log(4.0), 10)
    assert got.seeds == statistics.seeds_needed(logarithm, 0.0)
    low, high = np.log(0.45), np.log(0.7)  # nearer to 1 / 2 than to 2
    got = verdicts.verdict(Interval(0.56, 0.45, 0.7, 10), RATIO, "within", 2.0)
    logarithm = Interval((low + high) / 2, low, high, 10)
    assert got.seeds == statistics.seeds_needed(logarithm, -np.log(2))


UNKNOWN = Verdict(Kind.UNDECIDED)
FEW, MANY = (Verdict(Kind.UNDECIDED, Reason.MORE_SEEDS, n) for n in (12, 90))
FEW_TO_FAIL, MANY_TO_FAIL = (replace(x, leans=True) for x in (FEW, MANY))
YES, NO = Verdict(Kind.HOLDS), Verdict(Kind.FAILS)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(YES, YES), (YES, YES)], YES),
        ([(YES, FEW), (YES, YES)], YES),
        ([(YES, YES), (NO, NO), (MANY, MANY)], NO),
        ([(NO, MANY_TO_FAIL), (FEW, MANY), (NO, NO)], NO),
        ([(YES, YES), (FEW, MANY)], FEW),
        ([(MANY, MANY), (FEW, FEW), (YES, YES)], MANY),
        ([(FEW, FEW), (UNKNOWN, UNKNOWN), (MANY, MANY)], UNKNOWN),
        ([(YES, YES), (NO, FEW_TO_FAIL)], FEW_TO_FAIL),
        ([(NO, FEW_TO_FAIL), (MANY, MANY), (NO, MANY_TO_FAIL)], FEW_TO_FAIL),
        ([(FEW_TO_FAIL, MANY_TO_FAIL), (YES, FEW), (MANY, MANY)], MANY_TO_FAIL),
        ([(FEW_TO_FAIL, FEW_TO_FAIL), (UNKNOWN, UNKNOWN)], FEW_TO_FAIL),
    ],
)
def test_a_claim_of_several_comparisons_needs_all_of_them(pairs, expected):
    """Pairs: by itself, and among all of them. The first to fail settles it."""
    judged = [verdicts.Judgement(claims.NOTHING, 0, *pair) for pair in pairs]
    assert verdicts.family_verdict(judged) == expected


WORST = "rmsprop with dropout is the worst"


@pytest.mark.parametrize("times", [0.99, 1.01])
def test_one_of_eleven_fails_the_claim_only_at_a_level_for_eleven(times):
    """All arms equal but for noise; one lies just past the quantile of its level."""
    claim = named("optimizers", WORST)
    num = len(claim["against"])
    assert num == 11
    past = times * stats.t.ppf(1 - 0.025 / num, SEEDS - 1) / np.sqrt(SEEDS)
    noise = [draws(SEEDS, key=i) for i in range(num)]
    noise[4] = noise[4] - past
    arms = [(claim["of"][0], np.zeros(SEEDS)), *zip(claim["against"], noise)]
    arms = [
        (side, {"test_accuracy": np.tile(0.5 + x.reshape(-1, 1) / 100, EVALS)})
        for side, x in arms
    ]
    table = claims.verdict_table(record("optimizers", claim["where"], arms))
    start = list(table["sentence"]).index(claim["sentence"])
    whole, *each = table["verdict_corrected"][start : start + num + 1]
    assert [i for i, x in enumerate(each) if x.kind is Kind.FAILS] == [4]
    if times > 1:
        assert whole.kind is Kind.FAILS
    else:
        assert str(whole).startswith("undecided (")


@pytest.mark.parametrize("name", ["test_accuracy", "loss_range_ratio", "stability"])
def test_an_interval_of_several_is_that_of_a_higher_level(name):
    """Student's at 1 - 0.05 / 7, of a ratio that of the logarithm."""
    statistic = measures.STATISTICS[name]
    x = draws(SEEDS, key=5) + 0.4
    usual, wide = (statistics.mean_interval(x, 1 - 0.05 / k) for k in (1, 7))
    if statistic.logarithmic:
        usual, wide = (Interval(*np.exp(found[:3]), found.n) for found in (usual, wide))
    got = verdicts.simultaneous_interval(usual, statistic, 7)
    assert np.allclose(got, wide, rtol=1e-13, atol=0)  # 1 - level has 13 digits
    one = verdicts.simultaneous_interval(usual, statistic, 1)
    assert np.allclose(one, usual, rtol=1e-14, atol=0)
    assert np.isnan(verdicts.simultaneous_interval(claims.NOTHING, statistic, 7).low)


def test_an_interval_of_several_begins_at_the_level_of_the_look():
    """Student's at 1 - 0.02 / 7 from the one at 0.98."""
    x = draws(SEEDS, key=5) + 0.4
    usual, wide = (statistics.mean_interval(x, 1 - 0.02 / k) for k in (1, 7))
    got = verdicts.simultaneous_interval(usual, LINEAR, 7, 0.98)
    assert np.allclose(got, wide, rtol=1e-13, atol=0)  # 1 - level has 13 digits


def test_the_seeds_that_are_named_would_about_decide():
    """Undecided at 10 seeds; with the number named, of the same spread, it is not."""
    claim = named("deep_mlp", "BN trains")
    x = draws(SEEDS, EVALS, key=1)
    levels = [{"norm": "batch"}, {"norm": "none"}]
    measured = [0.8 + (0.3 + x) / 100, np.full((SEEDS, EVALS), 0.8)]
    arms = [(f, {"train_accuracy": m}) for f, m in zip(levels, measured)]
    got = own(record("deep_mlp", claim["where"], arms), claim)["verdict_corrected"]
    half = stats.t.ppf(0.975, np.arange(2, 200) - 1) / np.sqrt(np.arange(2, 200))
    expected = 2 + int(np.argmax(half <= 0.3))
    assert str(got) == f"undecided (about {expected} seeds needed)"


# numbers


def test_differences_are_paired_and_have_their_sign():
    """Seeds share what both sides have: without the pairing the interval is wide."""
    claim = named("smoothness", "BN reaches a higher")
    shared = 0.1 * np.arange(SEEDS).reshape(-1, 1) / SEEDS + np.zeros((1, EVALS))
    noise = 1e-3 * draws(SEEDS, EVALS, key=2)
    arms = [
        ({"norm": "batch"}, {"test_accuracy": 0.72 + shared + noise}),
        ({"norm": "none"}, {"test_accuracy": 0.70 + shared}),
    ]
    row = own(record("smoothness", claim["where"], arms), claim)
    expected = stats.t.interval(0.95, SEEDS - 1, 2, 100 * stats.sem(noise[:, -1]))
    # 30 roundings of numbers of up to 82 points
    assert np.allclose(row["corrected"], 2, rtol=0, atol=30 * 82 * 2.3e-16)
    got = [row["corrected_low"], row["corrected_high"]]
    assert np.allclose(got, expected, rtol=0, atol=30 * 82 * 2.3e-16)
    assert row["verdict_corrected"] == YES
    theirs = published_numbers.all_numbers()["smoothness"]
    gap = theirs["batch"]["test_accuracy"][-1] - theirs["none"]["test_accuracy"][-1]
    assert np.isclose(row["published"], 100 * gap, rtol=1e-12)
    assert np.isnan(row["published_low"])


def test_seeds_that_one_arm_lacks_are_not_compared():
    claim = named("deep_mlp", "BN trains")
    whole = made(claim, {"corrected": "holds"})
    kept = [
        (t["arm"] != "arm0") | (t["seed"] != 3) for t in (whole.networks, whole.epochs)
    ]
    fewer = whole._replace(
        networks=whole.networks[kept[0]], epochs=whole.epochs[kept[1]]
    )
    a, b = (
        100 * np.delete(arm(v, "train_accuracy", key)["train_accuracy"][:, -1], 3)
        for v, key in ((3.0, 0), (2.0, 1))
    )
    row = own(fewer, claim)
    assert (row["corrected_n"], row["left_out"]) == (SEEDS - 1, 0)
    assert row["corrected_high"] == statistics.paired_difference(a, b).high


def test_published_numbers_go_through_the_same_statistic():
    theirs = published_numbers.all_numbers()

    def row(study: str, start: str) -> pd.Series:
        claim = named(study, start)
        return own(made(claim, {"corrected": "holds"}), claim)

    curves = [np.array(theirs["smoothness"][x][AS_PUBLISHED_KEY]) for x in BN]
    got = row("smoothness", "BN lowers")["published"]
    assert np.isclose(got, curves[0].mean() - curves[1].mean(), rtol=1e-12)
    got = row("smoothness", "With BN the local")["published"]
    changes = [np.std(np.diff(x), ddof=1) for x in curves]
    assert np.isclose(got, changes[0] - changes[1], rtol=1e-12)
    theirs = theirs["batch_norm_placement"]["fashion_mnist_mlp"]
    pre, post = (theirs["loss_variance"][x] for x in ("pre", "post"))
    got = row("batch_norm_placement", "BN after")
    assert np.isclose(got["published"], post / pre, rtol=1e-12)
    assert np.isnan(got["published_low"])
    pre, post = (np.array(theirs["test_accuracy"][x]) for x in ("pre", "post"))
    got = row("batch_norm_placement", "BN before")
    expected = statistics.paired_difference(100 * pre, 100 * post)
    assert np.allclose(got[["published", "published_low"]].astype(float), expected[:2])
    pre, post = (np.array(theirs["cpu_seconds"][x]) for x in ("pre", "post"))
    got = row("batch_norm_placement", "Both placements cost")
    assert np.isclose(got["published"], stats.gmean(pre / post), rtol=1e-12)
    assert got["published_low"] < got["published"] < got["published_high"]
    theirs = published_numbers.all_numbers()["batch_norm_placement"]["mnist_cnn"][
        "test_accuracy"
    ]
    table = claims.verdict_table(
        made(named("batch_norm_placement", "The variance"), {"corrected": "holds"})
    )
    expected = [100 * np.std(theirs[x], ddof=1) for x in ("pre", "post")]
    assert np.allclose(table["published"].iloc[-2:], expected, rtol=1e-12)
    assert row("init_scale", "With BN the result h")["published"] == 0.3
    got = row("init_scale", "With BN the result depends")["published"]
    assert np.isclose(got, 0.3 / 1.3, rtol=1e-12)


AS_PUBLISHED_KEY, BN = "smoothness_of_roots", ("batch", "none")


def test_stability_is_that_of_the_other_tables():
    claim = named("batch_norm_placement", "BN after")
    found = made(claim, {"corrected": "undecided"})
    a, b = (arm(0.0, "stability", key)["train_loss"] for key in (0, 1))
    expected = statistics.stability_ratio(a, b)
    row = own(found, claim)
    got = [row[f"corrected{end}"] for end in ("", "_low", "_high")]
    assert np.allclose(got, expected[:3], rtol=1e-9)
    assert row["corrected_n"] == SEEDS


def test_volatility_does_not_see_a_trend():
    x = draws(SEEDS, EVALS, key=3)
    trend = 7 * np.arange(EVALS).reshape(1, EVALS)
    assert np.allclose(measures.volatility(x + trend), measures.volatility(x))
    assert np.isnan(measures.volatility(x[:, :2])).all()
    assert np.isclose(measures.volatility(np.array([0.0, 3.0, 4.0]))[0], np.sqrt(2))


@pytest.mark.parametrize("probed", [(), (0,), (0, 1)])
def test_the_training_split_in_evaluation_mode_comes_first(probed):
    """Where both arms were probed; modes are not compared with each other."""
    claim = named("smoothness", "BN reaches a lower")
    worse, better = (arm(v, "train_loss", 0)["train_loss"] for v in (1.0, 0.0))
    pair = [{"train_loss": worse}, {"train_loss": better}]
    for i in probed:
        pair[i]["train_loss_evaluated"] = (better, worse)[i]
    arms = [({"norm": norm}, x) for norm, x in zip(BN, pair)]
    row = own(record("smoothness", claim["where"], arms), claim)
    both = len(probed) == 2
    assert row["verdict_corrected"].kind is (Kind.HOLDS if both else Kind.FAILS)
    assert row["statistic"] == ("train_loss_evaluated" if both else "train_loss")
    mode = "in evaluation mode" if both else "while training"
    assert row["claim"].endswith(f": batch against none, final train loss {mode}, nats")
    theirs = published_numbers.all_numbers()["smoothness"]
    gap = theirs["batch"]["train_loss"][-1] - theirs["none"]["train_loss"][-1]
    assert np.isclose(row["published"], gap, rtol=1e-12)


def test_a_claim_names_the_statistic_of_each_protocol():
    claim = named("smoothness", "BN lowers")
    row = own(made(claim, {"corrected": "holds"}), claim)
    names = row[["statistic", "statistic_as_published"]]
    assert list(names) == ["smoothness", "smoothness_of_roots"]
    assert row["claim"].endswith("; as published: the source's formula")
    claim = named("deep_mlp", "BN trains")
    row = own(made(claim, {"corrected": "holds"}), claim)
    assert row["statistic"] == row["statistic_as_published"] == "train_accuracy"
    assert "formula" not in row["claim"]


def test_the_range_is_over_the_scales_of_each_seed():
    """In nats of one arm; of two as a ratio, whose mean is that of the logarithms."""
    claim = named("init_scale", "With BN the result depends")
    noise = 0.1 * draws(SEEDS, key=4)
    ranges = [1 + noise, 3e7 * np.exp(noise)]
    arms = [({"norm": norm}, {"ranges": x}) for norm, x in zip(BN, ranges)]
    found = record("init_scale", claim["where"], arms)
    row = own(found, claim)
    assert np.isclose(row["corrected"], stats.gmean(ranges[0] / ranges[1]), rtol=1e-9)
    assert (row["verdict_corrected"], row["logarithmic"]) == (YES, True)
    row = own(found, named("init_scale", "With BN the result h"))
    assert np.isclose(row["corrected"], 1, rtol=1e-9)


def lost(found: Record, norm: str, seeds: list[int]) -> Record:
    """The record, had these networks diverged at the largest scale.

    The first one in the last epoch, whose loss is of the steps before, in [1, 3].
    """
    networks = found.networks.copy()
    rows = (networks["norm"] == norm) & (networks["init_scale"] == 1)
    rows &= networks["seed"].isin(seeds)
    networks.loc[rows, "diverged_at_step"] = 3
    networks.loc[rows & (networks["seed"] != seeds[0]), "train_loss"] = np.nan
    return found._replace(networks=networks)


def test_a_range_with_a_network_that_diverged_is_the_largest():
    """Two of ten seeds, of the arm without norm: the claim holds by more."""
    claim = named("init_scale", "With BN the result depends")
    whole = made(claim, {"corrected": "undecided"})
    ranges = [arm(2.0, "loss_range_ratio", key)["ranges"] for key in (0, 1)]
    ranges[1][[2, 5]] = np.finfo(np.float32).max
    row = own(lost(whole, "none", [2, 5]), claim)
    expected = measures.log_ratio(*ranges)
    got = [row[f"corrected{end}"] for end in ("", "_low", "_high")]
    assert np.allclose(got, expected[:3], rtol=1e-9, atol=0)
    assert (row["corrected_n"], row["left_out"]) == (SEEDS, 0)
    assert row["corrected"] < 1e-6
    both = own(lost(lost(whole, "none", [2, 5]), "batch", [2, 5]), claim)
    ranges[0][[2, 5]] = ranges[1][[2, 5]]
    assert np.isclose(both["corrected"], measures.log_ratio(*ranges)[0], rtol=1e-9)


def test_what_diverges_at_a_scale_does_not_hardly_depend_on_it():
    claim = named("init_scale", "With BN the result h")
    whole = made(claim, {"corrected": "holds"})
    assert own(whole, claim)["verdict_corrected"] == YES
    row = own(lost(whole, "batch", list(range(SEEDS))), claim)
    assert (row["verdict_corrected"], row["left_out"]) == (NO, 0)
    assert np.isclose(row["corrected"], np.finfo(np.float32).max, rtol=1e-12)
    row = own(lost(whole, "batch", [4]), claim)
    assert row["verdict_corrected"].kind is Kind.UNDECIDED


# equal and outlying seeds


@pytest.mark.parametrize(("n", "num", "least"), [(2, 1, 6), (5, 1, 6), (8, 11, 9)])
@pytest.mark.parametrize("direction", ["greater", "less", "within"])
def test_equal_differences_of_few_seeds_decide_nothing(n, num, least, direction):
    """Of one point, to the bit of float32, where each verdict would be clear."""
    b = np.linspace(50, 60, n).astype(np.float32).astype(float)
    a = (b + 1).astype(np.float32).astype(float)
    claimed = verdicts.Claimed(direction, 3.0 if direction == "within" else None)
    got = verdicts.judge((a, b), LINEAR, claimed, num)
    assert str(got.in_family) == f"undecided (needs at least {least} seeds)"
    more = np.arange(least) + 50.0
    enough = verdicts.judge((more + 1, more), LINEAR, claimed, num)
    assert enough.in_family.kind is not Kind.UNDECIDED
    ratio = measures.STATISTICS["loss_range_ratio"]
    assert verdicts.judge((2 * b, b), ratio, claimed, num).in_family == got.in_family


def with_collapses(n: int, num: int, away: float) -> np.ndarray:
    """Normal differences around 0, but the last `num` of n seeds are at `away`."""
    return np.where(np.arange(n) < n - num, draws(n, key=7), away)


def test_a_mean_that_few_seeds_make_is_undecided():
    """Eight of thirty at 10: their mean is above 0, but the trimmed mean is not."""
    x, zero = with_collapses(30, 8, 10.0), np.zeros(30)
    assert verdicts.has_outliers((x, zero), LINEAR)
    student = statistics.mean_interval(x)
    trimmed = verdicts.trimmed_interval((x, zero), LINEAR)
    assert trimmed.low < 0 < student.low
    for direction, leans in (("greater", False), ("less", True)):
        got = verdicts.judge((x, zero), LINEAR, verdicts.Claimed(direction), 3)
        assert (got.interval, got.trimmed) == (student, trimmed)
        assert got.verdict.reason is got.in_family.reason is Reason.OUTLIERS
        assert got.verdict.leans is leans
        assert str(got.verdict) == (
            "undecided (outlying seeds, the trimmed mean does not agree)"
        )
    assert got.verdict.short == "undecided (outlying seeds)"


@pytest.mark.parametrize("n", [10, 30])
def test_a_mean_that_the_trimmed_mean_confirms_is_decided(n):
    x = 9 + with_collapses(n, 1, -6.0)
    for direction, kind in (("greater", Kind.HOLDS), ("less", Kind.FAILS)):
        got = verdicts.judge((x,), LINEAR, verdicts.Claimed(direction), 3)
        assert (got.verdict.kind, got.in_family.kind) == (kind, kind)
        assert got.trimmed.estimate > got.interval.estimate


def test_spreads_and_times_do_not_know_outlying_seeds():
    """They are about all seeds, or about epochs; ratios of means do, by logarithms."""
    x = np.exp(with_collapses(10, 1, -6.0))
    about = verdicts.Claimed("greater")
    for name in ("accuracy_spread", "seconds"):
        sides = (x,) if name == "accuracy_spread" else (x, np.ones(10))
        statistic = measures.STATISTICS[name]
        assert verdicts.judge(sides, statistic, about).trimmed is None
    largest = measures.STATISTICS["largest_rate"]  # nine equal seeds are usual there
    rates = np.array([1.0] * 9 + [0.3]), np.full(10, 0.1)
    got = verdicts.judge(rates, largest, about)
    assert (got.trimmed, got.verdict.kind) == (None, Kind.HOLDS)
    statistic = measures.STATISTICS["loss_range_ratio"]
    got = verdicts.judge((x, np.ones(10)), statistic, about).trimmed
    expected = outliers.trimmed_mean(np.log(x))
    assert np.allclose(np.log(got[:3]), expected[:3], rtol=1e-13, atol=0)


def test_the_table_shows_the_trimmed_mean_where_a_seed_is_outlying():
    claim = named("deep_mlp", "BN trains")
    x = np.tile(with_collapses(10, 1, -30.0).reshape(-1, 1), EVALS)
    measured = [0.8 + (5 + x) / 100, np.full((SEEDS, EVALS), 0.8)]
    arms = [({"norm": f}, {"train_accuracy": m}) for f, m in zip(BN, measured)]
    table = claims.verdict_table(record("deep_mlp", claim["where"], arms))
    header, rows = tables.display(presentation.claims_section(table, ""), [])
    assert header[-3:] == ["corrected", "trimmed mean, corrected", "verdict, corrected"]
    expected = outliers.trimmed_mean(100 * measured[0][:, -1] - 80)
    assert rows[0][-2] == formats.by_width(expected)


# what cannot be judged


@pytest.mark.parametrize("claim", CLAIMS, ids=NAMES)
def test_one_seed_is_not_enough(claim):
    row = own(made(claim, {"corrected": "holds"}, seeds=1), claim)
    least = 3 if claim["statistic"] in ("stability", "accuracy_spread") else 2
    expected = f"undecided (needs at least {least} seeds)"
    if claim["statistic"] == "seconds":  # of one epoch here
        expected = "undecided (one run)"
    assert str(row["verdict_corrected"]) == expected
    assert row["left_out"] == 0


def test_two_seeds_are_not_enough_for_a_jackknife():
    claim = named("batch_norm_placement", "BN after")
    row = own(made(claim, {"corrected": "holds"}, seeds=2), claim)
    assert str(row["verdict_corrected"]) == "undecided (needs at least 3 seeds)"


@pytest.mark.parametrize(
    ("study", "start", "name"),
    [
        ("deep_mlp", "BN trains", "train_accuracy"),
        ("batch_norm_placement", "BN after", "train_loss"),
        ("smoothness", "BN lowers", "smoothness"),
    ],
)
def test_a_diverged_seed_is_left_out_and_counted(study, start, name):
    claim = named(study, start)
    at = number(claim, "holds")
    statistic = claim_data.statistic_name(claim, "corrected")
    pair = [arm(2 + at, statistic, 0), arm(2.0, statistic, 1)]
    pair[1][name] = pair[1][name].copy()
    pair[1][name][[2, 5]] = np.nan
    without = [
        {k: np.delete(x, [2, 5], axis=0) for k, x in side.items()} for side in pair
    ]
    sides = [claim["arms"] | x[0] for x in (claim["of"], claim["against"])]
    rows = [
        own(record(study, claim["where"], list(zip(sides, measured))), claim)
        for measured in (pair, without)
    ]
    assert [row["corrected_n"] for row in rows] == [SEEDS - 2] * 2
    assert [row["left_out"] for row in rows] == [2, 0]
    ends = ["corrected", "corrected_low", "corrected_high"]
    assert list(rows[0][ends]) == list(rows[1][ends])
    assert rows[0]["verdict_corrected"] == YES


def test_without_a_finite_seed_nothing_is_said():
    claim = named("deep_mlp", "BN trains")
    arms = [
        ({"norm": x}, {"train_accuracy": np.full((SEEDS, EVALS), np.nan)}) for x in BN
    ]
    row = own(record("deep_mlp", claim["where"], arms), claim)
    assert (row["verdict_corrected"], row["left_out"]) == (UNKNOWN, SEEDS)
    assert str(UNKNOWN) == UNKNOWN.short == "undecided"


def test_a_claim_without_its_arms_is_not_shown():
    claim = named("optimizers", "third_moment is")
    whole = made(claim, {"corrected": "holds", AS_PUBLISHED: "holds"})
    shown = set(claims.verdict_table(whole)["sentence"]) - {""}
    assert claim["sentence"] in shown
    protocol, optimizer = whole.networks["protocol"], whole.networks["optimizer"]

    def kept(rows: pd.Series) -> pd.DataFrame:
        networks = whole.networks[rows.to_numpy()]
        return claims.verdict_table(whole._replace(networks=networks))

    assert kept(optimizer != "rmsprop").empty
    table = kept((optimizer != "adam") | (protocol != AS_PUBLISHED))
    assert claim["sentence"] in set(table["sentence"])
    assert not {"verdict_as_published", "as_published"} & set(table)


def test_a_claim_that_several_arms_could_be_about_is_not_shown():
    claim = named("deep_mlp", "BN trains")
    arms = [
        ({"norm": norm, "optimizer": x}, arm(0.0, "train_accuracy", 0))
        for norm in BN
        for x in ("adam", "sgd")
    ]
    assert claims.verdict_table(record("deep_mlp", claim["where"], arms)).empty
    assert len(claims.verdict_table(record("deep_mlp", claim["where"], arms[::2]))) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"name": "digits"}},
        {"model": {"name": "cnn"}},
        {"model": {}},
        {"data": {}},
    ],
)
def test_other_data_or_another_model_has_no_claims(change):
    claim = named("deep_mlp", "BN trains")
    found = made(claim, {"corrected": "holds"})
    assert claim_data.applies(claim, found.config)
    assert claims.verdict_table(found._replace(config=found.config | change)).empty


def test_scales_that_do_not_vary_have_no_range():
    claim = named("init_scale", "With BN the result h")
    levels = {"norm": "batch"}
    one = [(levels, arm(0.0, "train_loss", 0))]
    assert claims.verdict_table(record("init_scale", claim["where"], one)).empty


# tables and the page


def test_the_terminal_has_a_line_a_claim_of_at_most_a_hundred_columns():
    for claim in CLAIMS:
        table = claims.verdict_table(made(claim, {"corrected": "holds"}))
        most = Verdict(Kind.UNDECIDED, Reason.TOO_MANY_SEEDS, statistics.MOST_SEEDS)
        table["verdict_as_published"] = table["verdict_corrected"] = most
        section = presentation.claims_section(table, "")
        header, rows = tables.display(section, [], narrow=True)
        assert header == ["claim", "as published", "corrected"]
        assert [claim["sentence"], *["undecided (>10,000)"] * 2] in rows
        assert all(not row[0].startswith(claims.PART) for row in rows)
        text = formats.plain_table(header, rows)
        assert max(map(len, text.splitlines())) <= 100


def test_the_marks_of_the_terminal_have_a_footnote():
    """Of seeds that are all equal too: there the estimate says nothing."""
    claim = named("batch_norm_placement", "The difference")
    table = claims.verdict_table(made(claim, {"corrected": "holds"}))
    few = Verdict(Kind.UNDECIDED, Reason.TOO_FEW_SEEDS, 6)
    one_run = Verdict(Kind.UNDECIDED, Reason.ONE_RUN)
    for verdict, footnote in (
        (YES, ""),
        (one_run, presentation.UNDECIDED),
        (few, presentation.UNDECIDED + presentation.FEW_SEEDS),
    ):
        section = presentation.claims_section(
            table.assign(verdict_corrected=verdict), ""
        )
        assert section.footnote == footnote
    assert presentation.FEW_SEEDS == (
        ">= marks seeds that are too few, or all equal: fewer than that decide"
        " nothing.\n"
    )


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ("third_moment is", "third moment against sgd, adam and rmsprop, at penalty"),
        ("rmsprop with", "rmsprop with dropout against 11 arms"),
        ("All twelve", "11 arms against third moment with dropout"),
        ("The variance over", "pre and post"),
        ("BN trains faster", "batch against no norm"),
    ],
)
def test_the_arms_of_a_claim_are_named_or_counted(claim, expected):
    (found,) = [x for x in ALL if x["sentence"].startswith(claim)]
    assert presentation.arms_compared(found).startswith(expected)


def test_a_study_has_one_claim_at_most_that_answers_it():
    answering = [x for x in ALL if x.get("answers")]
    assert len({x["study"] for x in answering}) == len(answering)
    config = {
        "study": "deep_mlp",
        "data": {"name": "cifar10"},
        "model": {"name": "mlp"},
    }
    found = claim_data.answering(config)
    assert found is not None
    assert found["sentence"] == "BN trains faster"
    assert claim_data.answering(config | {"data": {"name": "mnist"}}) is None


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (YES, "holds"),
        (Verdict(Kind.UNDECIDED, Reason.MORE_SEEDS, 1_234), "undecided (~1,234)"),
        (Verdict(Kind.UNDECIDED, Reason.TOO_FEW_SEEDS, 3), "undecided (>=3)"),
        (Verdict(Kind.UNDECIDED, Reason.ONE_RUN), "undecided (one run)"),
        ("", ""),
    ],
)
def test_a_narrow_verdict_is_short(verdict, expected):
    column = presentation.CLAIMS_NARROW["corrected"]
    assert column.text({"verdict_corrected": verdict}) == expected


def test_a_wide_table_has_a_row_for_each_comparison():
    claim = named("optimizers", "third_moment is")
    outcomes = {"corrected": "does not hold", AS_PUBLISHED: "holds"}
    table = claims.verdict_table(made(claim, outcomes))
    table = table.drop(columns=table.filter(like="trimmed").columns)
    header, rows = tables.display(presentation.claims_section(table, ""), [])
    assert header == [
        "claim",
        "published",
        "as published",
        "verdict, as published",
        "corrected",
        "verdict, corrected",
    ]
    arms = "third moment against sgd, adam and rmsprop, at penalty none, l2 and dropout"
    head = f"{claim['sentence']}: {arms}, test accuracy, points"
    start = [row[0] for row in rows].index(head)
    assert rows[start][1:] == ["", "", "holds", "", "does not hold"]
    assert [row[0] for row in rows[start + 1 : start + 10]] == [
        f"· third_moment-{penalty} against {other}-{penalty}"
        for penalty in ("none", "l2", "dropout")
        for other in ("sgd", "adam", "rmsprop")
    ]
    assert rows[start + 2][1] == "4.01 [3.16, 4.85]"
    assert rows[start + 2][4].startswith("-1.0")


def test_columns_that_nothing_fills_are_left_out():
    claim = named("deep_mlp", "BN trains")
    found = made(claim, {"corrected": "holds"})
    header, rows = tables.display(
        presentation.claims_section(claims.verdict_table(found), ""), []
    )
    assert header == ["claim", "published", "corrected", "verdict, corrected"]
    assert rows[0][0] == (
        "BN trains faster: batch against none, final train accuracy while training,"
        " points"
    )
    assert rows[0][1] == "21.0"
    networks, epochs = found.networks.copy(), found.epochs.copy()
    epochs.loc[epochs["seed"] == 0, "train_accuracy"] = np.nan
    found = found._replace(networks=networks, epochs=epochs)
    header, rows = tables.display(
        presentation.claims_section(claims.verdict_table(found), ""), []
    )
    assert header[-1] == "seeds left out"
    assert rows[0][-1] == "1"


@pytest.fixture
def written(tmp_path) -> Record:
    """A record on disk, of a claim that does not hold, and as published does."""
    claim = named("batch_norm_placement", "BN before")
    outcomes = {"corrected": "does not hold", AS_PUBLISHED: "holds"}
    found = made(claim, outcomes)
    arms = {
        name: _records.Arm(
            found.networks[found.networks["arm"] == name],
            found.epochs[found.epochs["arm"] == name],
            epoch_seconds=entry["epoch_seconds"],
        )
        for name, entry in found.record["arms"].items()
    }
    about = _records.wanted(
        arms,
        found.record["factors"],
        found.record["settings"],
        study=found.record["study"],
        config=found.config | {"audit": "normjax.audit.claims"},
    )
    return _records.write(tmp_path, about, arms)


def test_the_page_has_the_claims_after_the_answer(written):
    text = page.build(written.workdir, stills=False).read_text()
    parts = ('class="answer"', '<h2 id="claims">', '<h2 id="run">')
    places = [text.index(x) for x in parts]
    assert places == sorted(places)
    for mark, verdict in (
        ("holds", "holds"),
        ("fails", "does not hold"),
        ("undecided", "undecided ("),
    ):
        assert f'<span class="{mark}">{verdict}' in text
        assert f'<td class="{mark}">{verdict}' in text
        assert f".{mark}::before" in text  # a sign beside the colour
    small = named("batch_norm_placement", "The difference")
    (inside,) = re.findall(
        rf'class="sentence">{small["sentence"]} (.*?)</details>', text, re.DOTALL
    )
    about = "pre against post, test accuracy, points; holds if between \u22121 and 1"
    assert inside.startswith(f'<span class="about">{about}</span></span>')
    assert f'<p class="note">{small["why"]}</p>' in inside
    folder = written.workdir / "tables"
    table = pd.read_csv(folder / "claims.csv", keep_default_na=False)
    assert list(table["sentence"]) == list(claims.verdict_table(written)["sentence"])
    assert list(table["verdict_corrected"]) == [
        str(x) for x in claims.verdict_table(written)["verdict_corrected"]
    ]
    assert (folder / "claims.md").exists()
    assert (folder / "claims.tex").exists()


# the data


FIELDS = (
    "study",
    "where",
    "sentence",
    "source",
    "statistic",
    "direction",
    "arms",
    "of",
)


def title(record: Record) -> str:
    """The title of the claims, if the record has any."""
    row = dict.fromkeys(("claim", "sentence", "why", "source", "place"), "x")
    rows = pd.DataFrame([row | {"place": ""}])
    return presentation.claims_section(rows, published_numbers.departures(record)).title


STUDIES = sorted({c["study"] for c in OF_SOURCES if "at" not in c})


@pytest.mark.parametrize("study", STUDIES)
def test_the_title_says_what_a_smoke_run_lacks(study):
    """Of each variant of the config; run as the source did, it says nothing."""
    for text in VARIANTS.get(study, ("",)):
        full, smoke = (
            get_config(study, ",".join(filter(None, (text, size)))).to_dict()
            for size in ("", "size=smoke")
        )
        levels = {"batch_size": full["batch_size"]}  # of the arms: what was run
        found = record(study, {}, [(levels, arm(0.0, "train_loss", 0))])
        found = found._replace(config=full | {"batch_size": 1})
        assert title(found) == "Claims of the source"
        got = title(found._replace(config=smoke))
        assert got == "Claims of the source (epochs: 2 against 10)"


def test_the_title_says_which_examples_and_batches_are_unlike():
    about = {"data.name": ["mnist"], "model.name": ["cnn"]}
    arms = [({"batch_size": x}, arm(0.0, "train_loss", 0)) for x in (32, 64)]
    found = record("batch_norm_placement", about, arms)
    counts = found.record | {"num_examples": {"train": 6_000}}
    found = found._replace(record=counts, config=found.config | {"batch_size": 128})
    start = "Claims of the source (training examples: 6,000 against 60,000"
    assert title(found) == f"{start})"
    networks = found.networks[found.networks["batch_size"] == 64]
    got = title(found._replace(networks=networks))
    assert got == f"{start}, batch size: 64 against 128)"
    other = {"name": "fashion_mnist"}
    found = found._replace(config=found.config | {"data": other})
    assert title(found) == "Claims of the source"


def test_no_verdict_is_written_in_the_data():
    for path in (ROOT / "normjax/audit").glob("claims_of_*.json"):
        text = path.read_text().lower()
        assert not [x for x in ("hold", "undecided", "verdict") if x in text]


ALL_NAMES = [f"{c['study']}, {c['sentence']}" for c in ALL]


@pytest.mark.parametrize("claim", ALL, ids=ALL_NAMES)
def test_claims_are_whole(claim):
    assert set(FIELDS) <= set(claim)
    optional = {"against", "each", "margin", "why", "at", "published", "answers"}
    if claim_data.is_of_paper(claim):
        optional |= {"place"}
        assert claim["place"]
    else:
        assert claim["published"]
    assert set(claim) <= set(FIELDS) | optional
    assert claim["direction"] in verdicts.DIRECTIONS
    for protocol in published_numbers.PROTOCOLS:
        assert claim_data.statistic_name(claim, protocol) in measures.STATISTICS
    assert ("margin" in claim) == ("why" in claim)
    assert claim["direction"] != "within" or claim["margin"] > 0
    assert "margin" in claim or "against" in claim
    assert claim.get("at", "tuned") == "tuned"
    assert ALL_NAMES.count(f"{claim['study']}, {claim['sentence']}") == 1
    assert not [x for x in claim["of"] if x in claim.get("against", [])]


@pytest.mark.parametrize("claim", ALL, ids=ALL_NAMES)
def test_what_was_published_is_there(claim):
    """For every data set and every side; of a paper, for every comparison or none."""
    if claim_data.is_of_paper(claim):
        numbers = claim.get("published")
        comparisons = claim_data.comparisons(claim)
        assert numbers is None or len(numbers) == len(comparisons)
        return
    sides = [
        side | each
        for side in (*claim["of"], *claim.get("against", []))
        for each in claim.get("each", [{}])
    ]
    for data in claim["where"]["data.name"]:
        config = {"data": {"name": data}}
        for path in published_numbers.paths(claim, config, sides):
            assert np.isfinite(published_numbers.numbers_at(path)).all()


def get_config(name: str, text: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"configs/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(text)


def levels_of(known: str | tuple) -> tuple:
    return (known,) if isinstance(known, str) else known


VARIANTS = {  # study -> arguments of its config that its claims are about
    "optimizers": ("dataset=fashion_mnist", "dataset=mnist"),
    "batch_norm_placement": ("model=mlp", "model=cnn"),
}


@pytest.mark.parametrize("claim", ALL, ids=ALL_NAMES)
def test_claims_are_about_the_configs(claim):
    """A variant of the config matches, and has each side as exactly one arm."""
    found = 0
    for text in VARIANTS.get(claim["study"], ("",)):
        config = get_config(claim["study"], text).to_dict()
        if not claim_data.applies(claim, config):
            continue
        found += 1
        levels = {"protocol": ("corrected",)}
        sides = (*claim["of"], *claim.get("against", ()))
        for side, each in itertools.product(sides, claim.get("each", [{}])):
            given = claim["arms"] | side | each
            chosen = levels | {k: (v,) for k, v in given.items()}
            arms = {
                k: levels_of(x)
                for k, x in config["arms"].items()
                if k not in config["tuning"]["choose"]
            }
            for factor, known in arms.items():
                assert set(chosen.get(factor, known)) <= set(known)
                assert len(chosen.get(factor, known)) < 2
            assert set(chosen) <= set(arms)
    if claim_data.is_of_paper(claim):
        assert found
    else:
        assert found == len(claim["where"]["data.name"])
