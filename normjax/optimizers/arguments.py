"""What of a function's arguments may be traced: those that are floats."""

import inspect
from collections.abc import Callable
from typing import Any

NAMED = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def named_arguments(function: Callable) -> dict[str, Any]:
    """Named arguments and their defaults, `inspect.Parameter.empty` where none is.

    Raises:
        TypeError, ValueError: if it is no function whose arguments can be read.
    """
    arguments = inspect.signature(function).parameters.values()
    return {a.name: a.default for a in arguments if a.kind in NAMED}


def float_arguments(function: Callable) -> dict[str, float | None]:
    """Those with a float default, and with None those that have no default at all.

    Flags, dtypes, masks and integers are not among them: they stay at their default.
    """
    return {
        name: default if isinstance(default, float) else None
        for name, default in named_arguments(function).items()
        if isinstance(default, float) or default is inspect.Parameter.empty
    }
