"""Wrong update rules, by formula in NumPy and float64: rows optimizer."""

from collections.abc import Callable

import numpy as np

from normjax.checks import optimizers

from . import Mutant

RATE = 1e-3


def average(powers: np.ndarray, decay: float, *, corrected: bool = True) -> np.ndarray:
    """The exponential average after each step."""
    total, rows = np.zeros(powers.shape[1:]), []
    for t, row in enumerate(powers, start=1):
        total = decay * total + (1 - decay) * row
        rows.append(total / (1 - decay**t) if corrected else total)
    return np.array(rows)


def sgd(g: np.ndarray, *, new: float = 1.0, nesterov: bool = False) -> np.ndarray:
    """SGD with dampening, or looking ahead."""
    trace, steps = np.zeros(g.shape[1:]), []
    for row in g:
        trace = new * row + 0.9 * trace
        steps.append(-0.1 * (row + 0.9 * trace if nesterov else trace))
    return np.array(steps)


def adam(
    g: np.ndarray,
    *,
    decays: tuple[float, float] = (0.9, 0.999),
    corrected: tuple[bool, bool] = (True, True),
    divisor: Callable = lambda nu: np.sqrt(nu) + 1e-8,
) -> np.ndarray:
    """Adam with other decays, without corrections, with eps elsewhere."""
    mu, nu = (
        average(g**order, decay, corrected=corrected[order - 1])
        for order, decay in zip((1, 2), decays)
    )
    return -RATE * mu / divisor(nu)


def decayed(g: np.ndarray, *, strength: float) -> np.ndarray:
    """AdamW with another strength."""
    kernel, steps = np.full(g.shape[1:], optimizers.START["adamw"]), []
    for step in adam(g):
        steps.append(step - RATE * strength * kernel)
        kernel = kernel + steps[-1]
    return np.array(steps)


def lion(
    g: np.ndarray,
    *,
    decays: tuple[float, float] = (0.9, 0.99),
    late: bool = False,
) -> np.ndarray:
    """Lion with other decays, or with the sign of mu after its update."""
    mu = average(g, decays[1], corrected=False)
    past = np.concatenate([np.zeros_like(mu[:1]), mu[:-1]])
    blend = decays[0] * past + (1 - decays[0]) * g
    return -1e-4 * np.sign(mu if late else blend)


def centered_rmsprop(g: np.ndarray) -> np.ndarray:
    """RMSprop by the variance of the gradient, not by its mean square."""
    nu, mu = (average(g**order, 0.9, corrected=False) for order in (2, 1))
    return -RATE * g / np.sqrt(np.maximum(nu - mu**2, 0) + 1e-7)


def third_moment(
    g: np.ndarray, *, corrected: bool = True, cube_root: Callable = np.cbrt
) -> np.ndarray:
    """The third-moment optimizer at eps 0.1 with another cube root or correction."""
    mu, nu = average(g, 0.9), average(g**2, 0.999)
    third = average(g**3, 0.999987, corrected=corrected)
    return -RATE * mu / (np.sqrt(nu) + 0.1 * cube_root(third) + 0.1)


def _of(name: str, defect: str, formula: Callable, **wrong) -> Mutant:
    subject = lambda g: formula(np.asarray(g, np.float64), **wrong)
    return Mutant(f"optimizer: {name}", defect, subject)


WEIGHTS, MOMENT = "another decay or weight", "another moment"
CORRECTION = "a correction missing, or narrow"
UPDATES = {
    "the new gradient weighs 1 - momentum": _of("sgd", WEIGHTS, sgd, new=0.1),
    "Nesterov's momentum": _of("sgd", "looks ahead", sgd, nesterov=True),
    "decays swapped": _of("adam", WEIGHTS, adam, decays=(0.999, 0.9)),
    "eps inside of Adam's root": _of(
        "adam", "eps elsewhere, or none", adam, divisor=lambda nu: np.sqrt(nu + 1e-8)
    ),
    "nesterov: the trace alone": _of("nesterov", "looks ahead", sgd),
    "adamw: the strength of optax": _of("adamw", WEIGHTS, decayed, strength=1e-4),
    "lion: decays swapped": _of("lion", WEIGHTS, lion, decays=(0.99, 0.9)),
    "lion: the sign of what mu becomes": _of("lion", "looks ahead", lion, late=True),
    "muon: steps of Adam": Mutant(
        "optimizer: muon", MOMENT, lambda g: optimizers.updates_of("adam")
    ),
    "muon: the scale of Jordan": Mutant(
        "optimizer: muon",
        WEIGHTS,
        lambda g: optimizers.updates_of("muon") * (1.5**0.5 / (0.2 * 6**0.5)),
    ),
    "muon: vectors without Nesterov's momentum": Mutant(
        "optimizer: muon, vectors",
        "looks ahead",
        lambda g: optimizers.updates_of("adam"),
    ),
    "mu not corrected": _of("adam", CORRECTION, adam, corrected=(False, True)),
    "centered RMSprop": _of("rmsprop", MOMENT, centered_rmsprop),
    "cube root without sign": _of(
        "third_moment, eps 0.1",
        MOMENT,
        third_moment,
        cube_root=lambda x: np.cbrt(np.abs(x)),
    ),
    "third moment not corrected": _of(
        "third_moment, eps 0.1", CORRECTION, third_moment, corrected=False
    ),
    "1 - decay^t in float32": Mutant(  # as optax has it
        "optimizer: third_moment",
        CORRECTION,
        lambda g: optimizers.updates_of("adam"),
    ),
}
