r"""Does batch normalization remove the dependence on the initial scale?

Run    python launch.py --config=configs/init_scale.py --workdir=runs/init_scale
Smoke  the same with --config=configs/init_scale.py:size=smoke
Takes  2 to 4 minutes on two CPU cores: 400 networks
Finds  most of it, not all: with batch norm the last train loss still ranges over 1.66
       [1.55, 1.77] nats, ten seeds

Seven hidden layers of 50 on 1,000 images of CIFAR-10, kernels N(0, scale^2) for twenty
scales from 1e-4 to 1. The scale is traced: an arm's scales x seeds are one call.
"""

import numpy as np
from ml_collections import ConfigDict

import normjax
from normjax.study.config import arguments


def get_config(text: str = "") -> ConfigDict:
    """Arguments: size=full|smoke, dataset=cifar10|digits."""
    size, dataset = arguments(
        text, size=("full", "smoke"), dataset=("cifar10", "digits")
    )
    full = size == "full"
    return normjax.config(
        study="init_scale",
        question="Does batch normalization remove the dependence on the initial scale?",
        audit="normjax.audit.claims",
        num_seeds=10 if full else 2,
        num_epochs=10 if full else 2,
        batch_size=50,
        target_accuracy=0.3,
        probes=("train_split",),  # the source's training accuracy is in evaluation mode
        data={
            "name": dataset,
            "num_train": 1_000,
            "subset": "per_seed",
            "num_validation": 200 if dataset == "digits" else 1_000,
            "scaling": "mean_image",
        },
        model={"widths": (50,) * 7, "kernel_init": "normal"},
        arms={"norm": ("none", "batch"), "optimizer": ("adam",)},
        baseline={"norm": "none"},
        settings={
            "learning_rate": (1e-3,),
            "init_scale": tuple(np.logspace(-4, 0, 20 if full else 3).tolist()),
        },
    )
