"""How lanes share devices: together, one after the other, or in bundles.

    vmap            all lanes of a device together
    map             one lane of a device after the other
    map-8           bundles of eight lanes, one after the other; of any size from 2
    data-parallel   one lane after the other, its batches divided over all devices

The numbers are the same but for rounding. With `map` and in bundles the program of a
lane or bundle stays the body of a loop, of which more lanes are more turns only: in all
programs that were tried a lane's bits depended neither on the lanes beside it nor on
how many there were. Nothing forces XLA to that, and for a single device it compiles
another program, so that `devices.mesh_for` takes two. Bundles of another size, and
`vmap`, take sums in another order, and so do other numbers of devices that share a
batch: there a lane's bits depend on the machine.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from normjax.errors import InputError, suggest

MOST_TOGETHER = 1_000  # lanes of a bundle
DATA_PARALLEL = "data-parallel"
KNOWN = (DATA_PARALLEL, "map", "map-8", "vmap")  # there are more bundles


def bundle_size(mapping: str, *, known: Sequence[str] = KNOWN) -> int:
    """How many lanes of a device are vmapped together; 0: all of them.

    Raises:
        InputError: there is no such mapping; it names those that are `known`.
    """
    if mapping in ("map", "vmap", DATA_PARALLEL):
        return int(mapping != "vmap")
    size = re.fullmatch(r"map-([1-9]\d{0,3})", mapping)
    if size and 2 <= int(size[1]) <= MOST_TOGETHER:
        return int(size[1])
    rule = f"must be one of {', '.join(sorted(known))}; map-8 stands for any bundle of"
    rule += f" 2 to {MOST_TOGETHER:,} lanes"
    remedy = suggest(mapping, known, "choose one of them")
    raise InputError("mapping", mapping, rule, remedy)


def lanes_at_once(mapping: str, num_devices: int) -> int:
    """How many lanes so many devices compute at a time; 0: all of them."""
    return 1 if mapping == DATA_PARALLEL else num_devices * bundle_size(mapping)


def map_lanes(function: Callable, in_axes: tuple[int | None, ...], mapping: str):
    """`function` of one lane as a function `(real, *arguments)` of a device's lanes.

    `in_axes` is that of `jax.vmap` for the arguments, and `real` tells the lanes that
    are no padding. The function returns its first argument, changed, and a report. A
    lane or bundle that is padding only does nothing and reports zeros, so that a core
    that is done early leaves its threads to the others. Padding beside a lane that is
    real, or vmapped with it, is computed.
    """
    size = bundle_size(mapping)
    every = jax.vmap(function, in_axes)
    if not size:
        return lambda real, *arguments: every(*arguments)
    # traced once, not for its shapes and again for the branch
    once = jax.jit(function if size == 1 else every, inline=True)

    def bundle(real: Array, *arguments: Any):
        result = jax.eval_shape(once, *arguments)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), result[1])
        skip = lambda state, *_: (state, zeros)
        return jax.lax.cond(jnp.any(real), once, skip, *arguments)

    def bundles(real: Array, *arguments: Any):
        divided = {i: x for i, x in enumerate(arguments) if in_axes[i] == 0}
        result = jax.lax.map(
            lambda now: bundle(
                now[0], *(now[1].get(i, x) for i, x in enumerate(arguments))
            ),
            _divided((real, divided), size),
        )
        return _joined(result, size)

    return bundles


def _divided(tree: Any, size: int) -> Any:
    """Leaves `[lanes, ...]` as `[bundles, size, ...]`, or as they are if it is 1."""
    if size == 1:
        return tree
    return jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), tree)


def _joined(tree: Any, size: int) -> Any:
    """What `_divided` divides."""
    if size == 1:
        return tree
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)
