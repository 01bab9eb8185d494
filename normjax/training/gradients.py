"""Gradients of the mean cross-entropy, and how fast they change along a step.

Batch norm is in training mode, dropout is off, and no penalty is added. Pure functions.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from normjax.training import batch_statistics, lane
from normjax.types import Network, Split


def split_gradient(network: Network, split: Split, *, batch_size: int) -> PyTree:
    """Gradient of the mean cross-entropy over a split, in batches of its rows."""
    one = lambda batch: jax.grad(loss_sum)(network.params, network, batch)
    add = functools.partial(jax.tree.map, jnp.add)
    total = batch_statistics.fold_batches(one, add, split, batch_size)
    return jax.tree.map(lambda x: x / len(split.labels), total)


def smoothness_along(
    gradient: Callable[[PyTree], PyTree], params: PyTree, direction: PyTree
) -> dict[str, Float[Array, ""]]:
    """`||gradient(w + u) - gradient(w)|| / ||u||`, in nats per squared unit of w.

    u is what rounding leaves of `direction` when it is added to w, so that far along
    in training, where steps are small, the quotient is still that of one and the same
    step; it is nan where nothing is left.

    w is `params`, any tree; `gradient` is traced once for both points.

    Returns:
        `smoothness`: with the norms of all parameters as one vector. At most the
            largest |curvature| on the way; on a quadratic and along an eigenvector
            the |eigenvalue|.
        `smoothness_of_roots`: `sqrt(sum_i ||dg_i||) / sqrt(sum_i ||u_i||)` over
            the parameter tensors i, in the root of that unit. It has been published as
            smoothness.
    """
    moved = optax.apply_updates(params, direction)
    points = jax.tree.map(lambda *w: jnp.stack(w), params, moved)
    changes = jax.tree.map(lambda g: g[1] - g[0], jax.lax.map(gradient, points))
    steps = jax.tree.map(jnp.subtract, moved, params)
    lengths = lambda tree: jnp.stack([*map(optax.tree.norm, jax.tree.leaves(tree))])
    change, step = lengths(changes), lengths(steps)
    return {
        "smoothness": optax.tree.norm(change) / optax.tree.norm(step),
        "smoothness_of_roots": jnp.sqrt(jnp.sum(change)) / jnp.sqrt(jnp.sum(step)),
    }


def loss_sum(params: PyTree, network: Network, batch: Split) -> Float[Array, ""]:
    """Sum of the cross-entropies of a batch, of the network with these parameters."""
    network = network._replace(params=params)
    logits = batch_statistics.forward(network, batch, train=True)
    nats, _ = lane.example_metrics(logits, batch.labels)
    return jnp.sum(nats)
