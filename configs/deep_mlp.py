r"""Does batch normalization let a deep MLP train faster?

Run    python launch.py --config=configs/deep_mlp.py --workdir=runs/deep_mlp
Smoke  the same with --config=configs/deep_mlp.py:size=smoke
Takes  20 seconds on two CPU cores: 20 networks
Finds  it does: 23.3 [19.4, 27.2] points of training accuracy, ten epochs, ten seeds

Five hidden layers of 100 on 1,000 images of CIFAR-10, whose pixels stay on 0 to 255
with the mean training image subtracted; kernels N(0, 0.02^2), Adam.
"""

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
        study="deep_mlp",
        question="Does batch normalization let a deep MLP train faster?",
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
        model={"widths": (100,) * 5, "kernel_init": "normal"},
        arms={"norm": ("none", "batch"), "optimizer": ("adam",)},
        baseline={"norm": "none"},
        settings={"learning_rate": (1e-3,), "init_scale": (0.02,)},
    )
