"""How a report shows the tables of the audit: headers, digits, notes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from normjax import numerals
from normjax.audit.claim_data import Claim, Side
from normjax.audit.published_numbers import DENOMINATOR, PROTOCOLS, SHARE
from normjax.report import formats, names
from normjax.report.audit_interface import (
    Column,
    Kind,
    Reason,
    Section,
    TableRow,
    interval_column,
    interval_of,
    number_column,
)

CLAIMS_NOTE = (
    "Each verdict is computed. A claim holds if the 95% interval of what decides it"
    " lies on the claimed side, or within the margin; it does not hold if the interval"
    " lies on the other side; a claim of several comparisons holds if all of them do."
    " One of k comparisons fails the claim only if its interval at level 1 - 0.05 / k"
    " lies on the other side, because one of k intervals at 95% misses the truth too"
    " often. Arms are compared seed by seed. Equal differences of n seeds decide"
    " nothing unless 2^(1 - n), the probability of n equal signs, is small enough. If a"
    " seed is outlying, a claim about a mean is decided only if the interval of the"
    " trimmed mean agrees. A claim about the largest rate that trains is undecided if"
    " the grid of rates ends before the answer. The seeds needed are those at which"
    " the interval would no longer contain the bound, if estimate and spread stay the"
    " same; for several comparisons, those that would settle the claim. Intervals of"
    " seconds are over the epochs of one run and say nothing about another run, so"
    " they decide nothing. Published numbers without an interval were given for one"
    ' network, or as variances. The verdict "corrected" is about the method as the'
    ' literature defines it, "as published" about the source\'s method with its faults.'
)
PAPERS_NOTE = (
    " Claims of papers are tested here with smaller networks, less data and shorter"
    " training than the papers had, so their verdicts are about this setting alone."
    " A paper's number is that of its own setting, and it has no protocols."
)
CHOICES_NOTE = (
    " Where the source is silent, each verdict is given for each plausible choice. No"
    " level allows for the number of choices: a claim must hold for all of them."
)
PUBLISHED_NOTE = (
    "Published numbers are the source's, with intervals over its seeds."
    ' "As published" is its method with its faults, "corrected" the method as the'
    " literature defines it. The source divides its loss by the batch size once more;"
    " its variances are given in nats² here."
)
THIRD_MOMENT_NOTE = (
    "The largest share, over seeds and epochs, of coordinates whose update differs"
    " from that of Adam, and the smallest denominator of an update."
)
UNDECIDED = (
    "In brackets: how many seeds would decide, if the estimate stays the same.\n"
)
FEW_SEEDS = (
    ">= marks seeds that are too few, or all equal: fewer than that decide nothing.\n"
)
MOST_NAMED = 5  # arms on one side of a claim, in its line


def claims_section(table: pd.DataFrame, lacks: str) -> Section:
    """The claims, each with its comparisons below; in the terminal without these.

    Args:
        table: of `claims.verdict_table`.
        lacks: what the study does not do as the source did.
    """
    if table.empty:
        return Section("claims", "", table, {}, {})
    parts = table["sentence"] == ""
    heads = table[~parts].assign(claim=table["sentence"])
    papers = heads["place"] != ""
    verdicts = heads.filter(like="verdict_").to_numpy(object).ravel()
    found = [x for x in verdicts if x]
    footnotes = {
        UNDECIDED: any(x.kind is Kind.UNDECIDED for x in found),
        FEW_SEEDS: any(x.reason is Reason.TOO_FEW_SEEDS for x in found),
    }
    whose = [("the source", ~papers), ("papers", papers)]
    note = CLAIMS_NOTE + (PAPERS_NOTE if papers.any() else "")
    brief = heads.drop_duplicates("sentence")  # of a claim with several choices, one
    return Section(
        "claims",
        f"Claims of {' and of '.join(x for x, rows in whose if rows.any())}{lacks}",
        table,
        CLAIMS,
        CLAIMS_NARROW,
        note + (CHOICES_NOTE if "choice" in table else ""),
        remarks=list(filter(None, map(_remark, brief.to_dict("records")))),
        footnote="".join(text for text, needed in footnotes.items() if needed),
        leads=True,
        parts=list(parts),
        brief=brief,
    )


def arms_compared(claim: Claim) -> str:
    """`third moment against sgd, adam and rmsprop, at penalty none, l2 and dropout`."""
    sides = [_arms(claim[x]) for x in ("of", "against") if x in claim]
    levels: dict[str, list[str]] = {}
    for side in claim.get("each", ()):
        for factor, level in side.items():
            levels.setdefault(factor, []).append(names.words(str(level)))
    places = [f"at {names.words(k)} {numerals.listed(x)}" for k, x in levels.items()]
    return ", ".join([names.AGAINST.join(sides), *places])


def _arms(sides: Sequence[Side]) -> str:
    """The arms of one side of a claim, or how many they are."""
    if len(sides) > MOST_NAMED:
        return f"{len(sides)} arms"
    return numerals.listed([arm(side) for side in sides])


def arm(side: Side) -> str:
    """`group with batch size 2`."""
    return " with ".join(names.level(*x) for x in side.items())


def _remark(row: TableRow) -> str:
    """The source of a paper's claim, and the reason of a margin."""
    source = f"{row['source']}, {row['place']}" if row["place"] else ""
    said = ". ".join(filter(None, (source, row["why"])))
    return f"{row['sentence']}: {said}." if said else ""


def estimate(key: str) -> Column:
    """A comparison's estimate; none in the own row of a claim that has several.

    The column is left out if it has no number.
    """

    def text(row: TableRow) -> str:
        interval = interval_of(row, key)
        by_digits = row["logarithmic"] or np.isnan(interval.low)
        write = formats.by_three_digits if by_digits else formats.by_width
        return write(interval) if row["comparison"] else ""

    return Column(key, text, lambda values: values.notna().any())


def _verdict(key: str) -> Column:
    """A comparison's verdict; none where the protocol was not run."""
    return Column(key, lambda row: str(row[key]))


def _standing(protocol: str) -> Column:
    """How a claim stands over the choices that its source left open."""
    return Column(f"stands_{protocol}", lambda row: row[f"stands_{protocol}"])


def _short(protocol: str) -> Column:
    """A verdict for the terminal: that over all choices, if there are several."""
    key = f"verdict_{protocol}"

    def text(row: TableRow) -> str:
        over_choices = row.get(f"stands_{protocol}", "").partition(";")[0]
        return over_choices or (row[key].short if row[key] else "")

    return Column(key, text)


def _trimmed(key: str) -> Column:
    """The trimmed mean of a comparison with outlying seeds; else nothing."""

    def text(row: TableRow) -> str:
        interval = interval_of(row, key)
        write = formats.by_three_digits if row["logarithmic"] else formats.by_width
        return "" if np.isnan(interval.estimate) else write(interval)

    return Column(key, text, lambda values: values.notna().any())


CLAIMS = {
    "published": estimate("published"),
    "as published": estimate("as_published"),
    "trimmed mean, as published": _trimmed("as_published_trimmed"),
    "verdict, as published": _verdict("verdict_as_published"),
    "over all choices, as published": _standing("as_published"),
    "corrected": estimate("corrected"),
    "trimmed mean, corrected": _trimmed("corrected_trimmed"),
    "verdict, corrected": _verdict("verdict_corrected"),
    "over all choices, corrected": _standing("corrected"),
    "seeds left out": Column(
        "left_out",
        lambda row: f"{row['left_out']}" if row["comparison"] else "",
        lambda values: values.any(),
    ),
}
CLAIMS_NARROW = {
    "as published": _short("as_published"),
    "corrected": _short("corrected"),
}
ACCURACIES = {x.replace("_", " "): x for x in ("published", *PROTOCOLS)}
PUBLISHED = {
    **{
        f"accuracy, {k}": interval_column(x, formats.accuracy)
        for k, x in ACCURACIES.items()
    },
    "variance, published": number_column("published_stability", numerals.two_digits),
    "variance, as published": interval_column(
        "as_published_stability", formats.by_digits
    ),
    "variance, corrected": interval_column("corrected_stability", formats.by_digits),
}
PUBLISHED_NARROW = {
    k: interval_column(x, formats.within(formats.plus_minus, 0.0, 1.0))
    for k, x in ACCURACIES.items()
}
THIRD_MOMENT = {
    "differing share, at most": number_column(SHARE, numerals.two_digits),
    "smallest denominator": number_column(DENOMINATOR, numerals.two_digits),
}
