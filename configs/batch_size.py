r"""Which norm holds its accuracy at small batches?

Run    python launch.py --config=configs/batch_size.py --workdir=runs/batch_size
Smoke  the same with --config=configs/batch_size.py:size=smoke
Takes  three and a half hours on two busy CPU cores with five seeds: 850 networks
Finds  a batch of 2 costs batch norm 1.8 [0.3, 3.4] points of test accuracy and group
       norm nothing, but this is not ahead there: -0.5 [-1.6, 0.5]; five seeds

The norms that train by statistics of the batch, two that do not, and none, on a CNN of
two 3x3 convolutions and a tenth of CIFAR-10 that each seed draws anew. Batches of 2 to
512, with a warm-up and a cosine. Each arm chooses one of six learning rates on two
other seeds; they are in proportion to the batch size (Goyal et al., 2017,
arXiv:1706.02677), and a single one suits no norm at 512. Each network is tested twice:
with its moving averages, and with the moments of its inputs over all training images
(precise statistics, Wu and Johnson, 2021, arXiv:2105.07576). A tenth is for a CPU;
size=full, all images, is for an accelerator.
"""

from ml_collections import ConfigDict

import normjax
from normjax.study.config import arguments

SIZES = {  # name -> seeds, epochs, training, validation and test images; 0: all
    "tenth": (10, 5, 5_000, 1_000, 2_000),
    "full": (10, 30, 0, 5_000, 0),
    "smoke": (2, 2, 512, 200, 200),
}
RATES = (0.00125, 0.0025, 0.005, 0.01, 0.02, 0.04)  # for a batch of 32


def get_config(text: str = "") -> ConfigDict:
    """Arguments: size=tenth|full|smoke, dataset=cifar10|fashion_mnist|digits."""
    size, dataset = arguments(
        text, size=tuple(SIZES), dataset=("cifar10", "fashion_mnist", "digits")
    )
    num_seeds, num_epochs, num_train, num_validation, num_test = SIZES[size]
    return normjax.config(
        study="batch_size",
        question="Which norm holds its accuracy at small batches?",
        audit="normjax.audit.claims",
        num_seeds=num_seeds,
        num_epochs=num_epochs,
        reference_batch_size=32,
        schedule="warmup_cosine",
        tuning={"search": "grid", "num_seeds": 2},
        target_accuracy=0.4,
        probes=("precise",),
        data={
            "name": dataset,
            "num_train": num_train,
            "num_validation": 200 if dataset == "digits" else num_validation,
            "num_test": num_test,
            "scaling": "pixelwise",
            "subset": "per_seed",
        },
        model={"name": "cnn", "widths": (16, 32)},
        arms={
            "norm": (
                *("none", "batch", "batch_renorm", "ghost", "power", "online"),
                *("switchable", "evonorm_b0", "group", "layer"),
            ),
            "batch_size": (2, 8, 32, 128, 512),
        },
        baseline={"norm": "batch"},
        settings={
            "learning_rate": RATES[::3] if size == "smoke" else RATES,
            "momentum": (0.9,),
            "warmup_fraction": (0.2,),
        },
    )
