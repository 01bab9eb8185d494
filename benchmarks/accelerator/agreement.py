"""Whether a device trains the same network as the CPU of its machine, to rounding.

Both go on from one state and take the same steps on the same examples, with products
in full float32. What rounding may change is not known beforehand, so the CPU says it:
lanes beside the first start with each weight moved by one unit in its last place, up,
down or not at all. A sum of n terms is rounded by about sqrt(n) units (Higham and Mary,
2019), and every step rounds again, so that the budget is

    steps * sqrt(longest sum) * the largest difference that such a move makes,

and that difference is taken to be one unit at least.

References:
    Higham and Mary, 2019. A New Approach to Probabilistic Rounding Error Analysis.
    SIAM Journal on Scientific Computing 41(5).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks.accelerator import training
from benchmarks.accelerator.ledger import Row
from benchmarks.accelerator.sizes import Size
from normjax.training import lanes
from normjax.types import Data, Program, TrainState

UNIT = 2.0**-23  # between 1 and the next number in float32
MOVED = 4  # lanes with weights that are moved


def agreement_rows(name: str, size: Size) -> Iterator[Row]:
    """Relative difference of the mean loss of the second epoch, and its budget."""
    work, steps = training.workload_for(name, size), size.agreement_steps
    way = training.Way(lanes=1 + MOVED, products="float32")
    program = training.program_for(work, way, steps, size)
    data = training.data_for(work, steps)
    key, settings = jax.random.key(0), training.settings_for(work, way.lanes)
    keys = jax.random.wrap_key_data(
        np.stack([jax.random.key_data(key)] * way.lanes)  # equal keys, equal lanes
    )
    run = lambda *where: second_epoch(keys, settings, data, program, *where)
    cpu = jax.devices("cpu")[:1]
    with jax.default_matmul_precision("float32"):
        leaves = moved_weights(first_state(keys, settings, data, program, cpu))
        expected = run(leaves, cpu)
        losses = {"float32": run(leaves, jax.devices())}
    losses["default"] = run(leaves, jax.devices())
    lanes.forget_programs()
    change = np.max(np.abs(expected[1:] / expected[0] - 1))
    budget = steps * longest_sum(program, data) ** 0.5 * max(change, UNIT)
    for products, loss in losses.items():
        difference = abs(loss[0] / expected[0] - 1)
        row = {"workload": name, "products": products, "steps": steps}
        row |= {"loss": expected[0], "difference": difference, "change": change}
        yield row | {
            "budget": budget if products == "float32" else None,
            "within": bool(difference <= budget) if products == "float32" else None,
        }


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
) -> np.ndarray:
    """The mean training loss of each lane in the epoch that follows the first."""
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
    return next(np.float64(report.train.loss) for _, report in epochs)


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
    found = training.kernel_products(program.model, data.train.inputs.shape[1:])
    rows = max(outputs for _, _, outputs in found) * program.batch_size
    return max(rows, *(terms for _, terms, _ in found))
