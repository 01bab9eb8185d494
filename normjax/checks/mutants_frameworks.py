"""The conventions of frameworks, each taken for another: what a port gets wrong.

Those of a framework that is not installed are left out, as its rows are.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import numpy as np
import optax

from normjax.checks import frameworks, optimizers, peers
from normjax.checks.rows import Mutant


def _norm(framework: str, name: str, **settings) -> Mutant:
    run = frameworks.NORMS[framework][0]
    wrong = lambda: run(name, *frameworks.given(name), **settings)
    return Mutant(f"{framework}: {name}", wrong)


def _batch(framework: str, **settings) -> Mutant:
    run = frameworks.BATCH[framework]
    wrong = lambda: run(*frameworks.batch_given(), **settings)
    return Mutant(f"{framework}: batch, {framework} preset", wrong)


def _fast(name: str, layer: nn.Module) -> Mutant:
    """Flax' layer as it comes, with its one-pass variance."""

    def wrong(variables, x):
        given = {"use_running_average": False} if name == "batch" else {}
        mutable = {"mutable": ["batch_stats"]} if name == "batch" else {}
        y = layer.apply(variables, x, **given, **mutable)
        return y[0] if mutable else y

    return Mutant(f"forward: {name}, mean 1000 std", jax.jit(wrong))


def _optax(name: str, tx: optax.GradientTransformation) -> Mutant:
    wrong = peers.optax_updates(tx)
    return Mutant(f"optax: {name}", wrong)


def _peer(framework: str, name: str, make: Callable) -> Mutant:
    return Mutant(
        f"{framework}: {name}", functools.partial(peers.PATHS[framework], make)
    )


def _formula_path(row: str, formula: Callable) -> Mutant:
    """Our formula where the framework has its own."""
    wrong = lambda: optimizers.path(optimizers.expected(formula)).value
    return Mutant(row, wrong)


def _of(framework: str, mutants: dict[str, Mutant]) -> dict[str, Mutant]:
    return mutants if peers.installed(framework) else {}


EPS = frameworks.EPS
FLAX = {
    "flax: fast variance of BatchNorm": _fast("batch", nn.BatchNorm(epsilon=EPS)),
    "flax: fast variance of LayerNorm": _fast("layer", nn.LayerNorm(epsilon=EPS)),
    "flax: fast variance of GroupNorm": _fast(
        "group", nn.GroupNorm(num_groups=4, epsilon=EPS)
    ),
    "flax: momentum is the weight of the new": _batch("flax", momentum=0.01),
    "flax: group norm's default eps": _norm("flax", "group", epsilon=1e-6),
    "flax: layer norm's default eps": _norm("flax", "layer", epsilon=1e-6),
    "flax: RMS norm's default eps": _norm("flax", "rms", epsilon=1e-6),
    "flax: instance norm's default eps": _norm("flax", "instance", epsilon=1e-6),
    "flax: weight norm's default eps": _norm("flax", "weight", epsilon=1e-12),
}
OPTAX = {
    "optax: Nesterov's momentum": _optax(
        "sgd", optax.sgd(0.1, momentum=0.9, nesterov=True)
    ),
    "optax: eps_root of Adam": _optax("adam", optax.adam(1e-3, eps_root=1e-8)),
    "optax: eps of RMSprop outside the root": _optax(
        "rmsprop", optax.rmsprop(1e-3, decay=0.9, eps=1e-7, eps_in_sqrt=False)
    ),
    "optax: averages started at 1": _optax(
        "rmsprop", optax.rmsprop(1e-3, decay=0.9, eps=1e-7, initial_scale=1.0)
    ),
    "optax: third moment without a second": _optax(
        "third_moment", optax.adam(1e-3, b2=0.0)
    ),
}
TORCH = {
    "torch: momentum is the weight of the past": _batch("torch", momentum=0.9),
    "torch: eps of Keras": _batch("torch", eps=1e-3),
    "torch: group norm's default eps": _norm("torch", "group", eps=1e-5),
    "torch: layer norm's default eps": _norm("torch", "layer", eps=1e-5),
    "torch: instance norm's default eps": _norm("torch", "instance", eps=1e-5),
    "torch: RMS norm's default eps": _norm("torch", "rms", eps=None),
    "torch: alpha of local response norm not times n": _norm(
        "torch", "local_response", alpha=0.02
    ),
    "torch: k of local response norm": _norm("torch", "local_response", k=1.0),
    "torch: spectral norm with two steps": _norm(
        "torch", "spectral", n_power_iterations=2
    ),
    "torch: weight norm over one feature axis": Mutant(
        "torch: weight", lambda: _torch_weight(*frameworks.given("weight"))
    ),
    "torch: dampened momentum": _peer(
        "torch", "sgd", lambda optim, p: optim.SGD(p, 0.1, momentum=0.9, dampening=0.9)
    ),
    "torch: eps of Keras in Adam": _peer(
        "torch", "adam", lambda optim, p: optim.Adam(p, 1e-3, eps=1e-7)
    ),
    "torch: eps of RMSprop under the root": _formula_path(
        "torch: rmsprop, eps outside the root", optimizers.rmsprop
    ),
    "torch: default alpha of RMSprop": _peer(
        "torch",
        "rmsprop, eps outside the root",
        lambda optim, p: optim.RMSprop(p, 1e-3, eps=1e-7),
    ),
}
KERAS = {
    "keras: decay of torch": _batch("keras", momentum=0.9),
    "keras: eps of torch": _batch("keras", epsilon=1e-5),
    "keras: group norm's default eps": _norm("keras", "group", epsilon=1e-3),
    "keras: layer norm's default eps": _norm("keras", "layer", epsilon=1e-3),
    "keras: instance norm's default eps": _norm("keras", "instance", epsilon=1e-3),
    "keras: RMS norm's default eps": _norm("keras", "rms", epsilon=1e-6),
    "keras: Nesterov's momentum": _peer(
        "keras", "sgd", lambda kinds: kinds.SGD(0.1, momentum=0.9, nesterov=True)
    ),
    "keras: eps of RMSprop as in torch": _peer(
        "keras", "rmsprop", lambda kinds: kinds.RMSprop(1e-3, epsilon=1e-8)
    ),
    "keras: rate outside the momentum": _formula_path(
        "keras: sgd, rate inside the momentum", optimizers.sgd_rate_outside
    ),
    "keras: eps of Adam after the correction": _formula_path(
        "keras: adam, eps not corrected", optimizers.adam
    ),
}


def _torch_weight(variables, x) -> np.ndarray:
    """The norm over the first axis, which is torch's default."""
    torch, _ = frameworks.torch_modules()
    scale = torch.ones(len(x))
    return torch._weight_norm(torch.from_numpy(x), scale, 0).numpy()


MUTANTS = FLAX | OPTAX | _of("torch", TORCH) | _of("keras", KERAS)
