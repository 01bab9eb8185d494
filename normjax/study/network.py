"""The model of an arm: one of `models.MODELS`, or a user's with what is asked of it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from normjax import layers, models
from normjax.errors import InputError, pick, suggest
from normjax.layers import initial_weights
from normjax.layers.common import Initializer
from normjax.layers.registry import class_of
from normjax.ops import conv
from normjax.own_model import (
    OwnModel,
    fields_of,
    inner,
    kind_of,
    module_named,
    own_model,
    takes_kernel_init,
)
from normjax.study import levels
from normjax.study.fields import DEFAULTS
from normjax.study.levels import Factors
from normjax.study.own_norms import OWN

OF_ALL = ("name", "kwargs", "batch_norm")  # fields of `model` that a user's uses too


def network(
    chosen: Mapping[str, Any], built: Factors, num_classes: int, given: Any = None
) -> nn.Module:
    """The model of an arm, whose levels are `built`; `given` is one of the user's."""
    name = chosen["model"]["name"]
    if given is None and name in models.MODELS:
        return ours(chosen, built, num_classes)
    module = module_named("model.name", name) if given is None else given
    return theirs(module, chosen, built, num_classes)


def ours(chosen: Mapping[str, Any], built: Factors, num_classes: int) -> nn.Module:
    """A row of MODELS."""
    choices = chosen["model"]
    constructor: Any = pick("model.name", models.MODELS, choices["name"])
    if choices["name"] == "resnet20" and len(choices["widths"]) != 3:
        rule = "must be three, one for each stage of ResNet-20"
        remedy = "set model.widths=(16, 32, 64)"
        raise InputError("model.widths", choices["widths"], rule, remedy)
    if choices["kwargs"] and not chosen["arms"]["model"]:
        rule = f"must be empty for {choices['name']}, for they are of a user's model"
        remedy = "name a field of normjax' own models, such as model.widths"
        raise InputError("model.kwargs", choices["kwargs"], rule, remedy)
    fields = our_fields(chosen, built, fields_of(class_of(constructor)))
    return constructor(num_classes=num_classes, **fields)


def our_fields(
    chosen: Mapping[str, Any], built: Factors, known: Mapping[str, bool]
) -> dict[str, Any]:
    """Those fields of the config's `model` that a subclass of `models.Model` has."""
    choices = chosen["model"]
    convolutions = {"auto": None, **conv.IMPLEMENTATIONS}
    pick("model.convolution", convolutions, choices["convolution"])
    init = pick("model.kernel_init", initial_weights.INITS, choices["kernel_init"])
    return {name: value for name, value in choices.items() if name in known} | {
        "widths": widths(choices),
        "kernel_init": init.kernel,
        "bias_init": init.bias,
        "norm": chosen_norm(chosen, built) or layers.NORMS["none"],
        "placement": built["placement"],
        "dropout": built["penalty"] == "dropout",
    }


def widths(choices: Mapping[str, Any]) -> tuple[int, ...]:
    """The widths of a model, or as many of its one width as its depth says."""
    given, depth = choices["widths"], choices["depth"]
    if depth and len(given) > 1:
        rule = "must be one width if model.depth or arms.depth repeats it"
        raise InputError("model.widths", given, rule, f"set model.widths=({given[0]},)")
    return given * depth if depth else given


def theirs(
    module: Any, chosen: Mapping[str, Any], built: Factors, num_classes: int
) -> OwnModel:
    """A user's module, or what makes one, with the fields and the norm asked for.

    It is taken as it is, but for `model.kwargs`, the number of classes if it has such
    a field, and the factors whose levels the config chooses: those set the field of
    their name. A norm is exchanged by `layers.replace` where there is no field `norm`.
    A subclass of `models.Model` gets the same fields as those of normjax.
    """
    name, known = chosen["model"]["name"], fields_of(module)
    made = isinstance(module, nn.Module)
    norm, fields = chosen_norm(chosen, built), dict[str, Any]()
    if "num_classes" in known and not made:
        fields["num_classes"] = num_classes
    if issubclass(kind_of(module), models.Model) and not made:
        fields |= our_fields(chosen, built, known)
        if norm is None:  # hers may have another default
            del fields["norm"]
    else:
        fields |= asked_fields(module, chosen, built, norm)
    set_by_factors = [factor for factor in built if factor in fields]
    fields |= kwargs_of(chosen, known, set_by_factors, made)
    missing = [x for x, required in known.items() if required and x not in fields]
    if missing and not made:
        rule = f"must give {', '.join(missing)}, for which {name} has no default"
        raise InputError("model.kwargs", ..., rule, f"set model.kwargs.{missing[0]}")
    exchange = norm is not None and "norm" not in known
    try:
        return own_model(
            taken(module.clone(**fields) if made else module(**fields), exchange),
            num_classes=num_classes,
            norm=norm,
            exchange=exchange,
            dropout=built["penalty"] == "dropout",
        )
    except InputError as error:
        where = {"model": ("model.name", name), "norm": ("arms.norm", built["norm"])}
        here = where.get(error.field, (f"arms.{error.field}", error.value))
        raise error.at(*here) from error


def taken(module: nn.Module, exchange: bool) -> nn.Module:
    """The module, if it is not one whose norms are to be exchanged and cannot be."""
    if exchange and hasattr(module, "nnx_class"):
        rule = f"cannot be put into {module.nnx_class.__name__}, for norms of flax.nnx"
        rule += " cannot be exchanged"
        remedy = "leave arms.norm out, or write it in flax.linen"
        raise InputError("norm", ..., rule, remedy)
    return module


def kwargs_of(
    chosen: Mapping[str, Any], known: Mapping[str, bool], factors: list[str], made: bool
) -> dict[str, Any]:
    """`model.kwargs`: fields of the model, but for those that factors set."""
    name, given = chosen["model"]["name"], dict(chosen["model"]["kwargs"])
    if given and made:
        rule = f"must be empty for {name}, for it is a module that is made already"
        remedy = "set them where it is made, or give its class"
        raise InputError("model.kwargs", given, rule, remedy)
    for field in given:
        if field not in known:
            rule = f"must be a field of {name}, which has {', '.join(known) or 'none'}"
            remedy = suggest(field, known, "leave it out")
            raise InputError(f"model.kwargs.{field}", ..., rule, remedy)
        if field in factors:
            rule = f"must be left out, for arms.{field} sets it"
            remedy = f"name its levels in arms.{field}"
            raise InputError(f"model.kwargs.{field}", given[field], rule, remedy)
    return given


def chosen_norm(chosen: Mapping[str, Any], built: Factors) -> layers.Norm | None:
    """The norm of an arm; None is `own`, which leaves those of the module."""
    if built["norm"] == OWN:
        return None
    return levels.norm("arms.norm", built["norm"], chosen["model"]["batch_norm"])


def asked_fields(
    module: Any, chosen: Mapping[str, Any], built: Factors, norm: layers.Norm | None
) -> dict[str, Any]:
    """What the levels of factors set in a user's module: the field of their name."""
    name, known = chosen["model"]["name"], fields_of(module)
    found: dict[str, Any] = {}
    if chosen["arms"]["placement"] != ("pre",) or built["placement"] != "pre":
        found["placement"] = built["placement"]
    if "depth" in built:
        found["depth"] = built["depth"]
    if "kernel_init" in built:
        found["kernel_init"] = kernel_init(str(built["kernel_init"]))
    for factor in found:
        if factor not in known:
            rule = f"needs a model with a field {factor}, and {name} has none"
            remedy = f"give it one, or leave arms.{factor} out"
            raise InputError(f"arms.{factor}", built[factor], rule, remedy)
    if isinstance(module, models.Model):
        found["dropout"] = built["penalty"] == "dropout"
    if norm is not None and "norm" in known:
        preset = chosen["model"]["batch_norm"]
        found["norm"] = norm_field(module, norm, built["norm"], preset)
    return found


def unused_fields(chosen: Mapping[str, Any], given: Any = None) -> list[str]:
    """Notices of fields of normjax' own models that the user's model does not get."""
    name = chosen["model"]["name"]
    if chosen["arms"]["model"] or (given is None and name in models.MODELS):
        return []
    module = module_named("model.name", name) if given is None else given
    if issubclass(kind_of(module), models.Model) and not isinstance(module, nn.Module):
        return []
    return [
        f"model.{field}={chosen['model'][field]!r} is not used, for {name} is no model"
        f" of normjax; its fields are set by model.kwargs"
        for field, default in DEFAULTS["model"].items()
        if field not in OF_ALL and chosen["model"][field] != default
    ]


def kernel_init(level: str) -> Initializer:
    """The initializer of that name, which has to leave biases alone."""
    init = pick("arms.kernel_init", initial_weights.INITS, level)
    if init.bias is not initial_weights.zero_bias:
        rule = "draws biases too, which a model of normjax only knows to do"
        remedy = "choose another, or let the model inherit from normjax.models.Model"
        raise InputError("arms.kernel_init", level, rule, remedy)
    return init.kernel


def norm_field(module: Any, norm: Any, level: Any, preset: str) -> Any:
    """What a field `norm` gets: its level's name if it is a str, else the row."""
    kinds = {x.name: x.type for x in dataclasses.fields(kind_of(module))}
    if kinds["norm"] not in (str, "str"):
        return norm
    if preset and level == "batch":
        rule = "needs a field norm that takes a layers.Norm, and it takes a str"
        raise InputError("model.batch_norm", preset, rule, "leave it out")
    return level


def check_init_scale(model: nn.Module, scales: list[float]) -> None:
    """Refuses scales of initial kernels for a module that does not let them be set."""
    if not isinstance(model, OwnModel) or takes_kernel_init(inner(model.module)):
        return
    name = type(inner(model.module)).__name__
    for scale in scales:
        if scale != 1:
            rule = f"must be 1, for {name} has no field kernel_init, which it scales"
            remedy = "give it one, or leave the setting out"
            raise InputError("settings.init_scale", scale, rule, remedy)
