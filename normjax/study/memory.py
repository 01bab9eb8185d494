"""How many lanes fit into the memory of the devices: an estimate, before compiling."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params

from normjax import data_parallel
from normjax.data import room
from normjax.data.augmentation import augment
from normjax.errors import InputError
from normjax.own_model import OwnModel, inner
from normjax.study.plan import Arm
from normjax.training import lane, precision
from normjax.training.devices import free_bytes, mesh_of
from normjax.training.mappings import DATA_PARALLEL, bundle_size
from normjax.types import Data, Program, TrainState

MOST_LANES = 1_000  # of a group: more are no faster, and a group is one file
USABLE = 0.5  # of what is free: XLA's buffers and the host's copies take the rest


class Needs(NamedTuple):
    """Bytes that a lane takes."""

    kept: int  # all the time: its state before and after an epoch
    working: int  # while it trains: gradients and activations


def lanes_per_group(arm: Arm, data: Data, number: int) -> int:
    """How many of `number` lanes to train together: equal groups that fit."""
    return equal_parts(number, lanes_that_fit(arm, data)) if number else 1


def equal_parts(number: int, most: int) -> int:
    """The size of the fewest equal parts of which none is larger than `most`."""
    return math.ceil(number / max(1, math.ceil(number / most)))


def check_fits(arm: Arm, data: Data) -> None:
    """Refuses an arm whose state and gradient are more than is free.

    Raises:
        InputError: one network takes more than there is memory.
    """
    needed, available = least_needed(arm, data), free_bytes()
    if needed > available:
        model = arm.program.model
        own = isinstance(model, OwnModel)
        name = type(inner(model.module) if own else model).__name__
        rule = "must fit into memory: to train one network takes at least"
        rule += f" {room.text(needed)}, of which {room.text(available)} are free"
        raise InputError("model", name, rule, "take fewer or smaller layers")


def least_needed(arm: Arm, data: Data) -> int:
    """What one lane takes at least: its state and a gradient."""
    state = lane_state(arm, data)
    return tree_bytes(state) + tree_bytes(state.params)


def lanes_that_fit(arm: Arm, data: Data) -> int:
    """How many lanes fit beside the data into the memory of all devices; at least 1."""
    needs, num_devices = lane_needs(arm, data), len(jax.devices())
    shared = jax.default_backend() == "cpu"  # the devices have one memory
    free = USABLE * free_bytes() - tree_bytes(data)
    each = needs.kept * (copies(arm.program) if shared else 1)
    size = bundle_size(arm.program.mapping)
    if size:  # so many lanes work at a time on each device
        free -= size * needs.working * (num_devices if shared else 1)
    else:
        each += needs.working
    once = shared or arm.program.mapping == DATA_PARALLEL
    return max(1, int(free / each) * (1 if once else num_devices))


def copies(program: Program) -> int:
    """How many devices hold a lane."""
    return mesh_of(program, 1).shape.get(data_parallel.AXIS, 1)


def lane_state(arm: Arm, data: Data) -> TrainState:
    """The shapes of what a lane keeps."""
    program, num_train = arm.program, lane.num_train(arm.program, data)
    settings = dict.fromkeys(arm.settings, jax.ShapeDtypeStruct((), np.float32))
    shape = data.train.inputs.shape[1:]

    def start(settings):
        tx = lane.optimizer(program, settings, num_train=num_train)
        example = jnp.zeros((1, *shape), jnp.float32)
        network = lane.init(jax.random.key(0), 1.0, example, model=program.model)
        return lane.start(*network, tx)

    return jax.eval_shape(start, settings)


def lane_needs(arm: Arm, data: Data) -> Needs:
    """The bytes of one lane, from the shapes of its state and of its activations."""
    program, state = arm.program, lane_state(arm, data)
    shape = data.train.inputs.shape[1:]

    def activations(size: int) -> list[int]:
        def forward(params, stats, x):
            options = {"precision": program.precision, "train": False}
            return precision.apply(program.model, params, stats, x, **options)

        x = jax.ShapeDtypeStruct((size, *shape), np.float32)
        traced = jax.make_jaxpr(forward)(state.params, state.stats, x)
        return [0, *_outputs(traced.jaxpr)]

    # training keeps every activation for the gradient; an evaluation drops them
    training = 2 * sum(activations(program.batch_size)) + _augmented(program, shape)
    evaluation = 2 * max(activations(lane.EVAL_BATCH))
    rows = 4 * (program.steps_per_epoch * program.batch_size + program.num_train)
    own = tree_bytes(data.train) * program.num_train // len(data.train.labels)
    return Needs(
        kept=2 * tree_bytes(state) + rows,
        working=3 * tree_bytes(state.params) + max(training, evaluation) + own,
    )


def _augmented(program: Program, shape: tuple[int, ...]) -> int:
    """Bytes that an augmentation takes for a batch of examples of that shape."""
    function = program.augmentation
    if function is None:
        return 0
    batch = jax.ShapeDtypeStruct((program.batch_size, *shape), np.float32)
    once = lambda key, inputs: augment(function, key, inputs)
    return sum(_outputs(jax.make_jaxpr(once)(jax.random.key(0), batch).jaxpr))


def tree_bytes(tree: Any) -> int:
    """The bytes of all arrays of a tree, or of shapes that stand for them."""
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in leaves)


def is_exhausted(error: BaseException) -> bool:
    """Whether memory ran out, on the host or on a device."""
    if isinstance(error, MemoryError):
        return True
    # XLA gives the code of an error as the first word of its text only
    of_xla = isinstance(error, jax.errors.JaxRuntimeError)
    return of_xla and str(error).startswith("RESOURCE_EXHAUSTED")


def _outputs(jaxpr: Any) -> Iterator[int]:
    """Bytes of what each operation of a program returns, inner programs included."""
    for equation in jaxpr.eqns:
        inner = list(jaxprs_in_params(equation.params))
        for program in inner:
            yield from _outputs(program)
        if not inner:
            yield tree_bytes([x.aval for x in equation.outvars])
