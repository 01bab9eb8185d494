"""What an arm would compile, traced without arithmetic: its size, and its mistakes."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from normjax import layers
from normjax.errors import InputError
from normjax.training import lane
from normjax.types import Data, Program


def trace(
    program: Program, factors: dict[str, Any], settings: dict[str, Any], data: Data
) -> tuple[int, dict[str, str]]:
    """Parameters of one network and how it convolves, by layer.

    Raises:
        InputError: from a norm or an optimizer that cannot be used on these shapes,
            or not on traced settings.
    """
    shape = (program.batch_size, *data.train.inputs.shape[1:])
    scalar = jax.ShapeDtypeStruct((), np.float32)
    num_train = len(data.train.labels)

    def update(params, settings):
        tx = lane.optimizer(program, settings, num_train=num_train)
        return tx.update(params, tx.init(params), params)

    model, size = program.model, f"batch_size={program.batch_size}"
    with _blame("norm", factors["norm"], size, of_model=model.__dataclass_fields__):
        params, convolutions = _network(model, shape)
    with _blame("optimizer", factors["optimizer"], f"penalty={factors['penalty']}"):
        jax.eval_shape(update, params, dict.fromkeys(settings, scalar))
    return sum(leaf.size for leaf in jax.tree.leaves(params)), convolutions


def _network(model: nn.Module, shape: tuple[int, ...]) -> tuple[Any, dict[str, str]]:
    """Shapes of the parameters, and layer -> implementation of its convolution."""
    convolutions: dict[str, str] = {}

    def note(call, args, kwargs, context):
        layer = context.module
        if isinstance(layer, layers.Conv) and context.method_name == "__call__":
            convolutions[layer.name] = layer.implementation_for(args[0].shape[-1])
        return call(*args, **kwargs)

    def network(key, inputs):
        with nn.intercept_methods(note):
            variables = model.init(key, inputs, train=False)
        mutable = [name for name in variables if name != "params"]
        rngs = {"dropout": key}
        model.apply(variables, inputs, train=True, mutable=mutable, rngs=rngs)
        return variables["params"]

    example = jax.ShapeDtypeStruct(shape, np.float32)
    return jax.eval_shape(network, jax.random.key(0), example), convolutions


@contextmanager
def _blame(
    factor: str, level: Any, where: str, *, of_model: Collection[str] = ()
) -> Iterator[None]:
    """Re-raises an error from a level's norm or optimizer as one of `arms.<factor>`.

    What is said of the model's inputs, or of a field `of_model`, is one of `model`.
    """
    field = f"arms.{factor}"
    try:
        yield
    except InputError as error:
        if error.field == factor:
            raise error.within("arms") from error
        if error.field in of_model:
            raise error.within("model") from error
        if error.field == "inputs":
            remedy = "use model.name=mlp"
            raise InputError("model", ..., error.rule, remedy) from error
        rule = f"cannot be used with {where} ({error.given()}: {error.rule})"
        raise InputError(field, level, rule, error.remedy) from error
    except jax.errors.ConcretizationTypeError as error:
        rule = f"must work on traced settings ({_first_sentence(error)})"
        remedy = "let it choose by jax.numpy.where in place of `if`"
        raise InputError(field, level, rule, remedy) from error
    except TypeError as error:
        rule = f"cannot be called as such ({_first_sentence(error)})"
        raise InputError(field, level, rule, "choose another") from error


def _first_sentence(error: Exception) -> str:
    """The first line of an error's text, without its full stop."""
    return str(error).partition("\n")[0].strip().removesuffix(".")
