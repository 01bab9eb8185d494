"""Batches whose examples are divided over devices: data parallelism.

It is on where a function is traced under a mesh with an axis `AXIS` that XLA
partitions (`AxisType.Auto`). There every array is seen as a whole, as on one device:
XLA divides what follows from divided examples and adds the sums over a batch up between
devices, so that the numbers are the same but for rounding, in layers of a user too.
What it would not divide, such as a loop over examples, runs `by_device`. Elsewhere, and
where the devices do not divide the examples of a batch, nothing here does anything.
"""

from collections.abc import Callable

import jax
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, PyTree

AXIS = "examples"  # of a mesh


def num_devices() -> int:
    """Devices over which batches are divided where this is traced; 1: they are not."""
    mesh = jax.sharding.get_abstract_mesh()
    kinds = dict(zip(mesh.axis_names, mesh.axis_types))
    return mesh.shape[AXIS] if kinds.get(AXIS) == AxisType.Auto else 1


def divide(examples: Array) -> Array:
    """The array itself; each device holds and computes its own part of axis 0."""
    if not _is_divided(examples):
        return examples
    return jax.lax.with_sharding_constraint(examples, PartitionSpec(AXIS))


def by_device(function: Callable, examples: PyTree, *shared: PyTree) -> PyTree:
    """`function(examples, *shared)`, which each device calls with its own examples.

    It must treat each example by itself. Leaves of the first argument and of the result
    have the examples along axis 0; the others are there for all, and their gradients
    are summed over the devices.
    """
    if not all(map(_is_divided, jax.tree.leaves(examples))):
        return function(examples, *shared)
    own = PartitionSpec(AXIS)
    specs = own, *(PartitionSpec() for _ in shared)
    return jax.shard_map(function, in_specs=specs, out_specs=own)(examples, *shared)


def _is_divided(x: Array) -> bool:
    number = num_devices()
    return number > 1 and len(x) % number == 0
