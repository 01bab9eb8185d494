"""Charts of whole distributions over seeds: who beats whom, and performance profiles.

Both are those that Agarwal et al. (2021, arXiv:2108.13264) ask for beside means; what
differs here is that arms share their seeds, so they are compared seed by seed.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from normjax import bounded, numerals, p_values
from normjax.report import bands, formats, networks
from normjax.report.chart import Axis, Chart, Panel, Series, Tile
from normjax.report.layout import Layout
from normjax.report.networks import Cell
from normjax.statistics import Interval

GROUP = "comparisons"
MOST_ARMS = 30  # in a matrix of all pairs


def charts(
    best: Sequence[Cell], layout: Layout, level: float, same_data: Mapping[str, int]
) -> list[Chart]:
    """The matrix of all pairs, and the profiles if an arm has two seeds.

    Profiles over different data would be lines on one axis that say nothing of each
    other, so there are none then.

    Args:
        best: one cell for each arm.
        layout: of the page.
        level: of the intervals.
        same_data: arm -> number of its data (`joint_texts.same_data`): arms of
            different numbers are no pair. Empty if all have the same data.
    """
    pairs = [
        (a, b)
        for a, b in itertools.permutations(best, 2)
        if same_data.get(a.arm) == same_data.get(b.arm)
    ]
    found = []
    if pairs and len(best) <= MOST_ARMS:
        found.append(probability(pairs, layout, level))
    one = len({same_data.get(cell.arm) for cell in best}) == 1
    if one and any(len(cell.seeds) > 1 for cell in best):
        found.append(profiles(best, layout, level))
    return found


def probability(
    pairs: Sequence[tuple[Cell, Cell]], layout: Layout, level: float
) -> Chart:
    """The probability that the arm of a row beats the arm of a column, for all pairs.

    See `bounded.probability_of_improvement`.
    """
    labels = list(dict.fromkeys(layout.labels[cell.arm] for cell, _ in pairs))
    tiles = [duel(a, b, layout, level) for a, b in pairs]
    return Chart(
        name="probability",
        kind="tiles",
        title="Probability that the arm of a row beats that of a column, percent",
        x=Axis("beaten arm", names=labels),
        y=Axis("arm", names=labels),
        panels=[Panel("", tiles)],
        note="Share of the seeds on which its final test accuracy is higher; a tie"
        " counts as half. A frame: the exact sign test, which leaves ties out, has a"
        f" p of at most {1 - level:.3g}. Each pair stands alone: nothing is adjusted"
        " for their number.",
        centre=50.0,
        group=GROUP,
    )


def duel(a: Cell, b: Cell, layout: Layout, level: float) -> Tile:
    """The share of seeds on which `a` beats `b`, in percent.

    It is marked if the sign test finds that one of them is better.
    """
    i, j = networks.shared_seeds(a, b)
    x, y = a.final["test_accuracy"][i], b.final["test_accuracy"][j]
    found = bounded.probability_of_improvement(x, y, level)
    share, low, high, n = (float(value) for value in found)
    p = p_values.sign_test(int((x > y).sum()), int((x < y).sum()))
    first, second = layout.labels[a.arm], layout.labels[b.arm]
    title = f"{first} and {second} share no seed"
    if n:
        text = formats.percent(Interval(share, low, high, n))
        of = numerals.plural(int(n), "seed")
        title = f"{first} beats {second} on {share * n:g} of {of}: {text}"
    return Tile(
        x=second,
        y=first,
        value=100 * share,
        text=f"{100 * share:.0f}" if n else "",
        title=title,
        marked=p <= 1 - level,
    )


def profiles(best: Sequence[Cell], layout: Layout, level: float) -> Chart:
    """The share of seeds whose final test accuracy is above x, in steps."""
    accuracies = np.concatenate([cell.final["test_accuracy"] for cell in best])
    known = np.isfinite(accuracies).any()
    ends = bands.around(accuracies) if known else (0.0, 1.0)
    panels = [
        Panel(title, [profile(cell, layout, ends, level) for cell in members])
        for title, members in layout.panels(best).items()
    ]
    sentences = [
        f"Steps: share of seeds above x; bands: its {formats.confidence(level)}"
        " interval (Wilson) at each x alone, from an arm's lowest seed to its highest."
        " A line farther to the right is better."
    ]
    if any(len(cell.seeds) < bands.LEAST_SEEDS for cell in best):
        sentences.append(bands.too_few(level))
    return Chart(
        name="profiles",
        kind="lines",
        title="Performance profiles: share of seeds above an accuracy",
        x=Axis("final test accuracy", limits=ends),
        y=Axis("share of seeds above", limits=(0.0, 1.0)),
        panels=panels,
        columns=layout.num_columns(),
        note=" ".join(sentences),
        group=GROUP,
    )


def profile(
    cell: Cell, layout: Layout, ends: tuple[float, float], level: float
) -> Series:
    """The profile of an arm as the corners of its steps, from one end to the other.

    Its band begins at the lowest seed and ends at the highest.
    """
    accuracy = cell.final["test_accuracy"]
    places = np.unique(accuracy[np.isfinite(accuracy)])
    at = np.concatenate([[ends[0]], places])  # from each on, the share is another
    found = bounded.performance_profile(accuracy, at, level)
    corners = np.repeat(np.concatenate([at, [ends[1]]]), 2)[1:-1]
    share, low, high = (np.repeat(x, 2) for x in found[:3])
    outside = [0, -1]  # corners that are no seed
    low[outside] = high[outside] = np.nan
    banded = len(cell.seeds) >= bands.LEAST_SEEDS
    return Series(
        key=layout.key(cell.arm),
        label=layout.labels[cell.arm],
        x=corners,
        y=share,
        low=low if banded else None,
        high=high if banded else None,
    )
