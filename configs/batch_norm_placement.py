r"""Batch normalization before or after the activation?

MLP    python launch.py --config=configs/batch_norm_placement.py --workdir=runs/bn_mlp
CNN    python launch.py --config=configs/batch_norm_placement.py:model=cnn \
           --workdir=runs/bn_cnn
Smoke  the same with size=smoke
Takes  3 minutes on two CPU cores for 40 MLPs, 35 for 20 CNNs
Finds  before minus after in test accuracy, ten seeds: 0.18 [-0.34, 0.71] points in the
       MLP; -0.7 [-3.0, 1.5] in the CNN, with He's weights and one tenth for all seeds

The MLP of the source has batch norm on each of three hidden layers. As published, mean
and variance are over the whole activation tensor, and all layers share the moving ones.
Its CNN has four 3x3 convolutions with the batch norm of Keras, where there is no fault.
A tenth, the default of the CNN, is 6,000 training and 2,000 test images; all of them
are for an accelerator. Initial weights are Keras' default, as in the source's CNN; its
MLP does not say. unstated=yes judges the claims under three others besides.
"""

from ml_collections import ConfigDict

import normjax
from normjax.study.config import arguments

MODELS = {  # name -> its fields, the source's data, default size
    "mlp": ({"widths": (128, 128, 128)}, "fashion_mnist", "full"),
    "cnn": (
        {"widths": (64, 64, 64, 64), "convs_per_pool": 2, "batch_norm": "keras"},
        "mnist",
        "tenth",
    ),
}
SIZES = {  # name -> seeds, epochs, training, validation and test images; 0: all
    "full": (10, 10, 0, 10_000, 0),
    "tenth": (10, 10, 6_000, 1_000, 2_000),
    "smoke": (2, 2, 512, 200, 200),
}

INITS = ("glorot_uniform", "normal_tenth", "he_normal", "torch_default")


def get_config(text: str = "") -> ConfigDict:
    """Arguments: model=mlp|cnn, size=full|tenth|smoke, dataset=..., unstated=no|yes."""
    model, size, dataset, unstated = arguments(
        text,
        model=tuple(MODELS),
        size=("default", *SIZES),
        dataset=("published", "fashion_mnist", "mnist", "digits"),
        unstated=("no", "yes"),
    )
    fields, published, usual = MODELS[model]
    size = usual if size == "default" else size
    num_seeds, num_epochs, num_train, num_validation, num_test = SIZES[size]
    name = published if dataset == "published" else dataset
    return normjax.config(
        study="batch_norm_placement",
        question="Batch normalization before or after the activation?",
        audit="normjax.audit.claims",
        num_seeds=num_seeds,
        num_epochs=num_epochs,
        batch_size=128,
        target_accuracy={"mnist": 0.97}.get(name, 0.85),
        protocols={"as_published": {"norm": {"batch": "scalar_batch"}}}
        if model == "mlp"
        else {},
        data={
            "name": name,
            "num_train": num_train,
            "subset": "per_seed",
            "num_validation": 200 if name == "digits" else num_validation,
            "num_test": num_test,
        },
        model={"name": model, "kernel_init": "glorot_uniform", **fields},
        arms={
            "protocol": ("corrected", "as_published")
            if model == "mlp"
            else "corrected",
            "norm": ("batch",),
            "placement": ("pre", "post"),
            "kernel_init": INITS if unstated == "yes" else (),
        },
        unstated=("kernel_init",) if unstated == "yes" else (),
        baseline={"placement": "post"},
        settings={"learning_rate": (0.1,), "momentum": (0.9,)},
    )
