"""The norms of PyTorch as loops that `benchmarks.norms` times.

Images are tried in both of PyTorch's layouts, channels first and channels last. Its
threads sleep between operations: by default they spin for a while, on the cores of
whoever is timed next.
"""

import functools
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks.norm_sides import EPS, is_defined
from normjax.layers.common import num_groups
from normjax.training import devices

ROWS = ("layer", "rms")  # over the last axis, which are the channels
LAYOUTS = ("channels first", "channels last")
Params = Mapping[str, Any]
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported


def is_installed() -> bool:
    """Whether there is a PyTorch to compare with."""
    return importlib.util.find_spec("torch") is not None


def norms(channels: int) -> dict[str, Callable[[Any, Params], Any]]:
    """Name -> `(x, params) -> y`, for arrays of so many channels."""
    from torch.nn import functional

    eps, vector = {"eps": EPS}, (channels,)
    affine = lambda p: (p["scale"], p["bias"])
    running = lambda p: (p["mean"], p["var"])
    group = lambda groups: (
        lambda x, p: functional.group_norm(x, groups, *affine(p), **eps)
    )
    batch = lambda training: (
        lambda x, p: functional.batch_norm(
            x, *running(p), *affine(p), training=training, **eps
        )
    )
    return {
        "batch": batch(True),
        "frozen": batch(False),
        "layer": lambda x, p: functional.layer_norm(x, vector, *affine(p), **eps),
        "rms": lambda x, p: functional.rms_norm(x, vector, p["scale"], **eps),
        "layer_example": group(1),
        "group": group(num_groups(channels)),
        "instance": lambda x, p: functional.instance_norm(
            x, None, None, *affine(p), **eps
        ),
        "local_response": lambda x, p: functional.local_response_norm(
            x, 5, alpha=5 * 1e-4, k=2.0
        ),
    }


def is_in_torch(name: str, shape: tuple[int, ...]) -> bool:
    """Whether PyTorch has this norm for arrays of this shape."""
    if name == "local_response" and len(shape) == 2:
        return False
    return name in norms(shape[-1]) and is_defined(name, shape)


def layouts(name: str, x: np.ndarray) -> dict[str, Any]:
    """`x`, channels last, as tensors in the layouts that the norm knows."""
    import torch

    rows = torch.from_numpy(x.copy())
    if name in ROWS or x.ndim == 2:
        return {"rows": rows}
    last = rows.permute(0, 3, 1, 2)
    return dict(zip(LAYOUTS, (last.contiguous(), last)))


def params_of(channels: int) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """Parameters and running statistics by name, and those that have a gradient."""
    import torch

    scale, bias = torch.ones(channels), torch.zeros(channels)
    learned = tuple(a.requires_grad_() for a in (scale, bias))
    running = {"mean": torch.zeros(channels), "var": torch.ones(channels)}
    return {"scale": scale, "bias": bias} | running, learned


def loops(
    name: str, x: np.ndarray, steps: int, *, backward: bool
) -> dict[str, Callable[[], None]]:
    """Layout -> a function that takes so many steps; empty if PyTorch has none."""
    if not is_installed() or not is_in_torch(name, x.shape):
        return {}
    import torch

    torch.set_num_threads(devices.num_cores())
    norm, (params, learned) = norms(x.shape[-1])[name], params_of(x.shape[-1])

    def run(tensor):
        for _ in passes(norm, tensor, params, learned, steps, backward=backward):
            pass

    tensors = layouts(name, x).items()
    return {layout: functools.partial(run, tensor) for layout, tensor in tensors}


def passes(
    norm: Callable,
    x: Any,
    params: Params,
    learned: tuple,
    steps: int,
    *,
    backward: bool,
) -> Iterator[tuple]:
    """Yields `(y, dx)` of step after step, dx None unless `backward`.

    The gradients of the parameters are computed too, and dropped.
    """
    import torch

    dy = x.flip(0)
    for _ in range(steps):
        if not backward:
            with torch.no_grad():
                x = norm(x, params)
            yield x, None
            continue
        inputs = x.detach().requires_grad_()
        y = norm(inputs, params)
        wanted = (inputs, *learned)
        dy = torch.autograd.grad(y, wanted, dy, allow_unused=True)[0]
        x = y.detach()
        yield x, dy
