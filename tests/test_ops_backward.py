"""Every backward by hand against autodiff and central differences; what it keeps."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _numerics import EPS32, EPS64, gradients, relative_error, worst
from jax.sharding import AxisType, PartitionSpec

from normjax.checks import differences
from normjax.errors import InputError
from normjax.ops import backward, moments, norms, weights

SHAPE = (4, 3, 2, 6)
DRAWS = np.random.default_rng(0)
X = DRAWS.normal(1.0, 1.0, SHAPE)
DY = DRAWS.normal(size=SHAPE)
SCALE, BIAS = DRAWS.uniform(0.5, 1.5, 6), DRAWS.normal(size=6)
START = moments.Running(DRAWS.normal(size=6), DRAWS.uniform(0.5, 2.0, 6))
MASK = DRAWS.random(SHAPE[:-1]) < 0.7
DY32 = DY.astype(np.float32)
MASK[2] = False  # a whole example

CASES = {
    "batch": ("batch_norm", {"train": True}),
    "batch, masked": ("batch_norm", {"train": True, "mask": MASK}),
    "batch, unbiased": ("batch_norm", {"train": True, "unbiased": True}),
    "evaluation": ("batch_norm", {"train": False}),
    "evaluation, masked": ("batch_norm", {"train": False, "mask": MASK}),
    "layer": ("layer_norm", {}),
    "rms": ("rms_norm", {}),
    "group": ("group_norm", {"num_groups": 2}),
    "group, masked": ("group_norm", {"num_groups": 2, "mask": MASK}),
    "instance": ("instance_norm", {}),
    "instance, masked": ("instance_norm", {"mask": MASK}),
    "weight norm": ("weight_norm", {}),
    "weight standardization": ("weight_standardization", {}),
}
MASKED = [name for name in CASES if "masked" in name]


def functions(name):
    """The norm by hand and by autodiff, with its settings."""
    op, settings = CASES[name]
    settings = {k: jnp.asarray(v) if k == "mask" else v for k, v in settings.items()}
    norm = getattr(norms, op, None) or getattr(weights, op)
    return [
        functools.partial(norm, backward=backward, **settings)
        for backward in ("analytic", "autodiff")
    ]


def arguments(name, dtype="float64", x=X):
    """Those of the norm: x, running moments if it has them, vectors."""
    op, _ = CASES[name]
    counts = {"rms_norm": 1, "weight_norm": 1, "weight_standardization": 0}
    vectors = (SCALE, BIAS)[: counts.get(op, 2)]
    running = (START,) if op == "batch_norm" else ()
    return jax.tree.map(lambda a: jnp.asarray(a, dtype), (x, *running, *vectors))


def weights_of(f, args):
    """A gradient for every output, running moments included."""
    draws = np.random.default_rng(1)
    draw = lambda a: jnp.asarray(draws.normal(size=a.shape), a.dtype)
    return jax.tree.map(draw, jax.eval_shape(f, *args))


@functools.cache
def compared(name):
    """Arguments, output weights, and `(y, gradients)` by hand and by autodiff.

    In float64, compiled as one program: x64 must be on.
    """
    args = arguments(name)
    dy = weights_of(functions(name)[0], args)

    def run(f, args, dy):
        y, vjp = jax.vjp(f, *args)
        return y, vjp(dy)

    both = jax.jit(lambda args, dy: [run(f, args, dy) for f in functions(name)])
    return args, dy, *both(args, dy)


# ---- right ------------------------------------------------------------------------

# Both sum up to 24 products: sqrt(24) roundings each, of terms at most 4 times what
# is left of them; 8 more for z, factors and differences.
BUDGET = 2 * 4 * (np.sqrt(24) + 8) * EPS64


@pytest.mark.parametrize("name", CASES)
def test_by_hand_is_autodiff_to_rounding(name):
    """In every input and for every output, the running moments among both; the
    outputs too.

    Measured: at most 6e-16, the budget is 2e-14. The mutants below are 2e-2 off.
    """
    with jax.enable_x64(True):
        _, _, (y, found), (expected, right) = compared(name)
        assert worst(found, right) <= BUDGET
        assert worst(y, expected) <= BUDGET


@pytest.mark.parametrize("name", [a for a in CASES if "," not in a])
def test_by_hand_is_the_central_difference(name):
    """By element, relative to it: the differences err by some 1e-12, and the smallest
    gradients are near 1e-3. Measured: at most 3e-10.
    """
    with jax.enable_x64(True):
        args, dy, (_, found), _ = compared(name)
        numeric = differences.central(functions(name)[0], args, dy)
        errors = jax.tree.map(relative_error, found, numeric)
        assert max(jax.tree.leaves(errors)) <= 1e-8


# ---- wrong ------------------------------------------------------------------------


def residuals(mask=None):
    """Of batch norm in training, from NumPy alone."""
    where = np.ones((*SHAPE[:-1], 1), bool) if mask is None else mask[..., None]
    axes = {"axis": (0, 1, 2), "keepdims": True, "where": where}
    mean, var = np.mean(X, **axes), np.var(X, **axes)
    kept = (X, mean, 1 / np.sqrt(var + 1e-5), SCALE, None if mask is None else where)
    return backward.Residuals(*jax.tree.map(jnp.asarray, kept))


def parts(kept, dy, n):
    """What batch norm's backward takes from `r * dz`, by mean and by variance."""
    z = (kept.x - kept.mean) * kept.inverse
    factor = kept.inverse * kept.scale.reshape(1, 1, 1, -1)
    total = lambda a: jnp.sum(a, (0, 1, 2), keepdims=True)
    return factor * total(dy) / n, factor * z * total(dy * z) / n


def without_mean(kept, dy):
    return backward.batch_norm(dy, kept).x + parts(kept, dy, 24)[0]


def without_variance(kept, dy):
    return backward.batch_norm(dy, kept).x + parts(kept, dy, 24)[1]


def over_one_less(kept, dy):
    of_mean, of_variance = parts(kept, dy, 24)
    return backward.batch_norm(dy, kept).x - (of_mean + of_variance) / 23


def evaluated(kept, dy):
    return backward.batch_norm_evaluation(dy, kept).x


def as_rms(kept, dy):
    return backward.rms_norm(dy, kept).x


def of_each_example(kept, dy):
    spread = jnp.broadcast_to(kept.inverse, (4, 1, 1, 6))
    return backward.group_norm(dy, kept._replace(inverse=spread)).x


@pytest.mark.parametrize(
    "wrong",
    [
        without_mean,
        without_variance,
        over_one_less,
        evaluated,
        as_rms,
        of_each_example,
    ],
)
def test_the_budget_catches_a_wrong_backward(wrong):
    """By 10^12 budgets; `over_one_less`, by 2% of two of three terms, by 10^11."""
    with jax.enable_x64(True):
        running = jax.tree.map(jnp.asarray, START)
        norm = lambda x: norms.batch_norm(x, running, jnp.asarray(SCALE), train=True)[0]
        dy = jnp.asarray(DY)
        (right,) = gradients(norm, (jnp.asarray(X),), dy)
        assert worst(backward.batch_norm(dy, residuals()).x, right) <= BUDGET
        assert worst(wrong(residuals(), dy), right) > 1e6 * BUDGET


def test_the_budget_catches_a_forgotten_mask():
    """Then dy there counts, n is 24 and dx is not 0: half of the largest entry."""
    with jax.enable_x64(True):
        running, mask = jax.tree.map(jnp.asarray, (START, MASK))
        norm = lambda x: norms.batch_norm(
            x, running, jnp.asarray(SCALE), train=True, mask=mask
        )[0]
        dy, kept = jnp.asarray(DY), residuals(MASK)
        (right,) = gradients(norm, (jnp.asarray(X),), dy)
        assert worst(backward.batch_norm(dy, kept).x, right) <= BUDGET
        forgotten = backward.batch_norm(dy, kept._replace(where=None)).x
        assert worst(forgotten, right) > 1e6 * BUDGET


# ---- masks, dtypes, nothing given -------------------------------------------------


@functools.cache
def pullback(name):
    """`(args, dy) -> gradients` by hand, compiled."""
    f = functions(name)[0]
    return jax.jit(lambda args, dy: jax.vjp(f, *args)[1](dy))


@pytest.mark.parametrize("name", MASKED)
def test_nothing_leaks_from_behind_the_mask(name):
    """All gradients are those for zeros there, to the bit; that of x is 0 there."""
    where = MASK[..., None]
    behind = np.where(X > 1, np.nan, np.inf)
    dirty, clean = (
        arguments(name, "float32", np.where(where, X, a)) for a in (behind, 0)
    )
    dy = weights_of(functions(name)[0], clean)
    found, right = (pullback(name)(args, dy) for args in (dirty, clean))
    assert jax.tree.all(jax.tree.map(np.array_equal, found, right))
    assert jax.tree.all(jax.tree.map(lambda a: np.all(np.isfinite(a)), found))
    assert np.all(np.where(where, 0, found[0]) == 0)


@pytest.mark.parametrize(
    "name", ["batch", "evaluation", "layer", "group", "weight norm"]
)
def test_bfloat16_goes_through_float32(name):
    """The gradient of x is that in float32, rounded once; vectors stay float32."""
    narrow = arguments(name, "float32")
    narrow = (narrow[0].astype("bfloat16"), *narrow[1:])
    wide = (narrow[0].astype("float32"), *narrow[1:])
    outputs = jax.eval_shape(functions(name)[0], *narrow)
    fill = lambda a: jnp.asarray(DY32 if a.shape == SHAPE else np.ones(6), a.dtype)
    dy = jax.tree.map(fill, outputs)
    found = pullback(name)(narrow, dy)
    right = pullback(name)(wide, jax.tree.map(lambda a: a.astype("float32"), dy))
    assert found[0].dtype == jnp.bfloat16
    assert np.array_equal(found[0], right[0].astype("bfloat16"))
    assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(found[1:]))


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("batch", [(), (None, BIAS), (SCALE,), (SCALE, None), (None, None)]),
        ("rms", [(), (None,)]),
    ],
)
def test_no_scale_is_one_and_no_bias_is_zero(name, places):
    """In the gradient of x, in float32: the same program but for the constants."""
    f = functions(name)[0]
    x, *rest = arguments(name, "float32")
    running = rest[:1] if name == "batch" else []
    neutral = (np.ones(6), np.zeros(6))

    def slope(x, vectors):
        total = lambda x: jnp.sum(DY32 * jax.tree.leaves(f(x, *running, *vectors))[0])
        return jax.grad(total)(x)

    cast = lambda vectors: jax.tree.map(lambda a: jnp.asarray(a, "float32"), vectors)
    filled = [
        tuple(b if a is None else a for a, b in itertools.zip_longest(place, neutral))
        for place in places
    ]
    full = [vectors[: len(rest) - len(running)] for vectors in filled]
    run = jax.jit(lambda x: [[slope(x, cast(v)) for v in vs] for vs in (places, full)])
    assert worst(*run(x)) <= 4 * EPS32


def test_gradients_come_in_the_dtypes_of_the_inputs():
    x, scale, bias = (
        jnp.asarray(a, dtype)
        for a, dtype in zip((X, SCALE, BIAS), ("bfloat16", "float16", "bfloat16"))
    )
    running = moments.Running(*(jnp.asarray(a, "float16") for a in START))
    for train in (True, False):
        total = lambda x, running, scale, bias, train=train: jnp.sum(
            norms.batch_norm(x, running, scale, bias, train=train, backward="analytic")[
                0
            ]
        )
        args = (x, running, scale, bias)
        found = jax.eval_shape(jax.grad(total, argnums=(0, 1, 2, 3)), *args)
        same = jax.tree.map(lambda a, b: a.dtype == b.dtype, found, args)
        assert jax.tree.all(same)


# ---- the same norm, under transforms ----------------------------------------------


@pytest.mark.parametrize("name", ["batch, masked", "group"])
def test_jit_and_vmap_change_roundings_only(name):
    f = functions(name)[0]
    args = arguments(name, "float32")
    lanes = jax.tree.map(lambda a: jnp.stack([a, 2 * a + 1]), args)
    dy = weights_of(f, args)
    one = lambda args: jax.vjp(f, *args)[1](dy)
    many = jax.jit(jax.vmap(one))(lanes)
    alone = [jax.jit(one)(jax.tree.map(lambda a, i=i: a[i], lanes)) for i in range(2)]
    assert worst(many, jax.tree.map(lambda *a: jnp.stack(a), *alone)) <= 32 * EPS32


@pytest.mark.parametrize("name", ["batch", "group, masked"])
def test_hessian_vector_products_go_forward_over_reverse(name):
    """Against those of autodiff, in float64; measured 1e-15."""
    with jax.enable_x64(True):
        args = arguments(name)
        v = jax.tree.map(jnp.cos, args)

        def product(f):
            loss = lambda *args: sum(
                jnp.sum(jnp.sin(a)) for a in jax.tree.leaves(f(*args))
            )
            slope = jax.grad(loss, argnums=tuple(range(len(args))))
            return jax.jit(lambda: jax.jvp(slope, args, v)[1])()

        ours, peer = functions(name)
        assert worst(product(ours), product(peer)) <= 8 * BUDGET


def test_forward_mode_alone_is_refused():
    x = jnp.asarray(X, "float32")
    with pytest.raises(InputError) as caught:
        jax.jvp(functools.partial(norms.rms_norm, backward="analytic"), (x,), (x,))
    assert str(caught.value) == (
        "backward='analytic': forward mode alone (jvp, jacfwd) cannot pass a custom"
        " VJP; use backward='autodiff', or forward over reverse."
    )


def test_devices_that_share_a_scale_get_the_sum_of_its_gradients():
    """Each sums its own rows first: rounding moves, by 12 additions."""
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Auto,))
    rows, all_of_it = PartitionSpec("rows"), PartitionSpec()
    x, scale = jnp.asarray(X, "float32"), jnp.asarray(SCALE, "float32")
    norm = functools.partial(norms.layer_norm, backward="analytic")
    loss = lambda x, scale: jnp.sum(jnp.sin(norm(x, scale)))
    slope = jax.grad(loss, argnums=(0, 1))
    spread = jax.shard_map(
        slope, mesh=mesh, in_specs=(rows, all_of_it), out_specs=(rows, all_of_it)
    )
    assert worst(jax.jit(spread)(x, scale), jax.jit(slope)(x, scale)) <= 24 * EPS32


# ---- what it keeps ----------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["batch", "layer", "rms", "group", "instance", "weight norm"]
)
def test_less_is_kept_than_by_autodiff(name):
    """Of the size of x, x alone, and that in the dtype it came in."""
    args = arguments(name, "float32")
    args = (args[0].astype("bfloat16"), *args[1:])

    def kept(f):
        vjp = jax.vjp(jax.jit(f), *args)[1]
        return {id(a): a for a in jax.tree.leaves(vjp)}.values()

    ours, peer = (kept(f) for f in functions(name))
    assert [a.dtype for a in ours if a.shape == SHAPE] == [jnp.bfloat16]
    assert sum(a.nbytes for a in ours) < sum(a.nbytes for a in peer)


# ---- mistakes ---------------------------------------------------------------------

ROWS = jnp.ones((4, 6))


@pytest.mark.parametrize(
    ("op", "args", "settings"),
    [
        ("batch_norm", (ROWS[:1], START), {"train": True}),
        ("batch_norm", (ROWS, START), {"train": True, "mask": jnp.ones(4)}),
        ("layer_norm", (ROWS[:, :1],), {}),
        ("rms_norm", (jnp.ones((4, 6), jnp.int32),), {}),
        ("group_norm", (ROWS,), {"num_groups": 4}),
        ("group_norm", (ROWS,), {"num_groups": 6}),
        ("instance_norm", (ROWS,), {}),
        ("weight_standardization", (ROWS[:1],), {}),
    ],
)
def test_mistakes_are_named_as_by_autodiff(op, args, settings):
    args = jax.tree.map(jnp.asarray, args)
    if settings.get("train"):
        args = (args[0], moments.Running(jnp.zeros(6), jnp.ones(6)))
    norm = getattr(norms, op, None) or getattr(weights, op)
    messages = []
    for backward_of in ("analytic", "autodiff"):
        with pytest.raises(InputError) as caught:
            norm(*args, backward=backward_of, **settings)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
