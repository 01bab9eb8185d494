"""The networks that are timed, and how much of an epoch. Imports no framework."""

from typing import NamedTuple


class Workload(NamedTuple):
    """One network: what is trained, and how much of it is an epoch here."""

    model: str  # a row of normjax.models.MODELS
    widths: tuple[int, ...]
    norm: str  # none or batch
    optimizer: str  # sgd, adam or third_moment
    learning_rate: float
    batch_size: int
    num_examples: int  # of an epoch
    lanes: tuple[int, ...] = (10,)  # a row of the table for each
    placement: str = "pre"
    image: tuple[int, int, int] = (28, 28, 1)
    kernel_size: int = 3  # of a CNN, as the next
    convs_per_pool: int = 1

    @property
    def num_steps(self) -> int:
        """Steps of an epoch; what is left of the examples is not trained on."""
        return self.num_examples // self.batch_size


RATES = {"sgd": 0.1, "adam": 1e-3, "third_moment": 1e-3}


def mlp(norm: str, optimizer: str) -> Workload:
    """The MLP 784-128-128-10."""
    rate = RATES[optimizer]
    return Workload("mlp", (128, 128), norm, optimizer, rate, 128, 25_600)


WORKLOADS = {
    "mlp-sgd": mlp("none", "sgd"),
    "mlp-adam": mlp("none", "adam"),
    "mlp-third-moment": mlp("none", "third_moment"),
    "mlp-batch-sgd": mlp("batch", "sgd"),
    "mlp-batch-adam": mlp("batch", "adam"),
    "mlp-batch-third-moment": mlp("batch", "third_moment"),
    "cnn-5x5-sgd": Workload(
        *("cnn", (16, 32), "batch", "sgd", 0.04, 32, 3_008),
        placement="pooled",
        kernel_size=5,
    ),
    "cnn-3x3-sgd": Workload(
        *("cnn", (64,) * 4, "batch", "sgd", 0.1, 128, 512, (1, 2, 3, 4, 10)),
        convs_per_pool=2,
    ),
    "deep-mlp-adam": Workload(  # that of configs/deep_mlp.py
        *("mlp", (100,) * 5, "batch", "adam", 1e-3, 50, 5_000),
        image=(32, 32, 3),
    ),
    "resnet20-sgd": Workload(
        *("resnet20", (16, 32, 64), "batch", "sgd", 0.1, 128, 512),
        image=(32, 32, 3),
    ),
}

# Rows and examples that two cores measure in two minutes.
SHORT = {
    "mlp-sgd": WORKLOADS["mlp-sgd"]._replace(num_examples=12_800),
    "mlp-batch-adam": WORKLOADS["mlp-batch-adam"]._replace(num_examples=12_800),
    "cnn-5x5-sgd": WORKLOADS["cnn-5x5-sgd"]._replace(num_examples=1_504),
}
