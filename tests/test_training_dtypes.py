"""Lanes train under every rule of dtypes that jax has.

Nothing is compared with another program, so these are compiled fast, as
`test_training_lanes` is not.
"""

import jax
import numpy as np
import pytest
from test_training_lanes import KEYS, run, settings

from normjax.optimizers import recipes


def run_under(rules, name):
    """Two lanes of a recipe at its defaults for one epoch, with probes."""
    recipe = recipes.RECIPES[name]
    traced = settings(2, **recipes.settings_of(recipe))
    names = ("smoothness", "magnitudes", "mode_gap", "precise", "third_moment")
    with rules:
        return run(
            KEYS[:2], traced, norm="none", optimizer=recipe, probes=names, num_epochs=1
        )


@pytest.mark.parametrize("name", ["adam", "muon", "third_moment"])
def test_lanes_train_under_strict_promotion(name):
    """The same programs, so the same state to the bit."""
    strict, report = run_under(jax.numpy_dtype_promotion("strict"), name)
    right, _ = run_under(jax.numpy_dtype_promotion("standard"), name)
    assert np.isfinite(report.train.loss).all()
    for a, b in zip(jax.tree.leaves(strict), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("name", ["adam", "muon", "third_moment"])
def test_lanes_train_in_float64_mode(name):
    """What is carried from step to step and from batch to batch keeps its dtype."""
    state, report = run_under(jax.enable_x64(True), name)
    assert list(state.step) == [8, 8]
    assert np.isfinite(report.train.loss).all()
    assert report.test.loss.dtype == np.float32
    finite = {k for k, x in report.probes.items() if np.isfinite(x).all()}
    assert {"smoothness", "mode_gap_loss", "precise_test_loss"} <= finite
