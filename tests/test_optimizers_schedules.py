"""Learning rates that change: their values, what is traced, what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from _numerics import UNIT32

import normjax
from normjax.errors import InputError
from normjax.optimizers import chains, recipes, schedules
from normjax.study import plan
from normjax.training import lanes

PEAK, NUM_STEPS = 0.5, 40
STEPS = np.arange(NUM_STEPS)


def rates(schedule, **settings) -> np.ndarray:
    """The rate of every step, from traced settings, in one program."""
    traced = {name: jnp.float32(value) for name, value in settings.items()}
    given = {"learning_rate": PEAK, "num_steps": NUM_STEPS}
    run = jax.jit(jax.vmap(schedules.rate_of(schedule, traced, **given)))
    return np.asarray(run(jnp.asarray(STEPS, jnp.int32)))


def cosine(n, length, final):
    return final + (1 - final) * (1 + np.cos(np.pi * n / length)) / 2


def warmed(n, warmup, final):
    if n < warmup:
        return (n + 1) / (warmup + 1)
    return cosine(n - warmup, NUM_STEPS - warmup, final)


FORMULAS = {  # settings, which float32 holds, and the share of the peak at step n
    "cosine": ({"final_fraction": 0.25}, lambda n: cosine(n, NUM_STEPS, 0.25)),
    "warmup_cosine": (
        {"warmup_fraction": 0.125, "final_fraction": 0.25},
        lambda n: warmed(n, 5, 0.25),
    ),
    "linear": ({"final_fraction": 0.25}, lambda n: 1 - 0.75 * n / NUM_STEPS),
    "exponential": ({"decay_factor": 0.25}, lambda n: 0.25 ** (n / NUM_STEPS)),
    "step": (
        {"decay_factor": 0.25, "first_boundary": 0.25, "second_boundary": 0.5},
        lambda n: 0.25 ** (int(n >= 10) + int(n >= 20)),
    ),
}
WARMUP = 0.125 * NUM_STEPS
OPTAX = {
    "cosine": optax.cosine_decay_schedule(PEAK, NUM_STEPS, 0.25),
    "warmup_cosine": optax.warmup_cosine_decay_schedule(
        PEAK / (WARMUP + 1), PEAK, int(WARMUP), NUM_STEPS, 0.25 * PEAK
    ),
    "linear": optax.linear_schedule(PEAK, 0.25 * PEAK, NUM_STEPS),
    "exponential": optax.exponential_decay(PEAK, NUM_STEPS, 0.25),
    "step": optax.piecewise_constant_schedule(PEAK, {10: 0.25, 20: 0.25}),
}
# of the peak: of pi n / N, which is at most pi, three roundings, its cosine two ulps,
# and six more operations on numbers of at most 2; half of the cosine's count
ERROR = (3 * np.pi + 4 + 6 * 2) * UNIT32


@pytest.mark.parametrize("name", FORMULAS)
def test_rates_are_the_formula_and_those_of_optax(name):
    settings, formula = FORMULAS[name]
    ours = rates(schedules.SCHEDULES[name], **settings)
    expected = PEAK * np.array([formula(n) for n in STEPS])
    np.testing.assert_allclose(ours, expected, rtol=0, atol=PEAK * ERROR)
    theirs = np.array([float(OPTAX[name](n)) for n in STEPS])
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2 * PEAK * ERROR)
    assert ours[0] > 0


def test_every_schedule_has_its_formula():
    assert set(FORMULAS) == set(schedules.SCHEDULES) - {"constant"}


@pytest.mark.parametrize("fraction", [0.0, 0.125, 0.3])
def test_a_warm_up_wastes_no_step_and_reaches_the_peak_once(fraction):
    """Between whole numbers of steps too, where no step is exactly the peak."""
    ours = rates(schedules.warmup_cosine, warmup_fraction=fraction)
    top = int(np.argmax(ours))
    assert top == np.floor(fraction * NUM_STEPS)
    assert (np.diff(ours[: top + 1]) > 0).all()
    assert (np.diff(ours[top:]) < 0).all()
    assert ours.min() > 0
    if fraction * NUM_STEPS % 1 == 0:
        assert ours[top] == np.float32(PEAK)


def test_a_schedule_at_its_limits_is_constant():
    for name, settings in (
        ("cosine", {"final_fraction": 1.0}),
        ("linear", {"final_fraction": 1.0}),
        ("exponential", {"decay_factor": 1.0}),
        ("step", {"first_boundary": 1.0, "second_boundary": 1.0}),
    ):
        np.testing.assert_array_equal(
            rates(schedules.SCHEDULES[name], **settings), np.float32(PEAK)
        )


def test_a_boundary_that_is_a_whole_step_is_that_step():
    """For every share of two digits; 16 of 460 products are above it in float32."""
    late, percent = 0, np.arange(1, 100)
    for num_steps in (30, 70, 100, 110, 390, 640, 1000, 3510, 27300, 70200):
        given = {"learning_rate": 1, "num_steps": num_steps, "second_boundary": 2.0}
        rate = functools.partial(schedules.boundaries, **given)
        rates = jax.jit(jax.vmap(lambda n, share, f=rate: f(n, first_boundary=share)))
        whole = percent[percent * num_steps % 100 == 0]
        share, right = np.float32(whole / 100), whole * num_steps // 100
        late += (np.float32(right) < share * np.float32(num_steps)).sum()
        np.testing.assert_array_equal(rates(right - 1, share), 1)
        np.testing.assert_array_equal(rates(right, share), np.float32(0.1))
    assert late == 16
    between = {"first_boundary": 0.333, "second_boundary": 2.0, "num_steps": 100}
    for step, right in ((33, 1), (34, np.float32(0.1))):
        assert schedules.boundaries(step, learning_rate=1, **between) == right


def triangle(step, *, learning_rate, num_steps, width: float = 0.5):
    """A schedule of a user, of the step."""
    return learning_rate * jnp.maximum(0, 1 - jnp.abs(step / num_steps - 0.5) / width)


def halving(learning_rate, num_steps):
    """A factory of a user."""
    return lambda step: learning_rate / 2 ** (step / num_steps)


def test_schedules_of_a_user_and_of_optax():
    assert schedules.settings_of(triangle) == {"width": 0.5}
    assert schedules.settings_of(halving) == {}
    assert schedules.settings_of(optax.linear_schedule) == {"end_value": None}
    assert schedules.settings_of(optax.cosine_decay_schedule) == {
        "alpha": 0.0,
        "exponent": 1.0,
    }
    half = NUM_STEPS // 2
    assert rates(triangle, width=1.0)[[0, half]].tolist() == [0.25, 0.5]
    assert rates(halving)[half] == pytest.approx(PEAK / 2**0.5, rel=4 * UNIT32)
    ours = rates(optax.linear_schedule, end_value=0.25 * PEAK)
    theirs = rates(schedules.linear, final_fraction=0.25)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2 * PEAK * ERROR)


@pytest.mark.parametrize("rules", [jax.enable_x64(True), jax.enable_x64(False)])
def test_a_rate_is_float32_under_every_rule(rules):
    with rules, jax.numpy_dtype_promotion("strict"):
        for schedule in (optax.cosine_decay_schedule, schedules.warmup_cosine):
            given = {"learning_rate": jnp.float32(0.5), "num_steps": 4}
            rate = schedules.rate_of(schedule, {}, **given)
            assert rate(jnp.int32(1)).dtype == np.float32


def test_a_constant_rate_adds_nothing():
    """The program knows of no schedule, and its chain is traced as before."""

    def traced(**more):
        def update(g):
            tx = chains.chain(recipes.adam, {"learning_rate": 0.1}, num_train=1, **more)
            return tx.update(g, tx.init(g), g)[0]

        return str(jax.make_jaxpr(update)(jnp.ones(3)))

    program = plan.study(normjax.config(num_seeds=2, batch_size=32)).arms[0].program
    assert (program.schedule, program.num_steps) == (None, 0)
    assert traced() == traced(schedule=None, num_steps=0)
    assert traced() != traced(schedule=schedules.cosine, num_steps=3)


def test_a_study_counts_its_steps_and_traces_the_settings():
    arms = {"schedule": ("constant", "warmup_cosine", f"{__name__}.halving")}
    settings = {"warmup_fraction": (0.1, 0.2)}
    config = normjax.config(
        num_seeds=2, batch_size=32, num_epochs=3, arms=arms, settings=settings
    )
    constant, warmed_up, halved = plan.study(config).arms
    assert "warmup_fraction" not in constant.settings
    np.testing.assert_array_equal(
        warmed_up.settings["warmup_fraction"], np.float32([0.1, 0.2])
    )
    assert warmed_up.program.num_steps == 3 * (1237 // 32)
    assert halved.program.schedule is halving
    assert len({constant.id, warmed_up.id, halved.id}) == 3


def test_a_grid_of_warm_ups_compiles_one_epoch():
    """Each has its own losses, and another grid of as many finds the program made."""
    made = {
        "schedule": "warmup_cosine",
        "num_seeds": 1,
        "num_epochs": 1,
        "model": {"widths": (4,)},
    }
    losses = []
    before = lanes.epoch_lanes._cache_size()
    for fractions in ((0.0, 0.25, 0.5, 0.75), (0.1, 0.2, 0.3, 0.4)):
        grid = {"warmup_fraction": fractions}
        record = normjax.run(normjax.config(settings=grid, **made))
        losses += record.networks["train_loss"].tolist()
    assert lanes.epoch_lanes._cache_size() == before + 1
    assert len(set(losses)) == 8


def test_every_recipe_takes_a_schedule_in_a_study():
    """Traced with its penalty too, which AdamW has itself."""
    names = [name for name in recipes.RECIPES if name != "adamw"]
    config = normjax.config(
        num_seeds=2,
        batch_size=32,
        schedule="warmup_cosine",
        settings={"clip_norm": (1.0,)},
        arms={"optimizer": tuple(names), "penalty": ("weight_decay",)},
    )
    arms = plan.study(config).arms
    assert [arm.name for arm in arms] == names
    assert all({"clip_norm", "warmup_fraction"} < set(arm.settings) for arm in arms)
    with_own = config.copy_and_resolve_references()
    with_own.arms = {**with_own.arms, "optimizer": ("adamw",), "penalty": ("none",)}
    assert plan.study(with_own).arms[0].settings["weight_decay"] == np.float32(0.01)


def test_a_factory_that_makes_no_schedule_is_refused():
    with pytest.raises(InputError) as caught:
        plan.study(normjax.config(schedule="optax.piecewise_constant_schedule"))
    assert str(caught.value) == (
        "schedule='optax.piecewise_constant_schedule': must change with the step where"
        " it is given no boundaries of its own; use constant, or cosine, warmup_cosine,"
        " linear, exponential, step of normjax."
    )


def test_a_schedule_that_does_not_fit_is_named():
    def with_rate(learning_rate: float = 0.1, width: float = 0.5):
        return optax.sgd(learning_rate, momentum=width)

    for recipe, message in (
        (
            optax.identity,
            "schedule='triangle': needs the setting learning_rate, which identity has"
            " not; use constant.",
        ),
        (
            with_rate,
            "schedule='triangle': must have other settings than with_rate, which has"
            " width too; use another schedule.",
        ),
    ):
        with pytest.raises(InputError) as caught:
            chains.chain(recipe, {}, num_train=1, schedule=triangle, num_steps=2)
        assert str(caught.value) == message
