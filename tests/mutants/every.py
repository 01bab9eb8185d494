"""All mutants by name, and all rows that have to find one."""

from normjax.checks import __main__ as command
from normjax.checks import frameworks
from normjax.checks.rows import Check

from . import Mutant, conventions, gradients, updates, values

MUTANTS: dict[str, Mutant] = {
    **values.VALUES,
    **values.PROGRAMS,
    **values.RUNNING,
    **gradients.DIFFERENTIATED,
    **gradients.WRITTEN,
    **updates.UPDATES,
    **conventions.FRAMEWORKS,
}
OWN = [check for check in conventions.OWN if frameworks.is_installed(check.kind)]
CHECKS: dict[str, Check] = {
    **command.all_checks(),
    **{f"{check.kind}: {check.name}": check for check in OWN},
}
