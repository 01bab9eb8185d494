"""The benchmark of norms: it compares what is the same, and counts what is right."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import norm_peers, norm_sides, norms, timing
from normjax.errors import InputError

UNIT = 2.0**-24
SHAPES = {2: (16, 8), 4: (4, 3, 5, 8)}
FLAX = [*norm_sides.FLAX, *norm_sides.FLAX_KERNELS]
TORCH = list(norm_peers.norms(8)) if norm_peers.is_installed() else []


def inputs(name, ndim=None):
    """Normal numbers; of rank one for the iteration that goes in another order."""
    shape = SHAPES[ndim or (2 if name in norm_sides.KERNELS else 4)]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return np.outer(x[:, 0], x[0]) if name == "spectral" else x


def passes(side, x, steps=2):
    """`(y, dx)` after so many steps."""
    carry = norm_sides.start(side, jnp.asarray(x), backward=True)
    _, y, (dx, _) = jax.jit(norm_sides.gradient_loop(side, steps))(carry)
    return y, dx


def assert_near(found, right):
    """2 sqrt(n) + 8 units of the largest entry for each of two steps of either side,
    where n of all numbers are behind a sum; another norm is off by 0.01 of it or more.
    """
    units = 4 * (2 * np.sqrt(np.size(right)) + 8)
    error = np.max(np.abs(np.asarray(found, np.float64) - right))
    assert error <= units * UNIT * np.max(np.abs(right))


@pytest.mark.parametrize("name", FLAX)
def test_flax_computes_the_same(name):
    x = inputs(name)
    ours, theirs = (
        passes(side(name, x.shape), x)
        for side in (norm_sides.ours, norm_sides.flax_side)
    )
    for a, b in zip(ours, theirs):
        assert_near(a, b)


@pytest.mark.parametrize("name", TORCH)
def test_torch_computes_the_same_in_each_layout(name):
    x = inputs(name)
    ours = passes(norm_sides.ours(name, x.shape), x)
    norm, (params, learned) = norm_peers.norms(8)[name], norm_peers.params_of(8)
    for tensor in norm_peers.layouts(name, x).values():
        many = norm_peers.passes(norm, tensor, params, learned, 2, backward=True)
        channels_first = name not in norm_peers.ROWS
        for a, b in zip(ours, list(many)[-1]):
            right = b.movedim(1, -1) if channels_first else b
            assert_near(a, right.numpy())


def test_another_norm_is_not_the_same():
    x = inputs("layer")
    layer, rms = (
        passes(norm_sides.ours(name, x.shape), x) for name in ("layer", "rms")
    )
    with pytest.raises(AssertionError):
        assert_near(layer[0], rms[0])


@pytest.mark.parametrize("name", norm_sides.norm_names())
def test_the_next_input_is_the_output(name):
    """Two steps are the norm of the norm, with a backward pass as without one."""
    x = inputs(name)
    side = norm_sides.ours(name, x.shape)
    start = norm_sides.start(side, jnp.asarray(x), backward=False)
    _, y, _ = norm_sides.forward_loop(side, 2)(start)
    first, stats = side.call(side.variables, jnp.asarray(x))
    second, _ = side.call({**side.variables, **stats}, first)
    assert_near(y, np.asarray(second))
    assert_near(passes(side, x)[0], np.asarray(second))


def test_bytes_are_those_of_each_array_once():
    """Of [16, 8]: x and y are 512 bytes each, a vector of 8 is 32."""
    variables = norm_sides.ours("batch", (16, 8)).variables
    forward = norms.least_bytes((16, 8), variables, backward=False)
    both = norms.least_bytes((16, 8), variables, backward=True)
    assert forward == 2 * 512 + 2 * 32 + 2 * 2 * 32
    assert both == forward + 2 * 512 + 2 * 32


def test_what_does_not_fit_is_skipped_with_a_word(monkeypatch):
    monkeypatch.setattr(norms.devices, "free_bytes", lambda: 1000)
    one = norms.row("layer", (128, 128), "forward", seconds=0)
    assert one["skipped"] == "needs 0.0 GiB of memory"
    assert norms.line(one).endswith("forward                skipped: " + one["skipped"])


def test_clocks_take_turns_from_another_one_each_round():
    order = []
    clocks = {name: lambda name=name: order.append(name) or 1.0 for name in "abc"}
    spreads = timing.turns(clocks, rounds=9, least_rounds=3, seconds=0)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"
    assert spreads["a"] == timing.Spread(1.0, 1.0, 1.0)
    assert timing.spread([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)


def test_the_command_writes_what_it_prints(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(norms, "SHORT_SHAPES", (SHAPES[2],))
    monkeypatch.setattr(timing, "keep_freed_memory", lambda: None)
    path = tmp_path / "norms.json"
    norms.main(["--short", "--only", "layer", "--json", str(path)])
    rows = json.loads(path.read_text())["rows"]
    printed = capsys.readouterr().out.splitlines()
    assert printed == [norms.HEAD, *map(norms.line, rows)]
    assert [row["pass"] for row in rows] == ["forward", "forward and backward"]
    for row in rows:
        assert row["ratios"].keys() >= {"flax", "flax, two passes"}
        seconds = row["seconds"]["ours"]["median"]
        share = row["bytes"] / seconds / row["copy_bytes_per_second"]
        assert row["share"] == pytest.approx(share)


def test_an_unknown_norm_is_told_the_nearest():
    with pytest.raises(InputError) as caught:
        norms.main(["--only", "layr"])
    assert str(caught.value).startswith("only='layr': must be one of")
