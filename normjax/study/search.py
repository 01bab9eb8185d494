"""Which settings an arm tries: its own grids, and random draws from their ranges.

A trial is one setting of an arm, trained with the tuning seeds. No jax.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from normjax.errors import InputError, pick, suggest
from normjax.study import settings
from normjax.study.columns import Level
from normjax.study.fields import LIMIT, NUMBER_FACTORS

SEARCHES = ("none", "grid", "random")
FIRST_SEED = LIMIT  # of the tuning seeds: no seed that judges is as large
EXAMPLE = '{"adam": {"learning_rate": (0.001, 0.01)}}'

Factors = Mapping[str, Level]
Grids = dict[str, dict[str, dict[str, tuple]]]  # factor -> level -> setting -> grid


def is_tuned(config: Mapping[str, Any]) -> bool:
    """Whether a resolved config searches for settings."""
    return config["tuning"]["search"] != "none"


def tuning_seeds(config: Mapping[str, Any]) -> tuple[int, ...]:
    """The seeds of trials: numbers from 2^31 on, where those that judge end."""
    return tuple(range(FIRST_SEED, FIRST_SEED + config["tuning"]["num_seeds"]))


def checked(
    chosen: dict[str, Any],
    levels: Mapping[str, tuple[Level, ...]],
    baseline: Factors,
    check: Mapping[str, Any],
) -> Grids:
    """The `settings_for` of a config as tuples; what it or `tuning` got wrong raises.

    Args:
        chosen: the resolved config.
        levels: factor -> its levels.
        baseline: of the study.
        check: factor -> check of a field's level.
    """
    tuning = chosen["tuning"]
    pick("tuning.search", dict.fromkeys(SEARCHES), tuning["search"])
    others = {factor: None for factor in levels if factor != "protocol"}
    for factor in tuning["choose"]:
        pick("tuning.choose", others, factor)
        for group in ("baseline", "unstated"):
            given = baseline if group == "baseline" else chosen[group]
            if factor in given and is_tuned(chosen) and len(levels[factor]) > 1:
                rule = f"must not name {factor}, for tuning chooses its level"
                remedy = f"leave {factor} out there or in tuning.choose"
                raise InputError(group, given, rule, remedy)
    grids: Grids = {}
    for factor, by_level in chosen["settings_for"].items():
        pick("settings_for", levels, factor)
        field = f"settings_for.{factor}"
        for level, grid in _group(field, by_level).items():
            check[factor](field, _level(factor, level))
            given = _group(f"{field}.{level}", grid)
            found = {k: x if isinstance(x, tuple) else (x,) for k, x in given.items()}
            grids.setdefault(factor, {})[level] = found
    every = [x for by_level in grids.values() for x in by_level.values()]
    check_search(tuning, [chosen["settings"], *every])
    return grids


def check_search(
    tuning: Mapping[str, Any], grids: Sequence[Mapping[str, tuple]]
) -> None:
    """Refuses a choice without a search, and a random search without a range."""
    if tuning["choose"] and tuning["search"] == "none":
        rule = "must be empty where tuning.search is none, for nothing is chosen"
        remedy = "set tuning.search=grid, or leave it out"
        raise InputError("tuning.choose", tuning["choose"], rule, remedy)
    fixed = all(len(values) < 2 for grid in grids for values in grid.values())
    if tuning["search"] == "random" and fixed:
        rule = "must be none or grid where no setting is a range (low, high)"
        remedy = "set settings.learning_rate=(0.0001, 0.1)"
        raise InputError("tuning.search", "random", rule, remedy)


def arm_settings(
    chosen: dict[str, Any],
    given: Mapping[str, tuple],
    fields: Mapping[str, str],
    used: Mapping[str, float | None],
    choice: str,
) -> dict[str, np.ndarray]:
    """The settings of an arm, leaves `[settings]`: its grid, or its random draws.

    Args:
        chosen: the config.
        given: setting -> values, and
        fields: where they come from, as `own_grids` returns both.
        used: the settings of the arm and their defaults.
        choice: the arm in words.
    """
    tuning = chosen["tuning"]
    num_seeds = tuning["num_seeds"] if is_tuned(chosen) else chosen["num_seeds"]
    if tuning["search"] != "random":
        return settings.setting_grid(given, used, choice, num_seeds, fields)
    number = tuning["num_trials"]
    settings.check_lanes(num_seeds * number)
    columns = []
    for name, default in used.items():
        asked = given.get(name, ())
        ends = [settings.single_precision(x) or 0.0 for x in asked]
        if len(ends) > 2 or (len(ends) == 2 and not 0 < ends[0] < ends[1]):
            rule = "must be one number, or a range (low, high) with 0 < low < high"
            remedy = "set {field}=(0.0001, 0.1), or tuning.search=grid"
            field = fields.get(name, f"settings.{name}")
            raise InputError(field, asked, rule, remedy)
        values = settings.checked_values(name, asked, default, choice, fields)
        u = quantiles(chosen["root_seed"], name, number)
        columns.append(log_uniform(values[0], values[-1], u))
    rows = np.array(list(dict.fromkeys(zip(*columns))), np.float32)  # different ones
    return dict(zip(used, rows.T))


def quantiles(root_seed: int, name: str, number: int) -> np.ndarray:
    """Uniform draws in [0, 1) of one setting: the same for every arm, `[number]`.

    More of them begin with fewer of them. They are the 53 high bits of Philox4x64,
    whose key is the start of the SHA-256 of "root_seed name".

    References:
        Salmon, Moraes, Dror and Shaw, 2011. Parallel Random Numbers: As Easy as 1, 2,
            3.
    """
    digest = hashlib.sha256(f"{root_seed} {name}".encode()).digest()
    philox = np.random.Philox(key=int.from_bytes(digest[:16], "big"))
    return (philox.random_raw(number) >> np.uint64(11)) * 2.0**-53


def log_uniform(low: float, high: float, u: np.ndarray) -> np.ndarray:
    """`low * (high / low)^u` as float32 in [low, high]; `low` itself if both are equal.

    References:
        Bergstra and Bengio, 2012. Random Search for Hyper-Parameter Optimization. JMLR.
    """
    if low == high:
        return np.full(len(u), low, np.float32)
    drawn = (low * (high / low) ** u).astype(np.float32)
    return np.clip(drawn, np.float32(low), np.float32(high))


def unused(
    grids: Grids, arms: Sequence[tuple[Factors, Mapping[str, Any]]]
) -> list[str]:
    """Notices of levels that no arm has; settings that no such arm uses are refused.

    `arms` are the factors and the settings of each.
    """
    notices = []
    for factor, level in ((f, x) for f, levels in grids.items() for x in levels):
        field = f"settings_for.{factor}.{level}"
        mine = [own for factors, own in arms if str(factors[factor]) == level]
        used = sorted(set().union(*mine))
        if not mine:
            notices.append(f"{field} is not used, for no arm has that level")
            continue
        for name, grid in grids[factor][level].items():
            if name not in used:
                rule = f"must be a setting of these arms, which use {', '.join(used)}"
                remedy = suggest(name, used, "leave it out")
                raise InputError(f"{field}.{name}", grid, rule, remedy)
    return notices


def own_grids(
    chosen: dict[str, Any], factors: Factors
) -> tuple[dict[str, tuple], dict[str, str]]:
    """Setting -> values of one arm, and the field that they come from if it is another.

    `chosen` is the config, with `settings_for` as `checked` returns it; `factors` are
    the levels of the arm.

    Raises:
        InputError: two levels of the arm have a grid of the same setting.
    """
    given, fields = dict(chosen["settings"]), dict[str, str]()
    pairs = ((f, str(level)) for f, level in factors.items())
    for factor, level in pairs:
        for name, grid in chosen["settings_for"].get(factor, {}).get(level, {}).items():
            field = f"settings_for.{factor}.{level}.{name}"
            if name in fields:
                rule = (
                    f"must be the only grid of such an arm, for {fields[name]} is one"
                )
                raise InputError(field, grid, rule, "leave one of them out")
            given[name], fields[name] = grid, field
    return given, fields


def searched(config: Mapping[str, Any], factors: Factors) -> dict[str, tuple]:
    """The grids, or the ranges, of the settings that an arm of a record is given.

    `config` is that of a record, `factors` are the levels of the arm. Learning rates
    are as they are trained: times the batch size, if the config has a reference.
    """
    tuples = lambda grids: {name: tuple(values) for name, values in grids.items()}
    own = {
        factor: {level: tuples(grids) for level, grids in levels.items()}
        for factor, levels in config["settings_for"].items()
    }
    chosen = {"settings": tuples(config["settings"]), "settings_for": own}
    given, _ = own_grids(chosen, factors)
    reference = config["reference_batch_size"]
    if reference and "learning_rate" in given:
        scale = float(factors["batch_size"]) / reference
        given["learning_rate"] = tuple(scale * x for x in given["learning_rate"])
    return given


def _level(factor: str, text: str) -> Level:
    """A level as the factor has it: those of some factors are whole numbers."""
    number = factor in NUMBER_FACTORS and text.isdecimal()
    return int(text) if number else text


def _group(field: str, value: Any) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    inner = EXAMPLE if field.count(".") == 1 else '{"learning_rate": (0.001, 0.01)}'
    rule = "must be a group: factor -> level -> setting -> values"
    raise InputError(field, value, rule, f"set {{field}}={inner}")
