"""Lanes: many networks trained by one compiled program.

A lane is a pure function of its key and its settings. Lanes are divided over the
devices and vmapped on each, so the same code fills the cores of a CPU, one GPU or a TPU
slice; or they are mapped, one after the other or in bundles on each device, which suits
networks that fill a core by themselves, or one after the other on all devices, where
they are few. The host sees only what an epoch reports.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Int, Key, PyTree

from normjax.data import splits
from normjax.training import lane, last_batch
from normjax.training.devices import LANES, divide, divide_batches, mesh_of, place
from normjax.training.epoch import StepKeys, epoch
from normjax.training.mappings import DATA_PARALLEL, bundle_size, map_lanes
from normjax.types import (
    Data,
    EpochMetrics,
    Program,
    Scaling,
    Settings,
    TrainState,
)

# folded into a lane's key; 0 to 2 would be its `Keys`, as threefry splits by folding
SUBSET = 1_000


class Keys(NamedTuple):
    """The keys of one lane, by purpose."""

    init: Key[Array, "..."]  # used once, for the kernels
    order: Key[Array, "..."]  # of the examples: epoch n uses fold_in(key, n)
    dropout: Key[Array, "..."]  # step t uses fold_in(key, t)
    augmentation: Key[Array, "..."]  # the same


def keys_of(key: Key[Array, ""]) -> Keys:
    """Keys of one seed: the same in every arm, so that arms are compared in pairs."""
    init, order, dropout = jax.random.split(key, 3)
    return Keys(init, order, dropout, augmentation=jax.random.fold_in(key, 3))


@jax.jit
def keys_at(
    keys: Key[Array, " seeds"], places: Int[Array, " lanes"]
) -> Key[Array, " lanes"]:
    """`keys[places]` as one program, where jax has six."""
    return keys[places]


@jax.jit
def padded_keys(
    keys: Key[Array, " lanes"], places: Int[Array, " padded"]
) -> tuple[Key[Array, " padded"], Keys]:
    """`keys[places]`, and what `keys_of` makes of each."""
    own = keys_at(keys, places)
    return own, jax.vmap(keys_of)(own)


def step_keys(keys: Keys, program: Program) -> StepKeys:
    """Nothing is drawn, nor passed to the program, where nothing is augmented."""
    augmented = program.augmentation is not None
    return StepKeys(keys.dropout, keys.augmentation if augmented else None)


def subset_key(key: Key[Array, ""]) -> Key[Array, ""]:
    """The key by which a seed draws its own examples: none of `keys_of`."""
    return jax.random.fold_in(key, SUBSET)


@jax.jit
def first_input(inputs, scaling: Scaling) -> Array:
    """The first example as a model gets it, `[1, *shape]`."""
    return splits.scale_inputs(inputs[:1], scaling)


def _vmapped(function: Callable, mesh: Mesh, in_axes: tuple) -> Callable:
    """`function` of one lane as one of all lanes, divided over the mesh evenly."""
    return divide(jax.vmap(function, in_axes), mesh, in_axes)


@functools.partial(
    jax.jit,
    static_argnames=("model", "mesh"),
    # runs once: 0.6 instead of 3 s to compile three kernels on a CPU
    compiler_options={"xla_backend_optimization_level": 1},
)
def init_lanes(keys, init_scale, example, *, model: nn.Module, mesh: Mesh) -> PyTree:
    """Parameters and collections; compiled once for all arms with this model."""
    one = functools.partial(lane.init, model=model)
    return _vmapped(one, mesh, (0, 0, None))(keys, init_scale, example)


@functools.partial(jax.jit, static_argnames=("program", "num_train", "mesh"))
def start_lanes(
    params, stats, settings, *, program: Program, num_train: int, mesh: Mesh
) -> TrainState:
    """States with fresh optimizers; compiles in no time, as it draws no numbers."""

    def one(params, stats, settings):
        tx = lane.optimizer(program, settings, num_train=num_train)
        return lane.start(params, stats, tx)

    return _vmapped(one, mesh, (0, 0, 0))(params, stats, settings)


@functools.partial(jax.jit, static_argnames=("mesh", "num_examples", "size"))
def order_lanes(keys, number, *, num_examples: int, size: tuple, mesh: Mesh) -> Array:
    """Rows `[lanes, steps, batch]` of epoch `number`; compiled once for all arms.

    `size` is batch size, steps and sampling. It has a program of its own because
    XLA takes half a second to compile each use of threefry on a CPU.
    """
    sizes = dict(zip(("batch_size", "num_steps", "sampling"), size))

    def one(key, number):
        return splits.order(jax.random.fold_in(key, number), num_examples, **sizes)

    return _vmapped(one, mesh, (0, None))(keys, number)


@functools.partial(jax.jit, static_argnames=("mesh", "num_examples", "num_train"))
def subset_lanes(keys, *, num_examples: int, num_train: int, mesh: Mesh) -> Array:
    """Rows `[lanes, num_train]` of each lane's own examples, by the keys of lanes."""

    def one(key):
        return splits.own_rows(subset_key(key), num_examples, num_train)

    return _vmapped(one, mesh, (0,))(keys)


@functools.partial(jax.jit, static_argnames=("program", "mesh"))
def epoch_lanes(
    state,
    real,
    rows,
    keys,
    settings,
    data,
    subset=None,
    *,
    program: Program,
    mesh: Mesh,
) -> tuple[TrainState, EpochMetrics]:
    """`epoch` for every lane; those that are not `real` are the padding.

    `state` is not donated, so every state that was returned stays valid. That costs a
    copy of it per epoch and the memory of a second state while one runs: 14 MB for ten
    lanes of the MLP 784-128-128-10 under Adam.
    """
    one, in_axes = functools.partial(epoch, program=program), (0, 0, 0, 0, None, 0)
    lanes = map_lanes(one, in_axes, program.mapping)
    whole = program.mapping == DATA_PARALLEL
    run = divide_batches(lanes, mesh) if whole else divide(lanes, mesh, (0, *in_axes))
    return run(real, state, rows, keys, settings, data, subset)


def train(
    keys: Key[Array, " lanes"],
    settings: Settings,
    data: Data,
    *,
    program: Program,
    num_epochs: int,
    first_epoch: int = 0,
    leaves: Sequence[np.ndarray] | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Iterator[tuple[TrainState, EpochMetrics]]:
    """Trains all lanes, and yields after each epoch: their state and their report.

    Lanes are padded with copies of the first one to a multiple of the number of
    devices, and of the lanes of a bundle where they are mapped in bundles. The state
    holds the padding too, the report only the lanes that were asked for, as NumPy
    arrays `[lanes]`. What was yielded stays valid.

    Args:
        keys: one per lane; equal keys mean equal kernels and equal batches.
        settings: traced scalars by name, leaves `[lanes]`.
        data: shared by all lanes; `place` it once to train several arms on it.
        program: what is compiled; a second grid of settings does not compile again.
        num_epochs: how often to go over the training split.
        first_epoch: how many of these epochs are done already.
        leaves: those of the state after them, `[lanes, ...]`; None starts anew.
        devices: all of them by default.
    """
    num_lanes, num_train = len(keys), lane.num_train(program, data)
    mesh = mesh_of(program, num_lanes, devices)
    width = mesh.shape["lanes"] * max(1, bundle_size(program.mapping))
    padding = -num_lanes % width
    padded = np.pad(np.arange(num_lanes, dtype=np.int32), (0, padding))
    given, own = padded_keys(keys, padded)
    real, own, traced = jax.device_put(
        (
            np.arange(len(padded)) < num_lanes,
            own,
            {k: np.asarray(x, np.float32)[padded] for k, x in settings.items()},
        ),
        NamedSharding(mesh, LANES),
    )
    data = place(data, mesh)
    compiled: dict[str, Any] = {"program": program, "mesh": mesh}
    state = _begun(own.init, traced, data, **compiled)
    if leaves is not None:
        now = jax.device_put([x[padded] for x in leaves], NamedSharding(mesh, LANES))
        state = jax.tree.unflatten(jax.tree.structure(state), now)
    subset = _subsets(given, data, **compiled) if program.num_train else None
    steps = last_batch.order_size(program)
    for number in range(first_epoch, num_epochs):
        rows = order_lanes(
            own.order, np.int32(number), num_examples=num_train, size=steps, mesh=mesh
        )
        now = state, real, rows, step_keys(own, program), traced, data
        state, report = epoch_lanes(*now, subset=subset, **compiled)
        yield state, jax.tree.map(lambda x: np.asarray(x)[:num_lanes], report)


def _begun(
    keys: Array, settings: Settings, data: Data, *, program: Program, mesh: Mesh
) -> TrainState:
    """The states of lanes before any training, by their keys of initial kernels."""
    scale = settings.get("init_scale", np.ones(len(keys), np.float32))
    example = first_input(data.train.inputs, data.scaling)
    network = init_lanes(keys, scale, example, model=program.model, mesh=mesh)
    num_train = lane.num_train(program, data)
    return start_lanes(
        *network, settings, num_train=num_train, program=program, mesh=mesh
    )


def _subsets(keys: Array, data: Data, *, program: Program, mesh: Mesh) -> Array:
    """The rows of each lane's own examples."""
    pool = {"num_examples": len(data.train.labels), "num_train": program.num_train}
    own_keys = jax.device_put(keys, NamedSharding(mesh, LANES))
    return subset_lanes(own_keys, **pool, mesh=mesh)


def forget_programs() -> None:
    """Frees the compiled programs of all arms: about 11 MB each on a CPU."""
    for compiled in (start_lanes, epoch_lanes):
        compiled.clear_cache()  # type: ignore[attr-defined]
