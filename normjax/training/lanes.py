"""Lanes: many networks trained by one compiled program.

A lane is a pure function of its key and its settings. Lanes are divided over the
devices and vmapped on each, so the same code fills the cores of a CPU, one GPU or a TPU
slice; or they are mapped, one after the other on each device, which suits networks that
fill a core by themselves. The host sees only what an epoch reports.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Bool, Int, Key, PyTree

from normjax.data import splits
from normjax.training import lane, last_batch, probes
from normjax.training.devices import LANES, divide, mesh_for, place
from normjax.types import Data, EpochMetrics, Metrics, Program, Settings, TrainState

# folded into a lane's key; 0 to 2 would be its `Keys`, as threefry splits by folding
SUBSET = 1_000


class Keys(NamedTuple):
    """The keys of one lane, by purpose."""

    init: Key[Array, "..."]  # used once, for the kernels
    order: Key[Array, "..."]  # of the examples: epoch n uses fold_in(key, n)
    dropout: Key[Array, "..."]  # step t uses fold_in(key, t)
    augmentation: Key[Array, "..."]  # the same


class StepKeys(NamedTuple):
    """Those that the steps of a program use."""

    dropout: Key[Array, "..."]
    augmentation: Key[Array, "..."] | None


def keys_of(key: Key[Array, ""]) -> Keys:
    """Keys of one seed: the same in every arm, so that arms are compared in pairs."""
    init, order, dropout = jax.random.split(key, 3)
    return Keys(init, order, dropout, augmentation=jax.random.fold_in(key, 3))


def step_keys(keys: Keys, program: Program) -> StepKeys:
    """Nothing is drawn, nor passed to the program, where nothing is augmented."""
    augmented = program.augmentation is not None
    return StepKeys(keys.dropout, keys.augmentation if augmented else None)


def subset_key(key: Key[Array, ""]) -> Key[Array, ""]:
    """The key by which a seed draws its own examples: none of `keys_of`."""
    return jax.random.fold_in(key, SUBSET)


def epoch(
    state: TrainState,
    rows: Int[Array, "steps batch"],
    keys: StepKeys,
    settings: Settings,
    data: Data,
    subset: Int[Array, " examples"] | None = None,
    *,
    program: Program,
) -> tuple[TrainState, EpochMetrics]:
    """Trains one lane for one epoch, then evaluates it.

    `rows` are those of the training split that each step takes, or `[examples, 1]` if
    the program has a smaller last batch; `keys` are the same in every epoch. `subset`
    are the lane's own rows of `data.train`, which are its training split: a copy of
    these examples, of one lane at a time where lanes are mapped and of all lanes where
    they are vmapped.
    """
    if subset is not None:
        data = data._replace(train=lane.take(data.train, subset))
    tx = lane.optimizer(program, settings, num_train=len(data.train.labels))
    fixed: dict[str, Any] = {"program": program, "scaling": data.scaling}

    def one_step(state, rows):
        batch = lane.take(data.train, rows)
        now = jax.tree.map(lambda key: jax.random.fold_in(key, state.step), keys)
        drawn: dict[str, Any] = {"augmentation_key": now.augmentation, "tx": tx}
        return lane.step(state, batch, now.dropout, settings, **drawn, **fixed)

    if program.last_batch:
        rows, last = last_batch.divide_rows(rows, program)
    state, metrics = jax.lax.scan(one_step, state, rows)
    train = Metrics(*(jnp.nanmean(x) for x in metrics))
    if program.last_batch:
        state, others = one_step(state, last)
        sizes = program.batch_size, program.last_batch
        train = Metrics(
            *(last_batch.mean_with(*x, sizes) for x in zip(metrics, others))
        )
    context = probes.Context(program, tx, settings, data, rows)
    return state, EpochMetrics(
        train=train,
        validation=lane.evaluate(state, data.validation, **fixed),
        test=lane.evaluate(state, data.test, **fixed),
        probes=probes.measure_all(state, context),
    )


def epoch_unless_padding(
    real: Bool[Array, ""], state: TrainState, *args, program: Program
) -> tuple[TrainState, EpochMetrics]:
    """`epoch` of a lane that is real; where lanes are mapped, the others do nothing.

    Then a core that is done early leaves its threads to the others. If lanes are
    vmapped both branches would be computed, so there the padding trains too.
    """
    train = functools.partial(epoch, program=program)
    if program.mapping == "vmap":
        return train(state, *args)
    _, report = jax.eval_shape(train, state, *args)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), report)
    return jax.lax.cond(real, train, lambda state, *_: (state, zeros), state, *args)


@functools.partial(
    jax.jit,
    static_argnames=("model", "mesh"),
    # runs once: 0.6 instead of 3 s to compile three kernels on a CPU
    compiler_options={"xla_backend_optimization_level": 1},
)
def init_lanes(keys, init_scale, example, *, model: nn.Module, mesh: Mesh) -> PyTree:
    """Parameters and collections; compiled once for all arms with this model."""
    one = functools.partial(lane.init, model=model)
    return divide(one, mesh, (0, 0, None))(keys, init_scale, example)


@functools.partial(jax.jit, static_argnames=("program", "num_train", "mesh"))
def start_lanes(
    params, stats, settings, *, program: Program, num_train: int, mesh: Mesh
) -> TrainState:
    """States with fresh optimizers; compiles in no time, as it draws no numbers."""

    def one(params, stats, settings):
        tx = lane.optimizer(program, settings, num_train=num_train)
        return lane.start(params, stats, tx)

    return divide(one, mesh, (0, 0, 0))(params, stats, settings)


@functools.partial(jax.jit, static_argnames=("mesh", "num_examples", "size"))
def order_lanes(keys, number, *, num_examples: int, size: tuple, mesh: Mesh) -> Array:
    """Rows `[lanes, steps, batch]` of epoch `number`; compiled once for all arms.

    `size` is batch size, steps and sampling. It has a program of its own because
    XLA takes half a second to compile each use of threefry on a CPU.
    """
    sizes = dict(zip(("batch_size", "num_steps", "sampling"), size))

    def one(key, number):
        return splits.order(jax.random.fold_in(key, number), num_examples, **sizes)

    return divide(one, mesh, (0, None))(keys, number)


@functools.partial(jax.jit, static_argnames=("mesh", "num_examples", "num_train"))
def subset_lanes(keys, *, num_examples: int, num_train: int, mesh: Mesh) -> Array:
    """Rows `[lanes, num_train]` of each lane's own examples, by the keys of lanes."""

    def one(key):
        return splits.own_rows(subset_key(key), num_examples, num_train)

    return divide(one, mesh, (0,))(keys)


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
    one = functools.partial(epoch_unless_padding, program=program)
    lanes = divide(one, mesh, (0, 0, 0, 0, 0, None, 0), program.mapping)
    return lanes(real, state, rows, keys, settings, data, subset)


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
    devices. The state holds the padding too, the report only the lanes that were
    asked for, as NumPy arrays `[lanes]`. What was yielded stays valid.

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
    mesh = mesh_for(num_lanes, devices)
    padded = np.pad(np.arange(num_lanes, dtype=np.int32), (0, -num_lanes % mesh.size))
    real, own, traced = jax.device_put(
        (
            np.arange(len(padded)) < num_lanes,
            jax.vmap(keys_of)(keys[padded]),
            {k: np.asarray(x, np.float32)[padded] for k, x in settings.items()},
        ),
        NamedSharding(mesh, LANES),
    )
    data = place(data, mesh)
    example = splits.scale_inputs(data.train.inputs[:1], data.scaling)
    scale = traced.get("init_scale", jnp.ones(len(padded), jnp.float32))
    network = init_lanes(own.init, scale, example, model=program.model, mesh=mesh)
    compiled = {"program": program, "mesh": mesh}
    state = start_lanes(*network, traced, num_train=num_train, **compiled)
    if leaves is not None:
        now = jax.device_put([x[padded] for x in leaves], NamedSharding(mesh, LANES))
        state = jax.tree.unflatten(jax.tree.structure(state), now)
    subset = None
    if program.num_train:
        pool = {"num_examples": len(data.train.labels), "num_train": num_train}
        own_keys = jax.device_put(keys[padded], NamedSharding(mesh, LANES))
        subset = subset_lanes(own_keys, **pool, mesh=mesh)
    size = last_batch.order_size(program)
    for number in range(first_epoch, num_epochs):
        rows = order_lanes(
            own.order, np.int32(number), num_examples=num_train, size=size, mesh=mesh
        )
        state, report = epoch_lanes(
            *(state, real, rows, step_keys(own, program), traced, data),
            subset=subset,
            **compiled,
        )
        yield state, jax.tree.map(lambda x: np.asarray(x)[:num_lanes], report)


def forget_programs() -> None:
    """Frees the compiled programs of all arms: about 11 MB each on a CPU."""
    for compiled in (start_lanes, epoch_lanes):
        compiled.clear_cache()  # type: ignore[attr-defined]
