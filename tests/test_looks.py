"""Looks at a growing study: their numbers, their levels, and the error over all."""

import doctest
import functools
import itertools
import json
import math

import numpy as np
import pytest
from scipy import stats

from benchmarks import looks as simulation
from normjax import looks, statistics
from normjax.errors import InputError
from normjax.looks import Look

STUDIES = 20_000
BUDGET = 0.05 + 3 * math.sqrt(0.05 * 0.95 / STUDIES)  # 3 standard errors: 0.0546
PAIRS = [(1, 1), (3, 4), (3, 200), (5, 6), (5, 200), (7, 7), (10, 12), (10, 10_000)]


@functools.cache
def drawn(kind: str, first: int) -> tuple[np.ndarray, np.ndarray]:
    draw = simulation.DISTRIBUTIONS[kind]
    return simulation.moments(draw, looks.schedule(first, 200), STUDIES)


def result(kind: str, first: int, levels, effect: float = 0.0) -> simulation.Result:
    numbers = looks.schedule(first, 200)
    widths = simulation.half_widths(numbers, levels)
    return simulation.simulate(*drawn(kind, first), numbers, widths, effect)


def ours(first: int) -> tuple[float, ...]:
    return looks.levels(looks.schedule(first, 200))


def test_the_examples_are_right():
    assert doctest.testmod(looks) == (0, 2)


# numbers and levels


@pytest.mark.parametrize(("first", "most"), PAIRS)
def test_a_schedule_grows_by_half_to_the_last(first, most):
    numbers = looks.schedule(first, most)
    assert numbers[0] == min(max(first, 5), most)
    assert numbers[-1] == most
    for a, b in itertools.pairwise(numbers[:-1]):
        assert b == math.ceil(1.5 * a)
    assert all(a < b <= math.ceil(1.5 * a) for a, b in itertools.pairwise(numbers))


@pytest.mark.parametrize(("first", "most"), PAIRS)
@pytest.mark.parametrize("level", [0.95, 0.98])
def test_the_errors_of_the_looks_add_up(first, most, level):
    """A level near 1 is rounded to eps, 2e-16, in each of at most 20 looks."""
    numbers = looks.schedule(first, most)
    *others, last = looks.levels(numbers, level)
    assert len(others) == len(numbers) - 1 < 20
    assert abs(sum(1 - x for x in [*others, last]) - (1 - level)) < 40 * 2.3e-16
    assert len(set(others)) <= 1
    if others:
        assert last == 1 - 0.5 * (1 - level) <= others[0]
    else:
        assert last == level


def test_the_last_interval_is_at_most_15_percent_wider_than_students():
    """The quantile at 0.975 over that at 0.95: 1.1436 for many seeds, 1.1453 for 200.

    From ten seeds on it is below 1.19.
    """
    ratio = lambda n: np.divide(*stats.t.ppf([1.975 / 2, 1.95 / 2], n - 1))
    assert looks.levels(looks.schedule(5, 200))[-1] == 0.975
    assert 1.1436 < ratio(200) < 1.146 < ratio(10) < 1.19


def test_the_plan_is_the_schedule_with_its_levels():
    numbers = looks.schedule(5, 200)
    whole = looks.plan(5, 200)
    assert whole == tuple(map(Look, numbers, looks.levels(numbers)))
    for i in range(len(whole) + 1):
        written = json.loads(json.dumps({"looks": [x._asdict() for x in whole[:i]]}))
        assert looks.plan(5, 200, looks.taken(written)) == whole[i:]


@pytest.mark.parametrize("most", [100, 200, 1_000])
@pytest.mark.parametrize("num_taken", [1, 4, 7])
def test_a_changed_plan_divides_the_error_that_is_left(most, num_taken):
    before = looks.plan(5, 400)[:num_taken]
    after = looks.plan(5, most, before)
    assert [x.num_seeds for x in after] == [
        n for n in looks.schedule(5, most) if n > before[-1].num_seeds
    ]
    assert abs(sum(1 - x.level for x in (*before, *after)) - 0.05) < 40 * 2.3e-16


def test_a_plan_that_is_finished_has_no_more_looks():
    whole = looks.plan(5, 12)
    assert looks.plan(5, 12, whole) == ()
    assert looks.plan(5, 8, whole) == ()
    assert looks.plan(5, 10, looks.plan(5, 200)[:3]) == ()


def test_what_cannot_be_planned_is_one_line():
    with pytest.raises(InputError) as caught:
        looks.plan(10, 9)
    assert str(caught.value) == (
        "max_seeds=9: must be at least the number of seeds to begin with, 10;"
        " set max_seeds=100."
    )
    with pytest.raises(InputError) as caught:
        looks.plan(5, 200, looks.plan(5, 12))
    assert str(caught.value) == (
        "max_seeds=200: cannot be reached: 3 looks, at 5, 8 and 12 seeds used up the"
        " error of 5%; run a study of another root_seed."
    )


def test_an_interval_has_the_level_of_its_look():
    assert looks.level_at((), 10) == 0.95
    found = [Look(5, 0.99), Look(8, 0.97)]
    assert [looks.level_at(found, n) for n in (5, 8, 6, 20)] == [0.99, 0.97, 0.99, 0.99]


def test_a_record_without_looks_has_none():
    assert looks.taken({}) == looks.taken({"looks": []}) == ()
    assert looks.sentence((), 10) == ""


def test_the_sentence_counts_the_looks():
    found = looks.plan(5, 200)
    assert looks.sentence(found[:3], 12) == (
        "3 looks, at 5, 8 and 12 seeds. Intervals over seeds have the level 99.72%"
        " where the notes say 95%: then those of one quantity"
        " miss the truth at any look with probability 5% at most."
    )
    assert looks.sentence(found[:1], 5).startswith("1 look, at 5 seeds. Intervals")
    assert "the level 97.5% where" in looks.sentence(found, 200)


# the error over all looks, by simulation


@pytest.mark.parametrize("first", [3, 5, 10])
def test_the_error_over_all_looks_is_below_5_percent(first):
    """20,000 studies of normal differences without an effect: 0.037 to 0.040.

    The standard error is 0.0014. Caught: 0.95 at every look (0.22 to 0.26), and the
    whole error given to the early looks and to the last one too (next test).
    """
    assert result("normal", first, ours(first)).missed < BUDGET


@pytest.mark.parametrize("first", [3, 5, 10])
def test_levels_that_spend_too_much_are_caught(first):
    num = len(ours(first))
    assert result("normal", first, [0.95] * num).missed > 0.2
    twice = [1 - 0.05 / (num - 1)] * (num - 1) + [0.95]
    assert result("normal", first, twice).missed > BUDGET


def test_what_student_does_not_hold_for():
    """The error of 20,000 studies where differences are not normal, five to 200 seeds.

    Heavy tails 0.032. Differences of -1, 0 or 1 test example 0.052, a little above 5%:
    five of them are alike too often. A skewed distribution 0.113; Student's interval
    of a single look at five seeds misses in 0.116, so it is the interval that fails.
    """
    missed = lambda kind: result(kind, 5, ours(5)).missed
    assert missed("t(3), heavy tails") < BUDGET
    assert missed("-1, 0 or 1 test example") < BUDGET
    skewed = missed("exponential, skewed")
    once = np.where(np.arange(len(ours(5))) == 0, 0.95, 1.0)
    alone = result("exponential, skewed", 5, once).missed
    # both are near 0.115; their difference has a standard error below 0.0032
    assert BUDGET < skewed < alone + 3 * 0.0032


def test_the_ratio_of_variances_stays_within_the_budget():
    """Without an effect 0.052, a little above 5%: Miller's jackknife is approximate."""
    numbers = looks.schedule(5, 200)
    drawn = simulation.ratio_moments(numbers, STUDIES)
    widths = simulation.half_widths(numbers, looks.levels(numbers))
    assert simulation.simulate(*drawn, numbers, widths).missed < BUDGET


@pytest.mark.parametrize(
    ("effect", "share", "seeds"), [(0.3, 0.97, 130), (0.5, 0.99, 60), (2.0, 0.999, 10)]
)
def test_a_true_effect_is_found(effect, share, seeds):
    """Effects in standard deviations of the differences; the mean number of seeds.

    Simulated: 0.977 with 121 seeds, 1.000 with 52, 1.000 with 8. A confidence sequence
    finds the first in 0.82 of the studies.
    """
    got = result("normal", 5, ours(5), effect)
    assert got.found > share
    assert got.seeds < seeds


def test_the_simulated_intervals_are_those_of_the_report():
    """Means, spreads and pseudo-values are those of `statistics`, to 64 roundings."""
    numbers = looks.schedule(5, 200)
    levels = looks.levels(numbers)
    normal = simulation.DISTRIBUTIONS["normal"]
    x = normal(np.random.default_rng(0), (1_000, 200))[0]
    mean, spread = (y[0] for y in drawn("normal", 5))
    half = simulation.half_widths(numbers, levels) * spread
    for i, (n, level) in enumerate(zip(numbers, levels)):
        got = statistics.paired_difference(x[:n], np.zeros(n), level=level)
        close = functools.partial(np.isclose, rtol=0, atol=64 * 2.3e-16 * 5)
        assert close(got.low, mean[i] - half[i])
        assert close(got.high, mean[i] + half[i])
    a, b = np.random.default_rng(0).normal(size=(2, 1_000, 200))[:, 0, :12]
    pseudo = simulation.pseudo_values(a[np.newaxis]) - simulation.pseudo_values(b[None])
    log = statistics.mean_interval(pseudo[0], 0.99)
    got = statistics.stability_ratio(a.reshape(-1, 1), b.reshape(-1, 1), level=0.99)
    assert np.allclose(got[1:3], np.exp(log[1:3]), rtol=1e-12)


# the level of a statistic


def test_every_interval_takes_a_level():
    """Each at 0.99 contains the one at 0.95; without a level it is the one at 0.95."""
    x = np.random.default_rng(0).normal(size=(2, 20, 3))
    steps = np.arange(1, 21)
    accuracy = 1.0 * (steps >= steps.reshape(20, 1))  # a seed for each step
    half = accuracy * (steps.reshape(20, 1) <= 10)
    intervals = {
        "paired": lambda **k: statistics.paired_difference(*x[:, :, 0], **k),
        "median": lambda **k: statistics.median_interval(x[0, :, 0], **k),
        "stability": lambda **k: statistics.stability(x[0], **k),
        "ratio": lambda **k: statistics.stability_ratio(*x, **k),
        "steps": lambda **k: statistics.time_to_target(steps, accuracy, 1.0, **k)[0],
        "share": lambda **k: statistics.time_to_target(steps, half, 1.0, **k)[1],
    }
    for name, of in intervals.items():
        narrow, wide = of(level=0.95), of(level=0.99)
        assert of() == narrow, name
        assert wide.low <= narrow.low <= narrow.estimate <= narrow.high <= wide.high
        assert (wide.low, wide.high) != (narrow.low, narrow.high), name
        assert (wide.estimate, wide.n) == (narrow.estimate, narrow.n)


@pytest.mark.parametrize(("n", "k"), [(7, 0), (8, 1), (20, 4)])
def test_the_median_at_another_level(n, k):
    """The largest k with P(Binomial(n, 1/2) < k) <= 0.005; without one, no bounds."""
    got = statistics.median_interval(np.arange(1.0, n + 1), level=0.99)
    if k:
        assert (got.low, got.high) == (k, n + 1 - k)
    else:
        assert np.isnan(got.low)
        assert np.isnan(got.high)
