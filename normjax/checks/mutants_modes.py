"""Wrong modes: evaluation, and statistics over steps."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from normjax import layers
from normjax.checks import cases, norms
from normjax.checks.cases import CASES, EPS
from normjax.checks.rows import Mutant

EVALUATED = tuple(name for name, case in CASES.items() if case.train)


def trained_instead(name: str) -> Callable:
    """The batch's own statistics where the running ones belong."""
    layer = cases.layer_of(name)
    return jax.jit(lambda variables, x: cases.apply(layer, variables, x)[0])


def followed(layer, **wrong) -> Callable:
    """20 steps of a layer with other settings than the row's."""
    return jax.jit(norms.trained(layer.clone(**wrong)))


def counted(layer) -> Callable:
    """20 steps of a layer that does not count them, with the count that is due."""
    run = followed(layer)

    def wrong(variables, xs):
        y, stats = run(variables, xs)
        return y, {"batch_stats": stats["batch_stats"] | {"step": norms.STEPS}}

    return wrong


@jax.jit
def _never_stepped(variables, xs):
    """The singular vectors that were there at first."""
    return cases.apply(cases.layer_of("spectral"), variables, xs[-1], train=False)


@jax.jit
def _shown_behind(variables, x):
    """What the statistics make of what is masked."""
    x = jnp.where(cases.mask_of()[..., None], x, 0)
    return cases.apply(cases.layer_of("frozen"), variables, x)[0]


def by_preset(preset: str, **wrong) -> Mutant:
    """A preset with one convention of another."""
    layer = layers.BatchNorm(**layers.PRESETS[preset])
    return Mutant(f"running: batch, {preset} preset", followed(layer, **wrong))


def _swapped(name: str) -> Mutant:
    """The weight of the past taken for that of the present."""
    layer = cases.layer_of(name)
    return Mutant(f"running: {name}", followed(layer, decay=1 - layer.decay))


def _ghosts_averaged(variables, xs):
    """Ghost batches that are blended in as one: their mean, once a step."""
    wrong = layers.GhostBatchNorm(ghost_size=2, eps=EPS, decay=0.9 ** (1 / 8))
    return jax.jit(norms.trained(wrong))(variables, xs)


MUTANTS = {
    **{
        f"{name}: evaluates with the batch's moments": Mutant(
            f"forward: {name}, evaluation", trained_instead(name)
        )
        for name in EVALUATED
    },
    **{
        f"{name}: decay and 1 - decay swapped": _swapped(name)
        for name in EVALUATED
        if name != "spectral"
    },
    "ghost: one decay for all ghost batches": Mutant(
        "running: ghost", _ghosts_averaged
    ),
    "torch preset: biased running variance": by_preset("torch", unbiased=False),
    "paper preset: biased running variance": by_preset("paper", unbiased=False),
    "flax preset: unbiased running variance": by_preset("flax", unbiased=True),
    "keras preset: eps 1e-5": by_preset("keras", eps=1e-5),
    "haiku preset: not debiased": Mutant(
        "running: batch, haiku preset",
        counted(layers.BatchNorm(**(layers.PRESETS["haiku"] | {"debias": False}))),
    ),
    "spectral: vectors never stepped": Mutant("running: spectral", _never_stepped),
    "frozen: outputs behind the mask": Mutant("forward: frozen, masked", _shown_behind),
    "batch_renorm: averages the variance": Mutant(
        "running: batch_renorm", counted(layers.BatchNorm(eps=EPS, decay=0.99))
    ),
}
