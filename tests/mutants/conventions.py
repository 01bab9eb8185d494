"""Where frameworks differ: each difference with the mutant that mixes it up.

Rows that show what a framework computes where no setting of ours does are here as well.
"""

import functools
import inspect
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax

from normjax import layers
from normjax.checks import (
    cases,
    document,
    frameworks,
    optimizers,
    peers_norms,
    peers_optimizers,
    rounding,
)
from normjax.checks.averages import average
from normjax.checks.references import EPS
from normjax.checks.rounding import Rounded, rounded
from normjax.checks.rows import Check, CheckRow, worst

from . import Mutant
from .values import counted, preset

# ---- what a framework computes where no setting of ours does ----------------------


def halved_rates(num_steps: int) -> list[float]:
    """0.1 for half of the steps, then 0.05."""
    return [0.1] * (num_steps // 2) + [0.05] * (num_steps - num_steps // 2)


def sgd_rate_inside(g: list[Rounded]) -> list[Rounded]:
    """`trace <- rate g + 0.9 trace; step = -trace`, the rate halved half way."""
    scaled = [row * rate for row, rate in zip(g, halved_rates(len(g)))]
    return [-trace for trace in optimizers.traces(scaled)]


def sgd_rate_outside(g: list[Rounded]) -> list[Rounded]:
    """`trace <- g + 0.9 trace; step = -rate trace`, likewise."""
    rates = halved_rates(len(g))
    return [-rate * trace for rate, trace in zip(rates, optimizers.traces(g))]


def keras_sgd_halved(kinds):
    """SGD whose last step with the first rate is the boundary itself."""
    kept, halved = optimizers.NUM_STEPS // 2 - 1, [0.1, 0.05]
    rate = kinds.schedules.PiecewiseConstantDecay([kept], halved)
    return kinds.SGD(rate, momentum=0.9)


def rmsprop_eps_outside(g: list[Rounded]) -> list[Rounded]:
    """`step = -1e-3 g / (sqrt(nu) + 1e-7)`."""
    nu = average([row * row for row in g], rounded(0.9))
    return [row / (rounding.root(v) + 1e-7) * -1e-3 for row, v in zip(g, nu)]


def adam_eps_not_corrected(g: list[Rounded]) -> list[Rounded]:
    """`step = -1e-3 mu_hat sqrt(1 - 0.999^t) / (sqrt(nu) + 1e-8)`."""
    return [
        m / a / ((rounding.root(v) + 1e-8) / rounding.root(b)) * -1e-3
        for m, a, v, b in optimizers.corrected_averages(g)
    ]


def own_check(framework: str, name: str, make: Callable, formula: Callable) -> Check:
    """A framework's optimizer against its own update rule."""
    right = lambda: optimizers.path(optimizers.expected_updates(formula))
    subject = functools.partial(peers_optimizers.PATHS[framework], make)
    return Check(name, framework, subject, lambda found: worst(found(), right()))


OWN = (
    own_check(
        "torch",
        "rmsprop, eps outside the root",
        lambda optim, p: optim.RMSprop(p, 1e-3, alpha=0.9, eps=1e-7),
        rmsprop_eps_outside,
    ),
    own_check(
        "keras", "sgd, rate inside the momentum", keras_sgd_halved, sgd_rate_inside
    ),
    own_check(
        "keras",
        "adam, eps not corrected",
        lambda kinds: kinds.Adam(1e-3, epsilon=1e-8),
        adam_eps_not_corrected,
    ),
)


# ---- mutants ----------------------------------------------------------------------


def _norm(framework: str, name: str, defect: str, **settings) -> Mutant:
    run = peers_norms.FRAMEWORKS[framework].norm
    wrong = lambda: run(name, *peers_norms.inputs(name), **settings)
    return Mutant(f"{framework}: {name}", defect, wrong)


def _batch(framework: str, defect: str, **settings) -> Mutant:
    run = peers_norms.FRAMEWORKS[framework].batch
    wrong = lambda: run(*peers_norms.batch_inputs(), **settings)
    return Mutant(f"{framework}: batch, {framework} preset", defect, wrong)


def _fast(name: str, layer: nn.Module) -> Mutant:
    """Flax's layer as it comes, with its one-pass variance."""
    train = {"use_running_average": False, "mutable": ["batch_stats"]}
    call = train if name == "batch" else {}

    def wrong(variables, x):
        y = layer.apply(variables, x, **call)
        return y[0] if call else y

    return Mutant(f"forward: {name}, mean 1000 std", ONE_PASS, jax.jit(wrong))


def _optax(name: str, defect: str, tx: optax.GradientTransformation) -> Mutant:
    wrong = functools.partial(peers_optimizers.optax_updates, tx)
    return Mutant(f"optax: {name}", defect, wrong)


def _peer(framework: str, name: str, defect: str, make: Callable) -> Mutant:
    wrong = functools.partial(peers_optimizers.PATHS[framework], make)
    return Mutant(f"{framework}: {name}", defect, wrong)


def _by_formula(row: str, defect: str, formula: Callable) -> Mutant:
    """Our update rule where the framework has its own."""
    wrong = lambda: optimizers.path(optimizers.expected_updates(formula)).value
    return Mutant(row, defect, wrong)


ONE_PASS = "variance in one pass"
WEIGHTS, ANOTHER_EPS = "another decay or weight", "another eps"
EPS_PLACE, STATISTIC = "eps elsewhere, or none", "another statistic, factor or window"
FLAX = {
    "flax: fast variance of BatchNorm": _fast("batch", nn.BatchNorm(epsilon=EPS)),
    "flax: fast variance of LayerNorm": _fast("layer", nn.LayerNorm(epsilon=EPS)),
    "flax: fast variance of GroupNorm": _fast(
        "group", nn.GroupNorm(num_groups=4, epsilon=EPS)
    ),
    "flax: momentum is the weight of the new": _batch("flax", WEIGHTS, momentum=0.01),
    "flax: default eps of group norm": _norm(
        "flax", "group", ANOTHER_EPS, epsilon=1e-6
    ),
}
OPTAX = {
    "optax: Nesterov's momentum": _optax(
        "sgd", "looks ahead", optax.sgd(0.1, momentum=0.9, nesterov=True)
    ),
    "optax: eps_root of Adam": _optax(
        "adam", EPS_PLACE, optax.adam(1e-3, eps_root=1e-8)
    ),
    "optax: averages started at 1": _optax(
        "rmsprop",
        "another start",
        optax.rmsprop(1e-3, decay=0.9, eps=1e-7, initial_scale=1.0),
    ),
    "optax: third moment without a second": _optax(
        "third_moment", "another moment", optax.adam(1e-3, b2=0.0)
    ),
}
TORCH = {
    "torch: momentum is the weight of the past": _batch("torch", WEIGHTS, momentum=0.9),
    "torch: default eps of group norm": _norm("torch", "group", ANOTHER_EPS, eps=1e-5),
    "torch: alpha of local response norm not times n": _norm(
        "torch", "local_response", STATISTIC, alpha=0.02
    ),
    "torch: k of local response norm": _norm(
        "torch", "local_response", STATISTIC, k=1.0
    ),
    "torch: weight norm over one feature axis": Mutant(
        "torch: weight",
        "means over other axes",
        lambda: _torch_weight(*peers_norms.inputs("weight")),
    ),
    "torch: eps of RMSprop under the root": _by_formula(
        "torch: rmsprop, eps outside the root", EPS_PLACE, optimizers.rmsprop
    ),
    "torch: default alpha of RMSprop": _peer(
        "torch",
        "rmsprop, eps outside the root",
        WEIGHTS,
        lambda optim, p: optim.RMSprop(p, 1e-3, eps=1e-7),
    ),
}
KERAS = {
    "keras: decay of torch": _batch("keras", WEIGHTS, momentum=0.9),
    "keras: eps of torch": _batch("keras", ANOTHER_EPS, epsilon=1e-5),
    "keras: Nesterov's momentum": _peer(
        "keras",
        "sgd",
        "looks ahead",
        lambda kinds: kinds.SGD(0.1, momentum=0.9, nesterov=True),
    ),
    "keras: rate outside the momentum": _by_formula(
        "keras: sgd, rate inside the momentum",
        "rate at another place",
        sgd_rate_outside,
    ),
    "keras: eps of Adam after the correction": _by_formula(
        "keras: adam, eps not corrected", EPS_PLACE, optimizers.adam
    ),
}
PRESETS = {
    "torch preset: running variance over n": Mutant(
        "running: batch, torch preset",
        "variance over n, or n - 1, for the other",
        preset("torch", unbiased=False),
    ),
    "haiku preset: not debiased": Mutant(
        "running: batch, haiku preset",
        "another average",
        counted(layers.BatchNorm(**layers.PRESETS["haiku"]).clone(debias=False)),
    ),
    "batch_renorm: averages the variance": Mutant(
        "running: batch_renorm",
        "another average",
        counted(layers.BatchNorm(eps=EPS, decay=0.99)),
    ),
}


def _torch_weight(variables, x) -> np.ndarray:
    """The norm over the first axis, which is torch's default."""
    import torch

    scale = torch.ones(len(x))
    return torch._weight_norm(torch.from_numpy(x), scale, 0).numpy()


FRAMEWORKS = FLAX | OPTAX | PRESETS
for _framework, _mutants in (("torch", TORCH), ("keras", KERAS)):
    FRAMEWORKS |= _mutants if frameworks.is_installed(_framework) else {}


# ---- the document -----------------------------------------------------------------


class Convention(NamedTuple):
    """One difference; its row passes, and the mutant is the other convention there."""

    what: str
    mutant: str


CONVENTIONS = (
    Convention(
        "`momentum` of running statistics: in torch the weight of the new batch (0.1),"
        " in flax, Keras and haiku that of the past, our `decay`",
        "torch: momentum is the weight of the past",
    ),
    Convention(
        "Running variance: torch and the paper blend in the one over n - 1, flax, Keras"
        " and haiku the biased one; all normalize by the biased one (n = 64 here)",
        "torch preset: running variance over n",
    ),
    Convention(
        "Running averages: haiku's are debiased, so what they start from is forgotten"
        " after one batch; in the others it has weight decay^t",
        "haiku preset: not debiased",
    ),
    Convention(
        "Batch norm's eps: 1e-3 in Keras, 1e-5 elsewhere", "keras: eps of torch"
    ),
    Convention(
        "Batch norm's default decay: 0.99 in flax and Keras, 0.9 in torch",
        "keras: decay of torch",
    ),
    Convention(
        "Variance in one pass: the default of flax's BatchNorm"
        " (`use_fast_variance=True`), at a mean of 1000 std",
        "flax: fast variance of BatchNorm",
    ),
    Convention("The same of flax's LayerNorm", "flax: fast variance of LayerNorm"),
    Convention("The same of flax's GroupNorm", "flax: fast variance of GroupNorm"),
    Convention(
        "Batch renorm averages the standard deviation (the paper), not the variance",
        "batch_renorm: averages the variance",
    ),
    Convention(
        "Local response norm: torch divides alpha by the window's size, the paper,"
        " TensorFlow and this package do not",
        "torch: alpha of local response norm not times n",
    ),
    Convention(
        "Local response norm: k is 1 by default in torch, 2 in the paper",
        "torch: k of local response norm",
    ),
    Convention(
        "Weight norm: torch keeps output features first (`dim=0`), flax and this"
        " package last",
        "torch: weight norm over one feature axis",
    ),
    Convention(
        "RMSprop: torch adds eps to the root; optax (by default), Keras and this"
        " package under it",
        "torch: eps of RMSprop under the root",
    ),
    Convention(
        "RMSprop's default decay: 0.99 in torch, 0.9 in optax and Keras",
        "torch: default alpha of RMSprop",
    ),
    Convention(
        "Adam: Keras adds eps before the root is corrected, so it counts"
        " 1 / sqrt(1 - b2^t) times as much: 32 times at the first step",
        "keras: eps of Adam after the correction",
    ),
    Convention(
        "Adam: optax forms 1 - decay^t in float32, our third moment by expm1",
        "1 - decay^t in float32",
    ),
    Convention(
        "SGD: Keras has the learning rate inside the momentum, so that a change of it"
        " takes 1 / (1 - momentum) steps to arrive; torch, optax and this package"
        " outside",
        "keras: rate outside the momentum",
    ),
)


def convention_table(rows: dict[str, CheckRow]) -> str:
    """The differences whose framework is installed, by mutant, with numbers."""
    head = "difference", "row that shows it", "error if mixed up", "in budgets"
    lines = [
        (c.what, f"`{row.kind}`", f"{row.error:.1e}", f"{row.used:.0f}")
        for c in CONVENTIONS
        if (row := rows.get(c.mutant))
    ]
    return document.markdown(head, lines)


def default_table() -> str:
    """Default eps by norm; a dash where a framework is not installed."""
    lines = []
    for name, layer in {"batch": nn.BatchNorm, **peers_norms.FLAX}.items():
        torch_eps, keras_eps = "-", "-"
        if frameworks.is_installed("torch"):
            import torch

            call = getattr(torch.nn.functional, f"{name}_norm")
            eps = inspect.signature(call).parameters["eps"].default
            torch_eps = "that of the dtype" if eps is None else f"{eps:g}"
        if frameworks.is_installed("keras"):
            kinds = frameworks.keras().layers
            make = peers_norms.KERAS.get(name, lambda k: k.BatchNormalization())
            keras_eps = f"{make(kinds).epsilon:g}"
        ours = type(cases.layer_of(name))().eps
        lines.append((name, f"{ours:g}", f"{layer().epsilon:g}", torch_eps, keras_eps))
    return document.markdown(("norm", "here", "flax", "torch", "Keras"), lines)
