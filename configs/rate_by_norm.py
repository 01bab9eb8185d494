r"""Which norm trains at which learning rate, and how deep?

Run    python launch.py --config=configs/rate_by_norm.py --workdir=runs/rate_by_norm
Smoke  the same with --config=configs/rate_by_norm.py:size=smoke
Takes  25 minutes on four busy CPU cores: 1,800 networks
Finds  batch norm trains at rates 9 [7, 11] to 37 [29, 48] times as large as no norm,
       and is hardly more accurate for it, ten seeds

A map: learning rate x norm x depth. MLPs of 2 to 16 hidden layers of 100, plain SGD
with momentum, nine rates from 0.001 to 10 that are half a decade apart, a sixth of
Fashion-MNIST that each seed draws anew.
"""

from ml_collections import ConfigDict

import normjax
from normjax.study.config import arguments

RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


def get_config(text: str = "") -> ConfigDict:
    """Arguments: size=full|smoke, dataset=fashion_mnist|mnist|digits."""
    size, dataset = arguments(
        text, size=("full", "smoke"), dataset=("fashion_mnist", "mnist", "digits")
    )
    full = size == "full"
    return normjax.config(
        study="rate_by_norm",
        question="Which norm trains at which learning rate, and how deep?",
        audit="normjax.audit.claims",
        num_seeds=10 if full else 2,
        num_epochs=5 if full else 2,
        batch_size=128,
        target_accuracy=0.8,
        data={
            "name": dataset,
            "num_train": 10_000 if full else 512,
            "num_validation": 1_000 if full else 200,
            "num_test": 2_000 if full else 200,
            "subset": "per_seed",
        },
        model={"widths": (100,)},
        arms={
            "norm": ("none", "batch", "layer", "rms", "weight"),
            "depth": (2, 4, 8, 16),
        },
        baseline={"norm": "none"},
        settings={
            "learning_rate": RATES if full else RATES[::4],
            "momentum": (0.9,),
        },
    )
