"""Central differences against known slopes; the gradient check of a small network.

The check is a published one: batch norm alone and in a network, in float64. Its source
names shapes, not numbers; standard normal inputs, kernels N(0, 0.05^2), zero biases and
unit scales are assumed. Its initial losses, 2.343 without a penalty and 6.955 with 3.14
/ 2 * sum of squared kernels, agree: their difference makes that sum 2.94, and 3.00 +-
0.12 is expected of 1,200 such entries.
"""

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _numerics import EPS64, gradients, relative_error

from normjax.checks import differences
from normjax.errors import InputError
from normjax.ops import moments, norms

EPS = 1e-5
BUDGET = 1e-8  # the relative error asked for


# ---- differences ------------------------------------------------------------------


def test_relative_error_is_that_of_the_source():
    a, b = np.array([1.0, 0.0, -2e-9]), np.array([1.0, 0.0, 2e-9])
    assert relative_error(a[:2], b[:2]) == 0
    assert np.isclose(relative_error(a, b), 0.4)
    assert relative_error(np.ones(1), -np.ones(1)) == 1
    assert np.isclose(relative_error(a, b, floor=1e-3), 4e-6)


def test_differences_of_known_slopes():
    """A polynomial, waves, and a pole 0.02 away, less than the first step: a single
    step of eps^(1/3) leaves 1e-8 there. Each within 1e-11 of its slope.
    """

    def f(args):
        pole = 1 / (args["near"] + 0.02)
        return args["x"] ** 3, jnp.sin(args["x"]), pole

    with jax.enable_x64(True):
        x, near = jnp.asarray([0.3, -1.2]), jnp.zeros(())
        dy = (jnp.asarray([2.0, 1.0]), jnp.ones(2), jnp.ones(()))
        args = ({"x": x, "near": near},)
        (found,) = differences.central(f, args, dy)
        expected = 3 * dy[0] * x**2 + jnp.cos(x)
        assert np.max(np.abs(found["x"] - expected)) <= 1e-11
        assert abs(float(found["near"]) * 0.02**2 + 1) <= 1e-11
        (single,) = differences.central(f, args, dy, step=EPS64 ** (1 / 3), levels=1)
        assert abs(float(single["near"]) * 0.02**2 + 1) >= 1e-9


def test_float32_is_refused():
    with pytest.raises(InputError) as caught:
        differences.central(jnp.sin, (jnp.ones(2),), jnp.ones(2))
    assert str(caught.value) == (
        "args.dtype='float32': must be float64, or rounding hides errors below 1e-3;"
        " pass float64 arrays under jax.enable_x64(True)."
    )


# ---- batch norm alone -------------------------------------------------------------

PASSES, DECAY = 50, 0.9


def standard(x, running, scale=None, bias=None, *, train, fault=None):
    """Batch norm from its parts, or with one fault."""
    now = moments.mean_and_var(x, 0)
    if fault == "variance over n - 1":
        now = now._replace(var=now.var * len(x) / (len(x) - 1))
    if fault == "no variance":
        now = now._replace(var=jnp.ones_like(now.var))
    if not train:
        return norms.apply_running(x, running, scale, bias, eps=EPS), running
    if fault == "bias before scale" and bias is not None:
        bias = bias * scale
    y = norms.standardize(x, now.mean, now.var, scale, bias, eps=EPS)
    if fault == "past unscaled":  # the average is 1 / (1 - decay) times too large
        add = lambda a, b: DECAY * a + b.reshape(a.shape)
        return y, moments.Running(
            add(running.mean, now.mean), add(running.var, now.var)
        )
    return y, moments.blend(running, now, decay=DECAY)


def over_budget(y, scale, bias, mean_budget, std_budget):
    """Which of the means and standard deviations of `y` are not `bias` and `scale`."""
    mean_error = np.max(np.abs(np.mean(y, 0) - bias))
    std_error = np.max(np.abs(np.std(y, 0) / scale - 1))
    found = {"means": mean_error > mean_budget, "stds": std_error > std_budget}
    return {name for name, wrong in found.items() if wrong}


def forward_faults(batch_norm):
    """What is over budget, in training or after it, of activations `[200, 3]`.

    Training: the mean of n outputs errs by what the mean of the inputs does, sqrt(n)
    roundings of |mean| / std, and as many of the outputs; the std is `sqrt(var / (var
    + eps))`, off 1 by eps / (2 var). Evaluation: 50 passes leave 0.9^50 of where the
    running moments began, and the rest averages over 1.9 / 0.1 = 19 batches: of the
    evaluated batch itself a mean of n has a standard error of 1 / sqrt(n), its std of
    1 / sqrt(2 n); 4.5 of them are asked for, 7e-6 of false alarms.
    """
    draws = np.random.default_rng(0)
    kernels = draws.normal(size=(50, 60)), draws.normal(size=(60, 3))
    drawn = lambda: np.maximum(draws.normal(size=(200, 50)) @ kernels[0], 0)
    batches = [drawn() @ kernels[1] for _ in range(PASSES + 2)]
    x, n = batches[0], len(batches[0])
    running = moments.Running(jnp.zeros(3), jnp.ones(3))
    found, offset = set(), np.max(np.abs(x.mean(0)) / x.std(0))

    for scale, bias in ((np.ones(3), np.zeros(3)), (np.r_[1:4.0], np.r_[11:14.0])):
        vectors = jnp.asarray(scale), jnp.asarray(bias)
        y, _ = batch_norm(jnp.asarray(x), running, *vectors, train=True)
        rounding = (np.sqrt(n) + 6) * EPS64 * (offset + 1 + np.max(np.abs(y)))
        shrunk = rounding + EPS / (2 * x.var(0).min())
        found |= over_budget(y, scale, bias, rounding, shrunk)

    for batch in batches[1:-1]:
        _, running = batch_norm(jnp.asarray(batch), running, train=True)
    y, _ = batch_norm(jnp.asarray(batches[-1]), running, train=False)
    past = DECAY**PASSES
    noise = 4.5 * np.sqrt((1 + (1 - DECAY) / (1 + DECAY)) / n)
    budgets = noise + past * offset, noise / np.sqrt(2) + past
    return found | over_budget(y, np.ones(3), np.zeros(3), *budgets)


def test_the_forward_is_within_its_budget():
    with jax.enable_x64(True):
        ours = functools.partial(norms.batch_norm, eps=EPS, decay=DECAY)
        assert not forward_faults(ours)
        assert not forward_faults(standard)


@pytest.mark.parametrize(
    ("fault", "kinds"),
    [
        ("past unscaled", {"means", "stds"}),
        ("variance over n - 1", {"stds"}),
        ("no variance", {"stds", "means"}),
        ("bias before scale", {"means"}),
    ],
)
def test_a_wrong_forward_is_over_budget(fault, kinds):
    """Among them running averages that grow, as those of the source did."""
    with jax.enable_x64(True):
        assert forward_faults(functools.partial(standard, fault=fault)) == kinds


BY_HAND = functools.partial(norms.batch_norm, eps=EPS, backward="analytic")


def constant_moments(x, running, scale=None, bias=None, *, train):
    """Batch norm whose backward takes the moments for constants."""
    m = jax.tree.map(jax.lax.stop_gradient, moments.mean_and_var(x, 0))
    return norms.standardize(x, m.mean, m.var, scale, bias, eps=EPS), running


@pytest.mark.parametrize(
    ("batch_norm", "right"),
    [(BY_HAND, 3), (constant_moments, 2)],
)
def test_the_backward_is_the_central_difference(batch_norm, right):
    """For x `[4, 5]` of 12 +- 5; the source's worst was 1.8e-9, ours is 2.4e-10. With
    constant moments the gradient of x is wrong, and those of scale and bias are not.
    """
    with jax.enable_x64(True):
        draws = np.random.default_rng(1)
        x = jnp.asarray(draws.normal(12, 5, (4, 5)))
        scale, bias = jnp.asarray(draws.normal(size=(2, 5)))
        dy = jnp.asarray(draws.normal(size=(4, 5)))
        running = moments.Running(jnp.zeros(5), jnp.ones(5))
        norm = lambda *args: batch_norm(args[0], running, *args[1:], train=True)[0]
        args = x, scale, bias
        numeric = differences.central(norm, args, dy)
        found = gradients(norm, args, dy)
        errors = [relative_error(a, b) for a, b in zip(found, numeric)]
        assert [error <= BUDGET for error in errors] == [right == 3, True, True]


# ---- a network --------------------------------------------------------------------

WIDTHS = (15, 20, 30, 10)
EXAMPLES = 2
# What rounding leaves of the differences: 20 roundings over their first step. An
# element below this floor they cannot tell to BUDGET; autodiff can.
FLOOR = 20 * EPS64 / 5e-2 / BUDGET


class Layer(NamedTuple):
    """A dense layer and the batch norm behind it; the last layer has none."""

    kernel: Any
    bias: Any
    norm_scale: Any = None
    norm_bias: Any = None


class Problem(NamedTuple):
    """A network, two examples, and the gradient of its loss without a hand."""

    layers: tuple[Layer, ...]
    x: Any
    labels: Any
    autodiff: tuple[Layer, ...]
    numeric: tuple[Layer, ...]


def dense(layer, x):
    return x @ layer.kernel + layer.bias[None]


def batch_norm_by_hand(x, scale, bias):
    start = moments.Running(jnp.zeros_like(scale), jnp.ones_like(scale))
    return BY_HAND(x, start, scale, bias, train=True)[0]


def loss_terms(layers, x, labels, penalty):
    """What adds up to the loss less log(10), apart so that differences see it all.

    Each example's share of the mean cross-entropy in nats, and `penalty / 2 *
    kernel^2`. With log(10) = 2.3 taken out as `log(mean(exp(a))) =
    log1p(mean(expm1(a)))`, what is left is near 0.1 and its rounding as much smaller.
    """
    for layer in layers[:-1]:
        y = dense(layer, x)
        start = moments.Running(*jnp.zeros((2, y.shape[-1])))
        vectors = layer.norm_scale, layer.norm_bias
        x = jax.nn.relu(norms.batch_norm(y, start, *vectors, train=True, eps=EPS)[0])
    logits = dense(layers[-1], x)
    above = logits - jnp.take_along_axis(logits, labels[:, None], 1)
    cross_entropies = jnp.log1p(jnp.mean(jnp.expm1(above), 1))
    squares = [penalty / 2 * jnp.square(layer.kernel) for layer in layers]
    return cross_entropies / len(labels), squares


def gradient_by_hand(layers, x, labels, penalty, batch_norm=batch_norm_by_hand):
    """`d loss / d layers` without autodiff: back through each step of the forward.

    For logits = x @ kernel + bias, with p = softmax(logits) and N examples,

        dlogits = (p - onehot(labels)) / N
        dkernel = x' @ dlogits + penalty * kernel,  dbias = sum over rows of dlogits
        dx      = dlogits @ kernel',

    and at each hidden layer dx counts where its ReLU was open, passes the batch norm
    by its hand-written backward, and is the dlogits of that layer's dense step.
    """
    kept = []
    for layer in layers[:-1]:
        y, pull = jax.vjp(batch_norm, dense(layer, x), *layer[2:])
        kept.append((x, pull, y > 0))
        x = jnp.where(y > 0, y, 0)
    logits = dense(layers[-1], x)
    dy = (jax.nn.softmax(logits) - jax.nn.one_hot(labels, WIDTHS[-1])) / len(labels)

    last = x.T @ dy + penalty * layers[-1].kernel
    found = [Layer(last, jnp.sum(dy, 0))]
    for i in reversed(range(len(kept))):
        x, pull, is_open = kept[i]
        dy, *vectors = pull(jnp.where(is_open, dy @ layers[i + 1].kernel.T, 0))
        kernel = x.T @ dy + penalty * layers[i].kernel
        found.append(Layer(kernel, jnp.sum(dy, 0), *vectors))
    return tuple(reversed(found))


@functools.cache
def problem(penalty):
    """The network that is checked; jax.enable_x64 must be on."""
    draws = np.random.default_rng(2)
    layers = []
    for inputs, features in itertools.pairwise(WIDTHS):
        kernel = jnp.asarray(draws.normal(0, 0.05, (inputs, features)))
        zeros, ones = jnp.zeros(features), jnp.ones(features)
        layers.append(Layer(kernel, zeros, ones, zeros))
    layers = (*layers[:-1], Layer(*layers[-1][:2]))
    x = jnp.asarray(draws.normal(size=(EXAMPLES, WIDTHS[0])))
    labels = jnp.asarray(draws.integers(WIDTHS[-1], size=EXAMPLES))
    terms = lambda layers: loss_terms(layers, x, labels, penalty)
    ones = jax.tree.map(jnp.ones_like, jax.eval_shape(terms, layers))
    (autodiff,) = gradients(terms, (layers,), ones)
    (numeric,) = differences.central(terms, (layers,), ones)
    return Problem(layers, x, labels, autodiff, numeric)


def network_faults(penalty, by_hand=gradient_by_hand):
    """Parameters whose gradients do not agree to BUDGET.

    By hand and by autodiff against differences, above their floor; by hand against
    autodiff for every element, to 1e-10. The biases before a batch norm do not change
    the loss: their gradient is exactly 0, and a relative error would compare roundings
    (the source's 2e-3). Theirs is absolute, in units of the layer's largest kernel
    gradient.
    """
    p, found = problem(penalty), set()
    hand = jax.jit(lambda a: by_hand(a, p.x, p.labels, penalty))(p.layers)
    for i, field in itertools.product(range(len(p.layers)), Layer._fields):
        ours, auto, numeric = (
            getattr(tree[i], field) for tree in (hand, p.autodiff, p.numeric)
        )
        if numeric is None:
            continue
        if field == "bias" and i < len(p.layers) - 1:
            top = np.max(np.abs(p.autodiff[i].kernel))
            error = max(np.max(np.abs(a)) for a in (ours, auto, numeric)) / top
        else:
            error = max(relative_error(a, numeric, floor=FLOOR) for a in (ours, auto))
            error = max(error, 100 * relative_error(ours, auto))
        if error > BUDGET:
            found.add(f"{i + 1}, {field}")
    return found


@pytest.mark.parametrize("penalty", [0.0, 3.14])
def test_every_gradient_of_the_network_is_in_its_budget(penalty):
    """Worst: 4e-9 by differences, 1e-11 by hand against autodiff; the source's 2e-3."""
    with jax.enable_x64(True):
        assert not network_faults(penalty)


def test_a_gradient_without_penalty_is_over_budget():
    """In every kernel, and nowhere else."""
    wrong = lambda *args: gradient_by_hand(*args[:3], 0.0)
    with jax.enable_x64(True):
        assert network_faults(3.14, wrong) == {f"{i}, kernel" for i in (1, 2, 3)}


def test_a_backward_that_takes_moments_for_constants_is_over_budget():
    """In all that lies before a batch norm; the biases' zeros among them."""
    blind = lambda x, *vectors: constant_moments(x, None, *vectors, train=True)[0]
    wrong = functools.partial(gradient_by_hand, batch_norm=blind)
    with jax.enable_x64(True):
        found = network_faults(0.0, wrong)
    fields = "kernel", "bias"
    before = {f"{i}, {field}" for i in (1, 2) for field in fields}
    assert found == before | {"1, norm_scale", "1, norm_bias"}


def test_the_initial_losses_are_those_expected_of_the_kernels():
    """Of log(10) up to the logits' 0.05 * sqrt(15) = 0.2, as 2.343; and 1.57 times
    1,200 squares of 0.05 +- 4%, as 6.955 - 2.343 = 4.61.
    """
    with jax.enable_x64(True):
        layers, x, labels, *_ = problem(3.14)
        terms = jax.jit(lambda layers: loss_terms(layers, x, labels, 3.14))
        cross_entropies, penalties = terms(layers)
        assert abs(float(jnp.sum(cross_entropies))) <= 0.5
        penalty = float(sum(jnp.sum(a) for a in penalties))
        assert abs(penalty / (1.57 * 1200 * 0.05**2) - 1) <= 0.1
