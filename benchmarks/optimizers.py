"""Time of a third-moment step and of Adam's, of the cube root and of jnp.cbrt.

Run    python -m benchmarks.optimizers [--json]

One lane and ten of the MLP 784-128-128-10, vmapped, in a scan of 50 steps: the
optimizer alone, on gradients that wait in memory, and a whole training step, each
lane with 128 examples of its own. Compiled, warm, the two taking turns, the fastest
of the rounds, so that other work on the machine counts least. The optimizer alone
shows memory traffic: three averages are read and written where Adam has two.
"""

import argparse
import functools
import itertools
import json
import time

import jax
import jax.numpy as jnp
import optax

from normjax.optimizers import chains, recipes, transforms

WIDTHS = (784, 128, 128, 10)
LANES = 10
BATCH = 128
EXAMPLES = 10_000
STEPS = 50  # per timed call
ROUNDS = 15
Row = dict[str, str | int | float]


def init(key):
    """Parameters of one lane, kernels N(0, 2 / inputs)."""
    keys = jax.random.split(key, len(WIDTHS) - 1)
    shapes = itertools.pairwise(WIDTHS)
    return [
        {
            "kernel": jax.random.normal(key, shape) * (2 / shape[0]) ** 0.5,
            "bias": jnp.zeros(shape[1]),
        }
        for key, shape in zip(keys, shapes)
    ]


def loss(params, inputs, labels):
    """Mean cross-entropy in nats."""
    for layer in params[:-1]:
        inputs = jax.nn.relu(inputs @ layer["kernel"] + layer["bias"][None])
    logits = inputs @ params[-1]["kernel"] + params[-1]["bias"][None]
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def run(recipe, gradient, params, learning_rates, held):
    """Takes STEPS steps in each lane, with `gradient(params, held, step)`."""

    def lane(params, learning_rate, held):
        settings = {"learning_rate": learning_rate}
        tx = chains.chain(recipe, settings, num_train=1)

        def one_step(carry, step):
            params, state = carry
            updates, state = tx.update(gradient(params, held, step), state, params)
            return (optax.apply_updates(params, updates), state), None

        start = params, tx.init(params)
        return jax.lax.scan(one_step, start, jnp.arange(STEPS))[0]

    return jax.vmap(lane)(params, learning_rates, held)


def seconds_of(function, *arguments) -> float:
    """Seconds until the result is there."""
    start = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - start


def compare(workload, lanes, steps, ours, peer, arguments) -> Row:
    """Measures one row: seconds per step of two pairs `(name, function)`."""
    compiled, compile_seconds = [], []
    for _, function in (ours, peer):
        start = time.perf_counter()
        compiled.append(jax.jit(function).lower(*arguments).compile())
        compile_seconds.append(time.perf_counter() - start)
        seconds_of(compiled[-1], *arguments)
    rounds = [
        [seconds_of(f, *arguments) / steps for f in compiled] for _ in range(ROUNDS)
    ]
    seconds, peer_seconds = (min(column) for column in zip(*rounds))
    return {
        "workload": f"{workload}, {ours[0]}",
        "lanes": lanes,
        "seconds": seconds,  # per step of all lanes
        "peer": peer[0],
        "peer_seconds": peer_seconds,
        "ratio": peer_seconds / seconds,
        "compile_seconds": compile_seconds[0],
        "peer_compile_seconds": compile_seconds[1],
    }


def optimizer_rows(lanes: int) -> list[Row]:
    """Measures both optimizers: a step of the optimizer alone, and of training."""
    keys = jax.random.split(jax.random.key(0), lanes)
    params = jax.vmap(init)(keys)
    rates = jnp.full(lanes, 1e-3)
    waiting = jax.tree.map(lambda w: jnp.stack([w / 8, -w / 4], axis=1), params)
    inputs = jax.random.uniform(jax.random.key(1), (EXAMPLES, WIDTHS[0]))
    labels = jax.random.randint(jax.random.key(2), (EXAMPLES,), 0, WIDTHS[-1])
    order = jax.random.randint(jax.random.key(3), (lanes, STEPS, BATCH), 0, EXAMPLES)

    def take(params, held, step):
        return jax.tree.map(lambda g: g[step % 2], held)

    def differentiate(params, order, step):
        rows = order[step]
        return jax.grad(loss)(params, inputs[rows], labels[rows])

    cases = {
        "optimizer step": (take, waiting),
        "training step": (differentiate, order),
    }
    rows = []
    for workload, (gradient, held) in cases.items():
        ours, peer = (
            functools.partial(run, recipe, gradient)
            for recipe in (recipes.third_moment, recipes.adam)
        )
        rows.append(
            compare(
                workload,
                lanes,
                STEPS,
                ("third_moment", ours),
                ("adam (optax.scale_by_adam)", peer),
                (params, rates, held),
            )
        )
    return rows


def rows() -> list[Row]:
    """Everything this benchmark measures."""
    x = jax.random.normal(jax.random.key(4), (LANES, 118_282)) ** 3
    root = compare(
        "1,182,820 numbers",
        LANES,
        1,
        ("cube_root", transforms.cube_root),
        ("jnp.cbrt", jnp.cbrt),
        (x,),
    )
    return [*optimizer_rows(1), *optimizer_rows(LANES), root]


def main() -> None:
    """Prints the rows as a table or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print a list of rows")
    arguments = parser.parse_args()
    result = rows()
    if arguments.json:
        print(json.dumps(result, indent=1))
        return
    print(f"{'workload':32}{'lanes':>6}{'ms':>8}{'peer':>28}{'ms':>8}{'ratio':>7}")
    for row in result:
        print(
            f"{row['workload']:32}{row['lanes']:>6}{row['seconds'] * 1e3:>8.3f}"
            f"{row['peer']:>28}{row['peer_seconds'] * 1e3:>8.3f}{row['ratio']:>7.2f}"
        )


if __name__ == "__main__":
    main()
