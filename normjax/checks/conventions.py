"""Where frameworks differ, each with the mutant that shows what mixing them up costs.

Data for docs/numerics.md. Runs nothing but what it is given.
"""

from typing import NamedTuple

from normjax.checks import document, frameworks, table
from normjax.checks.rows import Row, share


class Convention(NamedTuple):
    """One difference; its row passes, and the mutant is the other convention there."""

    what: str
    mutant: str


CONVENTIONS = (
    Convention(
        "`momentum` of running statistics: in torch the weight of the new batch (0.1),"
        " in flax, Keras and haiku that of the past, our `decay`",
        "torch: momentum is the weight of the past",
    ),
    Convention(
        "Running variance: torch and the paper blend in the one over n - 1, flax, Keras"
        " and haiku the biased one; all normalize by the biased one (n = 64 here)",
        "torch preset: biased running variance",
    ),
    Convention(
        "Running averages: haiku's are debiased, so what they start from is forgotten"
        " after one batch; in the others it has weight decay^t",
        "haiku preset: not debiased",
    ),
    Convention(
        "Batch norm's eps: 1e-3 in Keras, 1e-5 in the others",
        "keras: eps of torch",
    ),
    Convention(
        "Batch norm's default decay: 0.99 in flax and Keras, 0.9 in torch",
        "keras: decay of torch",
    ),
    Convention(
        "Variance in one pass: the default of flax' BatchNorm"
        " (`use_fast_variance=True`), at a mean of 1000 std",
        "flax: fast variance of BatchNorm",
    ),
    Convention("The same of flax' LayerNorm", "flax: fast variance of LayerNorm"),
    Convention("The same of flax' GroupNorm", "flax: fast variance of GroupNorm"),
    Convention(
        "Batch renorm averages the standard deviation (the paper), not the variance",
        "batch_renorm: averages the variance",
    ),
    Convention(
        "Local response norm: torch divides alpha by the window's size, the paper,"
        " TensorFlow and we do not",
        "torch: alpha of local response norm not times n",
    ),
    Convention(
        "Local response norm: k is 1 by default in torch, 2 in the paper",
        "torch: k of local response norm",
    ),
    Convention(
        "Weight norm: torch keeps output features first (`dim=0`), flax and we last",
        "torch: weight norm over one feature axis",
    ),
    Convention(
        "RMSprop: torch adds eps to the root; optax (by default), Keras and we under"
        " it",
        "torch: eps of RMSprop under the root",
    ),
    Convention(
        "RMSprop's default decay: 0.99 in torch, 0.9 in optax and Keras",
        "torch: default alpha of RMSprop",
    ),
    Convention(
        "Adam: Keras adds eps before the root is corrected, so it counts"
        " 1 / sqrt(1 - decay2^t) times as much: 32 times at the first step",
        "keras: eps of Adam after the correction",
    ),
    Convention(
        "Adam: optax forms 1 - decay^t in float32, our third moment by expm1",
        "third_moment: 1 - decay^t in float32",
    ),
    Convention(
        "SGD: Keras has the learning rate inside the momentum, so that a change of it"
        " takes 1 / (1 - momentum) steps to arrive; torch, optax and we outside",
        "keras: rate outside the momentum",
    ),
)


def default_table() -> str:
    """Default eps by norm; a dash where a framework has none or is not installed."""
    lines = [
        [name, *(f"{eps:g}" if isinstance(eps, float) else eps for eps in found)]
        for name, found in frameworks.default_eps().items()
    ]
    return document.markdown(("norm", "here", "flax", "torch", "Keras"), lines)


def convention_table(mutants: list[Row]) -> str:
    """The differences whose framework is installed, with numbers."""
    measured = {row.name: row for row in mutants}
    head = "difference", "row that shows it", "error if mixed up", "in budgets"
    lines = [
        (c.what, f"`{row.kind}`", f"{row.error:.1e}", f"{share(row[2:]):.0f}")
        for c in CONVENTIONS
        if (row := measured.get(c.mutant))
    ]
    return document.markdown(head, lines)


def mutant_table(mutants: list[Row]) -> str:
    """Every mutant, with the row that finds it."""
    lines = [(row.name, f"`{row.kind}`", f"{share(row[2:]):.3g}") for row in mutants]
    return document.markdown(("mutant", "row", "error / budget"), lines)


def kind_table(rows: list[Row]) -> str:
    """How many rows there are of each kind, and the one nearest to its budget."""
    lines = []
    for kind, row in table.worst_by_kind(rows).items():
        count = sum(other.kind == kind for other in rows)
        used = f"{share(row[2:]):.2g}"
        lines.append(
            (kind, f"{count}", row.name, f"{row.error:.1e}", f"{row.budget:.1e}", used)
        )
    head = "kind", "rows", "nearest to its budget", "error", "budget", "error / budget"
    return document.markdown(head, lines)
