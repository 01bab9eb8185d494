r"""Which optimizer is fast, robust, stable?

Run    python launch.py --config=configs/optimizers.py --workdir=runs/optimizers
MNIST  the same with --config=configs/optimizers.py:dataset=mnist
Smoke  the same with --config=configs/optimizers.py:size=smoke
Takes  10 minutes on two CPU cores: 240 networks
Finds  third moment minus Adam: 5.20 [4.13, 6.26] points of test accuracy as published,
       with memoryless peers; -0.10 [-0.26, 0.06] corrected, ten seeds
"""

from ml_collections import ConfigDict

import normjax
from normjax.study.config import arguments

BATCH_SIZES = {"fashion_mnist": 128, "mnist": 256, "digits": 128}  # the source's


def get_config(text: str = "") -> ConfigDict:
    """Arguments: size=full|smoke, dataset=fashion_mnist|mnist|digits."""
    size, dataset = arguments(text, size=("full", "smoke"), dataset=tuple(BATCH_SIZES))
    full = size == "full"
    return normjax.config(
        study="optimizers",
        question="Which optimizer is fast, robust, stable?",
        audit="normjax.audit.claims",
        num_seeds=10 if full else 2,
        seeds=(36549, 13790, 41463, 52126, 1272, 60548, 14578, 86558, 96271, 57229),
        num_epochs=10 if full else 2,
        batch_size=BATCH_SIZES[dataset],
        target_accuracy={"fashion_mnist": 0.85}.get(dataset, 0.95),
        probes=("third_moment",),
        protocols={
            "as_published": {
                "optimizer": {
                    name: f"normjax.audit.protocols.memoryless_{built}"
                    for name, built in (
                        ("sgd", "sgd"),
                        ("adam", "keras_adam"),
                        ("rmsprop", "rmsprop"),
                    )
                }
            }
        },
        data={
            "name": dataset,
            "num_train": 0 if full else 512,
            "num_validation": 200 if dataset == "digits" else 10_000,
        },
        model={"widths": (128, 128), "kernel_init": "glorot_uniform"},
        arms={
            "protocol": ("corrected", "as_published"),
            "optimizer": ("sgd", "adam", "rmsprop", "third_moment"),
            "penalty": ("none", "l2", "dropout"),
        },
        baseline={"optimizer": "adam"},
        settings={"l2": (0.7,), "dropout_rate": (0.3,)},  # the source's
    )
