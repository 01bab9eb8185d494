r"""Which of all norms is best, each at its own learning rate?

Run    python launch.py --config=configs/catalogue.py --workdir=runs/catalogue
Smoke  the same with --config=configs/catalogue.py:size=smoke
Takes  99 minutes on four busy CPU cores: 460 networks
Finds  13 of 22 norms cannot be told from batch norm, 8 are behind; no norm is behind by
       3.3 [1.9, 4.7] points of test accuracy, ten seeds

Every norm of `normjax.layers.NORMS` on one CNN of two 3x3 convolutions with max-pooling
and one data set. Each tries five learning rates on two seeds; the best on the
validation split is trained on ten other seeds. A tenth of the images, drawn anew by
each seed.
"""

from ml_collections import ConfigDict

import normjax
from normjax.study.config import arguments

SIZES = {  # name -> seeds, epochs, training, validation and test images; 0: all
    "tenth": (10, 5, 5_000, 1_000, 2_000),
    "full": (10, 30, 0, 5_000, 0),
    "smoke": (2, 2, 512, 200, 200),
}
RATES = (0.003, 0.01, 0.03, 0.1, 0.3)


def get_config(text: str = "") -> ConfigDict:
    """Arguments: size=tenth|full|smoke, dataset=cifar10|fashion_mnist|digits."""
    size, dataset = arguments(
        text, size=tuple(SIZES), dataset=("cifar10", "fashion_mnist", "digits")
    )
    num_seeds, num_epochs, num_train, num_validation, num_test = SIZES[size]
    return normjax.config(
        study="catalogue",
        question="Which of all norms is best, each at its own learning rate?",
        audit="normjax.audit.claims",
        num_seeds=num_seeds,
        num_epochs=num_epochs,
        batch_size=64,
        target_accuracy=0.4,
        tuning={"search": "grid", "num_seeds": 2},
        data={
            "name": dataset,
            "num_train": num_train,
            "num_validation": 200 if dataset == "digits" else num_validation,
            "num_test": num_test,
            "scaling": "pixelwise",
            "subset": "per_seed",
        },
        model={"name": "cnn", "widths": (16, 32)},
        arms={"norm": tuple(normjax.layers.NORMS)},
        baseline={"norm": "batch"},
        settings={
            "learning_rate": RATES[::4] if size == "smoke" else RATES,
            "momentum": (0.9,),
        },
    )
