"""Lanes: many networks trained by one compiled program.

A lane is a pure function of its key and its settings. Lanes are divided over the
devices and vmapped on each, so the same code fills the cores of a CPU, one GPU or a TPU
slice; or they are mapped, one after the other on each device, which suits networks that
fill a core by themselves. The host sees only what an epoch reports.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Key

from normjax.data import splits
from normjax.training import lane, probes
from normjax.types import Data, Metrics, Program, Report, Settings, TrainState

LANES = PartitionSpec("lanes")


class Keys(NamedTuple):
    """The keys of one lane, by purpose; step t of a purpose uses `fold_in(key, t)`."""

    init: Key[Array, "..."]
    order: Key[Array, "..."]
    dropout: Key[Array, "..."]


def keys_of(key: Key[Array, ""]) -> Keys:
    """One seed's keys: the same in every arm, so that arms are compared in pairs."""
    return Keys(*jax.random.split(key, 3))


def epoch(
    state: TrainState,
    rows: Int[Array, "steps batch"],
    key: Key[Array, ""],
    settings: Settings,
    data: Data,
    *,
    program: Program,
) -> tuple[TrainState, Report]:
    """Trains one lane for one epoch, then evaluates it.

    Args:
        state: of the lane.
        rows: of the training split, for each step.
        key: for dropout, the same in every epoch.
        settings: traced scalars by name.
        data: splits and scaling.
        program: what is compiled.
    """
    tx = lane.optimizer(program, settings, num_train=len(data.train.labels))

    def one_step(state, rows):
        return lane.step(
            state,
            lane.take(data.train, rows),
            jax.random.fold_in(key, state.step),
            settings,
            program=program,
            tx=tx,
            scaling=data.scaling,
        )

    state, metrics = jax.lax.scan(one_step, state, rows)
    evaluate = functools.partial(
        lane.evaluate, state, program=program, scaling=data.scaling
    )
    measured = probes.measure(state, probes.Context(program, tx, settings, data, rows))
    train = Metrics(*(jnp.nanmean(x) for x in metrics))
    return state, Report(
        train, evaluate(data.validation), evaluate(data.test), measured
    )


def mesh_for(num_lanes: int, devices: list | None = None) -> Mesh:
    """One axis over the fewest devices that share the lanes as evenly as all would."""
    devices = list(devices or jax.devices())
    lanes_each = -(-num_lanes // len(devices))
    used = np.array(devices[: -(-num_lanes // lanes_each)])
    return Mesh(used, ("lanes",), axis_types=(AxisType.Auto,))


def over_lanes(function, mesh: Mesh, num_shared: int, mapping: str = "vmap"):
    """Maps `function` over lanes on each device and divides them over the mesh.

    The last `num_shared` arguments are shared by all lanes.
    """

    def divided(*args):
        split = len(args) - num_shared
        specs = (LANES,) * split + (PartitionSpec(),) * num_shared
        return jax.shard_map(
            functools.partial(MAPPINGS[mapping], function, split),
            mesh=mesh,
            in_specs=specs,
            out_specs=LANES,
            check_vma=False,  # what is shared is replicated, nothing is reduced
        )(*args)

    return divided


def all_at_once(function, split: int, *args):
    """Vmapped over the first `split` arguments."""
    return jax.vmap(function, in_axes=(0,) * split + (None,) * (len(args) - split))(
        *args
    )


def one_by_one(function, split: int, *args):
    """Mapped over the first `split` arguments."""
    return jax.lax.map(lambda lane: function(*lane, *args[split:]), args[:split])


# Name -> (function of one lane, number of arguments with lanes, arguments).
MAPPINGS = {"map": one_by_one, "vmap": all_at_once}


@functools.partial(
    jax.jit,
    static_argnames=("model", "mesh"),
    # runs once: 0.6 instead of 3 s to compile three kernels on a CPU
    compiler_options={"xla_backend_optimization_level": 1},
)
def init_lanes(keys, init_scale, example, *, model: nn.Module, mesh: Mesh):
    """Parameters and collections; compiled once for all arms with this model."""
    one = functools.partial(lane.init, model=model)
    return over_lanes(one, mesh, 1)(keys, init_scale, example)


@functools.partial(jax.jit, static_argnames=("program", "mesh"))
def start_lanes(params, stats, settings, *, program: Program, mesh: Mesh) -> TrainState:
    """States with fresh optimizers; compiles in no time, as it draws no numbers."""
    one = functools.partial(lane.start, program=program)
    return over_lanes(one, mesh, 0)(params, stats, settings)


@functools.partial(jax.jit, static_argnames=("mesh", "num_examples", "size"))
def order_lanes(keys, number, *, num_examples: int, size: tuple, mesh: Mesh):
    """Rows of epoch `number` for each lane; compiled once for all arms of a study.

    `size` is batch size, steps and sampling. It has a program of its own because
    XLA takes half a second to compile each use of threefry on a CPU.
    """
    batch_size, num_steps, sampling = size

    def one(key, number):
        return splits.order(
            jax.random.fold_in(key, number),
            num_examples,
            batch_size=batch_size,
            num_steps=num_steps,
            sampling=sampling,
        )

    return over_lanes(one, mesh, 1)(keys, number)


@functools.partial(
    jax.jit, static_argnames=("program", "mesh"), donate_argnames=("state",)
)
def epoch_lanes(
    state, real, rows, keys, settings, data, *, program: Program, mesh: Mesh
):
    """`epoch` for every lane; the memory of `state` is reused.

    Lanes that are not `real`, the padding, do nothing where lanes are mapped: a core
    that is done early leaves its threads to the others.
    """
    train = functools.partial(epoch, program=program)

    def one(state, real, *given):
        if program.mapping == "vmap":
            return train(state, *given)
        _, blank = jax.eval_shape(train, state, *given)
        rest = lambda: (
            state,
            jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), blank),
        )
        return jax.lax.cond(real, lambda: train(state, *given), rest)

    lanes = over_lanes(one, mesh, 1, program.mapping)
    return lanes(state, real, rows, keys, settings, data)


def grid(
    keys: Key[Array, " seeds"], settings: Settings
) -> tuple[Key[Array, " lanes"], Settings]:
    """Every setting with every seed, flattened in the order `[settings, seeds]`."""
    num_seeds = len(keys)
    num_settings = len(next(iter(settings.values()), np.zeros(1)))
    lanes = {name: np.repeat(value, num_seeds) for name, value in settings.items()}
    return jnp.tile(keys, num_settings), lanes


def train(
    keys: Key[Array, " lanes"],
    settings: Settings,
    data: Data,
    *,
    program: Program,
    num_epochs: int,
    devices: list | None = None,
) -> Iterator[tuple[TrainState, Report]]:
    """Trains all lanes, and yields after each epoch: their state and their report.

    Lanes are padded with copies of the first one to a multiple of the number of
    devices; the report holds the asked ones only, as NumPy arrays `[lanes]`. The
    state is given away to the next epoch: copy what is to be kept of it.

    Args:
        keys: one per lane; equal keys mean equal kernels and equal batches.
        settings: traced scalars by name, leaves `[lanes]`.
        data: shared by all lanes; place it on the devices once with `place`.
        program: what is compiled; a second grid of settings does not compile again.
        num_epochs: how often to go over the training split.
        devices: all of them by default.
    """
    num_lanes = len(keys)
    mesh = mesh_for(num_lanes, devices)
    padding = np.zeros(-num_lanes % mesh.size, np.int32)
    padded = np.concatenate([np.arange(num_lanes, dtype=np.int32), padding])
    lanes = NamedSharding(mesh, LANES)
    real = jax.device_put(np.arange(len(padded)) < num_lanes, lanes)
    keys = jax.device_put(jax.vmap(keys_of)(keys[padded]), lanes)
    settings = {
        name: jax.device_put(np.asarray(value, np.float32)[padded], lanes)
        for name, value in settings.items()
    }
    data = place(data, mesh)
    example = splits.scaled(data.train.inputs[:1], data.scaling)
    scale = settings.get("init_scale", np.ones(len(padded), np.float32))
    params, stats = init_lanes(
        keys.init, scale, example, model=program.model, mesh=mesh
    )
    state = start_lanes(params, stats, settings, program=program, mesh=mesh)
    size = (program.batch_size, program.steps_per_epoch, program.sampling)
    for number in range(num_epochs):
        rows = order_lanes(
            keys.order,
            np.int32(number),
            num_examples=len(data.train.labels),
            size=size,
            mesh=mesh,
        )
        state, report = epoch_lanes(
            state,
            real,
            rows,
            keys.dropout,
            settings,
            data,
            program=program,
            mesh=mesh,
        )
        yield state, jax.tree.map(lambda x: np.asarray(x)[:num_lanes], report)


def place(data: Data, mesh: Mesh) -> Data:
    """The data on every device of the mesh; free if they lie there already."""
    return jax.device_put(data, NamedSharding(mesh, PartitionSpec()))
