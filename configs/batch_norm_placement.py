r"""Batch normalization before or after the activation?

Run    python launch.py --config=configs/batch_norm_placement.py --workdir=runs/bn
Smoke  the same with --config=configs/batch_norm_placement.py:size=smoke

The MLP of the source: three hidden layers, batch norm on each. As published, mean and
variance are over the whole activation tensor, and all layers share the moving ones.
"""

from ml_collections import ConfigDict

from normjax import specs


def get_config(text: str = "") -> ConfigDict:
    """Arguments: size=full|smoke, dataset=fashion_mnist|mnist|digits."""
    size, dataset = specs.arguments(
        text, size=("full", "smoke"), dataset=("fashion_mnist", "mnist", "digits")
    )
    full = size == "full"
    return specs.config(
        study="batch_norm_placement",
        question="Batch normalization before or after the activation?",
        num_seeds=10 if full else 2,
        num_epochs=10 if full else 2,
        batch_size=128,
        target_accuracy=0.85,
        faults=("scalar_moments",),
        data={
            "name": dataset,
            "num_train": 0 if full else 512,
            "num_validation": 200 if dataset == "digits" else 10_000,
        },
        model={"widths": (128, 128, 128)},
        arms={
            "protocol": ("corrected", "as_published"),
            "norm": ("batch",),
            "placement": ("pre", "post"),
        },
        baseline={"placement": "pre"},
        settings={"learning_rate": (0.1,), "momentum": (0.9,)},
    )
