"""The names that a command line may use, each with a line of what it is.

What has a docstring is described by its first sentence, a field by the comment beside
its default. Modules that take long to load are loaded where they are listed.
"""

import ast
import functools
import importlib
import inspect
import io
import itertools
import re
import textwrap
import tokenize
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from normjax.errors import pick
from normjax.study import fields

Lines = dict[str, str]  # name -> what it is
CONFIGS = Path("configs")
WIDTH = 80
DATASETS = {
    "digits": "1,797 digits of 8 by 8 pixels; comes with scikit-learn",
    "mnist": "70,000 digits of 28 by 28 pixels",
    "fashion_mnist": "70,000 garments of 28 by 28 pixels",
    "cifar10": "60,000 colour photographs of 32 by 32 pixels",
    "NAME": "another set of images of TFDS, decoded by python -m normjax.data NAME",
    "FILE.npz": "your own: x_train, y_train, x_test, y_test",
}

NOTHING = {"constant": "the rate stays as it is", "none": "images as they are"}
PENALTIES = {
    "none": "no penalty",
    "l2": "l2 / (2 num_train) times the sum of squared kernels, in the loss",
    "l2_batch": "l2 / (2 batch_size) times the sum of squared kernels, in the loss",
    "dropout": "a share of dropout_rate is dropped after each hidden activation",
    "weight_decay": "decoupled: kernels shrink by weight_decay times the learning rate",
}
INITIAL_WEIGHTS = {
    "glorot_normal": "normal, of variance 2 / (fan-in + fan-out)",
    "glorot_uniform": "uniform, of variance 2 / (fan-in + fan-out), as in Keras",
    "he_normal": "normal, of variance 2 / fan-in, for ReLU",
    "he_uniform": "uniform, of variance 2 / fan-in, for ReLU",
    "lecun_normal": "normal, of variance 1 / fan-in",
    "normal": "normal, of variance 1, times init_scale",
    "normal_tenth": "normal, of variance 0.01, whatever the fan-in",
    "orthogonal": "an orthogonal matrix, drawn uniformly",
    "torch_default": "uniform in +-1 / sqrt(fan-in), biases too, as in torch.nn",
}


def configs() -> Lines:
    """The files of configs/, by the question that each asks, and their arguments."""
    found = {}
    for path in sorted(CONFIGS.glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        functions = [x for x in tree.body if isinstance(x, ast.FunctionDef)]
        own = [ast.get_docstring(x) or "" for x in functions if x.name == "get_config"]
        found[path.as_posix()] = "\n".join(map(first_sentence, [described(tree), *own]))
    return found


def described(tree: ast.Module) -> str:
    """The docstring of a module."""
    return ast.get_docstring(tree) or ""


def config_fields() -> Lines:
    """The fields of a config, with their defaults."""
    source = inspect.getsource(fields)
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (defaults,) = (
        x.value
        for x in ast.parse(source).body
        if isinstance(x, ast.AnnAssign) and getattr(x.target, "id", "") == "DEFAULTS"
    )
    found = dict(_fields_in(defaults, "", fields.DEFAULTS, comments))
    for factor, field in fields.FACTOR_FIELDS.items():
        found[f"arms.{factor}"] = f"levels in the place of {field}; empty: that alone"
    for name in fields.DEFAULTS["settings"]:
        found[f"settings.{name}"] = "its grid; empty: the default of each arm"
    return found


def _fields_in(
    node: Any, prefix: str, values: Mapping[str, Any], comments: Mapping[int, str]
) -> Iterable[tuple[str, str]]:
    """Names and lines of the fields in a literal group, and of those in its groups."""
    lines = {}
    if isinstance(node, ast.Dict):
        lines = {ast.literal_eval(k): k.lineno for k in node.keys if k}
        nodes = dict(zip(lines, node.values))
    for name, value in values.items():
        comment = comments.get(lines.get(name, 0), "")
        if isinstance(value, dict) and value:
            yield from _fields_in(nodes[name], f"{prefix}{name}.", value, comments)
        else:
            default = "" if value in ((), "", {}) else f" [{_text(value)}]"
            yield prefix + name, f"{comment}{default}".strip()


def _text(value: Any) -> str:
    """A default as a command line has it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)


def norms() -> Lines:
    """The norms, by the formula of the function that each computes."""
    registry = importlib.import_module("normjax.layers.registry")
    found = {}
    for name, row in registry.NORMS.items():
        made = row.kernel or row.layer
        text = "" if made is None else first_sentence(registry.class_of(made).__doc__)
        if function := re.match(r"`(\w+)\.(\w+)`", text):
            module = importlib.import_module(f"normjax.ops.{function[1]}")
            text = first_sentence(getattr(module, function[2]).__doc__)
        given = made.keywords if isinstance(made, functools.partial) else {}
        own = ", ".join(f"{k}={v}" for k, v in given.items())
        found[name] = f"{text} ({own})" if own else text or "no norm"
    return found


def rows(module: str, table: str, of: str = "") -> Callable[[], Lines]:
    """Lists a table of a module, by the docstring of each row or of its field `of`."""

    def listed() -> Lines:
        found = getattr(importlib.import_module(module), table)
        made = {name: getattr(row, of) if of else row for name, row in found.items()}
        return {
            name: first_sentence(getattr(row, "func", row).__doc__)
            if row
            else NOTHING[name]
            for name, row in made.items()
        }

    return listed


def placements() -> Lines:
    """The placements of the norm, by what follows a linear layer."""
    models = importlib.import_module("normjax.models")
    return {x: f"{', '.join(row)}, in order" for x, row in models.PLACEMENTS.items()}


# what may be listed -> the field that takes these names, and the list
KINDS: dict[str, tuple[str, Callable[[], Lines]]] = {
    "configs": ("--config=", configs),
    "fields": ("--config.", config_fields),
    "norms": ("--config.arms.norm=", norms),
    "optimizers": (
        "--config.arms.optimizer=",
        rows("normjax.optimizers.recipes", "RECIPES"),
    ),
    "models": ("--config.model.name=", rows("normjax.models", "MODELS")),
    "schedules": (
        "--config.schedule=",
        rows("normjax.optimizers.schedules", "SCHEDULES"),
    ),
    "augmentations": (
        "--config.augmentation=",
        rows("normjax.data.augmentation", "AUGMENTATIONS"),
    ),
    "probes": (
        "--config.probes=",
        rows("normjax.training.probes", "PROBES", "measure"),
    ),
    "datasets": ("--config.data.name=", lambda: DATASETS),
    "scalings": ("--config.data.scaling=", rows("normjax.data.scalings", "SCALINGS")),
    "samplings": ("--config.sampling=", rows("normjax.data.splits", "SAMPLINGS")),
    "placements": ("--config.arms.placement=", placements),
    "penalties": ("--config.arms.penalty=", lambda: PENALTIES),
    "initial_weights": ("--config.model.kernel_init=", lambda: INITIAL_WEIGHTS),
}


def text(kind: str) -> str:
    """What `--list=KIND` prints: a name and a line for each.

    Raises:
        InputError: if there is no such kind.
    """
    flag, listed = pick("--list", KINDS, kind)
    found = listed()
    head = f"{kind}, for {flag}{'FIELD' if kind == 'fields' else ''}"
    return "\n".join([head, *table(found)])


def table(found: Lines) -> list[str]:
    """A name and what it is in two columns of 80, with more lines where it is long."""
    wide = min(34, max(map(len, found)))
    lines = []
    for name, about in found.items():
        room = WIDTH - wide - 4
        wrapped = (textwrap.wrap(x, room) for x in about.splitlines())
        parts = list(itertools.chain(*wrapped)) or [""]
        first = f"  {name:{wide}}  {parts[0]}" if len(name) <= wide else f"  {name}"
        rest = parts[1:] if len(name) <= wide else parts
        lines += [first.rstrip(), *(" " * (wide + 4) + x for x in rest if x)]
    return lines


def first_sentence(docstring: str | None) -> str:
    """The first paragraph of a docstring up to the end of a sentence in it."""
    paragraph = inspect.cleandoc(docstring or "").split("\n\n")[0]
    return re.split(r"(?<=[.?])\s", " ".join(paragraph.split()))[0].removesuffix(".")
