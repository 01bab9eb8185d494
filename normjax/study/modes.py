"""Whether a user's model is told that it trains, where that makes a difference."""

import flax.linen as nn

from normjax.errors import InputError
from normjax.own_model import TRAINING, OwnModel

KINDS = nn.BatchNorm, nn.Dropout  # which differ in training


def check_told(model: nn.Module, called: set[type[nn.Module]]) -> None:
    """Refuses a model that calls such layers and has no argument that tells its mode.

    It would train as it evaluates, or evaluate as it trains, and say nothing.
    """
    if not isinstance(model, OwnModel):
        return
    train, evaluate = (model._arguments(mode, 0.0) for mode in (True, False))
    differing = sorted(x.__name__ for x in called if issubclass(x, KINDS))
    if differing and train == evaluate:
        rule = "must take an argument that says whether it trains, for it calls"
        remedy = f"let its call take one of {', '.join(TRAINING)}"
        raise InputError("model", ..., f"{rule} {' and '.join(differing)}", remedy)
