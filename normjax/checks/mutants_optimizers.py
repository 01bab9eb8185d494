"""Wrong update rules, by formula in float64."""

import functools
from collections.abc import Callable

import numpy as np

from normjax.checks import optimizers
from normjax.checks.rows import Mutant

LR = 1e-3


def average(powers: np.ndarray, decay: float, *, corrected: bool = True) -> np.ndarray:
    """The exponential average after each step."""
    total, rows = np.zeros(powers.shape[1:]), []
    for t, row in enumerate(powers, start=1):
        total = decay * total + (1 - decay) * row
        rows.append(total / (1 - decay**t) if corrected else total)
    return np.array(rows)


def sgd(g: np.ndarray, *, new: float = 1.0, nesterov: bool = False) -> np.ndarray:
    """With dampening, or looking ahead."""
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
    """With other decays, without corrections, with eps elsewhere."""
    mu, nu = (
        average(g**order, decay, corrected=corrected[order - 1])
        for order, decay in zip((1, 2), decays)
    )
    return -LR * mu / divisor(nu)


def rmsprop(
    g: np.ndarray,
    *,
    decay: float = 0.9,
    corrected: bool = False,
    centered: bool = False,
    divisor: Callable = lambda nu: np.sqrt(nu + 1e-7),
) -> np.ndarray:
    """With another decay, corrected, centered, with eps elsewhere."""
    nu = average(g**2, decay, corrected=corrected)
    nu = nu - average(g, decay, corrected=corrected) ** 2 if centered else nu
    return -LR * g / divisor(nu)


def third_moment(
    g: np.ndarray,
    *,
    decay: float = 0.999987,
    corrected: bool = True,
    cube_root: Callable = np.cbrt,
    eps: float = 0.1,
) -> np.ndarray:
    """With another cube root, without its correction."""
    mu, nu = average(g, 0.9), average(g**2, 0.999)
    third = average(g**3, decay, corrected=corrected)
    return -LR * mu / (np.sqrt(nu) + eps * cube_root(third) + eps)


def signless(x: np.ndarray) -> np.ndarray:
    """The cube root of the size."""
    return np.cbrt(np.abs(x))


def _of(row: str, formula: Callable, **wrong) -> Mutant:
    subject = lambda g: formula(np.asarray(g, np.float64), **wrong)
    return Mutant(f"optimizer: {row}", subject)


def narrow_corrections(g: np.ndarray) -> np.ndarray:
    """Third moment's updates with `1 - decay^t` in float32, as optax has it."""
    return np.asarray(optimizers.ours("adam")(g))


LARGE = functools.partial(_of, "third_moment, eps 0.1", third_moment)
MUTANTS = {
    "sgd: new gradient weighs 1 - momentum": _of("sgd", sgd, new=0.1),
    "sgd: Nesterov's": _of("sgd", sgd, nesterov=True),
    "adam: eps inside the root": _of(
        "adam", adam, divisor=lambda nu: np.sqrt(nu + 1e-8)
    ),
    "adam: eps before the correction": _of(
        "adam",
        lambda g: adam(
            g,
            divisor=lambda nu: (
                np.sqrt(nu)
                + 1e-8 / np.sqrt(1 - 0.999 ** np.arange(1.0, len(g) + 1)).reshape(-1, 1)
            ),
        ),
    ),
    "adam: no eps": _of("adam", adam, divisor=np.sqrt),
    "adam: mu not corrected": _of("adam", adam, corrected=(False, True)),
    "adam: nu not corrected": _of("adam", adam, corrected=(True, False)),
    "adam: decays swapped": _of("adam", adam, decays=(0.999, 0.9)),
    "adam: decay and 1 - decay swapped": _of("adam", adam, decays=(0.1, 0.001)),
    "rmsprop: eps outside the root": _of(
        "rmsprop", rmsprop, divisor=lambda nu: np.sqrt(nu) + 1e-7
    ),
    "rmsprop: corrected": _of("rmsprop", rmsprop, corrected=True),
    "rmsprop: centered": _of(
        "rmsprop",
        rmsprop,
        centered=True,
        divisor=lambda nu: np.sqrt(np.maximum(nu, 0) + 1e-7),
    ),
    "rmsprop: decay 0.99, torch's default": _of("rmsprop", rmsprop, decay=0.99),
    "third_moment: cube root without sign": LARGE(cube_root=signless),
    "third_moment: cube root of the square": LARGE(cube_root=lambda x: np.cbrt(x) ** 2),
    "third_moment: third not corrected": LARGE(corrected=False),
    "third_moment: decay 0.999 for all": LARGE(decay=0.999),
    "third_moment: 1 - decay^t in float32": Mutant(
        "optimizer: third_moment", narrow_corrections
    ),
}
