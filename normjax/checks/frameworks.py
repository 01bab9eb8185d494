"""Norms beside those of flax.linen, torch and Keras, in float32, on the same numbers.

Of torch and Keras only what is installed. Channels are last here; torch has them
second, which is turned here and nowhere else.
"""

import functools
import inspect

import flax.linen as nn
import jax
import numpy as np

from normjax import layers
from normjax.checks import cases, norms, peers, references
from normjax.checks.rows import Check, beside

EPS = cases.EPS
FLAX = {
    "layer": functools.partial(nn.LayerNorm, use_fast_variance=False),
    "rms": nn.RMSNorm,
    "group": functools.partial(nn.GroupNorm, num_groups=4, use_fast_variance=False),
    "instance": functools.partial(nn.InstanceNorm, use_fast_variance=False),
}
KERAS = {
    "layer": lambda kinds, **eps: kinds.LayerNormalization(**eps),
    "rms": lambda kinds, **eps: kinds.RMSNormalization(**eps),
    "group": lambda kinds, **eps: kinds.GroupNormalization(groups=4, **eps),
    "instance": lambda kinds, **eps: kinds.GroupNormalization(groups=-1, **eps),
}


def torch_modules():
    """`torch` and its functional norms."""
    import torch

    return torch, torch.nn.functional


def keras_layers():
    """`keras.layers`."""
    return peers.keras_module().layers


def turned(x: np.ndarray):
    """A torch tensor with channels second."""
    torch, _ = torch_modules()
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy())


def back(y) -> np.ndarray:
    """Channels last again."""
    return np.moveaxis(y.detach().numpy(), 1, -1)


def flax_norm(name: str, variables, x, **settings) -> np.ndarray:
    """Flax' own layer with our parameters: they have the same names."""
    if name == "weight":  # seen through a dense layer, at the unit vectors
        matrix, scale = x.reshape(-1, x.shape[-1]), variables["params"]["scale"]
        dense = {"kernel": matrix, "bias": np.zeros_like(scale)}
        params = {"layer_instance": dense, "layer_instance/kernel/scale": scale}
        layer = nn.WeightNorm(nn.Dense(x.shape[-1]), **({"epsilon": EPS} | settings))
        y = layer.apply({"params": params}, np.eye(len(matrix), dtype=np.float32))
        return np.asarray(y).reshape(x.shape)
    layer = FLAX[name](**({"epsilon": EPS} | settings))
    return np.asarray(layer.apply({"params": variables["params"]}, x))


def torch_norm(name: str, variables, x, **settings) -> np.ndarray:
    """One of `torch.nn.functional`, or of `torch.nn.utils` for kernels."""
    torch, functional = torch_modules()
    p = {k: torch.from_numpy(a) for k, a in variables.get("params", {}).items()}
    rows, shape = torch.from_numpy(x), (x.shape[-1],)
    affine, eps = (p.get("scale"), p.get("bias")), {"eps": EPS} | settings
    response = {"alpha": 5 * 0.02, "k": 2.0} | settings
    calls = {
        "layer": lambda: functional.layer_norm(rows, shape, *affine, **eps).numpy(),
        "rms": lambda: functional.rms_norm(rows, shape, affine[0], **eps).numpy(),
        "group": lambda: back(functional.group_norm(turned(x), 4, *affine, **eps)),
        "instance": lambda: back(
            functional.instance_norm(turned(x), None, None, *affine, **eps)
        ),
        "local_response": lambda: back(
            functional.local_response_norm(turned(x), 5, **response)
        ),
        "weight": lambda: torch._weight_norm(rows, affine[0], rows.ndim - 1).numpy(),
        "spectral": lambda: _torch_spectral(x, variables["batch_stats"], **settings),
    }
    return calls[name]()


def _torch_spectral(kernel: np.ndarray, stats, **settings) -> np.ndarray:
    torch, _ = torch_modules()
    matrix = kernel.reshape(-1, kernel.shape[-1])
    dense = torch.nn.Linear(*matrix.shape)
    dense.weight.data = torch.from_numpy(matrix.T.copy())
    torch.nn.utils.parametrizations.spectral_norm(dense, **settings)
    norm = dense.parametrizations.weight[0]
    norm._u.copy_(torch.from_numpy(stats["u"]))
    norm._v.copy_(torch.from_numpy(stats["v"]))
    return dense.weight.detach().numpy().T.reshape(kernel.shape)


def keras_norm(name: str, variables, x, **settings) -> np.ndarray:
    """A Keras layer with our parameters."""
    layer = KERAS[name](keras_layers(), **({"epsilon": EPS} | settings))
    layer.build(x.shape)
    params = variables["params"]
    layer.set_weights([params[k] for k in ("scale", "bias") if k in params])
    with jax.numpy_rank_promotion("allow"):
        return np.asarray(layer(x))


NORMS = {
    "flax": (flax_norm, (*FLAX, "weight")),
    "torch": (
        torch_norm,
        ("layer", "rms", "group", "instance", "local_response", "weight", "spectral"),
    ),
    "keras": (keras_norm, tuple(KERAS)),
}


def given(name: str) -> tuple:
    """`(variables, x)` of a norm."""
    return cases.variables_of(cases.layer_of(name)), cases.draw(0)


def norm_check(framework: str, name: str) -> Check:
    """One forward pass."""
    layer, (variables, x) = cases.layer_of(name), given(name)
    if (framework, name) == ("torch", "weight"):
        layer = layer.clone(eps=1e-12)  # torch has none
    eps = {"eps": layer.eps} if name == "weight" else {}
    formula = functools.partial(
        cases.CASES[name].formula, **(cases.CASES[name].settings | eps)
    )
    return beside(
        name,
        framework,
        lambda: NORMS[framework][0](name, variables, x),
        lambda: jax.jit(functools.partial(cases.apply, layer))(variables, x)[0],
        lambda: cases.by_formula(formula, variables, x)[0],
    )


# ---- batch norm, 20 steps ---------------------------------------------------------


def flax_batch(variables, xs, **settings):
    """`(evaluation of the last, stats)` of flax' layer after a step on each."""
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
    """The same of torch's."""
    torch, functional = torch_modules()
    params, stats = variables["params"], variables["batch_stats"]
    scale, bias = (torch.from_numpy(params[k]) for k in ("scale", "bias"))
    mean, var = (torch.from_numpy(stats[k].copy()) for k in ("mean", "var"))
    affine = {"weight": scale, "bias": bias}
    call = functools.partial(functional.batch_norm, **affine, **settings)
    for x in xs:
        call(turned(x), mean, var, training=True)
    y = back(call(turned(xs[-1]), mean, var, training=False))
    return y, {"batch_stats": {"mean": mean.numpy(), "var": var.numpy()}}


def keras_batch(variables, xs, **settings):
    """The same of Keras'."""
    layer = keras_layers().BatchNormalization(**settings)
    layer.build(xs[0].shape)
    params, stats = variables["params"], variables["batch_stats"]
    layer.set_weights([params["scale"], params["bias"], stats["mean"], stats["var"]])
    with jax.numpy_rank_promotion("allow"):
        for x in xs:
            layer(x, training=True)
        y = np.asarray(layer(xs[-1], training=False))
    mean, var = (np.asarray(a.value) for a in layer.non_trainable_variables)
    return y, {"batch_stats": {"mean": mean, "var": var}}


BATCH = {"flax": flax_batch, "torch": torch_batch, "keras": keras_batch}


def batch_given() -> tuple:
    """`(variables, xs)` of batch norm without a counter."""
    variables = cases.variables_of(layers.BatchNorm(), norms.SMALL)
    return variables, cases.draw(3, (norms.STEPS, *norms.SMALL))


def batch_check(framework: str) -> Check:
    """Running statistics and evaluation after 20 steps, under the preset."""
    settings = layers.PRESETS[framework]
    layer, (variables, xs) = layers.BatchNorm(**settings), batch_given()
    formula = functools.partial(references.batch, **settings)
    return beside(
        f"batch, {framework} preset",
        framework,
        functools.partial(BATCH[framework], variables, xs),
        lambda: jax.jit(norms.trained(layer))(variables, xs),
        lambda: norms.followed(formula, variables),
    )


# ---- defaults ---------------------------------------------------------------------


def default_eps() -> dict[str, list[float | str]]:
    """Ours, flax', torch's and Keras' by norm, as the installed versions have them."""
    flax = {"batch": nn.BatchNorm, **FLAX}
    found = {}
    for name, layer in flax.items():
        ours = type(cases.layer_of(name))().eps
        row = [ours, layer().epsilon, "-", "-"]
        if peers.installed("torch"):
            call = getattr(torch_modules()[1], f"{name}_norm")
            eps = inspect.signature(call).parameters["eps"].default
            row[2] = "that of the dtype" if eps is None else eps
        if peers.installed("keras"):
            kinds = keras_layers()
            make = KERAS.get(name, lambda kinds: kinds.BatchNormalization())
            row[3] = make(kinds).epsilon
        found[name] = row
    return found


def checks() -> list[Check]:
    """Of every framework that is installed."""
    found = []
    for framework, (_, names) in NORMS.items():
        if not peers.installed(framework):
            continue
        found += [batch_check(framework)]
        found += [norm_check(framework, name) for name in names]
    return found
