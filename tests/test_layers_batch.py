"""Batch norm's corners: other frameworks, other devices, batches of one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _numerics import EPS32
from jax.sharding import Mesh, PartitionSpec

from normjax import layers
from normjax.errors import InputError
from normjax.ops import moments, norms

KEY = jax.random.key(0)
STEPS = 20
DRAW = np.random.default_rng(0)
XS = DRAW.normal(0.5, 1.5, (STEPS, 16, 2, 2, 8)).astype(np.float32)
WEIGHTS = DRAW.normal(size=XS.shape[1:]).astype(np.float32)
TEST = DRAW.normal(0.5, 1.5, (32, 2, 2, 8)).astype(np.float32)


def budgets(found, right):
    """Largest error over 64 eps of the largest entry: see the tests of parity."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(right))
    error = [np.max(np.abs(a - b)) / np.max(np.abs(b)) for a, b in pairs]
    return max(error) / (64 * EPS32)


def trained(layer, rate=0.0):
    """Outputs of 20 steps of SGD on mean(weights * y), batch_stats, evaluation."""

    @jax.jit
    def all_steps(xs, test):
        variables = layer.init(KEY, xs[0], train=False)

        def step(carry, x):
            params, stats = carry

            def loss(params):
                y, new = layer.apply(
                    {"params": params, "batch_stats": stats},
                    x,
                    train=True,
                    mutable=["batch_stats"],
                )
                return jnp.mean(WEIGHTS * y), (y, new["batch_stats"])

            grads, (y, stats) = jax.grad(loss, has_aux=True)(params)
            params = jax.tree.map(lambda p, g: p - rate * g, params, grads)
            return (params, stats), y

        start = variables["params"], variables["batch_stats"]
        (params, stats), ys = jax.lax.scan(step, start, xs)
        after = {"params": params, "batch_stats": stats}
        return ys, params, stats, layer.apply(after, test, train=False)

    return all_steps(XS, TEST)


# ---- the presets against their frameworks -----------------------------------------


def test_torch_preset_is_torch():
    """Training, gradients, running statistics, evaluation: 20 steps of SGD.

    Budget, in eps of the largest entry: each side errs by sqrt(64) in a mean or a
    variance and by 6 in what follows, 28 together; a running number is the average
    of such, and blending rounds it by 3, at decay 0.9 summed up to 30; 20 updates
    of scale and bias round by 1/2 each. None needs 64. Measured, CPU: 0.03 of it.
    The biased variance is 1,900 budgets away after 20 steps, a decay of 0.89 2,200.
    """
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    theirs = torch.nn.BatchNorm2d(8)
    channels_first = lambda x: torch.tensor(np.moveaxis(x, -1, 1))
    sgd = torch.optim.SGD(theirs.parameters(), lr=0.5)
    right = []
    for x in XS:
        y = theirs(channels_first(x))
        sgd.zero_grad()
        torch.mean(channels_first(WEIGHTS) * y).backward()
        sgd.step()
        right.append(np.moveaxis(y.detach().numpy(), 1, -1))
    theirs.eval()
    evaluated = theirs(channels_first(TEST)).detach().numpy()

    layer = layers.BatchNorm(**layers.PRESETS["torch"])
    ys, params, stats, y = trained(layer, rate=0.5)
    assert budgets(ys, np.stack(right)) <= 1
    assert budgets(params["scale"], theirs.weight.detach().numpy()) <= 1
    assert budgets(stats["mean"], theirs.running_mean.numpy()) <= 1
    assert budgets(stats["var"], theirs.running_var.numpy()) <= 1
    assert budgets(y, np.moveaxis(evaluated, 1, -1)) <= 1
    for wrong in ({"unbiased": False}, {"decay": 0.89}):
        _, _, stats, _ = trained(layer.clone(**wrong), rate=0.5)
        assert budgets(stats["var"], theirs.running_var.numpy()) > 100


def test_renorm_is_that_of_keras():
    """Its averages of the standard deviation start at 1, ours at sqrt(1 + eps)."""
    keras = pytest.importorskip("keras", reason="compares with Keras")
    limits = {"rmax": 1.5, "rmin": 1 / 1.5, "dmax": 0.5}
    theirs = keras.layers.BatchNormalization(
        renorm=True, renorm_clipping=limits, momentum=0.9, renorm_momentum=0.9
    )
    right = np.stack([theirs(x, training=True) for x in XS])
    layer = layers.BatchRenorm(
        r_max=1.5, d_max=0.5, start_step=-2, r_end_step=-1, d_end_step=-1
    ).clone(decay=0.9, eps=1e-3)
    variables = layer.init(KEY, jnp.asarray(XS[0]), train=False)
    var = jnp.full(8, 1 - 1e-3)
    variables = {**variables, "batch_stats": variables["batch_stats"] | {"var": var}}
    apply = jax.jit(functools.partial(layer.apply, mutable=True, train=True))
    ys = []
    for x in XS:
        y, variables = apply(variables, jnp.asarray(x))
        ys.append(y)
    stats = variables["batch_stats"]
    assert budgets(np.stack(ys), right) <= 1
    assert budgets(stats["mean"], np.asarray(theirs.moving_mean)) <= 1
    assert budgets(stats["var"], np.asarray(theirs.moving_variance)) <= 1
    assert stats["step"] == STEPS


# ---- debiased averages ------------------------------------------------------------


def stepped(layer, x, variables=None, **call):
    variables = variables or layer.init(KEY, x, train=False)
    return layer.apply(variables, x, train=True, mutable=True, **call)


def test_the_first_debiased_average_is_the_batch():
    x = jnp.asarray(XS[0])
    _, new = stepped(layers.BatchNorm(debias=True, decay=0.999), x)
    m = moments.mean_and_var(x, (0, 1, 2))
    assert np.array_equal(new["batch_stats"]["mean"], m.mean.ravel())
    assert np.array_equal(new["batch_stats"]["var"], m.var.ravel())


@pytest.mark.parametrize(("single", "num_seen"), [("error", 0), ("running", 1)])
def test_a_batch_that_is_not_learned_from_is_not_counted(single, num_seen):
    layer = layers.BatchNorm(debias=True, single=single)
    _, variables = stepped(layer, jnp.asarray(XS[0]))
    mask = np.zeros(XS[0].shape[:-1], bool)
    mask.flat[:num_seen] = True
    _, new = stepped(layer, jnp.asarray(XS[1]), variables, mask=jnp.asarray(mask))
    assert jax.tree.all(jax.tree.map(np.array_equal, new, variables))


def test_debiased_decay_is_precise_where_one_less_a_power_is_not():
    """Two steps of 0.999: (0.999 - 0.999^2) / (1 - 0.999^2) = 0.999 / 1.999."""
    found = moments.debiased(0.999, jnp.asarray(2))
    assert abs(found * 1.999 / 0.999 - 1) <= 4 * EPS32


# ---- over devices -----------------------------------------------------------------

X = jnp.asarray(XS[:2].reshape(2, -1, 8))  # [devices, examples, features]
MASKS = jnp.stack([jnp.arange(64) < 5, jnp.arange(64) != 7])  # 5 and 63 examples
SYNCED = layers.BatchNorm(axis_name="devices", unbiased=True)
STATS = SYNCED.init(KEY, X[0], train=False)


def concatenated(x, mask):
    """One device with all examples: y, gradient of sum(sin(y)), batch_stats."""
    layer = SYNCED.clone(axis_name=None)

    def total(x):
        y, new = layer.apply(STATS, x, train=True, mask=mask, mutable=True)
        return jnp.sum(jnp.sin(y)), (y, new["batch_stats"])

    grad, (y, stats) = jax.grad(total, has_aux=True)(x)
    return y, grad, stats


def on_each_device(x, mask):
    """What one device gives; with respect to x, of the loss on all devices."""

    def total(x):
        y, new = SYNCED.apply(STATS, x, train=True, mask=mask, mutable=True)
        return jnp.sum(jnp.sin(y)), (y, new["batch_stats"])

    grad, (y, stats) = jax.grad(total, has_aux=True)(x)
    return y, grad, stats


def by_vmap(x, masks):
    out = (0, 0, None)
    return jax.vmap(on_each_device, axis_name="devices", out_axes=out)(x, masks)


def by_shard_map(x, masks):
    split = PartitionSpec("devices")
    one = lambda x, mask: on_each_device(x.reshape(-1, 8), mask.ravel())
    y, grad, stats = jax.shard_map(
        one,
        mesh=Mesh(np.array(jax.devices()[:2]), ("devices",)),
        in_specs=(split, split),
        out_specs=(split, split, PartitionSpec()),
    )(x, masks)
    return y.reshape(x.shape), grad.reshape(x.shape), stats


@pytest.mark.parametrize("spread", [by_vmap, by_shard_map])
def test_synchronized_is_concatenated(spread):
    """With 5 examples on one device and 63 on the other. Sums in another order: some
    eps. Averaging over the devices instead, as flax does, is 10,000 budgets away.
    """
    where = MASKS[..., None]
    x = jnp.where(where, X, jnp.nan)
    y, grad, stats = jax.jit(spread)(x, MASKS)
    flat = lambda a: a.reshape(-1, *a.shape[2:])
    right = jax.jit(concatenated)(flat(x), flat(MASKS))
    assert budgets((flat(y), flat(grad), stats), right) <= 1 / 4
    assert np.all(np.where(where, 0, grad) == 0)
    means = moments.mean_and_var(x, 1, where=where).mean
    averaged = 0.1 * jnp.mean(means, 0).ravel()
    assert budgets(averaged, right[2]["mean"]) > 10_000


def test_a_device_of_one_example_has_company():
    """The smallest batch that is normalized: two examples on two devices."""
    x = X[:, :1]
    mask = jnp.ones((2, 1), bool)
    y, _, _ = by_vmap(x, mask)
    assert np.all(np.abs(y[0] + y[1]) <= 4 * EPS32)


# ---- batches of one ---------------------------------------------------------------

ONE = jnp.asarray(XS[0, :1, 0, 0])
RUNNING = moments.Running(jnp.linspace(-1, 1, 8), jnp.linspace(0.5, 2, 8))
BIAS = jnp.linspace(-1, 1, 8)


def single(policy, x=ONE, mask=None):
    return norms.batch_norm(
        x, RUNNING, None, BIAS, train=True, mask=mask, single=policy, unbiased=True
    )


def test_a_batch_of_one_may_use_the_running_moments():
    y, running = single("running")
    right, _ = norms.batch_norm(ONE, RUNNING, None, BIAS, train=False)
    assert np.array_equal(y, right)
    assert all(np.array_equal(a, b) for a, b in zip(running, RUNNING))


@pytest.mark.parametrize("masked", [False, True])
def test_a_batch_of_one_may_put_out_the_bias(masked):
    x, mask = (jnp.concatenate([ONE, ONE + 9]), jnp.array([True, False]))
    y, running = single("allow", x, mask) if masked else single("allow")
    assert np.array_equal(y[0], BIAS)
    assert np.allclose(running.var, 0.9 * RUNNING.var, rtol=2 * EPS32, atol=0)


def test_masked_batches_choose_on_the_device():
    """One compiled function: running moments for one example, the batch's for two."""
    x = jnp.concatenate([ONE, ONE + 1, ONE + 2])
    step = jax.jit(functools.partial(single, "running"))
    alone, kept = step(x, jnp.array([True, False, False]))
    two, new = step(x, jnp.array([True, True, False]))
    right, _ = norms.batch_norm(ONE, RUNNING, None, BIAS, train=False)
    assert budgets(alone[:1], right) <= 1 / 16
    assert all(np.array_equal(a, b) for a, b in zip(kept, RUNNING))
    right, wanted = norms.batch_norm(
        x[:2], RUNNING, None, BIAS, train=True, unbiased=True
    )
    assert budgets((two[:2], new), (right, wanted)) <= 1 / 8


def test_frozen_batch_norm_is_batch_norm_in_evaluation():
    layer = layers.FrozenBatchNorm()
    variables = layer.init(KEY, X[0])
    params = {"scale": jnp.linspace(0.5, 1.5, 8), "bias": BIAS}
    variables = {"params": params, "batch_stats": RUNNING._asdict()}
    y, new = layer.apply(variables, X[0], train=True, mutable=True)
    right = layers.BatchNorm().apply(variables, X[0], train=False)
    assert np.array_equal(y, right)
    assert jax.tree.all(jax.tree.map(np.array_equal, new, variables))
    slope = jax.grad(lambda x: jnp.sum(layer.apply(variables, x, train=True)))(X[0])
    factor = params["scale"] / jnp.sqrt(RUNNING.var + 1e-5)
    assert budgets(slope, jnp.broadcast_to(factor, X[0].shape)) <= 1 / 8


# ---- relatives --------------------------------------------------------------------


def test_renorm_starts_as_batch_norm_and_counts_its_steps():
    x = jnp.asarray(XS[0])
    layer = layers.BatchRenorm(start_step=1, r_end_step=2, d_end_step=2)
    y, variables = stepped(layer, x)
    right, _ = stepped(layers.BatchNorm(), x)
    assert np.array_equal(y, right)
    _, variables = stepped(layer, x, variables)
    y, variables = stepped(layer, x, variables)
    assert variables["batch_stats"]["step"] == 3
    assert budgets(y, right) > 100


def test_renorm_without_warm_up_is_finite_and_counts_what_it_has_seen():
    """As debiased batch norm: a batch masked whole is not a step."""
    layer = layers.BatchRenorm(start_step=0, r_end_step=0, d_end_step=0)
    y, variables = stepped(layer, X[0])
    assert np.all(np.isfinite(y))
    mask = jnp.zeros(X[0].shape[:-1], bool)
    _, kept = stepped(layer, X[0], variables, mask=mask)
    stats, past = kept["batch_stats"], variables["batch_stats"]
    assert past["step"] == 1
    assert jax.tree.all(jax.tree.map(np.array_equal, stats, past))


@pytest.mark.parametrize("num_examples", [32, 128, 37])
def test_ghost_batches_fit_any_batch(num_examples):
    x = jnp.asarray(np.resize(XS, (num_examples, 8)))
    y, _ = stepped(layers.GhostBatchNorm(), x)
    size = 32 if num_examples % 32 == 0 else num_examples
    first, _ = stepped(layers.BatchNorm(), x[:size])
    assert budgets(y[:size], first) <= 1 / 8


BATCHED = {name: row for name, row in layers.NORMS.items() if row.layer}


@pytest.mark.parametrize("name", BATCHED)
def test_a_layer_trains_on_each_device_with_its_own_statistics(name):
    """Under `jax.shard_map` as it is by default; gradients are summed over devices."""
    layer = BATCHED[name].layer()
    images = jnp.asarray(XS[0])
    variables = layer.init(KEY, images, train=False)
    params, stats = variables.get("params", {}), dict(variables)
    stats.pop("params", None)

    def loss(params, stats, x):
        y, new = layer.apply({"params": params, **stats}, x, train=True, mutable=True)
        new.pop("params", None)
        return jnp.sum(jnp.sin(y)), new

    def one(params, stats, x):
        grads, new = jax.grad(loss, has_aux=True)(params, stats, x)
        return grads, jax.tree.map(lambda a: a[None], new)

    split, whole = PartitionSpec("devices"), PartitionSpec()
    mesh = Mesh(np.array(jax.devices()[:2]), ("devices",))
    run = jax.shard_map(
        one, mesh=mesh, in_specs=(whole, whole, split), out_specs=(whole, split)
    )
    grads, new = jax.jit(run)(params, stats, images)
    alone = jax.jit(jax.grad(loss, has_aux=True))
    halves = [alone(params, stats, x) for x in (images[:8], images[8:])]
    right = jax.tree.map(lambda a, b: a + b, halves[0][0], halves[1][0])
    kept = jax.tree.map(lambda a, b: jnp.stack([a, b]), halves[0][1], halves[1][1])
    found, right = (grads, new), (right, kept)
    if name == "frozen":  # its mean stays 0
        found, right = found[0], right[0]
    assert jax.tree.structure(found) == jax.tree.structure(right)
    if jax.tree.leaves(right):
        assert budgets(found, right) <= 1


# ---- mistakes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: single("error"),
            "x.shape=(1, 8): each mean would be over 1 element; must be at least 2,"
            " or the output is the same for every x; train on batches of 2 or more.",
        ),
        (
            lambda: single("runing"),
            "single='runing': must be one of allow, error, running; did you mean"
            " 'running'?",
        ),
        (
            lambda: layers.BatchNorm(single="runing").init(KEY, X[0], train=False),
            "single='runing': must be one of allow, error, running; did you mean"
            " 'running'?",
        ),
        (
            lambda: layers.GhostBatchNorm(ghost_size=0).init(KEY, X[0], train=False),
            "ghost_size=0: must divide the 64 examples of the batch; use 32.",
        ),
        (
            lambda: layers.BatchRenorm(start_step=1, r_end_step=0).init(
                KEY, X[0], train=False
            ),
            "r_end_step=0: must be at least start_step=1; set r_end_step=1 to have no"
            " warm-up.",
        ),
        (
            lambda: layers.BatchNorm().apply(
                layers.BatchNorm().init(KEY, X[0], train=False),
                jnp.ones((2, 5)),
                train=False,
            ),
            "scale.shape=(8,): must be (5,), one entry per feature of x, whose shape"
            " is (2, 5); make it for this x.",
        ),
        (
            lambda: stepped(layers.BatchNorm(debias=True, decay=1.0), X[0]),
            "decay=1.0: must be between 0 and 1 to be debiased; set debias=False.",
        ),
    ],
)
def test_mistakes_are_named_in_one_line(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message
