"""All checks and all mutants, and how they are printed. Measures by calling rows."""

import time
from collections.abc import Callable

from normjax.checks import (
    analytic,
    frameworks,
    gradient_check,
    gradients,
    mutants_frameworks,
    mutants_gradients,
    mutants_layers,
    mutants_modes,
    mutants_norms,
    mutants_optimizers,
    mutants_programs,
    norms,
    optimizers,
    peers,
)
from normjax.checks.rows import Check, Mutant, Row, share

EXTRAS = ("torch", "keras")


def checks() -> dict[str, Check]:
    """Every check by `kind: name`; those of the source's network are only rows."""
    modules = norms, gradients, analytic, optimizers, peers, frameworks
    found = [check for module in modules for check in module.checks()]
    return {f"{check.kind}: {check.name}": check for check in found}


def mutants() -> dict[str, Mutant]:
    """Every mutant by name."""
    return (
        mutants_norms.MUTANTS
        | mutants_layers.MUTANTS
        | mutants_modes.MUTANTS
        | mutants_programs.MUTANTS
        | mutants_gradients.MUTANTS
        | mutants_optimizers.MUTANTS
        | mutants_frameworks.MUTANTS
    )


def rows() -> list[Row]:
    """Everything, measured."""
    return [*(check.row() for check in checks().values()), *gradient_check.rows()]


def mutant_rows() -> list[Row]:
    """Each mutant as a row: its kind is the row that has to find it over budget."""
    known = checks()
    return [
        Row(name, mutant.row, *known[mutant.row].judge(mutant.wrong))
        for name, mutant in mutants().items()
    ]


def table(found: list[Row], kind: str = "kind") -> str:
    """One line per row, the columns aligned."""
    names = max(4, *(len(row.name) for row in found))
    kinds = max(len(kind), *(len(row.kind) for row in found))
    lines = [f"{kind:{kinds}}  {'name':{names}}  {'error':>8}  {'budget':>8}     used"]
    for row in found:
        used = share((row.error, row.budget))
        over = "" if row.ok else "  over"
        lines.append(
            f"{row.kind:{kinds}}  {row.name:{names}}  {row.error:8.1e}"
            f"  {row.budget:8.1e}  {used:7.2g}{over}"
        )
    return "\n".join(lines)


def summary(found: list[Row], seconds: float) -> str:
    """One line: how many rows, how many over, and how long it took."""
    over = sum(not row.ok for row in found)
    return f"{len(found)} rows, {over} over budget, {seconds:.0f} s"


def worst_by_kind(found: list[Row]) -> dict[str, Row]:
    """The row of each kind that uses most of its budget."""
    return {
        kind: max(
            (row for row in found if row.kind == kind),
            key=lambda row: share((row.error, row.budget)),
        )
        for kind in dict.fromkeys(row.kind for row in found)
    }


def missing() -> list[str]:
    """A line for each framework that is not installed."""
    return [
        f"{name} is not installed: its rows are left out;"
        f" pip install 'normjax[{name}]' adds them."
        for name in EXTRAS
        if not peers.installed(name)
    ]


def timed(measure: Callable[[], list[Row]]) -> tuple[list[Row], float]:
    """What it found, and in how many seconds."""
    start = time.perf_counter()
    return measure(), time.perf_counter() - start
