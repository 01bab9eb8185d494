"""What a search found: the chosen setting of each arm, and how easy it was to find.

Numbers of trials stand here only. Everything else on the page is of networks that had
no part in the choice (see `normjax.study.tuning`).
"""

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from normjax import numerals, tuning_statistics
from normjax.report import formats, names, tuning_notices
from normjax.report.audit_interface import Column, Section, TableRow, number_column
from normjax.study import trials
from normjax.study.record import Record

TITLE = "Tuning"


def sections(record: Record) -> list[Section]:
    """The section Tuning, a row for each arm; none if the study is not tuned."""
    tuning = record.record.get("tuning")
    if not tuning:
        return []
    remarks = tuning_notices.notices(record)
    footnote = "".join(f"{textwrap.fill(line, 88)}\n" for line in remarks)
    columns = WIDE, NARROW
    return [
        Section(
            "tuning",
            TITLE,
            table(record),
            *columns,
            note=f"{sentence(record)} {note(tuning)}",
            remarks=remarks,
            footnote=footnote and f"\n{footnote}",
        )
    ]


def table(record: Record) -> pd.DataFrame:
    """What the trials of each arm found; those of arms that competed are put together.

    `best_validation_accuracy` is the score that was chosen, `share_within_a_point` and
    `largest_rate` are those of `tuning_statistics`; they are nan before all is there.
    """
    tuning = record.record["tuning"]
    return pd.DataFrame([_row(record, name) for name in tuning["judged"]])


def sentence(record: Record) -> str:
    """How the settings were chosen; empty if the study is not tuned."""
    tuning = record.record.get("tuning")
    if not tuning:
        return ""
    seeds, going = tuning["seeds"], trials.is_tuning(record.record)
    was, becomes = ("is", "will be") if going else ("was", "is")
    search = {"grid": "every setting of its grid", "random": "settings drawn at random"}
    numbers = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    levels = f" and its level of {' and of '.join(tuning['choose'])}"
    return (
        f"Each arm {was} tried at {search[tuning['search']]} with"
        f" {numerals.plural(len(seeds), 'seed')} that judge nothing"
        f" ({numbers}){f'; {progress_of_trials(record)}' * going}. Its"
        f" setting{levels if tuning['choose'] else ''} {becomes} that of the highest"
        f" mean validation accuracy over these seeds. It {becomes} judged with other"
        " seeds, on the test split."
    )


def progress_of_trials(record: Record) -> str:
    """`all trials of 2 of 8 arms are trained: adam and sgd`; arms that are judged."""
    judged = record.record["tuning"]["judged"]
    found = list(tuning_notices.best_of_arms(record))
    number = f"{len(found):,} of {numerals.plural(len(judged), 'arm')}"
    if not found:
        return f"so far no arm of {len(judged):,} has all of its trials"
    return f"so far all trials of {number} are trained: {numerals.listed(found)}"


def cost(record: Record) -> str:
    """How many networks of trials there are, and how long they ran; may be empty."""
    tuning = record.record.get("tuning")
    if not tuning:
        return ""
    done, wanted = trials.number(tuning)
    seconds = sum(x.get("run_seconds", 0.0) for x in tuning["arms"].values())
    networks = f"{done:,} of {wanted:,} networks"
    return f"{networks}, {numerals.three_digits(float(seconds))} s of running in all"


def tried(content: Mapping[str, Any]) -> dict[str, Any]:
    """The arms of trials by a name that says so, beside arms that are judged."""
    tuning = content.get("tuning")
    if not tuning or trials.is_tuning(content):  # then the arms are those of trials
        return {}
    return {f"trials of {name}": entry for name, entry in tuning["arms"].items()}


def note(tuning: Mapping[str, Any]) -> str:
    """What the columns mean."""
    return (
        "A diverged network counts as validation accuracy 0. The best of many noisy"
        " means is too high on average, so the best validation accuracy judges nothing."
        " The share is that of trials at most one percentage point below the best. The"
        " largest rate is that of a trial whose every network stayed finite and ended"
        f" at least halfway from {tuning['chance']:.3g}, what the most frequent class"
        " gives, to the best; >= where no larger one was tried."
    )


def unfinished(record: Record) -> list[str]:
    """What a page answers while no arm has its setting; empty otherwise."""
    if not trials.is_tuning(record.record):
        return []
    done, wanted = trials.number(record.record["tuning"])
    return [
        f"Still tuning: {done:,} of {wanted:,} networks of trials are trained.",
        f"{formats.capital(progress_of_trials(record))}.",
        "Nothing is judged before an arm has its setting.",
        *(
            names.readable(x, names.glossary(record))
            for x in tuning_notices.edges(record)
        ),
    ]


def _row(record: Record, name: str) -> dict[str, Any]:
    tuning = record.record["tuning"]
    entry = tuning["judged"][name]
    mine = [tuning["arms"][arm] for arm in entry["trials"]]
    rows = trials.competing(tuning, record.trials, entry["trials"])
    row: dict[str, Any] = {
        "arm": name,
        "chosen": trials.chosen_text(tuning, name),
        "searched": tuning_notices.searched_text(record, entry["trials"]),
        **entry.get("factors", {}),
        **entry.get("settings", {}),
        "trials": len(rows) // len(tuning["seeds"]),
        "networks": sum(arm["lanes"] for arm in mine),
        "best_validation_accuracy": math.nan,
        "share_within_a_point": math.nan,
        "largest_rate": math.nan,
        "largest_tried_rate": math.nan,
    }
    if len(rows):
        found = trials.accuracies(tuning, rows)
        scores = tuning_statistics.scores(*found)
        rates = trials.rates(tuning, rows)
        largest = tuning_statistics.largest_rate(rates, *found, tuning["chance"])
        row |= {
            "best_validation_accuracy": float(np.max(scores)),
            "share_within_a_point": tuning_statistics.share_within(scores),
            "largest_rate": largest,
            "largest_tried_rate": float(np.fmax.reduce(rates)),
        }
    return row


def _accuracy(x: float) -> str:
    return "-" if math.isnan(x) else f"{x:.4f}"


def _rate(row: TableRow) -> str:
    """`>= 0.1` where the largest rate that was tried trains."""
    text = formats.number(float(row["largest_rate"]))
    return f">= {text}" if row["largest_rate"] == row["largest_tried_rate"] else text


def _share(x: float) -> str:
    return "-" if math.isnan(x) else formats.whole_percent(x)


WIDE: dict[str, Column] = {
    "chosen": Column("chosen", lambda row: str(row["chosen"])),
    "searched": Column("searched", lambda row: str(row["searched"])),
    "trials": number_column("trials", formats.number),
    "best validation accuracy": number_column("best_validation_accuracy", _accuracy),
    "within a point": number_column("share_within_a_point", _share),
    "largest rate that trains": Column("largest_rate", _rate),
}
NARROW: dict[str, Column] = {
    **{header: WIDE[header] for header in ("chosen", "trials")},
    "validation": WIDE["best validation accuracy"],
    "in a point": WIDE["within a point"],
    "largest rate": WIDE["largest rate that trains"],
}
