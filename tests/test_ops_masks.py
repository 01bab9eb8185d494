"""Masks of single features, and reduction axes: what is masked counts nowhere."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from normjax.errors import InputError
from normjax.ops import (
    batch_variants,
    moments,
    norm_activations,
    norms,
    online,
    switchable,
)

EPS, EPS32 = 1e-5, float(np.finfo(np.float32).eps)
SHAPE = (6, 4, 3, 8)
ONES, ZEROS, EVEN = jnp.ones(8), jnp.zeros(8), jnp.zeros(3)
X = jax.random.normal(jax.random.key(0), SHAPE) + 3
# Feature 2 is masked as a whole.
MASK = jax.random.bernoulli(jax.random.key(1), 0.7, SHAPE).at[..., 2].set(False)
RUNNING = moments.Running(jnp.full(8, 0.5), jnp.full(8, 2.0))
BATCH, SPACE = (0, 1, 2), (1, 2)


def masked_moments(x, mask, axes):
    """Mean, mean square and variance of the true elements; 0 where there is none."""
    n = np.maximum(np.sum(mask, axes, keepdims=True), 1)
    mean = np.sum(np.where(mask, x, 0), axes, keepdims=True) / n
    square = np.sum(np.where(mask, np.square(x), 0), axes, keepdims=True) / n
    var = np.sum(np.where(mask, np.square(x - mean), 0), axes, keepdims=True) / n
    return mean, square, var


def standardized(axes, *, split=(8,)):
    """The reference of a norm over `axes` of x in groups of neighbouring features."""

    def right(x, mask):
        x, mask = (a.reshape(*SHAPE[:-1], *split) for a in (x, mask))
        mean, _, var = masked_moments(x, mask, axes)
        return ((x - mean) / np.sqrt(var + EPS)).reshape(SHAPE)

    return right


def divided(axes):
    """The reference of a norm by the root mean square."""

    def right(x, mask):
        return x / np.sqrt(masked_moments(x, mask, axes)[1] + EPS)

    return right


def ghosts(x, mask):
    halves = []
    for part in (slice(0, 3), slice(3, 6)):
        mean, _, var = masked_moments(x[part], mask[part], BATCH)
        halves.append((x[part] - mean) / np.sqrt(var + EPS))
    return np.concatenate(halves)


def evenly_mixed(x, mask):
    kinds = (SPACE, (1, 2, 3), BATCH)
    means, _, variances = zip(*(masked_moments(x, mask, axes) for axes in kinds))
    return (x - sum(means) / 3) / np.sqrt(sum(variances) / 3 + EPS)


def swish(x, mask):
    grouped = (a.reshape(*SHAPE[:-1], 2, 4) for a in (x, mask))
    var = masked_moments(*grouped, (1, 2, 4))[2]
    return x / (1 + np.exp(-x)) / np.sqrt(np.repeat(var[..., 0], 4, -1) + EPS)


def gated(x, mask):
    batch, instance = (masked_moments(x, mask, axes)[2] for axes in (BATCH, SPACE))
    return x / np.maximum(np.sqrt(batch + EPS), x + np.sqrt(instance + EPS))


def trained(op, *vectors, **settings):
    """An op that returns its output and what it remembers, in training."""
    call = functools.partial(op, train=True, **settings)
    return lambda x, mask: call(x, *vectors, mask=mask)[0]


def with_mask(op, *vectors, **settings):
    return lambda x, mask: op(x, *vectors, mask=mask, **settings)


def by(backward):
    """Name -> (op of x and mask, its reference), of the ops with two backwards."""
    keyword = functools.partial(with_mask, backward=backward)
    layer, group = norms.layer_norm, norms.group_norm
    return {
        "batch": (
            trained(norms.batch_norm, RUNNING, backward=backward),
            standardized(BATCH),
        ),
        "layer": (keyword(layer), standardized(-1)),
        "layer, all axes": (
            keyword(layer, ONES, ZEROS, reduction_axes=(1, 2, 3)),
            standardized((1, 2, 3)),
        ),
        "layer, space": (keyword(layer, reduction_axes=(-3, 2)), standardized(SPACE)),
        "rms": (keyword(norms.rms_norm), divided(-1)),
        "rms, two axes": (
            keyword(norms.rms_norm, ONES, reduction_axes=(2, 3)),
            divided((2, 3)),
        ),
        "group": (
            keyword(group, num_groups=2),
            standardized((1, 2, 4), split=(2, 4)),
        ),
        "instance": (keyword(norms.instance_norm), standardized(SPACE)),
    }


AUTODIFF, BY_HAND = by("autodiff"), by("analytic")
LIMITS = {"r_max": 1.0, "d_max": 0.0}  # batch norm
FAMILY = {
    **{f"norms {name}": case for name, case in AUTODIFF.items()},
    **{f"norms {name}, by hand": case for name, case in BY_HAND.items()},
    "renorm": (
        trained(batch_variants.batch_renorm, RUNNING, **LIMITS),
        standardized(BATCH),
    ),
    "ghost": (trained(batch_variants.ghost_batch_norm, RUNNING, ghost_size=3), ghosts),
    "power": (trained(batch_variants.power_norm, ONES), divided(BATCH)),
    "switchable": (
        trained(switchable.switchable_norm, RUNNING, EVEN, EVEN, ONES, ZEROS),
        evenly_mixed,
    ),
    "filter response": (
        with_mask(
            norm_activations.filter_response_norm, ONES, ZEROS, ONES - 99, eps=EPS
        ),
        divided(SPACE),
    ),
    "evonorm s0": (
        with_mask(norm_activations.evonorm_s0, ONES, ONES, ZEROS, num_groups=2),
        swish,
    ),
    "evonorm b0": (trained(norm_activations.evonorm_b0, *[ONES] * 3, ZEROS), gated),
}


@pytest.mark.parametrize("name", FAMILY)
def test_moments_are_those_of_the_true_elements(name):
    """32 eps of |y| <= 40: sums of at most 72 numbers near 3, whose std is 1, have 4
    roundings of their mean and twice as many of the variance. One element more or less
    changes y by 1e-3.
    """
    op, right = FAMILY[name]
    y = jax.jit(op)(X, MASK)
    expected = np.where(MASK, right(np.asarray(X, np.float64), np.asarray(MASK)), 0)
    assert np.max(np.abs(y - expected)) <= 32 * EPS32 * max(1, np.max(np.abs(expected)))


@pytest.mark.parametrize("name", FAMILY)
def test_nothing_leaks_from_behind_a_mask_of_features(name):
    op, _ = FAMILY[name]
    both = jax.jit(
        jax.value_and_grad(lambda x: jnp.sum(jnp.sin(op(x, MASK))), argnums=0)
    )
    found, right = (both(jnp.where(MASK, X, a)) for a in (np.nan, 0.0))
    assert np.isfinite(right[0])
    assert jax.tree.all(jax.tree.map(np.array_equal, found, right))
    assert not np.any(np.where(MASK, 0, found[1]))


@pytest.mark.parametrize("name", AUTODIFF)
def test_the_gradients_by_hand_know_masks_and_axes(name):
    """Gradients in float64; a forgotten element changes them by 1e-3."""
    with jax.enable_x64(True):
        x = X.astype(jnp.float64)
        slopes = [
            jax.grad(lambda x, op=cases[name][0]: jnp.sum(jnp.sin(op(x, MASK))))(x)
            for cases in (AUTODIFF, BY_HAND)
        ]
        assert float(np.max(np.abs(slopes[0] - slopes[1]))) <= 1e-12


@pytest.mark.parametrize("name", FAMILY)
def test_a_mask_of_positions_is_one_of_all_their_features(name):
    op, _ = FAMILY[name]
    positions = MASK[..., 0]
    whole = jnp.broadcast_to(positions[..., None], SHAPE)
    assert np.array_equal(op(X, positions), op(X, whole))


def test_a_feature_that_is_masked_as_a_whole_keeps_its_running_moments():
    _, new = norms.batch_norm(X, RUNNING, train=True, mask=MASK)
    kept = [np.flatnonzero(a == b).tolist() for a, b in zip(new, RUNNING)]
    assert kept == [[2], [2]]
    assert moments.has_elements(X, MASK)
    assert not moments.has_elements(X, jnp.zeros(SHAPE, bool))


@pytest.mark.parametrize(
    ("op", "mask", "message"),
    [
        (
            norms.layer_norm,
            jnp.ones((6, 1, 1, 8), bool),
            "mask.shape=(6, 1, 1, 8): must be (6, 4, 3) or (6, 4, 3, 8) for x of shape"
            " (6, 4, 3, 8); broadcast a mask of examples over the spatial axes.",
        ),
        (
            norms.rms_norm,
            jnp.ones(SHAPE),
            "mask.dtype='float32': must be bool; pass mask > 0.",
        ),
        (
            functools.partial(online.online_norm, running=RUNNING, train=True),
            MASK,
            "mask.shape=(6, 4, 3, 8): must be (6, 4, 3) for x of shape (6, 4, 3, 8);"
            " broadcast a mask of examples over the spatial axes.",
        ),
    ],
)
def test_other_masks_are_refused(op, mask, message):
    with pytest.raises(InputError) as caught:
        op(X, mask=mask)
    assert str(caught.value) == message


def test_a_mean_over_a_single_element_is_refused():
    with pytest.raises(InputError) as caught:
        norms.layer_norm(X[:, :1], reduction_axes=1)
    assert str(caught.value) == (
        "x.shape=(6, 1, 3, 8): each mean would be over 1 element; must be at least 2,"
        " or the output is the same for every x; give the layer more features."
    )
