"""Numbers over trials: exact small cases, and what does not change them."""

import itertools

import numpy as np
import pytest

from normjax import tuning_statistics
from normjax.tuning_statistics import (
    best_trial,
    expected_best,
    largest_rate,
    scores,
    share_within,
)

DRAWN = np.array([0.5, 0.25, 0.75, 0.75, 0.125])
ROUNDING = 1e-14  # 2 n operations of 1.1e-16 each, for n = 5, and some room
NEVER = np.zeros((2, 2), bool)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_expected_best_is_the_mean_over_all_sets_of_trials(n):
    """Without replacement over combinations, with it over all sequences."""
    values = DRAWN[:n]
    for k in range(1, n + 1):
        sets = [max(x) for x in itertools.combinations(values, k)]
        sequences = [max(x) for x in itertools.product(values, repeat=k)]
        assert expected_best(values)[k - 1] == pytest.approx(
            np.mean(sets), rel=ROUNDING
        )
        again = expected_best(values, replacement=True)[k - 1]
        assert again == pytest.approx(np.mean(sequences), rel=ROUNDING)


def test_the_expected_best_begins_at_the_mean_and_ends_at_the_best():
    curve = expected_best(DRAWN)
    assert curve[0] == pytest.approx(np.mean(DRAWN), rel=ROUNDING)
    assert curve[-1] == max(DRAWN)
    assert (np.diff(curve) >= 0).all()
    biased = expected_best(DRAWN, replacement=True)
    assert biased[0] == pytest.approx(curve[0], rel=ROUNDING)
    assert (biased[1:] < curve[1:]).all()


def test_the_expected_best_of_equal_trials_is_their_score():
    """Of many of them, whose binomial coefficients exceed every float."""
    for replacement in (False, True):
        curve = expected_best(np.full(1_200, 0.5), replacement=replacement)
        np.testing.assert_allclose(curve, 0.5, rtol=2 * 1_200 * 1.2e-16)


def test_a_diverged_network_counts_as_nothing():
    accuracy = np.array([[0.5, 0.75], [0.9, np.nan], [0.9, 0.9]])
    diverged = np.array([[False, False], [False, False], [True, False]])
    np.testing.assert_array_equal(scores(accuracy, diverged), [0.625, 0.45, 0.45])


def test_the_order_of_seeds_does_not_change_a_score():
    rows = np.array(list(itertools.permutations([0.1, 0.2, 0.3, 0.7])))
    assert len(set(rows.sum(axis=1))) > 1  # the counter-case: rounding decides ties
    assert len(set(scores(rows, np.zeros_like(rows, bool)))) == 1


@pytest.mark.parametrize(
    ("values", "rates", "best"),
    [
        ([0.1, 0.3, 0.2], None, 1),
        ([0.3, 0.3, 0.3], None, 0),
        ([0.1, 0.3, 0.3], [0.1, 0.3, 0.2], 2),
        ([0.3, 0.3, 0.3], [0.2, 0.1, 0.1], 1),
        ([0.3, 0.3], [np.nan, np.nan], 0),
    ],
)
def test_of_equal_trials_the_smaller_rate_is_chosen_and_then_the_earlier(
    values, rates, best
):
    rates = None if rates is None else np.array(rates)
    assert best_trial(np.array(values), rates) == best


def test_the_share_within_a_point_counts_the_best_and_the_edge():
    assert share_within(np.array([0.9])) == 1
    assert 0.06 < 0.07 - 0.01  # in binary
    assert share_within(np.array([0.07, 0.06, 0.0599, 0.01])) == 0.5
    assert share_within(np.array([0.9, 0.8, 0.7, 0.6]), margin=0.2) == 0.75


def test_the_largest_rate_needs_every_seed_finite_and_halfway_up():
    """Chance 0.1 and best 0.9: halfway is 0.5."""
    rates = np.array([0.01, 0.1, 1.0, 10.0])
    accuracy = np.array([[0.9, 0.9], [0.5, 0.6], [0.9, 0.49], [0.9, 0.9]])
    diverged = np.array([[False] * 2, [False] * 2, [False] * 2, [False, True]])
    assert largest_rate(rates, accuracy, diverged, 0.1) == 0.1
    assert largest_rate(rates, accuracy, np.zeros_like(diverged), 0.1) == 10.0
    assert largest_rate(rates, accuracy, diverged, 0.0) == 1.0
    accuracy[2, 1] = 0.5
    assert largest_rate(rates, accuracy, diverged, 0.1) == 1.0


def test_without_a_rate_or_a_trial_that_trains_there_is_no_largest_rate():
    accuracy = np.full((2, 2), 0.9)
    assert np.isnan(largest_rate(np.full(2, np.nan), accuracy, NEVER, 0.1))
    assert np.isnan(largest_rate(np.array([0.1, 1]), accuracy, ~NEVER, 0.1))
    assert tuning_statistics.POINT == 0.01
