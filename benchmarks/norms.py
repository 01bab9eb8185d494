"""Seconds of each norm, forward and backward, against flax.linen's and PyTorch's.

Run    python -m benchmarks.norms [--short] [--only NAME] [--json FILE]

Norms run as in training: a scan of steps in one compiled program, where the output is
the next input and the gradient of the input the next gradient of the output; PyTorch in
a loop of the same steps. All take turns after one call each to warm up. Flax runs in
its default form (its variance in one pass, which cancels where the mean is large) and
in two passes, as ours; PyTorch in its own layout of images and in channels last, and
the faster counts. Ours and flax run on one CPU device with all cores, PyTorch on as
many threads.

Bytes are the least that must be read and written: forward x and y, forward and backward
x, y, dy and dx, once each, and parameters. `share` is bytes per second divided by that
of copying an array of this shape, measured in turn with the norms. Where each mean is
over more than the caches hold, x is read a second time before y can be written, so
that 2/3 is the most that a forward pass reaches.
"""

import argparse
import json
import math
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import norm_peers, norm_sides, timing
from normjax.errors import pick
from normjax.study.environment import environment
from normjax.training import devices

SHAPES = (
    *((128, 128), (8192, 4096)),  # kernels too
    *((128, 14, 14, 32), (64, 28, 28, 64), (256, 56, 56, 64)),
)
SHORT_SHAPES = ((128, 128), (128, 14, 14, 32))
PASSES = ("forward", "forward and backward")
ARRAYS_HELD = 16  # of the size of x: of all sides together, with what lies between
STEPS_BYTES = 2**25  # of x over the steps of a call, which are 4 to 50
Row = dict[str, Any]


def least_bytes(shape: tuple[int, ...], variables: Any, *, backward: bool) -> int:
    """Bytes of float32 that a pass must at least read and write.

    Forward reads x and parameters and writes y, and reads and writes the statistics.
    Backward reads dy and writes dx and the gradients of the parameters.
    """
    size = lambda tree: sum(a.size for a in jax.tree.leaves(tree))
    params = size(variables.get("params", {}))
    numbers = 2 * math.prod(shape) + params + 2 * size(variables.get("batch_stats", {}))
    if backward:
        numbers += 2 * math.prod(shape) + params
    return 4 * numbers


def copy_clock(x: jax.Array, steps: int) -> timing.Clock:
    """Seconds to read and write an array as large as `x`: a change of sign."""
    one = lambda x, _: (-x, None)
    loop = lambda x: jax.lax.scan(one, x, length=steps)[0]
    return _clock(loop, lambda: jnp.copy(x), steps)


def side_clock(
    side: norm_sides.Side, x: jax.Array, steps: int, *, backward: bool
) -> timing.Clock:
    """Seconds of one step of a norm in JAX."""
    make = norm_sides.gradient_loop if backward else norm_sides.forward_loop
    start = lambda: norm_sides.start(side, x, backward=backward)
    return _clock(make(side, steps), start, steps)


def _clock(loop: Callable, start: Callable, steps: int) -> timing.Clock:
    compiled = jax.jit(loop, donate_argnums=0).lower(start()).compile()

    def clock():
        carry = jax.block_until_ready(start())
        return timing.seconds_of(compiled, carry) / steps

    return clock


def clocks_of(
    name: str, x: jax.Array, steps: int, *, backward: bool
) -> dict[str, timing.Clock]:
    """The copy, ours, and the peers that there are for this norm and shape."""
    sides = {"ours": norm_sides.ours(name, x.shape)}
    flax_side = norm_sides.flax_side(name, x.shape)
    if flax_side is not None:
        sides["flax"] = flax_side
    if name in norm_sides.CENTERED:
        form = {"use_fast_variance": False}
        sides["flax, two passes"] = norm_sides.flax_side(name, x.shape, **form)
    clocks = {"copy": copy_clock(x, steps)}
    for side_name, side in sides.items():
        clocks[side_name] = side_clock(side, x, steps, backward=backward)
    loops = norm_peers.loops(name, np.asarray(x), steps, backward=backward)
    return clocks | {
        f"torch, {layout}": lambda run=run: timing.seconds_of(run) / steps
        for layout, run in loops.items()
    }


def row(name: str, shape: tuple[int, ...], which: str, *, seconds: float) -> Row:
    """Measures one norm at one shape in about so many seconds."""
    about = {"norm": name, "shape": list(shape), "pass": which}
    held = ARRAYS_HELD * 4 * math.prod(shape)
    if held > devices.free_bytes():
        return about | {"skipped": f"needs {held / 2**30:.1f} GiB of memory"}
    x = jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))
    steps = max(4, min(50, STEPS_BYTES // x.nbytes))
    backward = which == PASSES[1]
    clocks = clocks_of(name, x, steps, backward=backward)
    spreads = timing.turns(clocks, rounds=15, least_rounds=3, seconds=seconds)
    variables = norm_sides.ours(name, shape).variables
    least = least_bytes(shape, variables, backward=backward)
    copied = 2 * x.nbytes / spreads["copy"].median
    median = {side: spread.median for side, spread in spreads.items()}
    peers = {
        peer: min(times)
        for peer in ("flax", "flax, two passes", "torch")
        if (times := [t for side, t in median.items() if is_of(side, peer)])
    }
    return about | {
        "steps": steps,
        "bytes": least,
        "copy_bytes_per_second": copied,
        "share": least / median["ours"] / copied,
        "ratios": {peer: time / median["ours"] for peer, time in peers.items()},
        "seconds": {side: spread._asdict() for side, spread in spreads.items()},
    }


def is_of(side: str, peer: str) -> bool:
    """Whether a side is this peer, or one of its layouts."""
    return side == peer or (peer == "torch" and side.startswith("torch"))


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """Everything that is asked for."""
    names = [options.only] if options.only else norm_sides.norm_names()
    if options.short and not options.only:
        names = [name for name in names if name in norm_sides.FLAX]
    seconds = 0.5 if options.short else 3.0
    for shape in SHORT_SHAPES if options.short else SHAPES:
        for name in names:
            if norm_sides.is_defined(name, shape):
                for which in PASSES:
                    yield row(name, shape, which, seconds=seconds)


HEAD = (
    f"{'norm':23}{'shape':>14}  {'pass':22}{'ours ms':>9}{'least':>9}{'most':>9}"
    f"{'share':>7}{'flax':>7}{'two p.':>7}{'torch':>7}"
)


def line(one: Row) -> str:
    """A row of the table; peers as their seconds over ours."""
    start = f"{one['norm']:23}{'x'.join(map(str, one['shape'])):>14}  {one['pass']:22}"
    if "skipped" in one:
        return f"{start} skipped: {one['skipped']}"
    ours = (
        f"{one['seconds']['ours'][key] * 1e3:9.3f}" for key in timing.Spread._fields
    )
    ratio = lambda peer: one["ratios"].get(peer)
    ratios = map(ratio, ("flax", "flax, two passes", "torch"))
    cells = (f"{'-' if value is None else f'{value:.2f}':>7}" for value in ratios)
    return f"{start}{''.join(ours)}{one['share']:7.2f}{''.join(cells)}"


def main(argv: list[str] | None = None) -> None:
    """Prints a line for each norm, shape and pass; writes all of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="those of flax, a minute")
    parser.add_argument("--only", metavar="NAME", help="one norm alone")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write rows")
    options = parser.parse_args(argv)
    if options.only is not None:
        pick("only", dict.fromkeys(norm_sides.norm_names()), options.only)
    timing.keep_freed_memory()
    print(HEAD)
    found = []
    for one in rows(options):
        print(line(one), flush=True)
        found.append(one)
    if options.json is not None:
        about = environment() | {"cores": devices.num_cores()}
        options.json.write_text(json.dumps({"environment": about, "rows": found}))


if __name__ == "__main__":
    main()
