r"""Which optimizer is fast, robust, stable?

Run    python launch.py --config=configs/optimizers.py --workdir=runs/optimizers
MNIST  the same with --config=configs/optimizers.py:dataset=mnist
Smoke  the same with --config=configs/optimizers.py:size=smoke
Takes  10 minutes on two CPU cores: 240 networks
Finds  third moment minus Adam: 4.67 [3.94, 5.40] points of test accuracy as published,
       with memoryless peers; 0.00 [-0.16, 0.15] corrected, ten seeds

Where the source says nothing, unstated=yes judges each claim under other readings too,
one choice changed at a time: weights of Glorot (Keras' default, and ours), N(0, 0.1^2)
and torch's; the source's shuffle buffer of 25; and a penalty lambda / (2 batch size),
as if each batch were the data. All combinations would be 480 arms; so they are 120,
of which 91 differ. He's weights are left out, for the source did so;
--config.arms.reading=ours,he_normal has them. Keras' penalty, lambda times the sum, is
no reading: lambda is 0.7, and all networks end at chance.
"""

from ml_collections import ConfigDict

import normjax
from normjax.study.config import arguments

READINGS = {  # of what the source leaves open: factor -> ours -> what it is instead
    **{
        init: {"kernel_init": {"glorot_uniform": init}}
        for init in ("normal_tenth", "torch_default", "he_normal")
    },
    "shuffle_buffer_25": {"sampling": {"permutation": "shuffle_buffer_25"}},
    "l2_batch": {"penalty": {"l2": "l2_batch"}},
}
VARIED = {
    # the source tried He's weights and left them out
    "reading": ("ours", *(name for name in READINGS if name != "he_normal")),
    "kernel_init": ("glorot_uniform",),
    "sampling": ("permutation",),
}
BATCH_SIZES = {"fashion_mnist": 128, "mnist": 256, "digits": 128}  # the source's


def get_config(text: str = "") -> ConfigDict:
    """Arguments: size=full|smoke, dataset=fashion_mnist|mnist|..., unstated=no|yes."""
    size, dataset, unstated = arguments(
        text,
        size=("full", "smoke"),
        dataset=tuple(BATCH_SIZES),
        unstated=("no", "yes"),
    )
    readings = {"readings": READINGS} if unstated == "yes" else {}
    varied = VARIED if unstated == "yes" else {}
    full = size == "full"
    return normjax.config(
        study="optimizers",
        question="Which optimizer is fast, robust, stable?",
        audit="normjax.audit.claims",
        num_seeds=10 if full else 2,
        seeds=(36549, 13790, 41463, 52126, 1272, 60548, 14578, 86558, 96271, 57229),
        num_epochs=10 if full else 2,
        batch_size=BATCH_SIZES[dataset],
        target_accuracy={"fashion_mnist": 0.85}.get(dataset, 0.95),
        probes=("third_moment",),
        protocols={
            "as_published": {
                "optimizer": {
                    name: f"normjax.audit.protocols.memoryless_{built}"
                    for name, built in (
                        ("sgd", "sgd"),
                        ("adam", "keras_adam"),
                        ("rmsprop", "rmsprop"),
                    )
                }
            }
        },
        **readings,
        unstated=tuple(readings and ("reading",)),
        data={
            "name": dataset,
            "num_train": 0 if full else 512,
            "num_validation": 200 if dataset == "digits" else 10_000,
        },
        model={"widths": (128, 128), "kernel_init": "glorot_uniform"},
        arms={
            "protocol": ("corrected", "as_published"),
            "optimizer": ("sgd", "adam", "rmsprop", "third_moment"),
            "penalty": ("none", "l2", "dropout"),
            **varied,
        },
        baseline={"optimizer": "adam"},
        settings={"l2": (0.7,), "dropout_rate": (0.3,)},  # the source's
    )
