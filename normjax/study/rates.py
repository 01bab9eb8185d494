"""Whether a schedule gives rates: on traced numbers, and at its first and last step."""

from collections.abc import Callable

import jax
import numpy as np

from normjax.errors import InputError, reason
from normjax.optimizers import schedules
from normjax.optimizers.arguments import named_arguments
from normjax.study.blame import blame


def trace_schedule(field: str, name: str, schedule: Callable) -> None:
    """Refuses what gives no learning rate for traced settings and steps.

    A factory must not be constant either, as one without boundaries is.
    """

    def rate(step, settings):
        peak = {"learning_rate": settings.pop("learning_rate"), "num_steps": 100}
        return schedules.rate_of(schedule, settings, **peak)(step)

    known = ", ".join(x for x in schedules.SCHEDULES if x != "constant")
    with blame(field, name, "traced settings", others={"schedule": (field, name)}):
        names = ("learning_rate", *schedules.settings_of(schedule))
        is_factory = "step" not in named_arguments(schedule)
        traced = dict.fromkeys(names, jax.ShapeDtypeStruct((), np.float32))
        try:
            program = jax.make_jaxpr(rate)(jax.ShapeDtypeStruct((), np.int32), traced)
        except jax.errors.ConcretizationTypeError as error:
            if not is_factory:
                raise
            rule = f"must make a schedule of traced numbers ({reason(error)})"
            remedy = f"use {known} of normjax"
            raise InputError("schedule", ..., rule, remedy) from error
        (found,) = program.out_avals
        if found.shape:
            given = f"{found.dtype}{list(found.shape)}"
            rule = f"must give one rate for a step, not {given}"
            raise InputError("schedule", ..., rule, "return a scalar")
        step, equations = program.jaxpr.invars[0], program.jaxpr.eqns
        if is_factory and not any(x is step for eqn in equations for x in eqn.invars):
            rule = (
                "must change with the step where it is given no boundaries of its own"
            )
            remedy = f"use constant, or {known} of normjax"
            raise InputError("schedule", ..., rule, remedy)
        if schedule not in schedules.SCHEDULES.values():
            _check_rates(schedule)


def _check_rates(schedule: Callable) -> None:
    """Refuses rates that train nothing, at a user's own defaults if it has them all."""
    settings = schedules.settings_of(schedule)
    if None in settings.values():
        return
    peak, steps = 0.1, 100
    rate = schedules.rate_of(schedule, settings, learning_rate=peak, num_steps=steps)
    for where, step in (("first", 0), ("last", steps - 1)):
        found = float(rate(step))
        if not np.isfinite(found) or found < 0 or (found == 0 and step == 0):
            least = "above 0" if step == 0 else "from 0 on"
            rule = f"must give a finite rate {least} at the {where} of {steps} steps,"
            rule += f" not {found:g}, where learning_rate is {peak:g}"
            remedy = "the first step is number 0: count by step + 1"
            if found or step:
                remedy = "let it give rates that are above 0 and finite"
            raise InputError("schedule", ..., rule, remedy)
