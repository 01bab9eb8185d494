"""What was measured, as Markdown."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.accelerator.ledger import Row

TITLES = {  # table -> its heading
    "ceilings": "Limits of the device",
    "agreement": "The same training as on the CPU",
    "training": "Training",
    "pytorch": "ResNet-20 in PyTorch, one network",
    "studies": "Whole studies",
    "norms": "Norms, forward and backward",
    "convolutions": "A 3x3 convolution, forward and backward",
}
HIDDEN = ("least_seconds", "most_seconds")  # shown behind `seconds`


def markdown(content: Mapping[str, Any]) -> str:
    """A heading with the device, a table for each kind, and what has no rows."""
    about, entries = content["about"], content["measurements"]
    versions = ", ".join(f"{name} {x}" for name, x in about["versions"].items() if x)
    platform = " ".join(str(about["platform_version"]).split())
    lines = [f"{about['num_devices']} x {about['device']} ({platform}); {versions}", ""]
    for table, title in TITLES.items():
        these = [x for x in entries.values() if x["table"] == table]
        if rows := [row for entry in these for row in entry["rows"]]:
            lines += [f"### {title}", "", *table_lines(with_shares(rows, content)), ""]
    missing = {name: x for name, x in entries.items() if x["status"] != "done"}
    if missing:
        lines += ["### Not measured", ""]
        lines += [f"- `{k}`: {x['status']}, {x['reason']}" for k, x in missing.items()]
    return "\n".join(lines).rstrip()


def with_shares(rows: Sequence[Row], content: Mapping[str, Any]) -> list[Row]:
    """Rows with their share of the limits that the same file holds."""
    limits = {row["products"]: row for row in rows_of(content, "ceilings")}
    peers = {row["products"]: row for row in fastest(rows_of(content, "pytorch"))}
    found = []
    for row in rows:
        row = dict(row)
        limit = limits.get(row.get("products"), {}).get("teraflops")
        if limit and row.get("teraflops") and "shape" not in row:
            most = limit * row.get("devices", 1)
            row["share_of_products"] = row["teraflops"] / most
        copy = limits.get("copy", {}).get("gigabytes_per_second")
        if copy and "norm" in row:
            row["share_of_copy"] = row["gigabytes_per_second"] / copy
        peer = peers.get(row.get("products"))
        if peer and "lanes" in row and row.get("workload") == peer["workload"]:
            ratio = row["images_per_second"] / peer["images_per_second"]
            row["times_pytorch"] = ratio
        found.append(row)
    return found


def rows_of(content: Mapping[str, Any], table: str) -> list[Row]:
    """All rows of a table."""
    entries = content["measurements"].values()
    return [row for x in entries if x["table"] == table for row in x["rows"]]


def fastest(rows: Sequence[Row]) -> list[Row]:
    """The rows by rising speed, so that of equal keys the fastest is the last."""
    return sorted(rows, key=lambda row: row["images_per_second"])


def table_lines(rows: Sequence[Row]) -> list[str]:
    """The lines of a table with every column that some row has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    names = [name for name in names if name not in HIDDEN]
    number = {name: all(is_number(row.get(name)) for row in rows) for name in names}
    title = " | ".join(name.replace("_", " ") for name in names)
    bar = " | ".join("--:" if number[name] else ":--" for name in names)
    body = [" | ".join(cell(row, name) for name in names) for row in rows]
    return [f"| {line} |" for line in (title, bar, *body)]


def cell(row: Row, name: str) -> str:
    """A value as it is shown, and the range of repeated timings."""
    value = text(row.get(name))
    if name == "seconds" and HIDDEN[0] in row:
        low, high = (text(row[bound]) for bound in HIDDEN)
        return f"{value} ({low} to {high})"
    return value


def text(value: Any) -> str:
    """Three digits of a number, a shape with crosses, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " x ".join(map(str, value))
    if isinstance(value, float):
        if value == 0 or not math.isfinite(value):
            return f"{value:g}"
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def is_number(value: Any) -> bool:
    """Whether a column of such values is aligned to the right."""
    return value is None or isinstance(value, int | float)
