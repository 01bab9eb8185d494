"""Tables of what a config may choose: `normjax/study/fields.py`, with its comments."""

import ast
import inspect
import io
import tokenize
from collections.abc import Iterable, Mapping
from typing import Any

from docs.generate.docstrings import cell
from normjax import layers, models
from normjax.checks.document import markdown
from normjax.data import augmentation, scalings, splits
from normjax.files import flat
from normjax.layers.initial_weights import INITS
from normjax.ops.conv import IMPLEMENTATIONS
from normjax.optimizers import recipes, schedules
from normjax.study import fields
from normjax.study.levels import PENALTY_SETTINGS
from normjax.training.mappings import KNOWN
from normjax.training.precision import PRECISIONS
from normjax.training.probes import PROBES

Settings = Mapping[str, float | None]  # name -> default

CHOICES: dict[str, Iterable[str]] = {  # field -> the names it may be, sources aside
    "last_batch": fields.LAST_BATCHES,
    "schedule": schedules.SCHEDULES,
    "sampling": splits.SAMPLINGS,
    "augmentation": augmentation.AUGMENTATIONS,
    "precision": PRECISIONS,
    "probes": PROBES,
    "mapping": ("auto", *KNOWN),
    "data.subset": splits.SUBSETS,
    "data.scaling": scalings.SCALINGS,
    "model.name": models.MODELS,
    "model.kernel_init": INITS,
    "model.batch_norm": layers.PRESETS,
    "model.convolution": ("auto", *IMPLEMENTATIONS),
    "arms.norm": layers.NORMS,
    "arms.placement": models.PLACEMENTS,
    "arms.optimizer": recipes.RECIPES,
    "arms.penalty": PENALTY_SETTINGS,
    "tuning.search": ("none", "grid", "random"),
}
GROUPS = ("data", "model", "arms", "tuning")  # of fields, with a table each
OWNERS = {  # settings that no optimizer, schedule or penalty brings
    "init_scale": ("every model: a factor of its initial kernels", "1"),
    "label_smoothing": ("the loss: the share that all classes get equally", "none"),
    "clip_norm": ("every optimizer: the largest norm of a gradient", "none"),
}


def tables() -> dict[str, dict[str, str]]:
    """Page -> name of a table -> the table."""
    groups = {
        name: markdown(["field", "default", "values", "meaning"], rows)
        for name, rows in field_rows().items()
    }
    return {"config.md": {**groups, "settings": settings()}}


def comments() -> dict[str, str]:
    """The comment on the line of each field of DEFAULTS, by its dotted name."""
    source = inspect.getsource(fields)
    readline = io.StringIO(source).readline
    by_line = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(readline)
        if token.type == tokenize.COMMENT
    }
    found: dict[str, str] = {}

    def visit(node: ast.Dict, prefix: str) -> None:
        for key, value in zip(node.keys, node.values):
            name = prefix + ast.literal_eval(key)  # type: ignore[arg-type]
            found[name] = by_line.get(key.lineno, "")  # type: ignore[union-attr]
            if isinstance(value, ast.Dict):
                visit(value, f"{name}.")

    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "DEFAULTS":
            assert isinstance(node.value, ast.Dict)
            visit(node.value, "")
    return found


def field_rows() -> dict[str, list[list[str]]]:
    """The rows of each table: of the study itself, and of each group of fields."""
    rows: dict[str, list[list[str]]] = {name: [] for name in ("study", *GROUPS)}
    for name, text in comments().items():
        if name in (*GROUPS, "settings"):
            continue  # a group: its table describes it
        factor = name.removeprefix("arms.")
        if factor != name and factor in fields.FACTOR_FIELDS:
            text = "levels of that field; empty: its own value alone"
        group = name.split(".")[0] if "." in name else "study"
        rows[group].append(
            [f"`{name}`", f"`{default(name)!r}`", values(name), cell(text)]
        )
    return rows


def default(name: str) -> Any:
    """The default of a field; of a factor that stands for a field, the field's."""
    return flat(fields.DEFAULTS).get(name, {})


def values(name: str) -> str:
    """The names or numbers that a field may have, as far as a table or a rule says."""
    factor = name.removeprefix("arms.")
    if factor != name and factor in fields.FACTOR_FIELDS:
        return f"those of `{fields.FACTOR_FIELDS[factor]}`"
    if name in CHOICES:
        return ", ".join(f"`{x}`" for x in CHOICES[name])
    return cell(fields.FIELD_RULES.get(name, ("",))[0])


def settings() -> str:
    """The traced settings: what brings each, and its default there."""
    rows = []
    for name in fields.DEFAULTS["settings"]:
        if name in OWNERS:
            rows.append([f"`{name}`", *OWNERS[name]])
            continue
        owners = {k: x[name] for k, x in all_owners().items() if name in x}
        numbers = ["none" if x is None else f"{x:g}" for x in owners.values()]
        texts = [f"{number} ({owner})" for number, owner in zip(numbers, owners)]
        same = len(set(numbers)) == 1
        of = ", ".join(owners)
        rows.append([f"`{name}`", of, numbers[0] if same else ", ".join(texts)])
    return markdown(["`settings.`", "of", "default"], rows)


def all_owners() -> dict[str, Settings]:
    """The optimizers, schedules and penalties, and the settings of each."""
    made = {f"`{k}`": recipes.settings_of(x) for k, x in recipes.RECIPES.items()}
    for name, schedule in schedules.SCHEDULES.items():
        if schedule is not None:
            made[f"schedule `{name}`"] = schedules.settings_of(schedule)
    return made | {f"penalty `{k}`": x for k, x in PENALTY_SETTINGS.items()}
