"""What an arm would compile, traced without arithmetic: its size, and its mistakes.

The model, the norm and the optimizer may be a user's. Whatever they do wrong that shows
without numbers is found here, and is one line that names them.
"""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from normjax import layers
from normjax.data.augmentation import AUGMENTATIONS, augment
from normjax.errors import InputError
from normjax.layers.registry import class_of
from normjax.optimizers.chains import name_of
from normjax.own_model import OwnModel
from normjax.study.blame import blame, blame_network, is_known
from normjax.study.modes import check_told
from normjax.training import lane, precision
from normjax.types import Data, Program

MOST = 2**31 - 1  # parameters of a network: 8 GB of float32


def trace(
    program: Program,
    factors: dict[str, Any],
    settings: dict[str, Any],
    data: Data,
    *,
    augmentation: str = "none",
    name: str = "",
    kwargs: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[int, dict[str, str]]:
    """Parameters of one network and how it convolves, by layer.

    `name` is that of the model, `kwargs` are the fields that a user set in it.

    Raises:
        InputError: from a model, a norm, an optimizer or an `augmentation`, by its name
            in the config, that cannot be used on these shapes, or not on traced
            settings.
    """
    shape, model = data.train.inputs.shape[1:], program.model
    _trace_augmentation(program, (program.batch_size, *shape), augmentation)
    for size in filter(None, (program.last_batch, program.batch_size)):
        last = size == program.last_batch
        where = f"a last batch of {size}" if last else f"batch_size={size}"
        if program.precision != "float32":
            where += f" and precision={program.precision}"
        where += f" and model.kwargs={dict(kwargs)}" if kwargs else ""
        with blame_network(model, name, factors["norm"], where):
            params, convolutions = _network(program, (size, *shape))
    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    if num_parameters > MOST:
        rule = f"must give at most 2^31 - 1 parameters, not {num_parameters:,}"
        widths = getattr(model, "widths", ...)
        raise InputError("model.widths", widths, rule, "make it narrower")
    used_with = f"penalty={factors['penalty']}"
    if program.schedule is not None:
        used_with += f" and schedule={name_of(program.schedule)}"
    with blame("arms.optimizer", factors["optimizer"], used_with):
        _optimizer(program, params, list(settings), lane.num_train(program, data))
    return num_parameters, convolutions


def convolutions_of(program: Program, data: Data) -> dict[str, str]:
    """Layer -> the implementation of its convolution in training."""
    return _network(program, (program.batch_size, *data.train.inputs.shape[1:]))[1]


def _key() -> jax.ShapeDtypeStruct:
    """A key that is not drawn, as drawing it would compile a program."""
    return jax.eval_shape(jax.random.key, 0)


def _trace_augmentation(program: Program, shape: tuple[int, ...], name: str) -> None:
    """Refuses an augmentation that cannot be used on a batch of that shape."""
    function = program.augmentation
    if function is None:
        return
    batch = jax.ShapeDtypeStruct(shape, np.float32)
    once = lambda key, inputs: augment(function, key, inputs)
    where = f"batches of {list(shape)}"
    with blame("augmentation", name, where):
        jax.eval_shape(once, _key(), batch)
        if function not in AUGMENTATIONS.values():  # lanes batch a user's function
            several = jax.ShapeDtypeStruct((1, *shape), np.float32)
            keys = jax.ShapeDtypeStruct((1,), _key().dtype)
            jax.eval_shape(jax.vmap(once), keys, several)


def _network(program: Program, shape: tuple[int, ...]) -> tuple[Any, dict[str, str]]:
    """Shapes of the parameters, and layer -> implementation of its convolution."""
    model, convolutions = program.model, dict[str, str]()
    kinds = set[type[nn.Module]]()
    norm = class_of(model.norm.layer) if model.norm.layer else None

    def note(call, args, kwargs, context):
        layer, called = context.module, context.method_name == "__call__"
        kinds.add(type(layer))
        result = call(*args, **kwargs)
        chosen = context.method_name == "implementation_for"
        if isinstance(layer, layers.Conv) and chosen:
            convolutions[layer.name] = result
        if type(layer) is norm and called:
            _check_output(layer, args[0], result)
        return result

    # a user's is differentiated and batched too, which takes four times as long
    tested = is_known(model.norm) and not isinstance(model, OwnModel)
    network = _every_use(program, note, tested)
    example = jax.ShapeDtypeStruct(shape, np.float32)
    params, stats, new = jax.eval_shape(network, _key(), example)
    if not tested:
        lanes = jax.vmap(network, in_axes=(None, 0), axis_size=1)
        several = jax.ShapeDtypeStruct((1, *shape), np.float32)
        jax.eval_shape(lanes, _key(), several)
    check_told(model, kinds)
    _check_same("statistics", stats, new)
    _check_no_keys("statistics", new)
    _check_plain({"params": params, **stats})
    return params, convolutions


def _every_use(program: Program, note: Callable, tested: bool) -> Callable:
    """Calls the model as training does: parameters, statistics, and the new ones."""
    model = program.model
    apply = functools.partial(precision.apply, model, precision=program.precision)

    def network(key, inputs):
        with nn.intercept_methods(note):
            variables = model.init(key, inputs, train=False)
        if "params" not in variables:
            rule, remedy = "must have parameters to train", "give it a layer"
            raise InputError("", ..., rule, remedy)
        params = variables["params"]
        stats = {k: v for k, v in variables.items() if k != "params"}

        def loss(params):
            options = {"mutable": list(stats), "rngs": {"dropout": key}}
            logits, new = apply(params, stats, inputs, train=True, **options)
            return jnp.mean(logits.astype(jnp.float32)), dict(new)

        if not tested:
            apply(params, stats, inputs, train=False)
        with nn.intercept_methods(note):
            train = loss if tested else jax.grad(loss, has_aux=True)
            return params, stats, train(params)[1]

    return network


def _optimizer(
    program: Program, params: Any, settings: list[str], num_train: int
) -> None:
    """Refuses an optimizer whose state or whose steps are not what they must be."""

    def update(params, settings):
        tx = lane.optimizer(program, settings, num_train=num_train)
        state = tx.init(params)
        steps, new = tx.update(params, state, params)
        return jax.tree.map(jnp.asarray, steps), state, new

    scalar = jax.ShapeDtypeStruct((), np.float32)
    traced = dict.fromkeys(settings, scalar)
    steps, state, new = jax.eval_shape(update, params, traced)
    _check_same("steps, which must be like the parameters,", params, steps)
    _check_same("state", state, new)
    _check_no_keys("state", new)


def _check_output(layer: nn.Module, x: Any, y: Any) -> None:
    """Refuses a norm of activations that gives something else than it takes."""
    given = f"{x.dtype}{list(x.shape)}"
    if not hasattr(y, "dtype"):
        rule = f"must return an array like its input, {given}, not {type(y).__name__}"
    elif y.shape != x.shape or not jnp.issubdtype(y.dtype, jnp.floating):
        rule = f"must return floats in the shape of its input, {given}, not "
        rule += f"{y.dtype}{list(y.shape)}"
    else:
        return
    raise InputError("norm", type(layer).__name__, rule, "return one output per input")


def _check_same(what: str, old: Any, new: Any) -> None:
    """Refuses a tree that changes its names, shapes or dtypes from step to step."""
    told = lambda tree: {
        jax.tree_util.keystr(path, simple=True, separator="."): (x.dtype, x.shape)
        for path, x in jax.tree.leaves_with_path(tree)
    }
    before, after = told(old), told(new)
    for name in (*before, *after):
        if before.get(name) != after.get(name):
            was, now = (_array_text(x.get(name)) for x in (before, after))
            rule = f"must keep the shapes and dtypes of its {what} and turns {name!r}"
            remedy = "let each array keep its shape and its dtype"
            raise InputError("", ..., f"{rule} from {was} into {now}", remedy)


def _check_plain(variables: Any) -> None:
    """Refuses variables that are no arrays, which cannot be written to a file."""
    for name, leaf in flatten_dict(variables, sep=".").items():
        if not hasattr(leaf, "dtype"):
            kind = type(leaf).__name__
            rule = f"must keep arrays in its variables, and {name!r} is a {kind}"
            raise InputError("", ..., rule, "keep an array, or a dict of arrays, there")


def _array_text(array: tuple | None) -> str:
    return f"{array[0]}{list(array[1])}" if array else "nothing"


def _check_no_keys(what: str, tree: Any) -> None:
    """Refuses keys of `jax.random.key`, which cannot be written to a file."""
    for leaf in jax.tree.leaves(tree):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            rule = f"must keep no key of jax.random.key in its {what}"
            remedy = "keep jax.random.key_data(key), and wrap it where it is used"
            raise InputError("", ..., rule, remedy)
