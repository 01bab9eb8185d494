"""A user's module of flax.linen, called as the models of `models.MODELS` are.

Nothing here knows of configs: `study.network` says what is exchanged in a module.
"""

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from normjax import layers, models
from normjax.errors import InputError, pick_or_import
from normjax.layers.common import Initializer
from normjax.layers.hashable import frozen
from normjax.layers.replace import Exchanged

FLAX_OWN = ("parent", "name")  # fields that flax adds to a module
# An argument that says whether a module trains -> its value where it does.
TRAINING = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}


class OwnModel(nn.Module):
    """A user's module with the attributes and the arguments of `models.Model`.

    It has `init` and `apply` alone, which are those of the module, and so its variables
    and their initial values. The module is told whether it trains by those of
    `TRAINING` that it takes, or by `train` if it names none and takes any keyword.

    Shapes: `[batch, *shape] -> [batch, num_classes]`, in float32 or wider.

    Raises:
        InputError: of no field, if the module returns something else than logits.
    """

    module: nn.Module  # whose norms may have been exchanged
    num_classes: int
    norm: layers.Norm = layers.NORMS["none"]  # what took the place of its own norms
    dropout: bool = False  # whether it is told `dropout_rate`

    @property
    def kernel_init(self) -> Initializer:
        """The field `kernel_init` of the user's module; unused if it has none."""
        return getattr(inner(self.module), "kernel_init", nn.initializers.zeros)

    @nn.nowrap
    def clone(self, **updates) -> "OwnModel":  # type: ignore[override]
        """As that of flax; a new `kernel_init` is one of the user's module."""
        init, module = updates.pop("kernel_init", None), inner(self.module)
        if init is not None and takes_kernel_init(module):
            new = module.clone(kernel_init=init)
            updates["module"] = with_inner(self.module, new)
        return super().clone(**updates)

    @nn.nowrap
    def init(  # type: ignore[override]
        self, key: Any, inputs: Array, *, train: bool
    ) -> Mapping[str, Any]:
        """The variables of the module."""
        args, kwargs = self._arguments(train, 0.0)
        of_nnx = hasattr(inner(self.module), "nnx_class")  # which has no fallback
        keys = {"params": key, "dropout": key} if of_nnx else key
        output, variables = self.module.init_with_output(keys, inputs, *args, **kwargs)
        self._check_logits(output, len(inputs))
        return variables

    @nn.nowrap
    def apply(  # type: ignore[override]
        self,
        variables: Mapping[str, Any],
        inputs: Array,
        *,
        train: bool,
        dropout_rate: float | Array = 0.0,
        **options: Any,
    ) -> Any:
        """Logits; with `mutable` among the options of flax, the new collections too."""
        args, kwargs = self._arguments(train, dropout_rate)
        called: Any = self.module.apply(variables, inputs, *args, **kwargs, **options)
        logits, *new = called if options.get("mutable") is not None else (called,)
        self._check_logits(logits, len(inputs))
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        return (logits, *new) if new else logits

    @nn.nowrap
    def _arguments(self, train: bool, rate: Any) -> tuple[list[Any], dict[str, Any]]:
        """What the module is called with beside its inputs."""
        taken = call_parameters(inner(self.module))
        told = {k: train == trains for k, trains in TRAINING.items() if k in taken}
        if not told and takes_any(inner(self.module), taken):
            told["train"] = train
        if self.dropout:
            told["dropout_rate"] = rate
        return [told.pop(k) for k in positional_only(taken) if k in told], told

    @nn.nowrap
    def _check_logits(self, logits: Any, num_examples: int) -> None:
        expected = (num_examples, self.num_classes)
        floats = hasattr(logits, "dtype") and jnp.issubdtype(logits.dtype, jnp.floating)
        if floats and logits.shape == expected:
            return
        array = hasattr(logits, "dtype")
        found = f"{logits.dtype}{[*logits.shape]}" if array else type(logits).__name__
        classes = f"for the data has {self.num_classes} classes"
        rule = f"must return logits, floats{list(expected)}, {classes}, not {found}"
        remedy = f"let its last layer have {self.num_classes}"
        if not floats or len(logits.shape) != 2 or len(logits) != num_examples:
            remedy = f"return one array of floats, [batch, {self.num_classes}]"
        raise InputError("", ..., rule, remedy)


def own_model(
    module: nn.Module,
    *,
    num_classes: int,
    norm: layers.Norm | None = None,
    exchange: bool = False,
    dropout: bool = False,
) -> OwnModel:
    """The module as training calls it.

    Args:
        module: of flax.linen; lists and dicts in its fields become tuples and
            FrozenDicts, for programs are known by the hash of their model.
        num_classes: of the data, which its output must have.
        norm: what is in the place of its own norms, by `exchange` or by a field.
        exchange: whether `layers.replace` puts it there.
        dropout: whether the module is told the setting `dropout_rate`.

    Raises:
        InputError: of `model` if it cannot be called so; of `norm` as `layers.replace`
            does; of `penalty` if it takes no `dropout_rate`.
    """
    name, module = type(module).__name__, frozen(module, {})
    parameters = call_parameters(module)
    for field in dataclasses.fields(module):
        if field.name in TRAINING and not any(x in parameters for x in TRAINING):
            rule = f"must take {field.name} as an argument of its call, not as a field"
            remedy = f"write def __call__(self, x, *, {field.name})"
            raise InputError("model", name, rule, remedy)
    if dropout and "dropout_rate" not in parameters:
        rule = f"needs a model that is called with dropout_rate, and {name} is not"
        remedy = "let its call take dropout_rate, or use the penalty none"
        raise InputError("penalty", "dropout", rule, remedy)
    try:
        hash(module)
    except TypeError as error:
        rule = "must have fields that can be hashed, as programs are known by them"
        remedy = "keep numbers, texts, tuples and functions in them, and no arrays"
        raise InputError("model", name, rule, remedy) from error
    original = layers.replace(module, norm) if exchange and norm else module
    row = layers.NORMS["none"] if norm is None else norm
    return OwnModel(original, num_classes, row, dropout)


def module_named(field: str, name: Any) -> Any:
    """The module that a dotted name imports, or the class or partial that makes it."""
    if str(name)[:1] == "<":
        rule = "must be given as it was, as an object, for it was not named"
        remedy = "call normjax.run(config, model=...), or name an importable class"
        raise InputError(field, name, rule, remedy)
    return checked_module(field, name, pick_or_import(field, models.MODELS, str(name)))


def checked_module(field: str, name: Any, value: Any) -> Any:
    """`value`, if it is a module of flax.linen, its class, or a partial of that."""
    kind = kind_of(value)
    if issubclass(kind, nn.Module):
        return value
    rule = f"must be a module of flax.linen or its class, not {kind.__name__}"
    remedy = "write it in flax.linen"
    if any(base.__module__.startswith("flax.nnx") for base in kind.__mro__):
        remedy = f"wrap it: flax.nnx.bridge.to_linen({kind.__name__}, ...)"
    raise InputError(field, name, rule, remedy)


def kind_of(value: Any) -> type:
    """The class of a module, or of what a class or a partial of one makes."""
    made = value.func if isinstance(value, functools.partial) else value
    return made if isinstance(made, type) else type(made)


def fields_of(module: Any) -> dict[str, bool]:
    """The fields of a module or of what makes one -> whether it must be given."""
    given = getattr(module, "keywords", {})
    nothing = dataclasses.MISSING
    return {
        x.name: x.default is nothing and x.default_factory is nothing
        for x in dataclasses.fields(kind_of(module))
        if x.init and x.name not in (*FLAX_OWN, *given)
    }


def inner(module: nn.Module) -> nn.Module:
    """The user's module, be its norms exchanged or not."""
    return module.original if isinstance(module, Exchanged) else module


def with_inner(module: nn.Module, new: nn.Module) -> nn.Module:
    """The same with another user's module."""
    return module.clone(original=new) if isinstance(module, Exchanged) else new


def takes_kernel_init(module: nn.Module) -> bool:
    """Whether a module has an initializer of kernels as its field `kernel_init`."""
    fields = getattr(module, "__dataclass_fields__", {})
    return "kernel_init" in fields and callable(module.kernel_init)


def call_parameters(module: nn.Module) -> Mapping[str, inspect.Parameter]:
    """What a module is called with, its inputs left out, by name.

    Of `flax.nnx.bridge.ToLinen` these are the parameters of the nnx module.
    """
    kind = getattr(module, "nnx_class", type(module))
    return dict([*inspect.signature(kind.__call__).parameters.items()][2:])


def takes_any(module: nn.Module, taken: Mapping[str, inspect.Parameter]) -> bool:
    """Whether it takes any keyword; `nn.Sequential` passes them to a layer."""
    kinds = [x.kind for x in taken.values()]
    return inspect.Parameter.VAR_KEYWORD in kinds and type(module) is not nn.Sequential


def positional_only(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """The names of those that cannot be given by keyword."""
    kind = inspect.Parameter.POSITIONAL_ONLY
    return [name for name, each in parameters.items() if each.kind is kind]
