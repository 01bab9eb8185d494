"""Checks of norms against those of flax.linen, torch and Keras, in float32.

Channels are last here; torch has them second, which `frameworks` turns.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from normjax import layers
from normjax.checks import cases, forward, frameworks, references_batch
from normjax.checks.frameworks import channels_last, channels_second
from normjax.checks.references import EPS
from normjax.checks.rows import Check, parity

FLAX: dict[str, Callable[..., nn.Module]] = {
    "layer": functools.partial(nn.LayerNorm, use_fast_variance=False),
    "rms": nn.RMSNorm,
    "group": functools.partial(nn.GroupNorm, num_groups=4, use_fast_variance=False),
    "instance": functools.partial(nn.InstanceNorm, use_fast_variance=False),
}
KERAS: dict[str, Callable[..., Any]] = {
    "layer": lambda kinds, **eps: kinds.LayerNormalization(**eps),
    "rms": lambda kinds, **eps: kinds.RMSNormalization(**eps),
    "group": lambda kinds, **eps: kinds.GroupNormalization(groups=4, **eps),
    "instance": lambda kinds, **eps: kinds.GroupNormalization(groups=-1, **eps),
}


def flax_norm(name: str, variables, x, **settings) -> np.ndarray:
    """Flax's own layer with our parameters: they have the same names."""
    layer = FLAX[name](**{"epsilon": EPS} | settings)
    return np.asarray(layer.apply({"params": variables["params"]}, x))


def torch_norm(name: str, variables, x, **settings) -> np.ndarray:
    """One of `torch.nn.functional`, or the one that torch has for kernels."""
    import torch

    functional = torch.nn.functional
    p = {k: torch.from_numpy(a) for k, a in variables.get("params", {}).items()}
    rows, shape = torch.from_numpy(x), (x.shape[-1],)
    affine, eps = (p.get("scale"), p.get("bias")), {"eps": EPS} | settings
    response = {"alpha": 5 * 0.02, "k": 2.0} | settings
    on_channels = lambda f, *args, **keywords: channels_last(
        f(channels_second(x), *args, **keywords)
    )
    calls = {
        "layer": lambda: functional.layer_norm(rows, shape, *affine, **eps).numpy(),
        "rms": lambda: functional.rms_norm(rows, shape, affine[0], **eps).numpy(),
        "group": lambda: on_channels(functional.group_norm, 4, *affine, **eps),
        "instance": lambda: on_channels(
            functional.instance_norm, None, None, *affine, **eps
        ),
        "local_response": lambda: on_channels(
            functional.local_response_norm, 5, **response
        ),
        "weight": lambda: torch._weight_norm(rows, p["scale"], 3).numpy(),
    }
    return calls[name]()


def keras_norm(name: str, variables, x, **settings) -> np.ndarray:
    """A Keras layer with our parameters."""
    layer = KERAS[name](frameworks.keras().layers, **{"epsilon": EPS} | settings)
    layer.build(x.shape)
    params = variables["params"]
    layer.set_weights([params[k] for k in ("scale", "bias") if k in params])
    with jax.numpy_rank_promotion("allow"):
        return np.asarray(layer(x))


# ---- batch norm, 20 steps ---------------------------------------------------------


def flax_batch(variables, xs, **settings):
    """`(evaluation of the last, stats)` of flax's layer after a step on each."""
    layer = nn.BatchNorm(use_fast_variance=False, **settings)
    params = {"params": variables["params"]}

    def one(stats, x):
        train = {"use_running_average": False, "mutable": ["batch_stats"]}
        return dict(layer.apply(params | stats, x, **train)[1]), None

    @jax.jit
    def run(stats, xs):
        stats, _ = jax.lax.scan(one, stats, xs)
        return layer.apply(params | stats, xs[-1], use_running_average=True), stats

    return run({"batch_stats": variables["batch_stats"]}, xs)


def torch_batch(variables, xs, **settings):
    """The same of torch's function."""
    import torch

    params, stats = variables["params"], variables["batch_stats"]
    scale, bias = (torch.from_numpy(params[k]) for k in ("scale", "bias"))
    mean, var = (torch.from_numpy(stats[k].copy()) for k in ("mean", "var"))
    batch_norm = torch.nn.functional.batch_norm
    call = functools.partial(batch_norm, weight=scale, bias=bias, **settings)
    for x in xs:
        call(channels_second(x), mean, var, training=True)
    y = channels_last(call(channels_second(xs[-1]), mean, var, training=False))
    return y, {"batch_stats": {"mean": mean.numpy(), "var": var.numpy()}}


def keras_batch(variables, xs, **settings):
    """The same of Keras's layer."""
    layer = frameworks.keras().layers.BatchNormalization(**settings)
    layer.build(xs[0].shape)
    params, stats = variables["params"], variables["batch_stats"]
    layer.set_weights([params["scale"], params["bias"], stats["mean"], stats["var"]])
    with jax.numpy_rank_promotion("allow"):
        for x in xs:
            layer(x, training=True)
        y = np.asarray(layer(xs[-1], training=False))
    mean, var = (np.asarray(a.value) for a in layer.non_trainable_variables)
    return y, {"batch_stats": {"mean": mean, "var": var}}


class Framework(NamedTuple):
    """How a framework's norms are called: on `(variables, x)`, in its own settings."""

    norm: Callable[..., np.ndarray]  # called with the name first
    names: tuple[str, ...]
    batch: Callable[..., Any]


FRAMEWORKS = {
    "flax": Framework(flax_norm, tuple(FLAX), flax_batch),
    "torch": Framework(
        torch_norm,
        ("layer", "rms", "group", "instance", "local_response", "weight"),
        torch_batch,
    ),
    "keras": Framework(keras_norm, tuple(KERAS), keras_batch),
}


def inputs(name: str) -> tuple:
    """`(variables, x)` of a norm."""
    return cases.variables_of(cases.layer_of(name)), cases.draw(0)


def norm_check(framework: str, name: str) -> Check:
    """One forward pass."""
    layer, (variables, x) = cases.layer_of(name), inputs(name)
    if (framework, name) == ("torch", "weight"):
        layer = layer.clone(eps=1e-12)  # torch has none
    eps = {"eps": layer.eps} if name == "weight" else {}
    return parity(
        name,
        framework,
        lambda: FRAMEWORKS[framework].norm(name, variables, x),
        lambda: jax.jit(functools.partial(cases.apply, layer))(variables, x)[0],
        lambda: cases.expected_output(name, variables, x, **eps)[0],
    )


def batch_inputs() -> tuple:
    """`(variables, xs)` of batch norm without a counter."""
    variables = cases.variables_of(layers.BatchNorm(), forward.SMALL)
    return variables, cases.draw(3, (forward.NUM_BATCHES, *forward.SMALL))


def batch_check(framework: str) -> Check:
    """Running statistics and evaluation after 20 steps, under the preset."""
    settings: Mapping[str, Any] = layers.PRESETS[framework]
    layer, (variables, xs) = layers.BatchNorm(**settings), batch_inputs()
    formula = references_batch.batch
    return parity(
        f"batch, {framework} preset",
        framework,
        lambda: FRAMEWORKS[framework].batch(variables, xs),
        lambda: jax.jit(forward.training_run(layer))(variables, xs),
        lambda: forward.expected_after_training(formula, variables, **settings),
    )


def every_check() -> list[Check]:
    """Those of every framework that is installed."""
    found = []
    for framework, (_, names, _) in FRAMEWORKS.items():
        if frameworks.is_installed(framework):
            found += [batch_check(framework)]
            found += [norm_check(framework, name) for name in names]
    return found
