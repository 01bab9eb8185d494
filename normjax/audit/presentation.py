"""How a report shows the tables of the audit: headers, digits, notes."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from normjax.audit.published_numbers import DENOMINATOR, PROTOCOLS, SHARE
from normjax.report import formats
from normjax.report.audit_interface import (
    Column,
    Kind,
    Section,
    TableRow,
    Verdict,
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
    " trimmed mean agrees. The seeds needed are those at which the interval would no"
    " longer contain the bound, if estimate and spread stay the same; for several"
    " comparisons, those that would settle the claim. Intervals of seconds are over the"
    " epochs of one run and say nothing about another run, so"
    " they decide nothing. Published numbers without an interval were given for one"
    ' network, or as variances. The verdict "corrected" is about the method as the'
    ' literature defines it, "as published" about the source\'s method with its faults.'
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


def claims_section(table: pd.DataFrame, lacks: str) -> Section:
    """The claims, each with its comparisons below; in the terminal without these."""
    if table.empty:
        return Section("claims", "", table, {}, {})
    parts = table["sentence"] == ""
    heads = table[~parts].assign(claim=table["sentence"])
    reasons = dict(zip(heads["sentence"], heads["why"]))
    verdicts = heads.filter(like="verdict_").to_numpy(object).ravel()
    kinds = {x.kind for x in verdicts if x}
    return Section(
        "claims",
        "Claims of the source" + lacks,
        table,
        CLAIMS,
        CLAIMS_NARROW,
        CLAIMS_NOTE,
        remarks=[f"{claim}: {why}." for claim, why in reasons.items() if why],
        footnote=UNDECIDED if Kind.UNDECIDED in kinds else "",
        leads=True,
        parts=list(parts),
        brief=heads,
    )


def _estimate(key: str) -> Column:
    """A comparison's estimate; none in the own row of a claim that has several."""

    def text(row: TableRow) -> str:
        interval = interval_of(row, key)
        by_digits = row["logarithmic"] or np.isnan(interval.low)
        write = formats.by_three_digits if by_digits else formats.by_width
        return write(interval) if row["comparison"] else ""

    return Column(key, text)


def _trimmed(key: str) -> Column:
    """The trimmed mean of a comparison with outlying seeds; else nothing."""

    def text(row: TableRow) -> str:
        interval = interval_of(row, key)
        write = formats.by_three_digits if row["logarithmic"] else formats.by_width
        return "" if np.isnan(interval.estimate) else write(interval)

    return Column(key, text, lambda values: values.notna().any())


def _verdict(key: str, text: Callable[[Verdict], str]) -> Column:
    """A comparison's verdict; none where the protocol was not run."""
    return Column(key, lambda row: text(row[key]) if row[key] else "")


CLAIMS = {
    "published": _estimate("published"),
    "as published": _estimate("as_published"),
    "trimmed mean, as published": _trimmed("as_published_trimmed"),
    "verdict, as published": _verdict("verdict_as_published", str),
    "corrected": _estimate("corrected"),
    "trimmed mean, corrected": _trimmed("corrected_trimmed"),
    "verdict, corrected": _verdict("verdict_corrected", str),
    "seeds left out": Column(
        "left_out",
        lambda row: f"{row['left_out']}" if row["comparison"] else "",
        lambda values: values.any(),
    ),
}
CLAIMS_NARROW = {
    "as published": _verdict("verdict_as_published", lambda x: x.short),
    "corrected": _verdict("verdict_corrected", lambda x: x.short),
}
ACCURACIES = {x.replace("_", " "): x for x in ("published", *PROTOCOLS)}
PUBLISHED = {
    **{k: interval_column(x, formats.by_width) for k, x in ACCURACIES.items()},
    "stability, published": number_column("published_stability", formats.two_digits),
    "as published, nats²": interval_column("as_published_stability", formats.by_digits),
    "corrected, nats²": interval_column("corrected_stability", formats.by_digits),
}
PUBLISHED_NARROW = {
    k: interval_column(x, formats.plus_minus) for k, x in ACCURACIES.items()
}
THIRD_MOMENT = {
    "differing share, at most": number_column(SHARE, formats.two_digits),
    "smallest denominator": number_column(DENOMINATOR, formats.two_digits),
}
