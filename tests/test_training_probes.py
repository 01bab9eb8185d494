"""Probes against what is known without them: quadratics, NumPy, relations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import normjax
from normjax import layers, models
from normjax.errors import InputError
from normjax.optimizers import recipes
from normjax.study import plan, run
from normjax.study.record import read_record
from normjax.training import epoch, gradients, lane, probes
from normjax.types import Data, Program, Scaling, Split

EPS32 = float(np.finfo(np.float32).eps)
FAST = {"xla_backend_optimization_level": 0}  # compiling is nearly all there is
RATE = 0.5
SETTINGS = {"learning_rate": RATE, "momentum": 0.9}
KINDS = ("gradient", "update", "parameter")
DRAW = np.random.default_rng(0)


def split(num_examples: int) -> Split:
    """Even and odd rows, the two batches of 1,001, differ in labels and in scale."""
    rows = np.arange(num_examples)
    labels = np.where(rows % 2, 0, 1 + rows // 2 % 2).astype(np.int32)
    inputs = DRAW.normal(1.0, 1.0, (num_examples, 6)) + 2 * np.eye(3, 6)[labels]
    inputs[::2] *= 3
    return Split(jnp.asarray(inputs, jnp.float32), jnp.asarray(labels))


SCALING = Scaling(jnp.full(6, 0.5), jnp.full(6, 0.75))
DATA = Data(split(72), split(20), split(30), SCALING)
LONG = DATA._replace(train=split(1_001))
ROWS = jnp.asarray(DRAW.permutation(72)[:64].reshape(8, 8), jnp.int32)


def program(*names: str, norm="none", widths=(), **model) -> Program:
    """A softmax-linear model, or an MLP if it has widths, under plain SGD."""
    norm = layers.NORMS[norm] if isinstance(norm, str) else norm
    return Program(
        model=models.MLP(widths=widths, num_classes=3, norm=norm, **model),
        optimizer=recipes.sgd,
        batch_size=8,
        steps_per_epoch=8,
        probes=names,
    )


def settings(**values) -> dict:
    return {k: jnp.float32(v) for k, v in (SETTINGS | values).items()}


@functools.cache
def network(model, seed: int = 0):
    init = jax.jit(functools.partial(lane.init, model=model), compiler_options=FAST)
    return init(jax.random.key(seed), 1.0, DATA.train.inputs[:1])


def start(made: Program, seed: int = 0):
    tx = lane.optimizer(made, settings(), num_train=72)
    return lane.start(*network(made.model, seed), tx)


def measurer(made: Program):
    """`measure_all` of one lane, as a function of arrays alone."""

    def one(state, traced, rows, data):
        tx = lane.optimizer(made, traced, num_train=len(data.train.labels))
        return probes.measure_all(state, probes.Context(made, tx, traced, data, rows))

    return one


@functools.cache
def compiled(made: Program):
    return jax.jit(measurer(made), compiler_options=FAST)


def measured(made: Program, *, state=None, rows=ROWS, data=DATA, **values) -> dict:
    state = start(made) if state is None else state
    return compiled(made)(state, settings(**values), rows, data)


def evaluated(made: Program, split: Split):
    run = functools.partial(lane.evaluate, program=made, scaling=SCALING)
    return jax.jit(run, compiler_options=FAST)(start(made), split)


NAMES = (
    "third_moment",
    "smoothness",
    "magnitudes",
    "mode_gap",
    "train_split",
    "precise",
)
LINEAR = program(*NAMES)
DEEP = program(*NAMES, norm="batch", widths=(8, 7))


# ---- smoothness -------------------------------------------------------------------


def along(curvature, direction):
    """On the quadratic 1/2 w'Aw over two tensors of two, from w = (1, 2, 3, 4)."""
    curvature = jnp.asarray(curvature, jnp.float32)
    tree = lambda w: {"first": w[:2], "second": w[2:]}

    def loss(params):
        w = jnp.concatenate([params["first"], params["second"]])
        return w @ curvature @ w / 2

    w, u = jnp.arange(1.0, 5.0), jnp.asarray(direction, jnp.float32)
    run = functools.partial(gradients.smoothness_along, jax.grad(loss))
    return {k: float(x) for k, x in jax.jit(run)(tree(w), tree(u)).items()}


@pytest.mark.parametrize("sign", [1, -1])
def test_smoothness_of_a_quadratic_along_an_eigenvector_is_the_eigenvalue(sign):
    """A = +-(338 I + 5 uu'), |u|^2 = 169: +-1183. Whole numbers, so nothing rounds."""
    u = np.array([3.0, 4.0, 0.0, 12.0])
    found = along(sign * (338 * np.eye(4) + 5 * np.outer(u, u)), u)
    assert found["smoothness"] == 1183
    # sqrt(1183 * (5 + 12)) / sqrt(5 + 12): two roots and a quotient
    assert abs(found["smoothness_of_roots"] / 1183**0.5 - 1) <= 2 * EPS32


def test_smoothness_of_a_quadratic_along_no_eigenvector_by_hand():
    """A = diag(4, 4, 9, 9), u = (3, 4, 5, -12): the tensors' norms are 5, 13; 20, 117.

    The sign of u is no matter for the norms; it is for the gradient of the next test.
    """
    found = along(np.diag([4.0, 4.0, 9.0, 9.0]), [3.0, 4.0, 5.0, -12.0])
    right = {
        "smoothness": ((20**2 + 117**2) / (5**2 + 13**2)) ** 0.5,
        "smoothness_of_roots": ((20 + 117) / (5 + 13)) ** 0.5,
    }
    for name, value in right.items():
        assert abs(found[name] / value - 1) <= 4 * EPS32


def test_a_scaled_loss_has_scaled_smoothness():
    curvature = DRAW.integers(-9, 9, (4, 4))
    curvature = curvature + curvature.T
    once, fourfold = (along(c * curvature, [1.0, 2.0, 3.0, -1.0]) for c in (1, 4))
    assert fourfold["smoothness"] == 4 * once["smoothness"]
    assert fourfold["smoothness_of_roots"] == 2 * once["smoothness_of_roots"]


def test_smoothness_is_that_of_the_step_that_rounding_leaves():
    """At w = 1 a step of 0.6 eps is one of 1 eps, and one of 0.2 eps is none."""
    fourfold = functools.partial(jax.tree.map, lambda w: 4 * w)
    run = jax.jit(functools.partial(gradients.smoothness_along, fourfold))
    found = [run({"w": jnp.ones(9)}, {"w": jnp.full(9, x * EPS32)}) for x in (0.6, 0.2)]
    assert abs(found[0]["smoothness"] / 4 - 1) <= 4 * EPS32
    assert np.isnan(found[1]["smoothness"])


def exact_smoothness(params, data, rows, rate):
    """NumPy, float64: softmax(xW + b) - onehot is the gradient of the logits."""
    x = 0.75 * (np.asarray(data.train.inputs, np.float64) - 0.5)
    x = np.column_stack([x, np.ones(len(x))])
    hot = np.eye(3)[np.asarray(data.train.labels)]
    w = np.vstack([params["logits"]["kernel"], params["logits"]["bias"].reshape(1, 3)])
    w = w.astype(np.float64)

    def gradient(w, rows=slice(None)):
        p = np.exp(x[rows] @ w)
        return x[rows].T @ (p / p.sum(1, keepdims=True) - hot[rows]) / len(x[rows])

    u = -rate * gradient(w, np.asarray(rows[0]))
    d = gradient(w + u) - gradient(w)
    tensors = lambda a: np.array([np.linalg.norm(a[:-1]), np.linalg.norm(a[-1])])
    budget = np.linalg.norm(gradient(w)) * 22 / tensors(d).min()
    return {
        "smoothness": np.linalg.norm(d) / np.linalg.norm(u),
        "smoothness_of_roots": (tensors(d).sum() / tensors(u).sum()) ** 0.5,
    }, budget + np.linalg.norm(w) / tensors(u).min()


@pytest.mark.parametrize(("traced", "rate"), [(settings(), RATE), ({}, 0.1)])
def test_smoothness_of_a_softmax_linear_model_is_that_of_numpy(traced, rate):
    """1,001 rows are batches of 501 and 500, of different labels: NumPy takes them at
    once. Without settings the learning rate is the optimizer's own.

    Budget: sums of 501 err by sqrt(501) / 2 eps in each of two gradients, and rounding
    turns the step by |w| / |u| eps: 145 and 755 eps, as little changes in a short step.
    Measured, CPU: 5 and 4 eps.
    """
    made = program("smoothness")
    found = compiled(made)(start(made), traced, ROWS, LONG)
    params, _ = network(made.model)
    right, budget = exact_smoothness(params, LONG, ROWS, rate)
    for name, value in right.items():
        assert abs(found[name] / value - 1) <= budget * EPS32


# ---- a softmax-linear model, without batch norm -----------------------------------


def test_without_batch_norm_the_modes_are_one():
    found = measured(LINEAR)
    assert found["mode_gap_loss"] == found["mode_gap_accuracy"] == 0
    test = evaluated(LINEAR, DATA.test)
    assert found["precise_test_loss"] == test.loss
    assert found["precise_test_accuracy"] == test.accuracy


@pytest.mark.parametrize("made", [LINEAR, DEEP], ids=["linear", "deep"])
def test_the_training_split_is_evaluated_as_the_others_are(made):
    found, right = measured(made), evaluated(made, DATA.train)
    assert abs(found["train_loss_evaluated"] - right.loss) <= 4 * EPS32
    assert found["train_accuracy_evaluated"] == right.accuracy


def test_the_first_update_of_sgd_is_the_gradient_times_the_learning_rate():
    found = measured(DEEP)
    for layer in ("dense_0", "norm_0", "dense_1", "norm_1", "logits"):
        step = RATE * found[f"gradient_norm.{layer}"]
        assert step > 0
        assert abs(found[f"update_norm.{layer}"] / step - 1) <= 4 * EPS32


def test_an_update_is_that_of_the_optimizers_present_state():
    """A velocity of 1 everywhere and momentum 0.9. The gradient of the logits is 0 in
    sum over the classes, so it is at right angles to that.
    """
    state = start(LINEAR)
    moving = jax.tree.map(jnp.ones_like, state.opt_state)
    found = measured(LINEAR, state=state._replace(opt_state=moving))
    right = RATE * np.hypot(found["gradient_norm.logits"], 0.9 * 21**0.5)
    assert abs(found["update_norm.logits"] / right - 1) <= 8 * EPS32


def test_the_norm_of_a_layer_is_that_of_its_tensors_together():
    found = measured(DEEP)
    for layer, tensors in network(DEEP.model)[0].items():
        together = np.concatenate([np.ravel(x) for x in tensors.values()])
        right = np.linalg.norm(together.astype(np.float64))
        assert abs(found[f"parameter_norm.{layer}"] / right - 1) <= 8 * EPS32


def test_a_lane_that_diverged_is_measured_where_it_stopped():
    """Numbers beyond float32 are nan, and never inf."""
    state = start(LINEAR)
    frozen = state._replace(diverged_at_step=jnp.int32(3))
    alive, found = measured(LINEAR), measured(LINEAR, state=frozen)
    assert {k: float(v) for k, v in found.items()} == pytest.approx(
        {k: float(v) for k, v in alive.items()}, rel=0, abs=0, nan_ok=True
    )
    huge = jax.tree.map(lambda w: 1e30 * w, state.params)
    found = measured(LINEAR, state=frozen._replace(params=huge))
    assert np.isnan(found["parameter_norm.logits"])
    assert np.isfinite(found["train_accuracy_evaluated"])
    assert not np.isinf(list(found.values())).any()


def test_an_epoch_measures_its_last_state_on_its_own_rows():
    one = functools.partial(epoch.epoch, program=LINEAR)
    traced, keys = settings(momentum=0.5), epoch.StepKeys(jax.random.key(0), None)
    state, report = jax.jit(one, compiler_options=FAST)(
        start(LINEAR), ROWS, keys, traced, DATA
    )
    right = measured(LINEAR, state=state, momentum=0.5)
    other = measured(LINEAR, state=state, rows=ROWS[::-1], momentum=0.5)
    assert report.probes.keys() == right.keys()
    for name, value in right.items():
        np.testing.assert_allclose(report.probes[name], value, rtol=64 * EPS32, atol=0)
    for name in ("smoothness", "gradient_norm.logits", "update_norm.logits"):
        assert abs(other[name] / right[name] - 1) > 1e-3


# ---- a network with batch norm ----------------------------------------------------


def test_names_are_those_of_measurements_and_layers():
    assert set(measured(DEEP)) == {
        *("adam_difference_share", "smallest_denominator"),
        *("smoothness", "smoothness_of_roots"),
        *(
            f"{kind}_norm.{layer}"
            for kind in KINDS
            for layer in ("dense_0", "norm_0", "dense_1", "norm_1", "logits")
        ),
        *("mode_gap_loss", "mode_gap_accuracy"),
        *("train_loss_evaluated", "train_accuracy_evaluated"),
        *("precise_test_loss", "precise_test_accuracy"),
    }


def test_training_mode_does_not_read_the_moving_averages():
    """Other averages change what is evaluated with them, and nothing else."""
    state = start(DEEP)
    stats = jax.tree.map(lambda x: 3 * x + 1, state.stats)
    before, after = measured(DEEP), measured(DEEP, state=state._replace(stats=stats))
    changed = {k for k in before if not np.array_equal(before[k], after[k], True)}
    assert changed - {"train_accuracy_evaluated", "mode_gap_accuracy"} == {
        "train_loss_evaluated",
        "mode_gap_loss",
    }


def loss_in_training(params, rows):
    """Mean cross-entropy of DEEP on some rows as one batch, in training mode."""
    inputs, labels = DATA.train.inputs[rows], DATA.train.labels[rows]
    logits, _ = DEEP.model.apply(
        {"params": params, **network(DEEP.model)[1]},
        0.75 * (inputs - 0.5),
        train=True,
        mutable=["batch_stats"],
    )
    return jnp.mean(lane.example_metrics(logits, labels)[0])


def test_smoothness_normalizes_the_split_as_one_batch_if_it_is_small():
    """By hand, all 72 at once. Budget: sums of 72 err by 8 eps, in two gradients that
    are 1.3 of their difference. Measured, CPU: 0.5 eps.
    """
    params, _ = network(DEEP.model)

    @functools.partial(jax.jit, compiler_options=FAST)
    def by_hand(params):
        gradient = jax.grad(loss_in_training)
        u = jax.tree.map(lambda g: -RATE * g, gradient(params, ROWS[0]))
        moved = jax.tree.map(jnp.add, params, u)
        there, here = (gradient(w, jnp.arange(72)) for w in (moved, params))
        change = jax.tree.map(jnp.subtract, there, here)
        flat = lambda tree: jnp.concatenate([x.ravel() for x in jax.tree.leaves(tree)])
        return jnp.linalg.norm(flat(change)) / jnp.linalg.norm(flat(u))

    assert abs(measured(DEEP)["smoothness"] / by_hand(params) - 1) <= 32 * EPS32


def test_the_gap_of_the_modes_is_evaluation_less_training_in_batches_of_training():
    """By hand: nine batches of eight, every ninth row in one. Two losses of size
    2 err by 8 eps each. Measured, CPU: 1 eps.
    """
    found = measured(DEEP)
    batches = jnp.arange(72).reshape(8, 9).T
    run = jax.jit(jax.vmap(loss_in_training, in_axes=(None, 0)), compiler_options=FAST)
    trained = jnp.mean(run(network(DEEP.model)[0], batches))
    assert abs(found["mode_gap_loss"]) > 0.01
    gap = found["train_loss_evaluated"] - trained
    assert abs(gap - found["mode_gap_loss"]) <= 32 * EPS32


def test_two_lanes_are_each_alone():
    """Budget: what is measured sums some 70 numbers, 8 eps of them, or is a difference
    of two such, which are up to 4 times as large. Measured, CPU: 5 eps.
    """
    states = [start(DEEP), start(DEEP, 1)]
    rates = [RATE, RATE / 2]
    rows = jnp.stack([ROWS, ROWS[::-1]])
    both = lambda trees: jax.tree.map(lambda *x: jnp.stack(x), *trees)
    traced = both([settings(learning_rate=rate) for rate in rates])
    run = jax.vmap(measurer(DEEP), in_axes=(0, 0, 0, None))
    found = jax.jit(run, compiler_options=FAST)(both(states), traced, rows, DATA)
    for i, rate in enumerate(rates):
        alone = measured(DEEP, state=states[i], rows=rows[i], learning_rate=rate)
        for name, value in alone.items():
            np.testing.assert_allclose(found[name][i], value, rtol=64 * EPS32)


def test_dropout_is_off():
    """The same network with a dropout of one half compiled in."""
    made = program(
        "smoothness", "magnitudes", norm="batch", widths=(8, 7), dropout=True
    )
    right = measured(DEEP)
    for name, value in measured(made, dropout_rate=0.5).items():
        assert abs(value / right[name] - 1) <= 128 * EPS32


def test_ghosts_that_do_not_divide_a_batch_get_the_nearest_size_that_does():
    """64 becomes 72 in the split and 8 in the batch: one ghost is batch norm."""
    layer = functools.partial(layers.GhostBatchNorm, ghost_size=64)
    made = program("smoothness", norm=layers.Norm(layer), widths=(8, 7))
    right = measured(DEEP)
    for name, value in measured(made).items():
        assert abs(value / right[name] - 1) <= 128 * EPS32


# ---- what a study keeps -----------------------------------------------------------


def constant_step() -> optax.GradientTransformation:
    return optax.scale(-0.1)


def test_smoothness_needs_a_learning_rate():
    made = program("smoothness")._replace(optimizer=constant_step)
    with pytest.raises(InputError) as caught:
        probes.measure_all(start(LINEAR), probes.Context(made, None, {}, DATA, ROWS))
    assert str(caught.value) == (
        "probes='smoothness': must have an optimizer with the setting learning_rate,"
        " its step's length; leave the probe out."
    )


def test_the_record_holds_the_measurements_and_their_conditions(tmp_path):
    names = ("magnitudes", "mode_gap")
    config = normjax.config(
        probes=names,
        num_seeds=1,
        num_epochs=1,
        batch_size=32,
        data={"num_train": 64},
        model={"widths": (4,)},
        arms={"norm": ("batch",)},
    )
    run.complete(plan.study(config), str(tmp_path))
    record = read_record(tmp_path)
    assert record.record["probes"] == {k: probes.PROBES[k].conditions for k in names}
    assert all(len(p.conditions) >= 1 for p in probes.PROBES.values())
    (arm,) = record.record["arm_order"]
    parts = ("dense_0", "norm_0", "logits")
    assert set(record.probes) == {
        *(f"{arm}/{kind}_norm.{x}" for kind in KINDS for x in parts),
        *(f"{arm}/mode_gap_{x}" for x in ("loss", "accuracy")),
    }
    assert all(x.shape == (1, 1, 1) for x in record.probes.values())
    assert np.isfinite([*record.probes.values()]).all()
