"""Settings: the traced numbers of an arm, as float32 within their rules."""

import itertools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from normjax.errors import InputError
from normjax.files import shortest

MAX_LANES = 100_000  # of an arm, which are trained at once
MOST = float(np.finfo(np.float32).max)

Rule = tuple[str, Callable[[float], bool]]

ABOVE_0: Rule = ("above 0", lambda x: x > 0)
AT_LEAST_0: Rule = ("at least 0", lambda x: x >= 0)
FRACTION: Rule = ("in [0, 1)", lambda x: 0 <= x < 1)
SHARE: Rule = ("in [0, 1]", lambda x: 0 <= x <= 1)
SETTING_RULES: dict[str, Rule] = {  # a setting that is not here may be any float32
    **dict.fromkeys(("learning_rate", "init_scale"), ABOVE_0),
    **dict.fromkeys(("clip_norm", "decay_factor"), ABOVE_0),
    **dict.fromkeys(("momentum", "decay", "b1", "b2", "b3", "dropout_rate"), FRACTION),
    **dict.fromkeys(("warmup_fraction", "label_smoothing"), FRACTION),
    **dict.fromkeys(("final_fraction", "first_boundary", "second_boundary"), SHARE),
    **dict.fromkeys(("eps", "l2", "weight_decay"), AT_LEAST_0),
}


def setting_grid(
    given: Mapping[str, tuple],
    used: Mapping[str, float | None],
    choice: str,
    num_seeds: int = 1,
    fields: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, np.ndarray]:
    """Every combination of the settings that an arm uses, leaves `[settings]`.

    `given` are the values of the user, empty where the default in `used` is meant;
    `choice` is the arm in words; `fields` are those of the config that the values come
    from, where that is not `settings`.
    """
    axes = {
        name: checked_values(name, given.get(name, ()), default, choice, fields)
        for name, default in used.items()
    }
    check_lanes(num_seeds * math.prod(map(len, axes.values())))
    rows = np.array(list(itertools.product(*axes.values())), np.float32)
    return dict(zip(axes, rows.T))


def check_lanes(num_lanes: int) -> None:
    """Refuses more lanes than an arm may have."""
    if num_lanes > MAX_LANES:
        rule = f"must make at most {MAX_LANES:,} lanes in an arm, with the seeds"
        remedy = f"ask for fewer settings or seeds, for these make {num_lanes:,}"
        raise InputError("settings", ..., rule, remedy)


def checked_values(
    name: str,
    given: tuple,
    default: float | None,
    choice: str,
    fields: Mapping[str, str],
) -> tuple:
    """The checked values of one setting, or its default."""
    field = fields.get(name, f"settings.{name}")
    if not given and default is None:
        rule = f"must be given, for {choice} has no default for it"
        raise InputError(field, ..., rule, f"set {field}=0.001")
    asked = given or (default,)
    values = tuple(map(single_precision, asked))
    rule, allowed = SETTING_RULES.get(name, ("", lambda _: True))
    for value, number in zip(asked, values):
        if number is None or not np.isfinite(number) or not allowed(number):
            remedy = f"set {field}={0.001 if default is None else default}"
            raise InputError(field, value, f"must be a float32 {rule}", remedy)
    if len(set(values)) < len(values):
        rule = "must hold different float32 numbers"
        raise InputError(field, given, rule, "leave out what comes twice")
    return values


def single_precision(value: Any) -> float | None:
    """A number as the float32 that is used, so that rules are about that one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if abs(value) > MOST:  # as an int it may be too large for any float
        return math.inf
    with np.errstate(over="ignore", under="ignore"):
        return shortest(np.float32(value)).item()


def scaled_rates(rates: np.ndarray, batch_size: int, reference: int) -> np.ndarray:
    """Learning rates times `batch_size / reference`."""
    factor = batch_size / reference
    scaled = rates.astype(np.float64) * factor
    limits = np.finfo(np.float32)
    if not ((scaled > limits.tiny) & (scaled < limits.max)).all():
        rule = f"learning rates times {factor:g} must be float32 above 0"
        remedy = "set reference_batch_size=0"
        raise InputError("reference_batch_size", reference, rule, remedy)
    return scaled.astype(np.float32)
