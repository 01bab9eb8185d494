"""What four forms of a variance lose at |mean| / std from 1 to 1e6, and their time.

Run    python -m benchmarks.variance [--json] [--write FOLDER]

Errors are relative to float64 on the same numbers, the worst of 64 variances over
4,096 normal numbers each. Times are of a batch norm's moments, [128, 16, 16, 64] over
all axes but the last: compiled, warm, the forms taking turns, the fastest of the
rounds. --write puts tables into FOLDER/numerics.md and the plot beside it.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchmarks import variance_forms
from normjax.checks import document

RATIOS = tuple(10.0**k for k in range(7))  # |mean| / std
DTYPES = ("float32", "bfloat16")
SHAPE = (64, 4096)
TIMED = (128, 16, 16, 64)
ROUNDS = 20
Row = dict[str, str | float]


def error_rows() -> list[Row]:
    """A row per dtype, ratio and form; `error` is nan where the input is constant.

    `input` is what the dtype of the input has already lost: the relative change of
    its exact variance.
    """
    draws = np.random.default_rng(0).normal(size=SHAPE)
    forms = {
        name: jax.jit(lambda x, form=form: form(x, -1).var[:, 0])
        for name, form in variance_forms.FORMS.items()
    }
    rows = []
    for dtype in DTYPES:
        for ratio in RATIOS:
            meant = draws + ratio
            x = jnp.asarray(meant, dtype)
            exact = np.asarray(x, np.float64).var(-1)
            lost = np.max(np.abs(exact / meant.var(-1) - 1))
            for name, form in forms.items():
                error = np.abs(np.asarray(form(x), np.float64) - exact)
                relative = np.divide(
                    error, exact, np.full_like(exact, np.nan), where=exact > 0
                )
                rows.append(
                    {
                        "dtype": dtype,
                        "ratio": ratio,
                        "form": name,
                        "error": float(np.max(relative)),
                        "input": float(lost),
                    }
                )
    return rows


def time_rows() -> list[Row]:
    """Seconds of each form, and their ratio to the seconds of two passes."""
    rows = []
    for dtype in DTYPES:
        x = jnp.asarray(np.random.default_rng(0).normal(1, 1, TIMED), dtype)
        compiled = {}
        for name, form in variance_forms.FORMS.items():
            run = lambda x, form=form: form(x, (0, 1, 2))[:2]
            compiled[name] = jax.jit(run).lower(x).compile()
        seconds = {name: [] for name in compiled}
        for _ in range(ROUNDS):
            for name, form in compiled.items():
                start = time.perf_counter()
                jax.block_until_ready(form(x))
                seconds[name].append(time.perf_counter() - start)
        least = {name: min(times) for name, times in seconds.items()}
        for name, best in least.items():
            ratio = best / least["two_pass"]
            rows.append({"dtype": dtype, "form": name, "seconds": best, "ratio": ratio})
    return rows


def error_table(rows: list[Row], dtype: str) -> str:
    """A line per ratio, a column per form."""
    cell = lambda a: "constant" if np.isnan(a) else f"{a:.1e}"
    lines = []
    for ratio in RATIOS:
        here = [r for r in rows if r["dtype"] == dtype and r["ratio"] == ratio]
        errors = [cell(row["error"]) for row in here]
        lines.append(
            [f"{ratio:.0e}".replace("e+0", "e"), *errors, cell(here[0]["input"])]
        )
    return document.markdown(
        ["mean / std", *variance_forms.FORMS, f"rounding to {dtype}"], lines
    )


def time_table(rows: list[Row]) -> str:
    """A line per form."""
    lines = []
    for name in variance_forms.FORMS:
        here = [row for row in rows if row["form"] == name]
        lines.append(
            [name, *(f"{r['seconds'] * 1e3:.2f} ({r['ratio']:.2f})" for r in here)]
        )
    heads = [f"{dtype}, ms (of two passes)" for dtype in DTYPES]
    return document.markdown(["form", *heads], lines)


def plot(rows: list[Row], path: Path) -> None:
    """Errors against |mean| / std; the same rows give the same bytes."""
    with mpl.rc_context({"svg.hashsalt": "variance", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 4), layout="constrained")
        panels = figure.subplots(1, len(DTYPES), sharex=True, sharey=True)
        for panel, dtype in zip(panels, DTYPES):
            for name, marker in zip(variance_forms.FORMS, "osv^"):
                here = [r for r in rows if r["dtype"] == dtype and r["form"] == name]
                points = [(r["ratio"], r["error"]) for r in here]
                panel.loglog(*zip(*points), marker=marker, markersize=4, label=name)
            panel.set(title=f"{dtype} input", xlabel="|mean| / std")
            panel.grid(alpha=0.3)
        panels[0].set(ylabel="relative error of the variance")
        panels[0].legend(frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None})


def write(folder: str, errors: list[Row], times: list[Row]) -> None:
    """Writes the tables of numerics.md and its plot."""
    tables = {f"variance {d}": error_table(errors, d) for d in DTYPES}
    tables["variance seconds"] = time_table(times)
    document.write(Path(folder) / "numerics.md", tables)
    plot(errors, Path(folder) / "numerics-variance.svg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print a list of rows")
    parser.add_argument("--write", metavar="FOLDER", help="write tables and plot there")
    arguments = parser.parse_args()
    errors, times = error_rows(), time_rows()
    if arguments.write:
        write(arguments.write, errors, times)
    if arguments.json:
        print(json.dumps([*errors, *times], indent=1))
        return
    print(*(error_table(errors, dtype) for dtype in DTYPES), sep="\n\n")
    print(f"\n{time_table(times)}")


if __name__ == "__main__":
    main()
