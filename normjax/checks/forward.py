"""Checks of the values and the statistics of every norm against its reference."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from normjax import layers
from normjax.checks import cases, references_batch, rounding
from normjax.checks.cases import CASES
from normjax.checks.rows import Check, worst

NUM_BATCHES = 20
SMALL = (16, 2, 2, 8)


def forward_checks(name: str) -> list[Check]:
    """Float32 values: in training, in evaluation, behind a mask, far from 0."""
    case, x, train = CASES[name], cases.draw(0), {"train": True}
    found = [_forward(name, name, x, train)]
    if case.shifted:
        far = cases.draw(0, middle=1e3)
        found.append(_forward(name, f"{name}, mean 1000 std", far, train))
    if case.train:
        found.append(_forward(name, f"{name}, evaluation", x, {"train": False}))
    if case.masked:
        where = cases.random_mask()[..., None]
        behind = np.where(where, x, np.float32(np.nan))
        call = {**train, "where": where}
        found.append(_forward(name, f"{name}, masked", behind, call))
    return found


def _forward(name: str, label: str, x: np.ndarray, call: dict) -> Check:
    layer, where = cases.layer_of(name), call.get("where")
    variables = cases.variables_of(layer)
    mask = None if where is None else jnp.asarray(where[..., 0])

    def subject(variables, x):
        return cases.apply(layer, variables, x, train=call["train"], mask=mask)[0]

    def judge(subject):
        seen = x if where is None else np.where(where, x, 0)
        right, _ = cases.expected_output(name, variables, seen, **call)
        return worst(subject(variables, x), right)

    return Check(label, "forward", jax.jit(subject), judge)


def bf16_check(name: str) -> Check:
    """Bfloat16 in and out, float32 between: one rounding of 2^-8 on top."""
    layer = cases.layer_of(name)
    variables = cases.variables_of(layer)
    middle = 10.0 if CASES[name].shifted else 0.5
    x = np.asarray(cases.draw(0, middle=middle), jnp.bfloat16)
    subject = jax.jit(lambda variables, x: cases.apply(layer, variables, x)[0])

    def judge(subject):
        y = subject(variables, x)
        right, _ = cases.expected_output(name, variables, np.asarray(x, np.float32))
        last = rounding.UNIT_BF16 * (np.abs(right.value) + right.error)
        right = rounding.Rounded(right.value, right.error + last)
        return worst(y, right) if y.dtype == x.dtype else (float("inf"), 0.0)

    return Check(name, "bf16", subject, judge)


def running_check(name: str) -> Check:
    """Statistics after 20 steps of training, and the evaluation by them."""
    case = CASES[name]
    return _running(name, cases.layer_of(name), case.formula, case.settings)


def preset_check(preset: str) -> Check:
    """The same of batch norm with the conventions of a framework."""
    settings: Mapping[str, Any] = layers.PRESETS[preset]
    label, layer = f"batch, {preset} preset", layers.BatchNorm(**settings)
    return _running(label, layer, references_batch.batch, settings)


def _running(label: str, layer, formula, settings) -> Check:
    xs, variables = (
        cases.draw(3, (NUM_BATCHES, *SMALL)),
        cases.variables_of(layer, SMALL),
    )

    def judge(subject):
        right = expected_after_training(formula, variables, **settings)
        return worst(subject(variables, xs), right)

    return Check(label, "running", jax.jit(training_run(layer)), judge)


def expected_after_training(formula, variables, **settings):
    """What `trained` should return, by the reference."""
    xs, stats = cases.draw(3, (NUM_BATCHES, *SMALL)), {}
    for x in xs:
        _, stats = cases.reference_output(formula, variables | stats, x, **settings)
    settings |= {"train": False}
    return cases.reference_output(formula, variables | stats, xs[-1], **settings)[
        0
    ], stats


def training_run(layer):
    """`(variables, xs) -> (evaluation of the last, stats)` after a step on each."""

    def run(variables, xs):
        params = {"params": variables.get("params", {})}
        stats = {key: a for key, a in variables.items() if key != "params"}
        step = lambda stats, x: (cases.apply(layer, params | stats, x)[1], None)
        stats, _ = jax.lax.scan(step, stats, xs)
        return cases.apply(layer, params | stats, xs[-1], train=False)[0], stats

    return run


def every_check() -> list[Check]:
    """All of them, by row of NORMS, and the presets of batch norm."""
    found = []
    for name, case in CASES.items():
        found += [*forward_checks(name), bf16_check(name)]
        found += [running_check(name)] if case.train else []
    return found + [preset_check(preset) for preset in layers.PRESETS]
