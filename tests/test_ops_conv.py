"""Convolution: each implementation is the sum over windows, whatever maps over it.

Sums of small whole numbers are exact in float32, in any order: where the numbers are
whole, values and gradients are compared to the bit.
"""

import functools
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from normjax.errors import InputError
from normjax.ops import conv, conv_images, conv_neighbours, conv_winograd, windows

EPS32 = float(np.finfo(np.float32).eps)
IMPLEMENTATIONS = sorted(conv.IMPLEMENTATIONS)


def whole(seed, *shape):
    """Whole numbers from -3 to 3."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float32)


# ---- the reference: NumPy, float64 ---------------------------------------------------


def canvas(x, edges):
    """Zeros around the images, and the part of it that padding below 0 leaves."""
    around = [(max(a, 0), max(b, 0)) for a, b in edges]
    full = np.pad(np.asarray(x, np.float64), [(0, 0), *around, (0, 0)])
    kept = [slice(max(-a, 0), b if b < 0 else None) for a, b in edges]
    return full, full[:, kept[0], kept[1]]


def looks(seen, size, strides, dilation):
    """For each entry of a kernel, the pixels it meets, as `[batch, i, j, inputs]`."""
    counts = [
        (n - (k - 1) * d - 1) // s + 1
        for n, k, s, d in zip(seen.shape[1:3], size, strides, dilation)
    ]
    for r in range(size[0]):
        for c in range(size[1]):
            starts = (r * dilation[0], c * dilation[1])
            rows, columns = (
                slice(a, a + s * (n - 1) + 1, s)
                for a, s, n in zip(starts, strides, counts)
            )
            yield (r, c), seen[:, rows, columns]


def value(x, kernel, *, edges, strides=(1, 1), dilation=(1, 1)):
    """`y[b, i, j, f]`, the sum over entries and inputs."""
    _, seen = canvas(x, edges)
    met = looks(seen, kernel.shape[:2], strides, dilation)
    return sum(np.einsum("bijk,kf->bijf", part, kernel[at]) for at, part in met)


def gradients(x, kernel, dy, *, edges, strides=(1, 1), dilation=(1, 1)):
    """Of `sum(dy * y)` with respect to the images and the kernel."""
    _, seen = canvas(x, edges)
    of_kernel = np.zeros(kernel.shape)
    for at, part in looks(seen, kernel.shape[:2], strides, dilation):
        of_kernel[at] = np.einsum("bijk,bijf->kf", part, dy)
    full, seen = canvas(np.zeros(x.shape), edges)
    for at, part in looks(seen, kernel.shape[:2], strides, dilation):
        part += np.einsum("bijf,kf->bijk", dy, kernel[at])  # a view of `full`
    starts = [max(a, 0) for a, _ in edges]
    rows, columns = (slice(a, a + n) for a, n in zip(starts, x.shape[1:3]))
    return full[:, rows, columns], of_kernel


def everything(x, kernel, dy, *rest, **window):
    """Value and gradients, as the tests compare them; `rest` ends with the name."""
    *bias, implementation = rest
    apply = functools.partial(conv.conv, implementation=implementation, **window)
    y, back = jax.vjp(apply, x, kernel, *bias)
    return y, *back(dy)


def equal(found, right):
    return all(
        a.shape == b.shape and np.array_equal(a, b) for a, b in zip(found, right)
    )


def fitting(monkeypatch, rows, width, kernel):
    """Strips have room for so many rows of patches."""
    monkeypatch.setattr(
        conv_images, "STRIP_BYTES", rows * width * kernel[..., 0].size * 4
    )


# ---- windows -------------------------------------------------------------------------

CASES = {  # name -> image, kernel, strides, padding, dilation, padding by hand
    "same": ((6, 5), (3, 3), 1, "SAME", 1, ((1, 1), (1, 1))),
    "same, stride 2": ((6, 5), (3, 3), 2, "SAME", 1, ((0, 1), (1, 1))),
    "same, even": ((6, 5), (2, 4), 1, "SAME", 1, ((0, 1), (1, 2))),
    "same, lower": ((6, 5), (2, 4), 1, "SAME_LOWER", 1, ((1, 0), (2, 1))),
    "same, dilated": ((7, 6), (3, 2), 1, "SAME", (2, 3), ((2, 2), (1, 2))),
    "valid": ((8, 9), (3, 2), (2, 3), "VALID", 1, ((0, 0), (0, 0))),
    "strides apart": ((7, 6), (3, 3), (2, 1), 1, 1, ((1, 1), (1, 1))),
    "stride beyond kernel": ((9, 8), (1, 2), 3, "SAME", 1, ((0, 0), (0, 0))),
    "strided, dilated": ((11, 9), (3, 2), 2, [2, 1], 2, ((2, 2), (1, 1))),
    "one row": ((1, 9), (1, 3), 1, [0, (2, 0)], 1, ((0, 0), (2, 0))),
    # XLA's code for a CPU is wrong on these two, in the value and in the gradient
    "negative": ((9, 8), (1, 1), (2, 1), ((0, -1), (-2, 2)), 1, ((0, -1), (-2, 2))),
    "beyond kernel": ((10, 9), (2, 3), 1, [[3, 0], [2, 3]], 1, ((3, 0), (2, 3))),
}


@pytest.mark.parametrize("whole_images", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradients_are_sums_over_windows(name, whole_images, monkeypatch):
    """In strips of two rows at most, or over whole images; and with a bias."""
    image, size, strides, padding, dilation, edges = CASES[name]
    x, kernel = whole(0, 2, *image, 8), whole(1, *size, 8, 8)
    both = lambda n: (n, n) if isinstance(n, int) else n
    by_hand = {"edges": edges, "strides": both(strides), "dilation": both(dilation)}
    y = value(x, kernel, **by_hand)
    dy, bias = whole(2, *y.shape), whole(3, 8)
    if not whole_images:
        fitting(monkeypatch, 2, y.shape[2], kernel)
        monkeypatch.setattr(conv_images, "IMAGE_BYTES", 0)
    window = {"strides": strides, "padding": padding, "kernel_dilation": dilation}
    found = jax.jit(
        lambda *args: [everything(*args, name, **window) for name in IMPLEMENTATIONS]
    )(x, kernel, dy, bias)
    right = (y + bias, *gradients(x, kernel, dy, **by_hand), dy.sum((0, 1, 2)))
    assert [equal(one, right) for one in found] == [True] * 5


@pytest.mark.parametrize(
    ("height", "rows", "strips"),
    [(12, 99, 1), (12, 5, 3), (12, 1, 12), (12, 0, 12), (7, 6, 7), (13, 13, 1)],
)
def test_strips_cover_the_image(height, rows, strips, monkeypatch):
    """As many rows as divide the height and fit, or one; with stride and leftover."""
    x, kernel = whole(0, 2, 2 * height + 1, 7, 2), whole(1, 3, 2, 2, 3)
    window = {"strides": (2, 1), "padding": ((1, 0), (0, 1))}
    dy = whole(2, 2, height, 7, 3)
    fitting(monkeypatch, rows, 7, kernel)
    gradient = lambda kernel: jax.grad(
        lambda k: jnp.vdot(
            dy, conv.conv(jnp.asarray(x), k, implementation="images", **window)
        )
    )(kernel)
    _, right = gradients(x, kernel, dy, strides=(2, 1), edges=window["padding"])
    assert np.array_equal(jax.jit(gradient)(kernel), right)
    lengths = re.findall(r"length=(\d+)", str(jax.make_jaxpr(gradient)(kernel)))
    assert lengths == [str(2 * strips)]


@pytest.mark.parametrize("strip_bytes", [0, 5_000, 10_000, 2**20])
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((2, 0), (1, 2))])
def test_tiles_cover_the_image(strip_bytes, padding, monkeypatch):
    """One row of tiles in a strip, some rows, an image, all; a row of them takes 1,920.

    Odd sizes leave half of the last tiles empty.
    """
    monkeypatch.setattr(conv_winograd, "STRIP_BYTES", strip_bytes)
    x, kernel = whole(0, 2, 11, 9, 2), whole(1, 3, 3, 2, 1)
    edges = {"SAME": SAME, "VALID": ((0, 0), (0, 0))}.get(padding, padding)
    y = value(x, kernel, edges=edges)
    dy = whole(2, *y.shape)
    found = jax.jit(lambda *args: everything(*args, "winograd", padding=padding))
    right = y, *gradients(x, kernel, dy, edges=edges)
    assert equal(found(x, kernel, dy), right)


NEIGHBOURS = [  # rows, columns, inputs, features of a kernel, columns of an image
    ((3, 3, 16, 16), 4, 2),
    ((3, 3, 16, 16), 3, 1),  # the window of a pair has four columns
    ((3, 3, 16, 16), 7, 2),  # the last pair has one pixel
    ((5, 5, 8, 16), 8, 2),
    ((2, 4, 2, 7), 8, 3),
    ((3, 3, 8, 5), 9, 4),  # as many columns of zeros as of others
    ((3, 3, 8, 4), 9, 1),
    ((3, 3, 17, 8), 9, 1),
    ((3, 3, 8, 17), 9, 1),
    ((3, 1, 16, 16), 9, 1),
]


@pytest.mark.parametrize(("shape", "width", "count"), NEIGHBOURS)
def test_few_channels_have_neighbours(shape, width, count, monkeypatch):
    window = windows.Window((1, 1), ((1, 1), (1, 1)), (1, 1))
    number = lambda window: conv_neighbours.num_neighbours(
        (2, 9, width, shape[2]), shape, window
    )
    assert number(window) == count
    assert number(window._replace(strides=(1, 2))) == 1
    assert number(window._replace(dilation=(2, 1))) == 1
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert number(window) == 1


@pytest.mark.parametrize(("shape", "width", "count"), NEIGHBOURS)
def test_neighbours_are_those_of_lax(shape, width, count):
    """Value and gradients to the bit, whether or not the width is a multiple."""
    args = whole(0, 2, 6, width, shape[2]), whole(1, *shape)

    def results(implementation, *args):
        settings = {"implementation": implementation}
        for padding in ("SAME", "VALID", ((0, 1), (2, 0))):
            apply = functools.partial(conv.conv, padding=padding, **settings)
            y, back = jax.vjp(apply, *args)
            yield from (y, *back(y))

    both = lambda *args: [list(results(name, *args)) for name in ("images", "lax")]
    found, right = jax.jit(both)(*args)
    assert max(np.abs(a).max() for a in right) < 2**24  # whole numbers stay exact
    assert equal(found, right)
    value = functools.partial(conv.conv, implementation="images")
    strides = re.findall(r"stride = \[(\d), (\d)\]", lowered(value, *args))
    assert strides == [("1", str(count))]


def test_neighbours_in_bfloat16_are_those_of_lax():
    """The sums are whole in float32 and rounded once."""
    args = 3 * whole(0, 2, 6, 8, 16), whole(1, 3, 3, 16, 16), whole(2, 2, 6, 8, 16)
    args = tuple(jnp.asarray(a, "bfloat16") for a in args)
    found, right = (everything(*args, name) for name in ("images", "lax"))
    assert {a.dtype.name for a in found} == {"bfloat16"}
    assert jnp.abs(right[0]).max() > 256  # not every whole number is there
    assert equal(found, right)


def test_neighbours_that_are_not_moved_are_found_out(monkeypatch):
    """The second of a pair with the kernel of the first."""
    args = whole(0, 2, 6, 8, 16), whole(1, 3, 3, 16, 16), whole(2, 2, 6, 8, 16)
    right = everything(*args, "lax")
    assert equal(everything(*args, "images"), right)
    last = lambda kernel, edges: windows.pad(kernel, ((0, 1), (0, 0)))
    monkeypatch.setattr(conv_neighbours, "windows", types.SimpleNamespace(pad=last))
    y, dx, dkernel = everything(*args, "images")
    assert equal([y[:, :, ::2], dkernel], [right[0][:, :, ::2], right[2]])
    assert not np.array_equal(y[:, :, 1::2], right[0][:, :, 1::2])
    assert not np.array_equal(dx, right[1])


def test_input_dilation_and_groups_are_those_of_lax():
    """The images spread out by hand, cropped too, and each group by itself."""
    x, kernel = whole(0, 2, 6, 5, 4), whole(1, 3, 2, 2, 6)
    edges = ((-1, 2), (3, -2))
    spread = np.zeros((2, 11, 13, 4))
    spread[:, ::2, ::3] = x
    y = np.concatenate(
        [
            value(spread[..., :2], kernel[..., :3], edges=edges),
            value(spread[..., 2:], kernel[..., 3:], edges=edges),
        ],
        axis=-1,
    )
    window = {"padding": edges, "input_dilation": (2, 3), "feature_group_count": 2}
    found = jax.jit(functools.partial(conv.conv, **window))(x, kernel)
    assert equal([found], [y])


def test_same_is_of_the_images_spread_out():
    """Of 7 by 7 pixels: 4 by 4 windows of 3 by 3, moving by 2, need 9 by 9."""
    window = windows.window_of(
        (1, 4, 3, 1), (3, 3), strides=2, padding="SAME", input_dilation=(2, 3)
    )
    assert window.padding == ((1, 1), (1, 1))


# ---- rounding and dtypes -------------------------------------------------------------


def test_rounding_stays_within_that_of_sums_in_any_order():
    """A sum of n products errs by n eps / 2 times the sum of their sizes at most.

    n is 144 for the value, 784 for the kernel's gradient, 72 for the images'.
    Measured: 0.04, 0.01, 0.05 of it; products of bfloat16 are 30 times over it.
    """
    draw = np.random.default_rng(0)
    shapes = ((4, 14, 14, 16), (3, 3, 16, 8), (4, 14, 14, 8))
    args = [draw.normal(size=shape).astype(np.float32) for shape in shapes]
    edges = ((1, 1), (1, 1))
    wide = [np.asarray(a, np.float64) for a in args]
    right = value(*wide[:2], edges=edges), *gradients(*wide, edges=edges)
    sizes = [np.abs(a) for a in wide]
    most = value(*sizes[:2], edges=edges), *gradients(*sizes, edges=edges)
    sums = [name for name in IMPLEMENTATIONS if name != "winograd"]
    found = jax.jit(lambda *args: [everything(*args, n) for n in sums])(*args)
    for one in found:
        for a, b, size, n in zip(one, right, most, (144, 72, 784)):
            assert np.all(np.abs(a - b) <= n * EPS32 / 2 * size)


# the matrices of conv_winograd's docstring
INPUTS = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]])
WEIGHTS = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
RESULTS = np.array([[1, 1, 1, 0], [0, 1, -1, 1]])


def by_tiles(x, kernel, dy, size=lambda a: a):
    """Value and gradients by Winograd's tiles, of what `size` makes of all factors."""
    b, g, a = size(INPUTS), size(WEIGHTS), size(RESULTS)
    x, kernel, dy = size(x), size(kernel), size(dy)
    turned = kernel[::-1, ::-1].swapaxes(2, 3)

    def tiles(images, around, width):
        padded = np.pad(images, [(0, 0), (around, around), (around, around), (0, 0)])
        views = np.lib.stride_tricks.sliding_window_view(padded, (width, width), (1, 2))
        return views[:, ::2, ::2]  # [batch, height, width, channels, 4, 4]

    def convolved(images, kernel):
        sums = np.einsum("ip,bhwcpq,jq->ijbhwc", b, tiles(images, 1, 4), b)
        factors = np.einsum("ir,rscf,js->ijcf", g, kernel, g)
        y = np.einsum("ijbhwc,ijcf,ai,ej->bhawef", sums, factors, a, a, optimize=True)
        return y.reshape(*images.shape[:3], -1)

    sums = np.einsum("ip,bhwcpq,jq->ijbhwc", b, tiles(x, 1, 4), b)
    met = np.einsum("ai,bhwfae,ej->ijbhwf", a, tiles(dy, 0, 2), a)
    factors = np.einsum("ijbhwc,ijbhwf->ijcf", sums, met, optimize=True)
    of_kernel = np.einsum("ir,ijcf,js->rscf", g, factors, g)
    return convolved(x, kernel), convolved(dy, turned), of_kernel


def test_rounding_of_tiles_stays_within_that_of_their_sums():
    """There are n + 10 roundings behind a sum over n numbers.

    Of the ten, four are those of a sum of nine weights with two halves, two those of a
    sum of four pixels, four those of a sum of nine products. n is 16 channels for the
    value, 8 for the images' gradient, 196 tiles for the kernel's. Measured: 0.008,
    0.014, 0.001 of it.
    """
    draw = np.random.default_rng(0)
    shapes = ((4, 14, 14, 16), (3, 3, 16, 8), (4, 14, 14, 8))
    args = [draw.normal(size=shape).astype(np.float32) for shape in shapes]
    wide = [np.asarray(a, np.float64) for a in args]
    right, most = by_tiles(*wide), by_tiles(*wide, size=np.abs)
    plain = value(*wide[:2], edges=SAME), *gradients(*wide, edges=SAME)
    assert all(np.allclose(a, b, 0, 1e-12) for a, b in zip(right, plain))
    found = jax.jit(lambda *args: everything(*args, "winograd"))(*args)
    for a, b, size, n in zip(found, right, most, (16, 8, 196)):
        assert np.all(np.abs(a - b) <= (n + 10) * EPS32 / 2 * size)


@pytest.mark.parametrize("image_bytes", [0, 100])
def test_bfloat16_comes_out_as_bfloat16(image_bytes, monkeypatch):
    """A sum of 390 ones, one strip each, which in bfloat16 would end at 256."""
    monkeypatch.setattr(conv_images, "STRIP_BYTES", 1)
    monkeypatch.setattr(conv_images, "IMAGE_BYTES", image_bytes)
    args = [
        jnp.ones(shape, jnp.bfloat16)
        for shape in ((130, 3, 1, 2), (1, 1, 2, 3), (130, 3, 1, 3))
    ]
    found = jax.jit(lambda *args: [everything(*args, n) for n in IMPLEMENTATIONS])(
        *args
    )
    assert {a.dtype for one in found for a in one} == {jnp.dtype("bfloat16")}
    images = found[IMPLEMENTATIONS.index("images")]
    assert [set(np.ravel(a).astype(float)) for a in images] == [{2}, {3}, {390}]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("images", "bias"), [("bfloat16", "float32"), ("float32", "bfloat16")]
)
def test_a_bias_of_another_dtype_promotes_the_result(images, bias, implementation):
    """Exact in both; each gradient has the dtype of its own argument."""
    x, kernel = whole(0, 2, 5, 4, 2), whole(1, 3, 3, 2, 3)
    y = value(x, kernel, edges=SAME)
    dy, added = whole(2, *y.shape), whole(3, 3)
    args = *(jnp.asarray(a, images) for a in (x, kernel)), jnp.asarray(added, bias)

    @jax.jit
    def run(args, dy):
        apply = functools.partial(conv.conv, implementation=implementation)
        found, back = jax.vjp(apply, *args)
        return found, *back(dy)

    found = run(args, dy)
    right = y + added, *gradients(x, kernel, dy, edges=SAME), dy.sum((0, 1, 2))
    assert [a.dtype.name for a in found] == ["float32", images, images, bias]
    assert equal(found, right)


# ---- lanes ---------------------------------------------------------------------------

X = whole(0, 3, 2, 6, 5, 3)  # lanes first
KERNEL = whole(1, 3, 3, 3, 3, 4)
DY = whole(2, 3, 2, 6, 5, 4)
SAME = ((1, 1), (1, 1))


def lane(x, kernel, dy):
    return value(x, kernel, edges=SAME), *gradients(x, kernel, dy, edges=SAME)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_lanes_are_each_by_itself(implementation):
    """Kernels, images or both with lanes, and every image with every kernel."""
    one = lambda x, kernel, dy: everything(x, kernel, dy, implementation)

    @jax.jit
    def mapped(x, kernel, dy):
        return (
            jax.vmap(one, (None, 0, 0))(x[0], kernel, dy),
            jax.vmap(one, (0, None, 0))(x, kernel[0], dy),
            jax.vmap(one)(x, kernel, dy),
            jax.vmap(jax.vmap(one, (None, 0, None)), (0, None, 0))(x, kernel, dy),
        )

    many = lambda lanes: [np.stack(a) for a in zip(*lanes)]
    kernels, images, both, pairs = mapped(X, KERNEL, DY)
    assert equal(kernels, many(lane(X[0], k, d) for k, d in zip(KERNEL, DY)))
    assert equal(images, many(lane(x, KERNEL[0], d) for x, d in zip(X, DY)))
    assert equal(both, many(map(lane, X, KERNEL, DY)))
    for x, d, found in zip(X, DY, zip(*pairs)):
        assert equal(found, many(lane(x, k, d) for k in KERNEL))


def test_lanes_are_divided_over_devices_and_scanned():
    """As in training: two devices, two lanes on each, a step for each of three inputs.

    The carry is the sum of the gradients of each lane's kernel.
    """
    kernels = KERNEL[np.array([0, 1, 2, 0])]
    gradient = lambda kernel, x, dy: everything(x, kernel, dy, "images")[2]

    def train(kernel, x, dy):
        add = lambda total, step: (total + gradient(kernel, *step), None)
        return lax.scan(add, jnp.zeros_like(kernel), (x, dy))[0]

    mesh = Mesh(np.array(jax.devices()), ("lanes",))
    assert mesh.size == 2
    lanes, shared = PartitionSpec("lanes"), PartitionSpec()
    found = jax.jit(
        jax.shard_map(
            jax.vmap(train, (0, None, None)),
            mesh=mesh,
            in_specs=(lanes, shared, shared),
            out_specs=lanes,
            check_vma=False,
        )
    )(kernels, X, DY)
    right = sum(lane(x, KERNEL[0], dy)[2] for x, dy in zip(X, DY))
    assert equal(found, [right] * 4)


def lowered(function, *args):
    return jax.jit(function).lower(*args).as_text()


def test_lanes_do_not_become_a_grouped_convolution():
    """Which is what makes them slow: `lax` has one for each vmapped kernel."""
    groups = {}
    for name in ("images", "lax"):
        one = lambda x, kernel, dy, name=name: everything(x, kernel, dy, name)
        text = lowered(jax.vmap(one), X, KERNEL, DY)
        groups[name] = set(re.findall(r"_group_count = (\d+)", text))
    assert groups["images"] == {"1"}
    assert "3" in groups["lax"]


@pytest.mark.parametrize("lanes", [False, True])
@pytest.mark.parametrize(
    ("implementation", "strides"),
    [*((name, (2, 1)) for name in IMPLEMENTATIONS), ("images", 1)],  # 1: neighbours
)
def test_second_derivatives_are_those_of_lax(implementation, strides, lanes):
    """Reverse over reverse, of every pair of arguments; to the bit."""
    x, kernel = jnp.asarray(whole(0, 2, 7, 6, 8)), jnp.asarray(whole(1, 3, 2, 8, 9))
    along = whole(2, *x.shape), whole(3, *kernel.shape)

    def product(x, kernel, implementation):  # of the Hessian with `along`
        def loss(x, kernel):
            settings = {"implementation": implementation, "strides": strides}
            return jnp.sum(jnp.square(conv.conv(x, kernel, **settings)))

        def slope(x, kernel):
            return sum(map(jnp.vdot, along, jax.grad(loss, (0, 1))(x, kernel)))

        return jax.grad(slope, (0, 1))(x, kernel)

    def found(implementation):
        one = functools.partial(product, implementation=implementation)
        if not lanes:
            return one(x, kernel)
        return jax.vmap(one, (0, None))(jnp.stack([x, -x]), kernel)

    right = found("lax")
    assert max(np.abs(a).max() for a in right) < 2**24  # whole numbers stay exact
    assert equal(found(implementation), right)


@pytest.mark.parametrize("implementation", ["lax", "patches", "planes"])
def test_forward_mode_is_that_of_lax_but_for_two(implementation):
    x, kernel = jnp.asarray(whole(0, 2, 5, 5, 8)), jnp.asarray(whole(1, 3, 3, 8, 9))
    along = whole(2, *x.shape), whole(3, *kernel.shape)
    tangent = lambda name: jax.jvp(
        functools.partial(conv.conv, implementation=name), (x, kernel), along
    )
    assert equal(tangent(implementation), tangent("lax"))
    for name in ("images", "winograd"):
        with pytest.raises(TypeError, match="forward-mode"):
            tangent(name)


@pytest.mark.parametrize("lanes", [False, True])
def test_no_gradient_is_computed_that_nobody_asks_for(lanes):
    """Convolutions: two values, and the gradient of what lies between the layers."""

    def loss(kernels, x):
        for kernel in kernels:
            x = jnp.sin(conv.conv(x, kernel, implementation="images"))
        return jnp.sum(x)

    def count(argnums):
        one = jax.grad(loss, argnums)
        mapped = jax.vmap(one, ((0, 0), 0)) if lanes else one
        at = slice(None) if lanes else 0
        args = (KERNEL[at], whole(3, 3, 3, 3, 4, 2)[at]), X[at]
        return lowered(mapped, *args).count("stablehlo.convolution")

    assert count(0) == 3
    assert count((0, 1)) == 4


# ---- choice and errors ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "settings", "backend", "name"),
    [
        ((5, 5, 1, 16), {}, "cpu", "planes"),
        ((1, 1, 64, 8), {}, "cpu", "patches"),
        ((1, 1, 65, 8), {}, "cpu", "images"),
        ((3, 3, 16, 1), {}, "cpu", "images"),
        ((3, 3, 64, 64), {}, "cpu", "winograd"),
        ((3, 3, 64, 63), {}, "cpu", "images"),
        ((3, 3, 64, 64), {"strides": (2, 1)}, "cpu", "images"),
        ((3, 3, 64, 64), {"kernel_dilation": 2}, "cpu", "images"),
        ((5, 5, 64, 64), {}, "cpu", "images"),
        ((3, 8, 512), {}, "cpu", "planes"),  # of a sequence
        ((3, 3, 64, 64), {"dtype": "bfloat16"}, "cpu", "images"),
        ((3, 3, 64, 64), {"dtype": "float64"}, "cpu", "winograd"),
        ((3, 3, 1, 1), {"implementation": "winograd"}, "gpu", "winograd"),
        (
            (3, 3, 64, 64),
            {"implementation": "winograd", "dtype": "bfloat16"},
            "gpu",
            "images",
        ),
        ((5, 5, 1, 1), {"implementation": "winograd"}, "cpu", "images"),
        ((5, 5, 1, 1), {"implementation": "patches"}, "cpu", "patches"),
        ((3, 3, 64, 64), {}, "gpu", "patches"),
        ((3, 3, 1, 16), {"dense": False}, "cpu", "lax"),
    ],
)
def test_the_implementation_fits_kernel_and_device(
    shape, settings, backend, name, monkeypatch
):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert conv.choose(shape, **{"dtype": "float32"} | settings) == name


@pytest.mark.parametrize(
    ("inputs", "settings", "name"),
    [
        (7, {}, "planes"),
        (8, {}, "images"),
        (64, {}, "winograd"),
        (64, {"strides": 2}, "images"),
        (8, {"feature_group_count": 8}, "lax"),
        (7, {"input_dilation": 2}, "lax"),
    ],
)
def test_auto_is_the_one_chosen_and_another_is_used_if_named(inputs, settings, name):
    groups = settings.get("feature_group_count", 1)
    features = max(inputs, 8)
    x, kernel = whole(0, 1, 4, 4, inputs), whole(1, 3, 3, inputs // groups, features)

    def program(implementation):
        one = lambda x, kernel: jnp.sum(
            conv.conv(x, kernel, implementation=implementation, **settings)
        )
        return lowered(jax.value_and_grad(one, 1), x, kernel)

    assert program("auto") == program(name)
    if not settings:
        programs = [program(name) for name in IMPLEMENTATIONS]
        assert len(set(programs)) == 5
        counts = [text.count("stablehlo.convolution") for text in programs]
        assert counts == [1, 2, 0, 0, 0]  # images, lax, and three without


@pytest.mark.parametrize(
    ("size", "dtype", "settings"),
    [(5, "float32", {}), (3, "bfloat16", {}), (3, "float32", {"strides": 2})],
)
def test_winograd_is_images_where_it_has_no_tiles(size, dtype, settings):
    x, kernel = whole(0, 1, 6, 6, 8), whole(1, size, size, 8, 8)

    def program(name):
        one = lambda x, k: jnp.sum(conv.conv(x, k, implementation=name, **settings))
        args = jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)
        return lowered(jax.grad(one, (0, 1)), *args)

    assert program("winograd") == program("images")
    assert program("winograd") != program("lax")


def test_a_second_call_does_not_compile_again():
    step = jax.jit(lambda x, kernel, dy: everything(x, kernel, dy, "images"))
    step(X[0], KERNEL[0], DY[0])
    step(X[1], KERNEL[1], DY[1])
    assert step._cache_size() == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"implementation": "image"},
            "implementation='image': must be one of images, lax, patches, planes,"
            " winograd; did you mean 'images'?",
        ),
        (
            {"implementation": "images", "input_dilation": 2},
            "implementation='images': needs input_dilation=1 and feature_group_count=1,"
            " got (2, 2) and 1; use 'lax'.",
        ),
        (
            {"implementation": "patches", "feature_group_count": 3},
            "implementation='patches': needs input_dilation=1 and"
            " feature_group_count=1, got (1, 1) and 3; use 'lax'.",
        ),
        (
            {"strides": 0},
            "strides=0: must be a whole number of at least 1, or a pair of them;"
            " set strides=1.",
        ),
        (
            {"kernel_dilation": (1, 2, 3)},
            "kernel_dilation=(1, 2, 3): must be a whole number of at least 1, or a pair"
            " of them; set kernel_dilation=1.",
        ),
        (
            {"padding": "SAM"},
            "padding='SAM': must be one of SAME, SAME_LOWER, VALID; did you mean"
            " 'SAME'?",
        ),
        (
            {"padding": (1, 1, 1)},
            "padding=(1, 1, 1): must be a name, a number, or a number or a pair for"
            " each dimension; use one of SAME, SAME_LOWER, VALID.",
        ),
        (
            {"padding": (0, (1, -2)), "kernel_dilation": (1, 3)},
            "window of 3 by 7 pixels: must fit into images of 6 by 5 with padding"
            " ((0, 0), (1, -2)); use padding='SAME'.",
        ),
    ],
)
def test_what_cannot_be_done_is_said(settings, message):
    with pytest.raises(InputError) as caught:
        conv.conv(jnp.asarray(X[0]), jnp.asarray(KERNEL[0]), **settings)
    assert str(caught.value) == message
