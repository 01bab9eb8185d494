"""The traced numbers of an arm: which settings it has, and their values."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from normjax.errors import InputError, suggest
from normjax.optimizers import chains
from normjax.study import search, settings
from normjax.study.levels import PENALTY_SETTINGS, Factors
from normjax.types import Program


def setting_values(
    chosen: dict[str, Any], factors: Factors, built: Factors, program: Program
) -> dict[str, np.ndarray]:
    """The grid of traced numbers of an arm, leaves `[settings]`.

    Args:
        chosen: the config of the arm.
        factors: its levels, by which `settings_for` knows it.
        built: what is built for them.
        program: what is compiled.
    """
    given, fields = search.own_grids(chosen, factors)
    brought = PENALTY_SETTINGS[str(built["penalty"])] | {"init_scale": 1.0}
    if given.get("label_smoothing"):  # compiled in only where it is given
        brought = brought | {"label_smoothing": 0.1}
    if given.get("clip_norm"):
        brought = brought | {"clip_norm": None}
    try:
        used = chains.settings_of(program.optimizer, program.schedule) | brought
    except InputError as error:
        raise error.at("schedule", chosen["schedule"]) from error
    choice = f"optimizer={built['optimizer']} with penalty={built['penalty']}"
    grid = search.arm_settings(chosen, given, fields, used, choice)
    reference = chosen["reference_batch_size"]
    if reference and "learning_rate" in grid:
        grid["learning_rate"] = settings.scaled_rates(
            grid["learning_rate"], program.batch_size, reference
        )
    if "smoothness" in program.probes and "learning_rate" not in grid:
        rule = f"needs the setting learning_rate, which {choice} has not"
        raise InputError("probes", "smoothness", rule, "leave the probe out")
    return grid


def unused(
    chosen: dict[str, Any], arms: Sequence[tuple[Factors, Mapping[str, Any]]]
) -> list[str]:
    """Notices of penalties' settings that no arm uses; others are refused.

    And of levels of `settings_for` that no arm has. `arms` are the factors and the
    settings of each.
    """
    choices = chosen["settings"]
    used = sorted(set().union(*(own for _, own in arms)))
    others = [name for name, grid in choices.items() if grid and name not in used]
    for name in others:
        if not any(name in brought for brought in PENALTY_SETTINGS.values()):
            rule = f"must be a setting of some arm; the arms use {', '.join(used)}"
            remedy = suggest(name, used, "leave it out")
            raise InputError(f"settings.{name}", choices[name], rule, remedy)
    return [
        f"settings.{name} is not used, for no arm has its penalty" for name in others
    ] + search.unused(chosen["settings_for"], arms)
