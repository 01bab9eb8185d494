"""An epoch of one lane: its steps, its last batch, and what is measured after it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from normjax.training import lane, last_batch, probes, steps
from normjax.types import Data, EpochMetrics, Metrics, Program, Settings, TrainState


class StepKeys(NamedTuple):
    """Those that the steps of a program use."""

    dropout: Key[Array, "..."]
    augmentation: Key[Array, "..."] | None


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
    state, metrics = steps.scan(one_step, state, rows, program=program)
    train = Metrics(*(jnp.nanmean(x) for x in metrics))
    if program.last_batch:
        state, others = steps.unless_lost(one_step, state, last)
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
