"""Tables of what has a name: norms, optimizers, schedules, penalties, and so on."""

import functools
import importlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from docs.generate import notes
from docs.generate.docstrings import cell, first_paragraph, formula, papers
from normjax.checks.document import markdown
from normjax.data import scalings
from normjax.data.augmentation import AUGMENTATIONS
from normjax.layers import NORMS, PRESETS
from normjax.layers.initial_weights import INITS
from normjax.layers.registry import class_of
from normjax.models import MODELS
from normjax.ops.conv import IMPLEMENTATIONS
from normjax.optimizers import recipes, schedules
from normjax.optimizers.penalties import PENALTIES, clip_gradient
from normjax.study.levels import PENALTY_SETTINGS
from normjax.training.probes import PROBES


def tables() -> dict[str, dict[str, str]]:
    """Page -> name of a table -> the table."""
    return {
        "norms.md": {"norms": norms(), "presets": presets()},
        "optimizers.md": {
            "optimizers": optimizers(),
            "schedules": all_schedules(),
            "penalties": penalties(),
        },
        "models.md": {
            "models": described(MODELS, notes.MODELS),
            "weights": described(INITS, notes.INITS),
            "convolutions": described(IMPLEMENTATIONS, {}, first_sentence),
        },
        "data.md": {
            "scalings": described(scalings.SCALINGS, {}, first_sentence),
            "augmentations": augmentations(),
        },
        "probes.md": {"probes": probes()},
    }


def norms() -> str:
    """Name, class, formula, paper, and when to take it."""
    rows = []
    for name, norm in NORMS.items():
        made = [class_of(x) for x in (norm.kernel, norm.layer) if x is not None]
        functions = [function_of(layer) for layer in made]
        rows.append(
            [
                ", ".join(f"`{x}`" for x in (name, *(y.__name__ for y in made))),
                "; then ".join(formula(x) for x in functions) or "`y = x`",
                "; ".join(filter(None, map(papers, functions)))
                or notes.PAPERS.get(name, ""),
                notes.NORMS[name],
            ]
        )
    return markdown(["name, layer", "formula", "source", "when to use it"], rows)


def function_of(layer: type) -> Callable:
    """The function of `normjax.ops` that the docstring of a layer begins with."""
    named = re.search(r"`(\w+)\.(\w+)`", first_paragraph(layer))
    if named is None:
        raise LookupError(
            f"{layer.__name__}: its docstring must name a function of ops"
        )
    return getattr(importlib.import_module(f"normjax.ops.{named[1]}"), named[2])


def presets() -> str:
    """The conventions of batch norm, a row for each."""
    names = list(PRESETS["torch"])
    rows = ([f"`{k}`", *(f"`{x[name]}`" for name in names)] for k, x in PRESETS.items())
    return markdown(["`model.batch_norm`", *(f"`{name}`" for name in names)], rows)


def optimizers() -> str:
    """Name, formula, settings with defaults, source."""
    return with_settings("optimizer", recipes.RECIPES, recipes.settings_of)


def all_schedules() -> str:
    """Name, formula, settings with defaults, source."""
    known: dict[str, Any] = {k: x for k, x in schedules.SCHEDULES.items() if x}
    table = with_settings("schedule", known, schedules.settings_of)
    head, line, *rows = table.splitlines()
    first = "| `constant` | `learning_rate` |  |  |"
    return "\n".join([head, line, first, *rows])


def with_settings(
    kind: str, known: Mapping[str, Callable], settings_of: Callable
) -> str:
    """A row for each function of the table, with its traced settings."""
    rows = []
    for name, function in known.items():
        settings = settings_of(function)
        given = ", ".join(f"`{k}={x:g}`" for k, x in settings.items() if x is not None)
        rows.append([f"`{name}`", formula(function), given, papers(function)])
    return markdown([kind, "formula", "settings and defaults", "source"], rows)


def penalties() -> str:
    """Name, what it does, settings with defaults."""
    functions = {**PENALTIES, "clip_norm": clip_gradient}
    rows = []
    for name, settings in {
        **PENALTY_SETTINGS,
        "clip_norm": {"clip_norm": None},
    }.items():
        given = [k if x is None else f"{k}={x:g}" for k, x in settings.items()]
        text = notes.PENALTIES.get(name) or formula(functions[name])
        source = papers(functions[name]) if name in functions else ""
        rows.append([f"`{name}`", text, ", ".join(f"`{x}`" for x in given), source])
    return markdown(["penalty", "what it does", "settings", "source"], rows)


def augmentations() -> str:
    """Name, what it does, source."""
    rows = [["`none`", "images as they are", ""]]
    for name, function in AUGMENTATIONS.items():
        if function is not None:
            rows.append([f"`{name}`", formula(function), papers(function)])
    return markdown(["`augmentation`", "what it does", "source"], rows)


def probes() -> str:
    """Name, what it measures, how the network is evaluated, source."""
    rows = []
    for name, probe in PROBES.items():
        conditions = probe.conditions
        mode = conditions.get("batch_norm", conditions.get("moments", ""))
        rows.append(
            [
                f"`{name}`",
                cell(first_paragraph(probe.measure).removesuffix(".")),
                notes.PROBES[name],
                cell(mode),
                papers(probe.measure),
            ]
        )
    head = ["`probes`", "what it measures", "what for", "mode or state", "source"]
    return markdown(head, rows)


def first_sentence(value: Any) -> str:
    """What a docstring says first."""
    return formula(value)


def described(
    known: Mapping[str, Any],
    texts: Mapping[str, str],
    otherwise: Callable[[Any], str] | None = None,
) -> str:
    """Names of a table, each with its text or with what its docstring says."""
    rows = []
    for name, value in known.items():
        made = value.func if isinstance(value, functools.partial) else value
        text = otherwise(made) if otherwise else texts[name]
        rows.append([f"`{name}`", text])
    return markdown(["name", "what it is"], rows)
