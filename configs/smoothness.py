r"""Does batch normalization make the loss smoother?

Run    python launch.py --config=configs/smoothness.py --workdir=runs/smoothness
Smoke  the same with --config=configs/smoothness.py:size=smoke
Takes  13 minutes on two CPU cores: 20 networks
Finds  it does: the local smoothness is lower by 4.20 [3.76, 4.63], two fifths, ten
       seeds; so it is with three other initial weights, five seeds

The ConvNet of the source on a random tenth of Fashion-MNIST, batch norm after each
max-pool, plain SGD with batches drawn with replacement. After each pass the local
smoothness `||grad f(w + u) - grad f(w)|| / ||u||`, u a step of gradient descent; the
source's own formula for the norm is a second measure of the same run. Initial weights
are those of torch.nn, which the source used; unstated=yes has three others besides.
"""

from ml_collections import ConfigDict

import normjax
from normjax.study.config import arguments

INITS = ("torch_default", "glorot_uniform", "he_normal", "normal_tenth")


def get_config(text: str = "") -> ConfigDict:
    """Arguments: size=full|smoke, dataset=fashion_mnist|mnist|..., unstated=no|yes."""
    size, dataset, unstated = arguments(
        text,
        size=("full", "smoke"),
        dataset=("fashion_mnist", "mnist", "digits"),
        unstated=("no", "yes"),
    )
    full = size == "full"
    return normjax.config(
        study="smoothness",
        question="Does batch normalization make the loss smoother?",
        audit="normjax.audit.claims",
        num_seeds=10 if full else 2,
        num_epochs=10 if full else 2,
        batch_size=32,
        sampling="replacement",
        target_accuracy=0.85,
        probes=("smoothness", "train_split"),
        data={
            "name": dataset,
            "num_train": 6_000 if full else 512,
            "num_validation": 1_000 if full else 200,
            "num_test": 0 if full else 200,
            "subset": "per_seed",
            "scaling": "pixelwise",
        },
        model={
            "name": "cnn",
            "widths": (16, 32),
            "kernel_size": 5,
            "kernel_init": "torch_default",  # the source has torch.nn's layers
        },
        arms={
            "norm": ("none", "batch"),
            "placement": ("pooled",),
            "kernel_init": INITS if unstated == "yes" else (),
        },
        unstated=("kernel_init",) if unstated == "yes" else (),
        baseline={"norm": "none"},
        settings={"learning_rate": (0.04,), "momentum": (0.0,)},
    )
