"""What `benchmarks.lanes` prints, and its plot: time of a network against lanes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

TITLES = {
    "mlp": "MLP 784-128-128-10, batch 128",
    "deep-mlp": "seven layers of 50, batch 128",
    "narrow-mlp": "two layers of 16, batch 16",
    "cnn": "two 5x5 convolutions, batch 32",
    "wide-cnn": "four 3x3 convolutions, batch 128",
}
COLOURS = {
    "map": "#000000",
    "map-4": "#e69f00",
    "map-8": "#56b4e9",
    "map-32": "#009e73",
    "vmap": "#d55e00",
    "data-parallel": "#cc79a7",
}
FIXED = tuple(COLOURS)


def crossovers(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each program: the fastest fixed mapping, from how many lanes on."""
    lines = []
    for name in dict.fromkeys(row["program"] for row in rows):
        mine = [row for row in rows if row["program"] == name]
        seconds = lambda row, x: row["mappings"][x]["seconds"]["min"]
        names = lambda row: [x for x in FIXED if x in row["mappings"]]
        best = [min(names(row), key=lambda x, r=row: seconds(r, x)) for row in mine]
        changes = [i for i, x in enumerate(best) if not i or best[i - 1] != x]
        told = ", ".join(f"{best[i]} from {mine[i]['lanes']} lanes" for i in changes)
        lines.append(f"{name}: {told}")
    return lines


def block(row: dict[str, Any]) -> str:
    """A row in words."""
    each = []
    for name, found in row["mappings"].items():
        share = found["share"]
        spans = f"{share['median']:.2f} (least: {share['min']:.2f})"
        memory = f" {found['peak_mib']} MiB" if "peak_mib" in found else ""
        micro = 1e6 * found["seconds"]["median"]
        each.append(f"  {name:16} {micro:9,.1f} us  x {spans}{memory}")
    return "\n".join([f"{row['program']}, {row['lanes']:,} lanes", *each])


def rise(name: str, found: dict[str, Any]) -> str:
    """What a network of 1,000 costs more than one of ten, in words."""
    few, many = found["10"], found["1000"]
    each = (f"{many[x] / few[x]:.2f} ({x})" for x in ("median", "min"))
    return f"{name}: a network of 1,000 costs {', '.join(each)} of one of ten"


def write_plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """A panel for each program; bars from the fastest round to the slowest."""
    names = list(dict.fromkeys(row["program"] for row in rows))
    options = {"svg.hashsalt": "lanes", "svg.fonttype": "none", "font.size": 9}
    with mpl.rc_context(options):
        figure = Figure(figsize=(3.1 * len(names), 3.2), layout="constrained")
        axes = figure.subplots(1, len(names), squeeze=False)[0]
        for axis, name in zip(axes, names):
            panel(axis, [row for row in rows if row["program"] == name])
            axis.set_title(TITLES[name], fontsize=9)
        axes[0].set_ylabel("microseconds per network and step")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        figure.savefig(path, format="svg", metadata={"Date": None})


def panel(axis: Any, rows: Sequence[dict[str, Any]]) -> None:
    """One program: a line for each fixed mapping."""
    for name, colour in COLOURS.items():
        mine = [row for row in rows if name in row["mappings"]]
        found = [row["mappings"][name]["seconds"] for row in mine]
        y = [1e6 * x["median"] for x in found]
        low = [1e6 * (x["median"] - x["min"]) for x in found]
        high = [1e6 * (x["max"] - x["median"]) for x in found]
        numbers = [row["lanes"] for row in mine]
        style = {"marker": "o", "markersize": 3, "linewidth": 1, "capsize": 2}
        axis.errorbar(numbers, y, (low, high), label=name, color=colour, **style)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("lanes")
    axis.spines[["top", "right"]].set_visible(False)
