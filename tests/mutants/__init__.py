"""Norms and optimizers that are wrong on purpose: a row of checks must find each.

There is one for each kind of defect in each kind of row. `test_mutants` measures them
in the place of what the row checks; `python -m tests.mutants --write docs` writes them
into docs/numerics.md.
"""

from collections.abc import Callable
from typing import Any, NamedTuple


class Mutant(NamedTuple):
    """A wrong subject, and the row that must be over budget for it."""

    row: str  # "kind: name" of a check
    defect: str  # its kind: a row of the table in docs/numerics.md
    wrong: Callable[..., Any]  # called as the subject of the row
