"""Wrong means and variances: values that look right and are not."""

import functools
from collections.abc import Callable

import numpy as np

from normjax.checks.cases import EPS, SHAPE
from normjax.checks.rows import Mutant

GROUPED = (*SHAPE[:-1], 4, 4)
MOMENTS = {  # norm -> the shape in which its means are over whole axes, and these
    "batch": (SHAPE, (0, 1, 2)),
    "batch_as_published": (SHAPE, (0, 1, 2, 3)),
    "layer": (SHAPE, (3,)),
    "group": (GROUPED, (1, 2, 4)),
    "layer_example": (SHAPE, (1, 2, 3)),
    "instance": (SHAPE, (1, 2)),
    "weight_standardization": (SHAPE, (0, 1, 2)),
}


def affine(params, z: np.ndarray) -> np.ndarray:
    """`scale * z + bias`, with what there is of the two."""
    return z * params.get("scale", 1.0) + params.get("bias", 0.0)


def moment_norm(
    variables,
    x: np.ndarray,
    *,
    view: tuple[int, ...],
    axes: tuple[int, ...],
    ddof: int = 0,
    divisor: Callable = lambda var: np.sqrt(var + EPS),
    order: tuple[int, ...] | None = None,
) -> np.ndarray:
    """`scale * (x - mean) / sqrt(var + eps) + bias`; the keywords make it wrong."""
    x = x.astype(np.float64)
    seen = x if order is None else x[..., order]
    grouped = seen.reshape(view)
    mean = grouped.mean(axes, keepdims=True)
    var = grouped.var(axes, keepdims=True, ddof=ddof)
    z = ((grouped - mean) / divisor(var)).reshape(x.shape)
    z = z if order is None else z[..., np.argsort(order)]
    return affine(variables.get("params", {}), z)


def _of_moments() -> dict[str, Mutant]:
    wrongs = {
        "variance over n - 1": {"ddof": 1},
        "eps outside the root": {"divisor": lambda var: np.sqrt(var) + EPS},
        "no eps": {"divisor": np.sqrt},
        "no root": {"divisor": lambda var: var + EPS},
    }
    found = {}
    for name, (view, axes) in MOMENTS.items():
        norm = functools.partial(moment_norm, view=view, axes=axes)
        for wrong, how in wrongs.items():
            subject = functools.partial(norm, **how)
            found[f"{name}: {wrong}"] = Mutant(f"forward: {name}", subject)
    return found


def _of_axes() -> dict[str, Mutant]:
    strided = tuple(np.arange(16).reshape(4, 4).T.ravel().tolist())
    wrongs = {
        "batch: per pixel": ("batch", SHAPE, (0,), None),
        "layer: over the whole example": ("layer", SHAPE, (1, 2, 3), None),
        "group: channels dealt out in turn": ("group", GROUPED, (1, 2, 4), strided),
        "group: without space": ("group", GROUPED, (4,), None),
        "group: over the groups": ("group", GROUPED, (1, 2, 3), None),
        "instance: over the batch too": ("instance", SHAPE, (0, 1, 2), None),
        "weight_standardization: per kernel": (
            "weight_standardization",
            SHAPE,
            (0, 1, 2, 3),
            None,
        ),
    }
    return {
        wrong: Mutant(
            f"forward: {name}",
            functools.partial(moment_norm, view=view, axes=axes, order=order),
        )
        for wrong, (name, view, axes, order) in wrongs.items()
    }


MUTANTS = _of_moments() | _of_axes()
