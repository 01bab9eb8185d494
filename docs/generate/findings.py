"""What was found: a sentence for each question, and where its number stands."""

from typing import NamedTuple


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
