"""Whether a device trains the same network as the CPU of its machine, to rounding.

Both go on from one state and take the same steps on the same examples, with products
in full float32. Two numbers are compared: the mean loss of these steps, relative to
itself, and the weights after them, by the Euclidean norm of their difference relative
to that of the way they went.

What rounding may change is not known beforehand, so the CPU says it: lanes beside the
first start with each weight moved by one unit in its last place, up, down or not at
all. A sum of n terms is rounded by about sqrt(n) units (Higham and Mary, 2019), and
every step rounds again, so that the budget of either number is

    steps * sqrt(longest sum) * the largest difference that such a move makes,

where that of the loss is taken to be one unit at least.

Workloads are those of SGD. Adam divides a gradient that is 0 but for rounding, as that
of a bias before batch norm is, by its own size, so that the budget of the weights would
allow anything.

References:
    Higham and Mary, 2019. A New Approach to Probabilistic Rounding Error Analysis.
    SIAM Journal on Scientific Computing 41(5).
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import ours
from benchmarks.accelerator import training
from benchmarks.accelerator.ledger import Row
from benchmarks.accelerator.sizes import Size
from normjax.training import lanes
from normjax.types import Data, Program, TrainState

UNIT = 2.0**-23  # between 1 and the next number in float32
MOVED = 4  # lanes with weights that are moved


def agreement_rows(name: str, size: Size) -> Iterator[Row]:
    """Differences of the second epoch, and their budgets where products are exact."""
    work, steps = training.workload_for(name, size), size.agreement_steps
    setup = training.Setup(lanes=1 + MOVED, products="float32")
    program = training.program_for(work, setup, steps, size)
    data = training.data_for(work, steps)
    settings = training.settings_for(work, setup.lanes)
    equal = np.stack([jax.random.key_data(jax.random.key(0))] * setup.lanes)
    keys = jax.random.wrap_key_data(equal)  # equal keys, equal lanes
    run = lambda *where: second_epoch(keys, settings, data, program, *where)
    cpu = jax.devices("cpu")[:1]
    with jax.default_matmul_precision("float32"):
        start = first_state(keys, settings, data, program, cpu)
        leaves = moved_weights(start)
        expected = run(leaves, cpu)
        found = {"float32": run(leaves, jax.devices())}
    found["default"] = run(leaves, jax.devices())
    lanes.forget_programs()
    way_length = np.linalg.norm(expected.weights[0] - flat_weights(start)[0])
    moved = range(1, 1 + MOVED)
    changes = [differences(expected, expected, lane, way_length) for lane in moved]
    loss, weights = np.max(changes, axis=0)
    share = steps * longest_sum(program, data) ** 0.5
    budgets = share * max(loss, UNIT), share * weights
    for products, outcome in found.items():
        exact = products == "float32"
        both = differences(outcome, expected, 0, way_length)
        yield {
            "workload": name,
            "products": products,
            "steps": steps,
            "loss": expected.losses[0],
            "loss_difference": both[0],
            "loss_budget": budgets[0] if exact else None,
            "weights_difference": both[1],
            "weights_budget": budgets[1] if exact else None,
            "within": bool(np.all(np.less_equal(both, budgets))) if exact else None,
        }


class Outcome(NamedTuple):
    """What an epoch gave."""

    losses: np.ndarray  # [lanes], means over its steps
    weights: np.ndarray  # [lanes, weights], after it


def differences(
    one: Outcome, other: Outcome, lane: int, way_length: float
) -> tuple[float, float]:
    """Of the loss and of the weights of a lane of `one` from the first of `other`."""
    loss = abs(one.losses[lane] / other.losses[0] - 1)
    weights = np.linalg.norm(one.weights[lane] - other.weights[0]) / way_length
    return float(loss), float(weights)


def flat_weights(state: TrainState) -> np.ndarray:
    """All parameters of each lane, `[lanes, weights]`."""
    leaves = [np.float64(x)[: 1 + MOVED] for x in jax.tree.leaves(state.params)]
    return np.concatenate([x.reshape(len(x), -1) for x in leaves], axis=1)


def first_state(
    keys: Any, settings: dict, data: Data, program: Program, where: Sequence
) -> TrainState:
    """The state of all lanes after the first epoch."""
    epochs = lanes.train(
        keys, settings, data, program=program, num_epochs=1, devices=where
    )
    return next(state for state, _ in epochs)


def second_epoch(
    keys: Any,
    settings: dict,
    data: Data,
    program: Program,
    leaves: list[np.ndarray],
    where: Sequence,
) -> Outcome:
    """The epoch that follows the first."""
    epochs = lanes.train(
        keys,
        settings,
        data,
        program=program,
        num_epochs=2,
        first_epoch=1,
        leaves=leaves,
        devices=where,
    )
    state, report = next(iter(epochs))
    return Outcome(np.float64(report.train.loss), flat_weights(state))


def moved_weights(state: TrainState) -> list[np.ndarray]:
    """The leaves of a state, the weights of all lanes but the first moved by a unit."""
    draw = np.random.default_rng(0)

    def move(x):
        x = np.asarray(x)
        by = draw.integers(-1, 2, x.shape) * UNIT
        by[0] = 0
        return (x * (1 + by)).astype(x.dtype)

    lanes_of = lambda x: np.asarray(x)[: 1 + MOVED]
    state = jax.tree.map(lanes_of, state)
    return jax.tree.leaves(state._replace(params=jax.tree.map(move, state.params)))


def longest_sum(program: Program, data: Data) -> int:
    """Terms of the longest sum of a step: of an output, or of a kernel's gradient."""
    found = ours.kernel_products(program.model, data.train.inputs.shape[1:])
    rows = max(outputs for _, _, outputs in found) * program.batch_size
    return max(rows, *(terms for _, terms, _ in found))
