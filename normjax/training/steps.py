"""The steps of an epoch of one lane, up to the first that gives a number not finite.

A lane is lost at the first step whose loss or whose new state holds a number that is
not finite. It keeps the state before that step from there on, `diverged_at_step` is the
number of the step, from 1, and the metrics of it and of all that follow are nan.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

from normjax.optimizers import recipes
from normjax.training.mappings import DATA_PARALLEL
from normjax.types import Metrics, Program, TrainState

Step = Callable[[TrainState, Any], tuple[TrainState, Metrics]]

# What an attempt at the steps of an epoch is for.
TRAIN, SEARCH, DONE = range(3)


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every floating number of a tree is finite."""
    finite = [jnp.all(jnp.isfinite(x)) for x in _floats(tree)]
    return functools.reduce(jnp.logical_and, finite, jnp.array(True))


def all_finite_at_once(tree: PyTree) -> Bool[Array, ""]:
    """`all_finite` of a copy that holds the numbers of each dtype side by side.

    That is three kernels to compile and not three for each array, of which a state has
    dozens. The copy takes time, so this is for what is looked at once an epoch, and in
    the steps of a lane that is lost.
    """
    rows: dict[jnp.dtype, list[Array]] = {}
    for x in _floats(tree):
        rows.setdefault(x.dtype, []).append(x.ravel())
    joined = [jnp.concatenate(same) for same in rows.values()]
    # without the barrier XLA would look up the array of each number that it reads
    return all_finite(jax.lax.optimization_barrier(joined))


def _floats(tree: PyTree) -> list[Array]:
    """The leaves of a tree that hold floating numbers."""
    leaves = jax.tree.leaves(tree)
    return [x for x in leaves if jnp.issubdtype(x.dtype, jnp.floating)]


def scan(
    step: Step, state: TrainState, inputs: PyTree, *, program: Program
) -> tuple[TrainState, Metrics]:
    """`jax.lax.scan` of a step over its inputs, until the lane is lost.

    Where lanes take turns, one lane can take its steps once more, and no step looks at
    all that is new. Where they are vmapped, all would take them, so each step looks.
    """
    if program.mapping in ("map", DATA_PARALLEL):
        return scan_and_look_back(step, state, inputs, fleeting=fleeting(program))
    return jax.lax.scan(functools.partial(unless_lost, step), state, inputs)


def unless_lost(
    step: Step, state: TrainState, inputs: PyTree
) -> tuple[TrainState, Metrics]:
    """One step of a lane, or its old state and nan if it is lost or was so before."""
    new, metrics = step(state, inputs)
    alive = state.diverged_at_step < 0
    keep = alive & all_finite((new, metrics.loss))
    kept = jax.tree.map(lambda now, past: jnp.where(keep, now, past), new, state)
    lost = jnp.where(alive & ~keep, state.step + 1, state.diverged_at_step)
    metrics = jax.tree.map(lambda x: jnp.where(keep, x, jnp.nan), metrics)
    return kept._replace(diverged_at_step=lost), metrics


def fleeting(program: Program) -> Callable[[TrainState], PyTree]:
    """The part of a state in which a number that is not finite may become finite again.

    Parameters are sums of all updates, and the states of our own optimizers are sums
    or averages of all gradients: there inf and nan stay (0 inf is nan). What an
    optimizer of a user or a layer does with its state is not known.
    """
    if program.optimizer in recipes.RECIPES.values():
        return lambda state: state.stats
    return lambda state: (state.stats, state.opt_state)


class Attempt(NamedTuple):
    """Where an attempt at the steps of an epoch is."""

    taken: Int[Array, ""]  # steps, the one that was lost among them
    state: TrainState
    metrics: Metrics  # [steps], nan where no step was taken
    finite: Bool[Array, ""]  # all that was looked at


def scan_and_look_back(
    step: Step,
    state: TrainState,
    inputs: PyTree,
    *,
    fleeting: Callable[[TrainState], PyTree],
) -> tuple[TrainState, Metrics]:
    """The steps of a lane that looks at its parameters only after all of them.

    Numbers that are not finite stay where they are, but for the `fleeting` part of the
    state, which is looked at in each step. If there are none at the end there were none
    before. Otherwise the lane takes its steps again from the state in which it began,
    and looks at everything to find the step that lost it; then those before it. All
    are one loop of the program: it compiles once, and where a device gives the same
    bits each time these are the numbers of looking in each step. Where it does not, the
    lane searches until the steps before the lost one leave a finite state.
    """
    num_steps = len(jax.tree.leaves(inputs)[0])
    step = jax.jit(step, inline=True)  # traced once for its shapes and for the loop
    _, shapes = jax.eval_shape(step, state, _row(inputs, jnp.int32(0)))
    blank = jax.tree.map(lambda x: jnp.full(num_steps, jnp.nan, x.dtype), shapes)
    begun = Attempt(jnp.int32(0), state, blank, jnp.array(True))
    attempt = functools.partial(_attempt, step, begun, inputs, fleeting)

    def next_attempt(carry):
        which, limit, _ = carry
        now = attempt(limit, which == SEARCH)
        whole = now.finite & (now.taken == limit)
        whole &= (limit == 0) | all_finite_at_once(now.state)
        limit = jnp.where(which == SEARCH, now.taken - ~now.finite, limit)
        following = jnp.where(whole, DONE, SEARCH)
        return jnp.where(which == SEARCH, TRAIN, following), limit, now

    alive = state.diverged_at_step < 0
    limit = jnp.where(alive, num_steps, 0)
    undone = lambda carry: carry[0] != DONE
    first = jnp.int32(TRAIN), limit, begun
    _, taken, last = jax.lax.while_loop(undone, next_attempt, first)
    lost = alive & (taken < num_steps)
    at = jnp.where(lost, state.step + taken + 1, state.diverged_at_step)
    return last.state._replace(diverged_at_step=at), last.metrics


def _attempt(
    step: Step,
    begun: Attempt,
    inputs: PyTree,
    fleeting: Callable[[TrainState], PyTree],
    limit: Int[Array, ""],
    looking: Bool[Array, ""],
) -> Attempt:
    """At most `limit` steps; if it is `looking`, until one is lost."""

    def one(now: Attempt) -> Attempt:
        new, one_metrics = step(now.state, _row(inputs, now.taken))
        new = jax.tree.map(lambda x, past: x.astype(past.dtype), new, begun.state)
        put = lambda every, x: every.at[now.taken].set(x)
        metrics = jax.tree.map(put, now.metrics, one_metrics)
        every = lambda: all_finite_at_once(new)
        finite = jax.lax.cond(looking, every, lambda: jnp.array(True))
        finite &= all_finite((fleeting(new), one_metrics.loss))
        return Attempt(now.taken + 1, new, metrics, finite)

    going = lambda now: now.finite & (now.taken < limit)
    return jax.lax.while_loop(going, one, begun)


def _row(inputs: PyTree, i: Int[Array, ""]) -> PyTree:
    """The inputs of one step."""
    return jax.tree.map(lambda x: x[i], inputs)
