"""Charts of a search: its best accuracy by effort, and the map of its rates."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from normjax import tuning_statistics
from normjax.report import bands, names
from normjax.report.chart import Axis, Chart, Panel, Series
from normjax.report.layout import Layout
from normjax.study import trials
from normjax.study.record import Record

GROUP = "tuning"
BEST = "Expected best validation accuracy against the number of trials"
RATES = "Validation accuracy of the trials against the learning rate"
CHOOSE = "These accuracies choose the settings; other seeds judge the arms."
ABSENT = "Not drawn, for trials are missing: {}."

Scores = Mapping[str, tuple[np.ndarray, np.ndarray]]  # arm -> score, rate; [trials]


def charts(record: Record, layout: Layout) -> list[Chart]:
    """The charts of a search; none without an arm whose trials are complete."""
    scores = scores_of_arms(record)
    judged = (record.record.get("tuning") or {"judged": {}})["judged"]
    found = []
    if any(len(x) > 1 for x, _ in scores.values()):
        found.append(expected_best(scores, layout))
    rates = np.concatenate([x for _, x in scores.values()] or [np.empty(0)])
    if len(np.unique(rates[np.isfinite(rates)])) > 1:
        lines = record.record["tuning"]["search"] == "grid"
        open_arms = [arm for arm in scores if "arm" not in judged[arm]]
        found.append(by_rate(scores, layout, open_arms, lines=lines))
    absent = [layout.labels[arm] for arm in judged if arm not in scores]
    note = f" {ABSENT.format(names.some(absent))}" if absent else ""
    return [chart._replace(note=chart.note + note) for chart in found]


def scores_of_arms(record: Record) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Judged arm -> the score and the learning rate of its trials, `[trials]`.

    Arms whose trials are not complete are left out.
    """
    tuning = record.record.get("tuning") or {"judged": {}}
    found = {}
    for name, entry in tuning["judged"].items():
        rows = trials.competing(tuning, record.trials, entry["trials"])
        if len(rows):
            scores = tuning_statistics.scores(*trials.accuracies(tuning, rows))
            found[name] = scores, trials.rates(tuning, rows)
    return found


def expected_best(scores: Scores, layout: Layout) -> Chart:
    """The mean of the best of k trials against k, a line for each arm."""

    def line(arm: str) -> list[Series]:
        y = tuning_statistics.expected_best(scores[arm][0])
        x = np.arange(1, len(y) + 1)
        return [Series(layout.key(arm), layout.labels[arm], x, y)]

    panels = _panels(scores, layout, line)
    x = Axis("number of trials", whole=True)
    chart = _chart("tuning_trials", BEST, x, panels, layout)
    note = "The mean of the best over all sets of as many of the trials that were run."
    return chart._replace(note=f"{note} {CHOOSE}")


def by_rate(
    scores: Scores, layout: Layout, open_arms: Sequence[str], *, lines: bool
) -> Chart:
    """The score of every trial against its rate, with a ring at the best one.

    Args:
        scores: of `scores_of_arms`.
        layout: of the page.
        open_arms: those of which no trial is chosen yet.
        lines: whether a line joins the best score at each rate.
    """

    def marks(arm: str) -> list[Series]:
        y, x = scores[arm]
        known = np.isfinite(x)
        if not known.any():
            return []
        ring = tuning_statistics.best_trial(y, x)
        rings = [int(known[:ring].sum())] if known[ring] else []
        label, key = layout.labels[arm], layout.key(arm)
        points = Series(key, label, x[known], y[known], joined=False, marked=rings)
        rates = np.unique(x[known])
        best = np.array([y[x == rate].max() for rate in rates])
        return [points, *([Series(key, label, rates, best)] if lines else [])]

    rates = np.concatenate([x for _, x in scores.values()])
    notes = [
        "Mean over the tuning seeds.",
        rings([layout.labels[arm] for arm in open_arms], len(scores)),
        "Lines join the best at each rate." if lines else "",
        CHOOSE,
    ]
    x = bands.grid_axis("learning rate", rates.tolist())
    if not lines:  # rates at random: no two arms tried the same
        x = x._replace(ticks=())
    panels = _panels(scores, layout, marks)
    chart = _chart("tuning_learning_rate", RATES, x, panels, layout)
    return chart._replace(note=" ".join(filter(None, notes)))


def rings(open_arms: Sequence[str], num_arms: int) -> str:
    """What a ring is: no trial is chosen before all that compete with it are there."""
    if not open_arms:
        return "A ring: the trial that was chosen."
    if len(open_arms) == num_arms:
        return "A ring: the best trial so far; a choice is made when all are there."
    return (
        "A ring: the trial that was chosen or, of arms without a setting yet"
        f" ({names.some(open_arms)}), the best so far."
    )


def _panels(
    scores: Scores, layout: Layout, marks: Callable[[str], list[Series]]
) -> dict[str, list[Series]]:
    panels: dict[str, list[Series]] = {}
    for arm in scores:
        panels.setdefault(layout.title(arm), []).extend(marks(arm))
    return panels


def _chart(
    name: str, title: str, x: Axis, panels: Mapping[str, list[Series]], layout: Layout
) -> Chart:
    arrays = [line.y for lines in panels.values() for line in lines]
    return Chart(
        name=name,
        kind="lines",
        title=title,
        x=x,
        y=bands.share_axis("validation accuracy", arrays),
        panels=[Panel(title, lines) for title, lines in panels.items()],
        columns=layout.num_columns(),
        group=GROUP,
    )
