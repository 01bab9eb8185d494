r"""Does a ResNet need batch norm?

Run    python launch.py --config=configs/resnet.py --workdir=runs/resnet
Smoke  the same with --config=configs/resnet.py:size=smoke
Takes  two and a half hours on two busy CPU cores: 100 networks
Finds  batch norm is ahead of group norm by 12.3 [9.7, 14.9] points of test accuracy, of
       layer norm by 19.6 [16.4, 22.9]; without a norm nothing is learned; ten seeds

ResNet-20 (He et al., 2016, arXiv:1512.03385) on CIFAR-10 with random flips and crops
and a cosine schedule: batch, group, layer and RMS norm, and none, each at its own
learning rate. `size=half`, which two cores can train, has half the widths and 4,000
images, drawn anew by each seed; `size=full`, as the paper has it but for the
schedule, is for an accelerator.
"""

from ml_collections import ConfigDict

import normjax
from normjax.study.config import arguments

SIZES = {  # seeds, tuning seeds, epochs, training, validation and test images; 0: all
    "half": (10, 2, 8, 4_000, 1_000, 1_000),
    "full": (10, 3, 160, 0, 5_000, 0),
    "smoke": (2, 2, 2, 512, 200, 200),
}
RATES = (0.003, 0.01, 0.03, 0.1, 0.3)


def get_config(text: str = "") -> ConfigDict:
    """Arguments: size=half|full|smoke, dataset=cifar10|digits."""
    size, dataset = arguments(text, size=tuple(SIZES), dataset=("cifar10", "digits"))
    num_seeds, tuning_seeds, num_epochs, *images = SIZES[size]
    num_train, num_validation, num_test = images
    return normjax.config(
        study="resnet",
        question="Does a ResNet need batch norm?",
        audit="normjax.audit.claims",
        num_seeds=num_seeds,
        num_epochs=num_epochs,
        batch_size=128 if size == "full" else 64,
        target_accuracy=0.5,
        schedule="cosine",
        # digits of 8 by 8 pixels are too small for a crop
        augmentation="flip" if dataset == "digits" else "flip_crop",
        tuning={"search": "grid", "num_seeds": tuning_seeds},
        data={
            "name": dataset,
            "num_train": num_train,
            "num_validation": 200 if dataset == "digits" else num_validation,
            "num_test": num_test,
            "scaling": "pixelwise",
            "subset": "per_seed",
        },
        model={
            "name": "resnet20",
            "widths": (16, 32, 64) if size == "full" else (8, 16, 32),
        },
        arms={
            "norm": ("none", "batch", "group", "layer", "rms"),
            "penalty": ("weight_decay",),
        },
        baseline={"norm": "batch"},
        settings={
            "learning_rate": RATES[2:4] if size == "smoke" else RATES,
            "momentum": (0.9,),
            # decoupled; at this momentum a kernel shrinks as by the paper's 1e-4 in
            # the loss
            "weight_decay": (1e-3,),
        },
    )
