"""What is measured with eight CPU devices: a process of its own, as jax has one number.

`python _eight_devices.py NAME` runs a function of this file and prints what it returns.
"""

import json
import os
import pathlib
import subprocess
import sys

NUM_DEVICES = 8
FOLDER = pathlib.Path(__file__).parent


def measured(name: str) -> dict:
    """What the function `name` of this file returns with eight CPU devices."""
    path = os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")])
    own = {"JAX_NUM_CPU_DEVICES": str(NUM_DEVICES), "JAX_PLATFORMS": "cpu"}
    ran = subprocess.run(
        [sys.executable, __file__, name],
        capture_output=True,
        text=True,
        env=os.environ | own | {"PYTHONPATH": path},
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


# ---- data that all devices read ----------------------------------------------------


def pointers(tree) -> list[int]:
    """How many buffers there are of each array, and where the first one lies."""
    import jax

    found = []
    for x in jax.tree.leaves(tree):
        where = [s.data.unsafe_buffer_pointer() for s in x.addressable_shards]
        found.append([len(where), len(set(where)), where[0]])
    return found


def small_data():
    """Three classes that differ in their mean, and their scaling."""
    import jax.numpy as jnp
    import numpy as np

    from normjax.types import Data, Scaling, Split

    draw = np.random.default_rng(0)

    def split(n):
        labels = np.arange(n, dtype=np.int32) % 3
        inputs = draw.normal(size=(n, 5)) + labels[:, None]
        return Split(jnp.asarray(inputs, jnp.float32), jnp.asarray(labels))

    return Data(split(32), split(12), split(12), Scaling(jnp.zeros(5), jnp.ones(5)))


def copied(data):
    """The data with a copy for every device."""
    import jax
    import numpy as np
    from jax.sharding import NamedSharding

    from normjax.training import devices

    sharding = NamedSharding(devices.mesh_for(NUM_DEVICES), devices.SHARED)

    def copies(x):
        each = [
            jax.device_put(np.array(x), device, may_alias=False)
            for device in jax.devices()
        ]
        return jax.make_array_from_single_device_arrays(x.shape, sharding, each)

    return jax.tree.map(copies, data)


def trained(data):
    """Bytes of the last state and of all reports of twelve lanes."""
    import jax
    import numpy as np

    from normjax import layers, models
    from normjax.optimizers import recipes
    from normjax.training import lanes
    from normjax.types import Program

    model = models.MLP((6,), 3, norm=layers.NORMS["batch"])
    program = Program(
        model=model, optimizer=recipes.sgd, batch_size=8, steps_per_epoch=4
    )
    keys = jax.random.split(jax.random.key(0), 12)
    rates = {"learning_rate": np.full(12, np.float32(0.1))}
    rates["momentum"] = np.zeros(12, np.float32)
    run = list(lanes.train(keys, rates, data, program=program, num_epochs=2))
    leaves = jax.tree.leaves((run[-1][0], [report for _, report in run]))
    return [np.asarray(x).tobytes() for x in leaves]


def shared() -> dict:
    """Where placed data lies, and whether anything differs from copies of it."""
    import jax

    from normjax.training import devices

    data = small_data()
    there, apart = pointers(data), copied(data)
    placed = devices.place(data)
    return {
        "before": there,
        "placed": pointers(placed),
        "copied": pointers(apart),
        "again": pointers(devices.place(placed)),
        "equal": trained(placed) == trained(apart),
        "after": pointers(placed),
        "fewer": pointers(devices.place(placed, devices.mesh_for(3))),
        "num_devices": len(jax.devices()),
    }


def donated() -> dict:
    """What is in the memory of placed data after a program was given it for good."""
    import jax
    import numpy as np

    from normjax.training import devices

    data = small_data()
    bytes_of = lambda tree: [np.asarray(x).tobytes() for x in jax.tree.leaves(tree)]
    before = bytes_of(data)
    placed, other = devices.place(data), devices.place(data)
    add = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    new = add(placed)
    reused = {p for *_, p in pointers(new)} & {p for *_, p in pointers(data)}
    return {
        "deleted": all(x.is_deleted() for x in jax.tree.leaves(placed)),
        "reused": len(reused),
        "intact": bytes_of(data) == before and bytes_of(other) == before,
    }


def resident() -> dict:
    """MiB that 64 MiB of data take more, placed, and at most while they are read."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from normjax.training import devices

    def mib(field):
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
        return next(int(x.split()[1]) for x in lines if x.startswith(field)) / 1024

    x = jnp.arange(2**24, dtype=np.float32)
    mesh = devices.mesh_for(NUM_DEVICES)
    row = lambda lane, x: x[lane]  # compiled with all of x as an argument
    read = jax.jit(devices.divide(jax.vmap(row, (0, None)), mesh, (0, None)))
    lanes = np.arange(NUM_DEVICES)
    jax.block_until_ready(read(lanes, devices.place(x[:8], mesh)))  # starts all devices
    before = mib("VmHWM")
    placed = jax.block_until_ready(devices.place(x, mesh))
    after = mib("VmHWM")
    jax.block_until_ready(read(lanes, placed))
    shared = {"placed": after - before, "read": mib("VmHWM") - after}
    jax.block_until_ready(copied(x))
    return shared | {"copied": mib("VmHWM") - before}


# ---- batch norm of examples that lie on several devices ----------------------------

COUNTS = ((16, 0, 3, 9), (1, 16, 16, 5), (16, 16, 16, 16), (0, 0, 0, 0))


def batches():
    """`[lanes, examples, features]`: nan where the mask is false; and their weights."""
    import numpy as np

    draw = np.random.default_rng(0)
    x = draw.normal(0.5, 1.5, (len(COUNTS), 64, 6)).astype(np.float32)
    weights = draw.normal(size=x.shape).astype(np.float32)
    masks = np.arange(16) < np.array(COUNTS)[..., None]
    masks = masks.reshape(len(COUNTS), 64)
    return np.where(masks[..., None], x, np.nan), masks, weights


def lanes_of(layer, variables):
    """A function of `batches`: output, gradients and statistics of vmapped lanes."""
    import jax
    import jax.numpy as jnp

    stats = variables["batch_stats"]

    def one(params, x, mask, weights):
        def loss(params, x):
            given = {"params": params, "batch_stats": stats}
            y, new = layer.apply(given, x, train=True, mask=mask, mutable=True)
            return jnp.sum(weights * jnp.sin(y)), (y, new["batch_stats"])

        grads, (y, new) = jax.grad(loss, (0, 1), has_aux=True)(params, x)
        return y, *grads, new

    return jax.vmap(one)


def spread_over_devices() -> dict:
    """Largest errors of batch norm on a mesh of 2 x 4, in eps of the largest entry.

    Row: how the examples are spread, and an option of the layer. Column: what differs
    from the same lanes on one device.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import AxisType, Mesh, NamedSharding
    from jax.sharding import PartitionSpec as P

    from normjax import layers

    auto = (AxisType.Auto, AxisType.Auto)
    square = np.array(jax.devices()).reshape(2, 4)
    mesh = Mesh(square, ("lane", "data"), axis_types=auto)
    spread, lane = P("lane", "data"), P("lane")
    x, masks, weights = batches()

    def by_hand(function):
        def all_lanes(*args):
            y, params, x, stats = function(*args)
            return y, jax.lax.psum(params, "data"), x, stats

        return jax.shard_map(all_lanes, **specs, check_vma=False)

    specs = {"mesh": mesh, "in_specs": (lane, spread, spread, spread)}
    specs["out_specs"] = (spread, lane, spread, lane)
    ways = {
        "shard_map": lambda function: jax.shard_map(function, **specs),
        "shard_map, gradients summed by hand": by_hand,
        "placement alone": lambda function: function,
    }
    found = {}
    for option in ({}, {"unbiased": True}, {"debias": True}):
        layer = layers.BatchNorm(**option)
        variables = layer.init(jax.random.key(0), jnp.ones((2, 6)), train=False)
        draw = np.random.default_rng(1)
        scale, bias = draw.normal(1, 0.2, (2, len(COUNTS), 6)).astype(np.float32)
        params = {"scale": scale, "bias": bias}
        args = (params, x, masks, weights)
        right = jax.jit(lanes_of(layer, variables))(*args)
        for name, way in ways.items():
            own = layer.clone(axis_name=None if "alone" in name else "data")
            places = [lane, spread, spread, spread]
            placed = [
                jax.device_put(a, NamedSharding(mesh, place))
                for a, place in zip(args, places)
            ]
            result = jax.jit(way(lanes_of(own, variables)))(*placed)
            found[f"{name} {option}"] = errors(result, right)
    rows = zip(x[0].reshape(4, 16, 6), COUNTS[0])
    averaged = np.mean([row[:n].mean(0) for row, n in rows if n], 0)
    decayed = (1 - layer.decay) * averaged
    plain = jax.jit(lanes_of(layers.BatchNorm(), variables))(*args)
    found["a mean of the devices' means"] = errors(decayed, plain[3]["mean"][0])
    return found


def errors(found, right) -> list[float]:
    """Largest error of each array in eps of its largest entry."""
    import jax
    import numpy as np

    eps = np.finfo(np.float32).eps
    one = lambda a, b: float(np.max(np.abs(a - b)) / np.max(np.abs(b)) / eps)
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(right), strict=True)
    return [one(np.asarray(a), np.asarray(b)) for a, b in pairs]


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()))
