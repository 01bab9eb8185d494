"""The table of other projects. Each fact was looked up in November 2026."""

import normjax
from normjax.checks.document import markdown
from normjax.layers import NORMS
from normjax.optimizers.recipes import RECIPES

PROJECTS = (
    f"normjax {normjax.__version__}",
    "flax.linen 0.12",
    "torch.nn 2.13",
    "rliable 1.2",
    "AlgoPerf 0.6",
    "init2winit",
)
ROWS = {  # question -> the answer of each; empty where it does not arise
    "what it is": (
        "laboratory and layers",
        *("layers", "layers"),
        "statistics over runs",
        "benchmark of training algorithms",
        "code of experiments",
    ),
    "kinds of normalization": (
        f"{len(NORMS) - 1}",
        *("7", "9", ""),
        *("those of its models", "flax's, and virtual batch norm"),
    ),
    "optimizers": (
        f"{len(RECIPES)}, and any of optax",
        *("optax", "torch.optim", ""),
        *("what is submitted", "dozens, of second order too"),
    ),
    "models and data": (
        "small: MLP, CNN, ResNet-20, or your own; data that fit into memory",
        *("any", "any", ""),
        "8 large workloads: images, speech, text, graphs",
        "dozens: images, speech, text, graphs",
    ),
    "many seeds in one compiled program": (
        "yes",
        *("with `jax.vmap`, by hand", "with `torch.func`, by hand", ""),
        *("no", "no"),
    ),
    "intervals over seeds": (
        "paired differences, exact tests, outlying seeds",
        *("", "", "bootstrap", "median of 5 studies", "no"),
    ),
    "scores over many tasks": (
        "interquartile mean",
        *("", "", "IQM, profiles, optimality gap", "performance profiles", "no"),
    ),
    "time to a target, on fixed hardware": (
        "steps to a target; seconds of one machine",
        *("", "", "", "yes, with a leaderboard", "no"),
    ),
    "tuning": (
        "grid and random, on seeds of its own",
        *("", "", "", "rules: 5 trials, or none", "one of its purposes"),
    ),
    "one network on many devices": (
        "its batches are divided; every device holds it whole",
        *("yes", "yes", "", "yes", "yes"),
    ),
    "published claims with verdicts": ("yes", "", "", "no", "no", "no"),
    "state": (
        "young, few users",
        *("maintained; flax.nnx is its successor", "maintained"),
        *("archived in October 2025", "maintained", "research code, no release"),
    ),
}


def tables() -> dict[str, str]:
    """The table, the same in README.md and on the site."""
    rows = ([question, *answers] for question, answers in ROWS.items())
    return {"comparison": markdown(["", *PROJECTS], rows)}
