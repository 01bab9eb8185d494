"""Whose mistake it is that a network cannot be traced, in one line that names it."""

import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import Any

import flax.errors
import flax.linen as nn
import jax

from normjax import layers
from normjax.errors import InputError, reason
from normjax.layers.replace import Exchanged
from normjax.own_model import OwnModel

OR_ELSE = ", or leave out arms.norm"
REMEDIES = {  # what helps against an error of flax
    flax.errors.InvalidRngError: (
        "draw from dropout where it trains, and at the start from params"
    ),
    flax.errors.ScopeCollectionNotFound: (
        "let nn.scan and other lifted transforms pass on batch_stats, or choose another"
    ),
}


def is_known(norm: layers.Norm) -> bool:
    """Whether a norm is one of normjax, which are all tested."""
    return norm in layers.NORMS.values()


def blame_network(
    model: nn.Module, name: str, norm: Any, where: str
) -> AbstractContextManager[None]:
    """Blames the norm, or the user's model unless her norm is in it too."""
    if not isinstance(model, OwnModel):
        fields = model.__dataclass_fields__
        return blame("arms.norm", norm, where, of_model=fields)
    if not is_known(model.norm):
        where = f"model.name={name} and {where}"
        others = {"model": ("model.name", name)}
        return blame("arms.norm", norm, where, others=others)
    others = {"norm": ("arms.norm", norm), "model": ("model.name", name)}
    if isinstance(model.module, Exchanged):
        where = f"norm={norm} and {where}"
        return blame("model.name", name, where, others=others, or_else=OR_ELSE)
    return blame("model.name", name, where, others=others)


@contextmanager
def blame(
    field: str,
    level: Any,
    where: str,
    *,
    of_model: Collection[str] = (),
    others: Mapping[str, tuple[str, Any]] = MappingProxyType({}),
    or_else: str = "",
) -> Iterator[None]:
    """Re-raises an error from a user's code as one of `field`, whose level it is.

    What is said of the model's inputs, or of a field `of_model`, is one of `model`;
    `others` are fields that have another name and value in a config; `or_else` is what
    also helps against a mistake in `model`.
    """
    known = {"": (field, level), field.rpartition(".")[2]: (field, level), **others}
    try:
        with warnings.catch_warnings(action="ignore"):  # they come again in training
            yield
    except InputError as error:
        if error.field == "model" and or_else:
            rest = error.rule, error.remedy + or_else
            raise InputError(*known["model"], *rest) from error
        if error.field in known:
            raise error.at(*known[error.field]) from error
        if error.field in of_model:
            raise error.within("model") from error
        if error.field == "inputs":
            remedy = "use model.name=mlp"
            raise InputError("model", ..., error.rule, remedy) from error
        rule = f"cannot be used with {where} ({error.given()}: {error.rule})"
        raise InputError(field, level, rule, error.remedy) from error
    except jax.errors.ConcretizationTypeError as error:
        rule = f"must work on traced numbers ({reason(error)})"
        remedy = "let it choose by jax.numpy.where in place of `if`"
        raise InputError(field, level, rule, remedy) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the level is a user's code, which may even exit
        rule = f"cannot be used with {where} ({reason(error)})"
        remedy = REMEDIES.get(type(error), "mend it, or choose another")
        raise InputError(field, level, rule, remedy) from error
