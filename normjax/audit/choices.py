"""Verdicts over the choices that a source left open: a multiverse of studies.

A source does not say everything that a study must choose, its initial weights for
instance. A config names the factors that are such choices (`unstated`), so that each
claim gets a verdict for each combination of their levels.

References:
    Steegen, Tuerlinckx, Gelman and Vanpaemel, 2016. Increasing Transparency Through a
    Multiverse Analysis. Perspectives on Psychological Science 11.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from normjax.report.audit_interface import Kind, Verdict
from normjax.report.networks import Cell

Rows = list[dict[str, Any]]  # of the verdict table


def cells_by_choice(
    cells: Sequence[Cell], config: Mapping[str, Any]
) -> dict[str, list[Cell]]:
    """The cells of each combination of the levels of the config's unstated factors.

    It is known by its name, `kernel_init=he_normal, sampling=permutation`. The one name
    is empty if none of these factors varies.
    """
    present = [name for name in config.get("unstated", ()) if name in cells[0].factors]
    varying = [x for x in present if len({cell.factors[x] for cell in cells}) > 1]
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        name = ", ".join(f"{x}={cell.factors[x]}" for x in varying)
        found.setdefault(name, []).append(cell)
    return found


def joined_rows(by_choice: Mapping[str, Rows], protocols: Sequence[str]) -> Rows:
    """The rows of one claim for each choice below each other, and how it stands.

    Columns that are added: `choice`, and to the claim's own rows `stands_<protocol>`.
    """
    stands: dict[str, str] = {}
    for protocol in protocols:
        key = f"verdict_{protocol}"
        verdicts = {x: rows[0].get(key) for x, rows in by_choice.items() if rows}
        judged = {x: verdict for x, verdict in verdicts.items() if verdict}
        if judged:
            lacking = [x for x in by_choice if x not in judged]
            stands[f"stands_{protocol}"] = standing(judged, lacking)
    return [
        row | {"choice": choice} | (_own(row, choice) | stands if i == 0 else {})
        for choice, rows in by_choice.items()
        for i, row in enumerate(rows)
    ]


def standing(verdicts: Mapping[str, Verdict], lacking: Sequence[str] = ()) -> str:
    """Whether a claim stands over all choices: `holds for all 4 choices`.

    Where it does not, the choices are named after a semicolon: `holds for 3 of 4
    choices; does not hold with kernel_init=he_normal`. No level is adjusted for the
    number of choices: a claim that must hold for each of them holds for all by chance
    less often than for one.

    Args:
        verdicts: of each choice that was judged.
        lacking: choices of which the claim's arms were not run.
    """
    num = len(verdicts) + len(lacking)
    by_kind = {
        kind: [x for x, verdict in verdicts.items() if verdict.kind is kind]
        for kind in Kind
    }
    for kind, names in by_kind.items():
        if len(names) == num:
            every = "any of" if kind is Kind.FAILS else "all"
            return f"{kind.value} for {every} {num:,} choices"
    others = [
        f"{kind.value} with {' or '.join(names)}"
        for kind, names in by_kind.items()
        if names and kind is not Kind.HOLDS
    ]
    if lacking:
        others.append(f"not run with {' or '.join(lacking)}")
    held = len(by_kind[Kind.HOLDS])
    return "; ".join([f"holds for {held:,} of {num:,} choices", *others])


def _own(row: Mapping[str, Any], choice: str) -> dict[str, str]:
    """The name of a claim's own row, with the choice."""
    return {"claim": f"{row['claim']} ({choice})"}
