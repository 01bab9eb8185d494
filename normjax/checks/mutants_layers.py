"""Wrong norms of other kinds than mean and variance, in NumPy and float64."""

from collections.abc import Callable

import numpy as np

from normjax.checks.cases import EPS
from normjax.checks.mutants_norms import GROUPED, affine
from normjax.checks.rows import Mutant

KINDS = ((1, 2), (1, 2, 3), (0, 1, 2))  # axes of instance, layer and batch moments
Arrays = dict[str, np.ndarray]


def mean_square(x: np.ndarray, axes=-1) -> np.ndarray:
    """`mean(x^2)`."""
    return np.mean(x * x, axes, keepdims=True)


def deviation(x: np.ndarray, axes) -> np.ndarray:
    """`sqrt(var + eps)`."""
    return np.sqrt(np.var(x, axes, keepdims=True) + EPS)


def length(x: np.ndarray, axes) -> np.ndarray:
    """`||x||`."""
    return np.sqrt(np.sum(x * x, axes, keepdims=True))


def sigmoid(x: np.ndarray) -> np.ndarray:
    """`1 / (1 + exp(-x))`."""
    return 1 / (1 + np.exp(-x))


def rms(x: np.ndarray, p: Arrays, divisor: np.ndarray) -> np.ndarray:
    """RMS norm with another divisor."""
    return affine(p, x / divisor)


def frn(x: np.ndarray, p: Arrays, threshold, eps: float) -> np.ndarray:
    """Filter response norm with another threshold or eps."""
    return np.maximum(affine(p, x / np.sqrt(mean_square(x, (1, 2)) + eps)), threshold)


def evonorm_s0_late(x: np.ndarray, p: Arrays) -> np.ndarray:
    """The gate sees what is already divided."""
    var = x.reshape(GROUPED).var((1, 2, 4), keepdims=True)
    z = x / np.repeat(np.sqrt(var + EPS)[..., 0], 4, -1)
    return affine(p, z * sigmoid(p["gate"] * z))


def evonorm_b0_sum(x: np.ndarray, p: Arrays) -> np.ndarray:
    """A sum in the place of the maximum."""
    gated = p["gate"] * x + deviation(x, (1, 2))
    return affine(p, x / (deviation(x, (0, 1, 2)) + gated))


def local_response(x: np.ndarray, alpha: float, reach: int) -> np.ndarray:
    """With another alpha or reach."""
    square = np.pad(x * x, [(0, 0)] * 3 + [(reach, reach)])
    total = sum(square[..., i : i + 16] for i in range(2 * reach + 1))
    return x / (2 + alpha * total) ** 0.75


def switchable(x: np.ndarray, p: Arrays, mean_weights, var_weights) -> np.ndarray:
    """With other mixtures."""
    mean, var = (
        sum(w * f(x, axes, keepdims=True) for w, axes in zip(weights, KINDS))
        for f, weights in ((np.mean, mean_weights), (np.var, var_weights))
    )
    return affine(p, (x - mean) / np.sqrt(var + EPS))


def softmax(a: np.ndarray) -> np.ndarray:
    """`exp(a) / sum(exp(a))`."""
    return np.exp(a) / np.sum(np.exp(a))


def _of(name: str, formula: Callable[[np.ndarray, Arrays, Arrays], np.ndarray]):
    """`formula(x, params, stats)` in float64, for the forward row of a norm."""

    def wrong(variables, x):
        stats = variables.get("batch_stats", {})
        return formula(x.astype(np.float64), variables.get("params", {}), stats)

    return Mutant(f"forward: {name}", wrong)


def frozen(x: np.ndarray, p: Arrays, stats: Arrays) -> np.ndarray:
    """The affine map alone, of what the statistics leave."""
    return affine(p, (x - stats["mean"]) / np.sqrt(stats["var"]))


MUTANTS = {
    "power: mean subtracted": _of(
        "power",
        lambda x, p, s: affine(p, (x - x.mean((0, 1, 2))) / deviation(x, (0, 1, 2))),
    ),
    "power: root of the mean of the sizes": _of(
        "power", lambda x, p, s: affine(p, x / np.mean(np.abs(x), (0, 1, 2)))
    ),
    "frozen: no eps": _of("frozen", frozen),
    "frozen: trains": _of(
        "frozen",
        lambda x, p, s: affine(p, (x - x.mean((0, 1, 2))) / deviation(x, (0, 1, 2))),
    ),
    "rms: mean subtracted": _of(
        "rms", lambda x, p, s: rms(x - x.mean(-1, keepdims=True), p, deviation(x, -1))
    ),
    "rms: eps outside the root": _of(
        "rms", lambda x, p, s: rms(x, p, np.sqrt(mean_square(x)) + EPS)
    ),
    "rms: a sum, not a mean": _of(
        "rms", lambda x, p, s: rms(x, p, np.sqrt(16 * mean_square(x) + EPS))
    ),
    "frn: threshold 0": _of("frn", lambda x, p, s: frn(x, p, 0.0, EPS)),
    "frn: eps outside the root": _of(
        "frn",
        lambda x, p, s: np.maximum(
            affine(p, x / (np.sqrt(mean_square(x, (1, 2))) + EPS)), p["threshold"]
        ),
    ),
    "frn: activation before the affine map": _of(
        "frn",
        lambda x, p, s: affine(
            p, np.maximum(x / np.sqrt(mean_square(x, (1, 2)) + EPS), p["threshold"])
        ),
    ),
    "evonorm_s0: gate after the division": _of(
        "evonorm_s0", lambda x, p, s: evonorm_s0_late(x, p)
    ),
    "evonorm_b0: a sum for the maximum": _of(
        "evonorm_b0", lambda x, p, s: evonorm_b0_sum(x, p)
    ),
    "dyt: alpha outside": _of(
        "dyt", lambda x, p, s: affine(p, p["alpha"] * np.tanh(x))
    ),
    "derf: tanh for erf": _of(
        "derf", lambda x, p, s: affine(p, np.tanh(p["alpha"] * x + p["shift"]))
    ),
    "local_response: alpha over n": _of(
        "local_response", lambda x, p, s: local_response(x, 0.02 / 5, 2)
    ),
    "local_response: a window of 3": _of(
        "local_response", lambda x, p, s: local_response(x, 0.02, 1)
    ),
    "switchable: logits not softmaxed": _of(
        "switchable",
        lambda x, p, s: switchable(x, p, p["mean_logits"], p["var_logits"]),
    ),
    "switchable: one mixture for both": _of(
        "switchable",
        lambda x, p, s: switchable(x, p, *[softmax(p["mean_logits"])] * 2),
    ),
    "weight: one length for all features": _of(
        "weight",
        lambda x, p, s: p["scale"] * x / np.sqrt(length(x, None) ** 2 + EPS),
    ),
    "weight: eps outside the root": _of(
        "weight", lambda x, p, s: p["scale"] * x / (length(x, (0, 1, 2)) + EPS)
    ),
    "spectral: without a step": _of(
        "spectral", lambda x, p, s: x / (s["v"] @ x.reshape(-1, 16) @ s["u"])
    ),
    "spectral: Frobenius norm": _of("spectral", lambda x, p, s: x / length(x, None)),
}
