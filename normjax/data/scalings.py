"""Scalings of inputs, fitted on training examples: shift and scale. No jax."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Shaped

from normjax.errors import InputError

CHUNK = 1024  # examples widened to float64 at a time

Affine = tuple[Float64[np.ndarray, "..."], Float64[np.ndarray, "..."]]


def _moments(x: Shaped[np.ndarray, " examples *shape"]) -> Affine:
    """Two-pass mean and biased std over examples, in float64, a chunk at a time."""
    mean = np.asarray(np.mean(x, axis=0, dtype=np.float64))
    chunks = (x[i : i + CHUNK] for i in range(0, len(x), CHUNK))
    squares = sum(np.sum(np.square(chunk - mean), axis=0) for chunk in chunks)
    return mean, np.sqrt(squares / len(x))


def unit(x: Shaped[np.ndarray, " examples *shape"]) -> Affine:
    """`(x - min) / (max - min)`, one min and max for all: x / 255 for most images.

    Training inputs land in [0, 1] up to rounding; others may fall outside.
    """
    low, high = np.float64(x.min()), np.float64(x.max())
    if low == high:
        rule = f"must have inputs that differ, and every training input is {low:g}"
        raise InputError("scaling", "unit", rule, "set {field}='none'")
    return np.asarray(low), np.asarray(1 / (high - low))


def pixelwise(x: Shaped[np.ndarray, " examples *shape"]) -> Affine:
    """`(x - mean) / (std + 1e-6)` for each pixel, std biased.

    A pixel that is constant over the training split maps to 0 there, but one unit of
    it in a test example maps to 1e6.
    """
    mean, std = _moments(x)
    return mean, 1 / (std + 1e-6)


def mean_image(x: Shaped[np.ndarray, " examples *shape"]) -> Affine:
    """`x - mean` for each pixel; the units stay as stored."""
    return np.asarray(np.mean(x, axis=0, dtype=np.float64)), np.ones(())


def none(x: Shaped[np.ndarray, " examples *shape"]) -> Affine:
    """`x`, as stored."""
    return np.zeros(()), np.ones(())


# Maps a name to (training inputs -> shift and scale, float64, as wide as an input).
SCALINGS: dict[str, Callable[[np.ndarray], Affine]] = {
    "mean_image": mean_image,
    "none": none,
    "pixelwise": pixelwise,
    "unit": unit,
}
