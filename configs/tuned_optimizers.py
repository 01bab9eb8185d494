r"""Which optimizer is best if each has its own best learning rate and schedule?

Run    python launch.py --config=configs/tuned_optimizers.py --workdir=runs/tuned
MNIST  the same with --config=configs/tuned_optimizers.py:dataset=mnist
Smoke  the same with size=smoke
Takes  45 minutes on four busy CPU cores: 416 networks
Finds  all eight within 1.3 points, Muon best; third moment minus Adam, ten seeds:
       -0.06 [-0.16, 0.03]

The MLP and the data of configs/optimizers.py, whose optimizers are compared at one
learning rate each, as its source has them. Here every optimizer tries seven rates, half
a decade apart, under a constant rate and under a cosine, on three seeds; what is best
on the validation split is trained on ten other seeds, and those are compared.
"""

from ml_collections import ConfigDict

import normjax
from normjax.study.config import arguments

BATCH_SIZES = {"fashion_mnist": 128, "mnist": 256, "digits": 128}  # the source's
LARGEST = {  # of the seven learning rates of an optimizer
    "sgd": 3.0,
    "nesterov": 3.0,
    "adam": 0.1,
    "rmsprop": 0.1,
    "third_moment": 0.1,
    "adamw": 0.1,
    "lion": 0.01,
    "muon": 0.1,
}


def get_config(text: str = "") -> ConfigDict:
    """Arguments: size=full|smoke, dataset=fashion_mnist|mnist|digits."""
    size, dataset = arguments(text, size=("full", "smoke"), dataset=tuple(BATCH_SIZES))
    full = size == "full"
    factors = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0) if full else (0.01, 0.1)
    rates = {
        name: {"learning_rate": tuple(largest * factor for factor in factors)}
        for name, largest in LARGEST.items()
    }
    return normjax.config(
        study="tuned_optimizers",
        question="Which optimizer is best at its own best rate and schedule?",
        audit="normjax.audit.claims",
        num_seeds=10 if full else 2,
        num_epochs=10 if full else 2,
        batch_size=BATCH_SIZES[dataset],
        target_accuracy={"fashion_mnist": 0.85}.get(dataset, 0.95),
        tuning={
            "search": "grid",
            "num_seeds": 3 if full else 2,
            "choose": ("schedule",),
        },
        data={
            "name": dataset,
            "num_train": 0 if full else 512,
            "num_validation": 200 if dataset == "digits" else 10_000,
        },
        model={"widths": (128, 128), "kernel_init": "glorot_uniform"},
        arms={"optimizer": tuple(LARGEST), "schedule": ("constant", "cosine")},
        baseline={"optimizer": "adam"},
        settings_for={"optimizer": rates},
    )
