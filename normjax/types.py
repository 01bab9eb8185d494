"""Aliases and the tuples that cross packages. Imports nothing of normjax."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import flax.linen as nn
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree, ScalarLike, Shaped

Vector = Float[Array, " features"]
Number = float | Float[Array, "..."] | Float[np.ndarray, "..."]
Settings = dict[str, Number]  # traced numbers by name: learning_rate, ...
ScalarOrSchedule: TypeAlias = ScalarLike | optax.Schedule  # of the steps taken
Optimizer = Callable[..., optax.GradientTransformation]  # keywords are its settings
Augmentation = Callable[  # of a batch of scaled images
    [Key[Array, ""], Float[Array, "batch height width channels"]],
    Float[Array, "batch height width channels"],
]


class Split(NamedTuple):
    """Some examples of a classification set, as stored: not yet scaled."""

    inputs: Shaped[Array, " examples *shape"]  # uint8 or float32
    labels: Int[Array, " examples"]  # in [0, num_classes)


class Scaling(NamedTuple):
    """The affine map `(x - shift) * scale`, per pixel, fitted on the training split."""

    shift: Float[Array, "*shape"]
    scale: Float[Array, "*shape"]


class Data(NamedTuple):
    """All that training reads; shared by every lane, replicated over the devices."""

    train: Split  # or the pool of which each seed draws its own: Program.num_train
    validation: Split
    test: Split
    scaling: Scaling


class Network(NamedTuple):
    """A model with its variables, as it is applied to stored inputs."""

    model: nn.Module
    params: PyTree
    stats: PyTree  # mutable flax collections, {"batch_stats": ...} or {}
    scaling: Scaling
    precision: str = "float32"  # a row of precision.PRECISIONS


class Metrics(NamedTuple):
    """Means over examples."""

    loss: Float[Array, "..."]  # cross-entropy in nats, no penalty, labels not smoothed
    accuracy: Float[Array, "..."]  # fraction in [0, 1]


class TrainState(NamedTuple):
    """All that changes while one lane trains."""

    step: Int[Array, "..."]  # steps taken; stops counting when the lane diverges
    params: PyTree
    stats: PyTree  # mutable flax collections, {"batch_stats": ...} or {}
    opt_state: PyTree
    diverged_at_step: Int[Array, "..."]  # -1 while every number is finite


class EpochMetrics(NamedTuple):
    """What one lane reports after an epoch."""

    train: Metrics  # accumulated while training, parameters moving; nan once diverged
    validation: Metrics  # after the epoch, with running statistics
    test: Metrics
    probes: dict[str, Array]  # name -> measurement


class Program(NamedTuple):
    """What is compiled: hashed by value, so equal programs share one compilation."""

    model: nn.Module  # a flax dataclass
    optimizer: Optimizer  # a module-level function: hashed by identity
    batch_size: int
    steps_per_epoch: int
    penalties: tuple[str, ...] = ()  # rows of PENALTIES that are compiled in
    schedule: Callable | None = None  # of the learning rate; None: it is constant
    num_steps: int = 0  # of the whole training, for the schedule; 0 without one
    sampling: str = "permutation"  # a row of splits.SAMPLINGS
    probes: tuple[str, ...] = ()  # rows of probes.PROBES
    augmentation: Augmentation | None = None  # a module-level function, as above
    precision: str = "float32"  # a row of precision.PRECISIONS
    last_batch: int = 0  # examples of an epoch's last, smaller step; 0: there is none
    mapping: str = "vmap"  # of the lanes on a device: see training.mappings
    num_train: int = 0  # examples that each seed draws for itself; 0: all, shared
    l2_count: int = 0  # the n of the penalty l2; 0: the examples trained on
