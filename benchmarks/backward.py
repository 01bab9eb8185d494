"""Compares time and memory of the backward passes by hand with those of autodiff.

Run    python -m benchmarks.backward [--json]

Forward and backward compiled together, warm, one lane and ten, vmapped: of one norm
alone, on activations of a dense layer and of images, in float32 and bfloat16, and of
an MLP 784-128-128-128-10 with it. The two take turns and the fastest of the rounds
counts, so that other work on the machine has the least effect. Residual bytes are what
`jax.vjp` of the compiled forward pass holds for one lane, its own inputs included, each
array counted once.
"""

import argparse
import functools
import itertools
import json
import platform
import time

import jax
import jax.numpy as jnp
import numpy as np

from normjax import layers, models
from normjax.ops import moments, norms, weights

DENSE, IMAGES, KERNEL = (128, 128), (64, 14, 14, 32), (5, 5, 32, 64)
LANES = (1, 10)
ROUNDS = 30
Row = dict[str, str | int | float]


def batch_norm(train):
    """Batch norm of x, scale and bias, from running moments of 0 and 1."""

    def norm(x, scale, bias, *, backward):
        running = moments.Running(jnp.zeros_like(scale), jnp.ones_like(scale))
        return norms.batch_norm(x, running, scale, bias, train=train, backward=backward)

    return norm


def pair(norm, **settings):
    """`(autodiff, by hand)` of a norm."""
    make = functools.partial(functools.partial, norm, **settings)
    return make(backward="autodiff"), make(backward="analytic")


# Name -> (autodiff, by hand), each norm(x, *vectors).
ACTIVATION_NORMS = {
    "batch": pair(batch_norm(True)),
    "batch, evaluation": pair(batch_norm(False)),
    "layer": pair(norms.layer_norm),
    "rms": pair(norms.rms_norm),
    "group": pair(norms.group_norm, num_groups=8),
    "instance": pair(norms.instance_norm),
}
KERNEL_NORMS = {
    "weight norm": pair(weights.weight_norm),
    "weight standardization": pair(weights.weight_standardization),
}
VECTORS = {"rms": 1, "weight norm": 1, "weight standardization": 0}  # others: 2
MODULES = {
    "batch": layers.BatchNorm,
    "layer": layers.LayerNorm,
    "rms": layers.RMSNorm,
    "group": layers.GroupNorm,
}


def network(module, backward):
    """An MLP in training as a function of inputs and variables."""
    norm = layers.Norm(layer=functools.partial(module, backward=backward))
    model = models.MLP(widths=(128, 128, 128), num_classes=10, norm=norm)

    def run(x, variables):
        return model.apply(variables, x, train=True, mutable=True)[0]

    init = lambda x: model.init(jax.random.key(0), x, train=True)
    return run, jax.eval_shape(init, jax.ShapeDtypeStruct((128, 784), "float32"))


def cases():
    """Yields name, (autodiff, by hand), shape and dtype of x, shapes of the others."""
    vectors = lambda name, shape: [
        jax.ShapeDtypeStruct(shape[-1:], "float32") for _ in range(VECTORS.get(name, 2))
    ]
    inputs = (DENSE, "float32"), (IMAGES, "float32"), (IMAGES, "bfloat16")
    for (name, both), (shape, dtype) in itertools.product(
        ACTIVATION_NORMS.items(), inputs
    ):
        if name != "instance" or len(shape) > 2:
            more = vectors(name, shape)
            yield name, both, shape, dtype, more
    for name, both in KERNEL_NORMS.items():
        more = vectors(name, KERNEL)
        yield name, both, KERNEL, "float32", more
    for name, module in MODULES.items():
        both = [network(module, backward) for backward in ("autodiff", "analytic")]
        (autodiff, more), (by_hand, _) = both
        yield f"MLP, {name}", (autodiff, by_hand), (128, 784), "float32", [more]


def forward_and_backward(norm):
    """`(args, dy) -> (y, gradients)`; of several outputs only y has a cotangent."""

    def run(args, dy):
        def output(*args):
            y = norm(*args)
            return y if isinstance(y, jax.Array) else y[0]

        y, vjp = jax.vjp(output, *args)
        return y, vjp(dy)

    return run


def residual_bytes(norm, args) -> int:
    """Bytes of all arrays that the VJP holds between forward and backward pass."""
    _, vjp = jax.vjp(jax.jit(norm), *args)
    held = {id(a): a.nbytes for a in jax.tree.leaves(vjp)}
    return sum(held.values())


def timed(function, *arguments) -> float:
    """Seconds until the result is ready."""
    start = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - start


def row(name, pair, shape, dtype, more, lanes) -> Row:
    """Times one case, autodiff and by hand in turn."""
    draws = np.random.default_rng(0)
    draw = lambda a: jnp.asarray(draws.uniform(0.5, 1.5, (lanes, *a.shape)), a.dtype)
    args = jax.tree.map(draw, (jax.ShapeDtypeStruct(shape, dtype), *more))
    one = jax.tree.map(lambda a: a[0], args)
    y = jax.eval_shape(pair[0], *one)
    dy = draw(y if isinstance(y, jax.ShapeDtypeStruct) else y[0])

    ours = [jax.jit(jax.vmap(forward_and_backward(norm))) for norm in pair]
    for function in ours:
        timed(function, args, dy)
    rounds = [[timed(function, args, dy) for function in ours] for _ in range(ROUNDS)]
    autodiff, by_hand = (min(column) for column in zip(*rounds))
    return {
        "norm": name,
        "shape": "x".join(map(str, shape)),
        "dtype": dtype,
        "lanes": lanes,
        "autodiff_seconds": autodiff,
        "analytic_seconds": by_hand,
        "ratio": autodiff / by_hand,
        "autodiff_bytes": residual_bytes(pair[0], one),
        "analytic_bytes": residual_bytes(pair[1], one),
    }


def rows() -> list[Row]:
    """Everything this benchmark measures."""
    place = {
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "python": platform.python_version(),
    }
    return [row(*case, lanes) | place for case in cases() for lanes in LANES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print a list of rows")
    arguments = parser.parse_args()
    result = rows()
    if arguments.json:
        print(json.dumps(result, indent=1))
        return
    print(
        f"{'norm':24}{'shape':>14}{'dtype':>10}{'lanes':>6}"
        f"{'autodiff ms':>13}{'by hand ms':>12}{'ratio':>7}{'KiB':>8}{'KiB':>8}"
    )
    for a in result:
        print(
            f"{a['norm']:24}{a['shape']:>14}{a['dtype']:>10}{a['lanes']:>6}"
            f"{a['autodiff_seconds'] * 1e3:>13.3f}{a['analytic_seconds'] * 1e3:>12.3f}"
            f"{a['ratio']:>7.2f}{a['autodiff_bytes'] / 1024:>8.0f}"
            f"{a['analytic_bytes'] / 1024:>8.0f}"
        )


if __name__ == "__main__":
    main()
