r"""Batch, layer or weight normalization: which, and why?

Run    python launch.py --config=configs/norms.py --workdir=runs/norms
CIFAR  the same with --config=configs/norms.py:dataset=cifar10
Smoke  the same with size=smoke
Takes  11 minutes on two CPU cores: 200 networks; 18 with CIFAR-10
Finds  layer norm of whole images minus batch norm, on CIFAR-10, ten seeds: 1.43
       [0.47, 2.39] points at a batch of 2, -2.57 [-3.50, -1.63] at 128, with one tenth
       for all seeds; on Fashion-MNIST neither beats batch norm

A CNN of two 3x3 convolutions with max-pooling, four norms and none, four batch sizes.
`layer` normalizes the channels of each pixel, as flax and Keras do by default;
`layer_example` all features of an image, as the paper has it. The learning rate is
proportional to the batch size (Goyal et al., 2017, arXiv:1706.02677), so that all batch
sizes move equally far in an epoch. A tenth is 6,000 training and 2,000 test images;
size=full, all of them and ten epochs, is for an accelerator.
"""

from ml_collections import ConfigDict

import normjax
from normjax.study.config import arguments

SIZES = {  # name -> seeds, epochs, training, validation and test images; 0: all
    "tenth": (10, 5, 6_000, 1_000, 2_000),
    "full": (10, 10, 0, 5_000, 0),
    "smoke": (2, 2, 512, 200, 200),
}


def get_config(text: str = "") -> ConfigDict:
    """Arguments: size=tenth|full|smoke, dataset=fashion_mnist|cifar10|digits."""
    size, dataset = arguments(
        text, size=tuple(SIZES), dataset=("fashion_mnist", "cifar10", "digits")
    )
    num_seeds, num_epochs, num_train, num_validation, num_test = SIZES[size]
    return normjax.config(
        study="norms",
        question="Batch, layer or weight normalization: which, and why?",
        audit="normjax.audit.claims",
        num_seeds=num_seeds,
        num_epochs=num_epochs,
        reference_batch_size=32,
        target_accuracy={"cifar10": 0.4}.get(dataset, 0.8),
        data={
            "name": dataset,
            "num_train": num_train,
            "subset": "per_seed",
            "num_validation": 200 if dataset == "digits" else num_validation,
            "num_test": num_test,
            "scaling": "pixelwise" if dataset == "cifar10" else "unit",
        },
        model={"name": "cnn", "widths": (16, 32)},
        arms={
            "norm": ("none", "batch", "layer", "layer_example", "weight"),
            "batch_size": (2, 8, 32, 128),
        },
        baseline={"norm": "none"},
        settings={"learning_rate": (0.005,), "momentum": (0.9,)},
    )
