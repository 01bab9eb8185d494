"""The table of what was found: a sentence for each question, numbers of docs/results.

A sentence says on which side of the boundary its interval lies. If the interval of a
new record lies elsewhere, the sentence is refused until somebody writes another.
"""

import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from normjax.checks.document import markdown
from normjax.report import formats
from normjax.statistics import Interval

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"


class Finding(NamedTuple):
    """A row of the table."""

    section: str  # of docs/findings.md, the question
    answer: str
    side: str  # where the interval lies: above or below the boundary, or across it
    quantity: str  # what the interval is of
    record: str  # folder of docs/results
    row: dict[str, str]  # columns of one line of its table
    boundary: float = 0.0  # 1 for ratios


def claim(comparison: str, statistic: str, name: str = "") -> dict[str, str]:
    """The line of `claims.csv` of a comparison by a statistic."""
    row = {"table": "claims", "comparison": comparison, "statistic": statistic}
    return row | ({"sentence": name} if name else {})


def difference(arm: str, baseline: str) -> dict[str, str]:
    """The line of `differences.csv` of an arm and its baseline."""
    return {"table": "differences", "arm": arm, "baseline": baseline}


OPTIMIZER = "Which optimizer is fast, robust, stable?"
TUNED = "Which optimizer is best at its own best rate and schedule?"
PLACEMENT = "Batch normalization before or after the activation?"
NORMS = "Batch, layer or weight normalization: which, and why?"
BATCH = "Which norm holds its accuracy at small batches?"
CATALOGUE = "Which of all norms is best, each at its own rate?"
RESNET = "Does a ResNet need batch norm?"
RATE = "Which norm trains at which learning rate, and how deep?"
ADAM = "third_moment-none against adam-none"
BEST = "third_moment is the most accurate"
FOUND = (
    Finding(
        OPTIMIZER,
        "With the published fault, which makes Adam forget after each step, the third"
        " moment is ahead",
        "above",
        "third moment - Adam, as published, points",
        "optimizers",
        {**claim(ADAM, "test_accuracy", BEST), "protocol": "as_published"},
    ),
    Finding(
        OPTIMIZER,
        "Without the fault nothing is left of that lead",
        "across",
        "third moment - Adam, corrected, points",
        "optimizers",
        claim(ADAM, "test_accuracy", BEST),
    ),
    Finding(
        TUNED,
        "Tuned, the third moment cannot be told from Adam either",
        "across",
        "third moment - Adam, points",
        "tuned_optimizers",
        difference("third_moment", "adam"),
    ),
    Finding(
        TUNED,
        "Muon is ahead of Adam, at several times its cost",
        "above",
        "Muon - Adam, points",
        "tuned_optimizers",
        difference("muon", "adam"),
    ),
    Finding(
        PLACEMENT,
        "In an MLP it hardly matters; which is better is undecided",
        "across",
        "before - after, MLP, points",
        "batch_norm_placement",
        claim(
            "pre against post", "test_accuracy", "The difference between the placements"
        ),
    ),
    Finding(
        PLACEMENT,
        "In a CNN ten seeds cannot tell",
        "across",
        "before - after, CNN, points",
        "batch_norm_placement_cnn",
        claim("pre against post", "test_accuracy"),
    ),
    Finding(
        NORMS,
        "On Fashion-MNIST batch norm helps with batches of 8",
        "above",
        "batch - none, batches of 8, points",
        "norms",
        difference("batch-8", "none-8"),
    ),
    Finding(
        NORMS,
        "There, layer norm of each pixel does harm with batches of 128",
        "below",
        "layer - none, batches of 128, points",
        "norms",
        difference("layer-128", "none-128"),
    ),
    Finding(
        NORMS,
        "On CIFAR-10 batch norm helps with batches of 128",
        "above",
        "batch - none, batches of 128, points",
        "norms_cifar10",
        difference("batch-128", "none-128"),
    ),
    Finding(
        "Does batch normalization make the loss smoother?",
        "Yes: the gradient changes less along a step",
        "below",
        "local smoothness, batch - none",
        "smoothness",
        claim("batch against none", "smoothness", "BN lowers"),
    ),
    Finding(
        "Does batch normalization let a deep MLP train faster?",
        "Yes",
        "above",
        "train accuracy after ten epochs, batch - none, points",
        "deep_mlp",
        claim("batch against none", "train_accuracy_evaluated"),
    ),
    Finding(
        "Does batch normalization remove the dependence on the initial scale?",
        "Most of it, not all: the train loss still differs between scales",
        "above",
        "largest - smallest train loss over the scales, batch, nats",
        "init_scale",
        claim("batch", "loss_range"),
    ),
    Finding(
        RATE,
        "Batch norm trains at larger rates, and more so in deep networks",
        "above",
        "largest rate, batch / none, 16 hidden layers",
        "rate_by_norm",
        claim("batch-16 against none-16", "largest_rate", "BN trains at larger rates"),
        boundary=1.0,
    ),
    Finding(
        RATE,
        "That larger rate need not pay: accuracy at the best rate is undecided there",
        "across",
        "best accuracy, batch - none, 16 hidden layers, points",
        "rate_by_norm",
        claim("batch-16 against none-16", "best_accuracy"),
    ),
    Finding(
        BATCH,
        "A batch of two costs batch norm accuracy",
        "below",
        "batch norm, batches of 2 - of 32, points",
        "batch_size",
        claim("batch-2 against batch-32", "test_accuracy", "BN loses at a batch of 2"),
    ),
    Finding(
        BATCH,
        "Group norm, which keeps its own there, is not ahead of it for that",
        "across",
        "group - batch, batches of 2, points",
        "batch_size",
        difference("group-2", "batch-2"),
    ),
    Finding(
        CATALOGUE,
        "Batch norm is among the best of 22, and thirteen cannot be told from it; no"
        " norm is behind",
        "below",
        "none - batch, points",
        "catalogue",
        difference("none", "batch"),
    ),
    Finding(
        CATALOGUE,
        "DyT, without statistics, is at least as good as layer norm",
        "above",
        "DyT - layer, points",
        "catalogue",
        claim("dyt against layer", "test_accuracy"),
    ),
    Finding(
        RESNET,
        "In a short training yes: group norm is the next, far behind",
        "below",
        "group - batch, points",
        "resnet",
        difference("group", "batch"),
    ),
    Finding(
        RESNET,
        "Without a norm it does not train",
        "below",
        "none - batch, points",
        "resnet",
        difference("none", "batch"),
    ),
)


def tables(folder: str) -> dict[str, str]:
    """The table, with links as they are in `docs` or in the folder above it."""
    return {"found": table(FOUND, "" if folder == "docs" else "docs/")}


def table(findings: tuple[Finding, ...], prefix: str) -> str:
    """A line for each finding; a question is written once."""
    rows, last = [], ""
    for found in findings:
        interval = measured(found)
        check(found, interval)
        page = "" if prefix == "" else f"{prefix}findings.md"
        question = f"[{found.section}]({page}#{anchor(found.section)})"
        rows.append(
            [
                question if found.section != last else "",
                found.answer,
                f"{found.quantity}: {unbroken(formats.by_width(interval))}",
                f"{interval.n}",
                f"[{found.record}]({prefix}results/{found.record})",
            ]
        )
        last = found.section
    return markdown(["question", "answer", "measured", "seeds", "record"], rows)


def measured(found: Finding) -> Interval:
    """The interval of the line that a finding names.

    Raises:
        LookupError: if not exactly one line of the table is it.
    """
    row = dict(found.row)
    name, protocol = row.pop("table"), row.pop("protocol", "corrected")
    lines = pd.read_csv(file_of(found.record, f"{name}.csv"))
    if "sentence" in row:  # of a claim with several comparisons, its first line has it
        sentence = lines["claim"].where(~lines["claim"].str.startswith("· ")).ffill()
        lines = lines[sentence.str.startswith(row.pop("sentence"))]
    for column, value in row.items():
        lines = lines[lines[column] == value]
    if len(lines) != 1:
        raise LookupError(f"{found.record}/{name}.csv: {len(lines)} lines are {row}")
    line = lines.iloc[0]
    column = "accuracy_points" if name == "differences" else protocol
    number = line["seeds"] if name == "differences" else line[f"{protocol}_n"]
    bounds = (float(line[f"{column}{x}"]) for x in ("", "_low", "_high"))
    return Interval(*bounds, int(number))


def file_of(record: str, name: str) -> Path:
    """A file of a record, which may lie in one of its folders."""
    (path,) = (RESULTS / record).rglob(name)
    return path


def check(found: Finding, interval: Interval) -> None:
    """Refuses an answer that its interval does not give.

    Raises:
        ValueError: the interval lies elsewhere than the sentence says.
    """
    low, high = interval.low, interval.high
    above, below = low > found.boundary, high < found.boundary
    side = "above" if above else "below" if below else "across"
    if side != found.side:
        raise ValueError(
            f"{found.record}: [{low:g}, {high:g}] lies {side} {found.boundary:g}, and"
            f" {found.answer!r} says that it lies {found.side}; write another sentence"
        )


def unbroken(text: str) -> str:
    """An interval on one line, and `0.00` for `-0.00`."""
    return re.sub(r"-(0\.0+)(?!\d)", r"\1", text).replace(" ", "\u00a0")


def anchor(heading: str) -> str:
    """The anchor that GitHub and the site give to a heading."""
    kept = "".join(x for x in heading.lower() if x.isalnum() or x in " -_")
    return kept.replace(" ", "-")
