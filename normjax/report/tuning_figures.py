"""The figures of a search: its best accuracy by effort, and the map of its rates."""

import itertools
from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from normjax import tuning_statistics
from normjax.report import axes
from normjax.report.axes import Stroke
from normjax.report.searches import scores_of_arms
from normjax.study.record import Record

BEST = (
    "Expected best validation accuracy against the number of trials: the mean over all"
    " sets of as many of the trials that were run"
)
RATES = "Validation accuracy of the trials, mean over the tuning seeds, against the"


def plots(record: Record) -> dict[str, tuple[str, Callable[[], Figure]]]:
    """Name of a figure -> its caption and what draws it; none without whole arms."""
    scores = scores_of_arms(record)
    found: dict[str, tuple[str, Callable[[], Figure]]] = {}
    if any(len(x) > 1 for x, _ in scores.values()):
        found["tuning_trials"] = BEST, partial(draw_expected_best, scores)
    rates = np.concatenate([x for _, x in scores.values()] or [np.empty(0)])
    if len(np.unique(rates[np.isfinite(rates)])) > 1:
        lines = record.record["tuning"]["search"] == "grid"
        caption = f"{RATES} learning rate; a ring marks the one that was chosen"
        caption += ", lines join the best at each rate" * lines
        found["tuning_learning_rate"] = caption, partial(draw_rates, scores, lines)
    return found


def draw_expected_best(scores: dict[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """The mean of the best of k trials against k, a line for each arm."""
    strokes = _strokes(scores)
    figure, panels = axes.make_panels([""], 1)
    for name, (colour, dashes) in strokes.items():
        y = tuning_statistics.expected_best(scores[name][0])
        x = np.arange(1, len(y) + 1)
        marker = "o" if len(y) == 1 else ""
        panels[0].plot(x, y, dashes, color=colour, label=name, marker=marker, ms=3.5)
    panels[0].xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
    label = "expected best validation accuracy"
    return axes.add_labels(figure, panels, strokes, "number of trials", label)


def draw_rates(scores: dict[str, tuple[np.ndarray, np.ndarray]], lines: bool) -> Figure:
    """The score of every trial against its rate; lines join the best of each rate."""
    strokes = _strokes(scores)
    figure, panels = axes.make_panels([""], 1)
    for name, (colour, dashes) in strokes.items():
        y, x = scores[name]
        if not np.isfinite(x).any():
            continue
        panels[0].plot(x, y, "o", color=colour, label=name * (not lines), ms=3, mew=0)
        i = tuning_statistics.best_trial(y, x)
        panels[0].plot(x[i : i + 1], y[i : i + 1], "o", mfc="none", mec=colour, ms=8)
        best = [(rate, y[x == rate].max()) for rate in np.unique(x[np.isfinite(x)])]
        if lines:
            panels[0].plot(*np.array(best).T, dashes, color=colour, label=name)
    rates = np.concatenate([x for _, x in scores.values()])
    axes.use_log_x(panels, rates[np.isfinite(rates)].tolist())
    label = "validation accuracy"
    return axes.add_labels(figure, panels, strokes, "learning rate", label)


def _strokes(scores: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, Stroke]:
    pairs = itertools.cycle(
        (c, d) for d, c in itertools.product(axes.DASHES, axes.COLOURS)
    )
    return dict(zip(scores, pairs))
