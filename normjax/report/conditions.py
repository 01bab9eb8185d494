"""What was run, in the words of a page: data, model, machine, and what is missing."""

from collections.abc import Mapping
from typing import Any

from normjax.report import equal_numbers, estimates, formats, names, tuning_tables
from normjax.study.record import Record, present_arms

MOST_NAMED = 6  # arms of which networks are missing, in one line


def rows(record: Record) -> list[tuple[str, str]]:
    """What ran where, as pairs of term and text."""
    content = record.record
    entries = content["arms"]
    arms = {name: entries[name] for name in present_arms(content)}
    where = content["environment"]
    total = sum(arm["lanes"] for arm in arms.values())
    parameters = sorted({entry["num_parameters"] for entry in entries.values()})
    range_ends = dict.fromkeys([*parameters[:1], *parameters[-1:]])
    versions = where.get("versions", {})
    counts = formats.plural(len(arms), "arm"), formats.plural(total, "network")
    seeds = record.networks["seed"].nunique()
    found = [
        *training_rows(record),
        *record.record.get("about", ()),  # of several studies
        ("Networks", ", ".join(counts)),
        ("Seeds", f"{seeds:,} in each arm and setting"),
        ("Trials", tuning_tables.cost(record)),
        ("Looks", estimates.looks_sentence(record)),
        ("Parameters", " to ".join(f"{x:,}" for x in range_ends)),
        ("Device", f"{where.get('num_devices', 1)} x {where.get('device', 'unknown')}"),
        ("Platform", where.get("machine") or where.get("platform", "unknown")),
        ("Software", ", ".join(f"{k} {v}" for k, v in versions.items())),
        ("Python", where.get("python", "unknown")),
        ("Compiling", _seconds(arms, "compile_seconds")),
        ("Running", _seconds(arms, "run_seconds")),
    ]
    return [(term, text) for term, text in found if text]


def gaps(record: Record) -> list[tuple[str, str]]:
    """What is missing, has failed, is damaged or is equal: pairs of term and text.

    Arms have the names of a reader; those of the terminal are in `lacking`.
    """
    known = names.glossary(record)
    found = [
        *lacking(record.record, known, most=MOST_NAMED),
        ("Notice", "; ".join(notices(record))),
    ]
    return [(term, names.readable(text, known)) for term, text in found if text]


def notices(record: Record) -> list[str]:
    """What must be known of the numbers before they are believed."""
    return [*record.record.get("notices", ()), *equal_numbers.sentences(record)]


def lacking(
    content: Mapping[str, Any], known: Mapping[str, str] | None = None, most: int = 0
) -> list[tuple[str, str]]:
    """What is missing, has failed or is damaged; texts may be empty.

    Args:
        content: `Record.record`.
        known: arm -> what to call it; itself if None.
        most: how many arms are named that lack networks; 0 for all.
    """
    arms = tuning_tables.tried(content) | content["arms"]
    named = {(known or {}).get(name, name): entry for name, entry in arms.items()}
    absent = missing_networks(named)
    shown = absent[:most] if most else absent
    if more := len(absent) - len(shown):
        shown = [*shown, f"and {formats.plural(more, 'more arm')}"]
    return [
        ("Missing", ("; " if known else ", ").join(shown)),
        ("Failed", "; ".join(failed_arms(named))),
        ("Damaged", ", ".join(content["damaged"])),
    ]


def missing_networks(arms: Mapping[str, Any]) -> list[str]:
    """`batch (3 of 10)` for each arm that lacks networks."""
    return [
        f"{name} ({entry['missing']} of {entry['missing'] + entry['lanes']})"
        for name, entry in arms.items()
        if entry["missing"]
    ]


def failed_arms(arms: Mapping[str, Any]) -> list[str]:
    """`batch: ValueError: ...` for each arm that could not be trained."""
    failures = {name: entry.get("failure") for name, entry in arms.items()}
    return [f"{name}: {why}" for name, why in failures.items() if why]


def training_rows(record: Record) -> list[tuple[str, str]]:
    """The data, the model, the epochs and the batch size, as pairs of term and text."""
    config = record.config
    model = config.get("model", {})
    data = config.get("data", {}).get("name", "")
    sizes = record.record.get("num_examples", {})
    parts = ", ".join(f"{number:,} {split}" for split, number in sizes.items())
    levels = _levels(record, "model", model.get("name", ""))
    widths = ", ".join(map(str, model.get("widths", ())))
    ours = widths and not any(x in levels for x in ".<")
    return [
        ("Data", f"{data} ({parts} examples)" if data and parts else data),
        ("Model", f"{levels} (widths {widths})" if ours else levels),
        ("Epochs", str(config.get("num_epochs", ""))),
        ("Batch size", _levels(record, "batch_size", config.get("batch_size", ""))),
    ]


def _levels(record: Record, factor: str, otherwise: Any) -> str:
    """The levels of a factor that a study has, or the value of the field."""
    arms = record.record["arms"].values()
    found = dict.fromkeys(arm.get("factors", {}).get(factor, otherwise) for arm in arms)
    return ", ".join(map(str, found))


def _seconds(arms: Mapping[str, Mapping[str, Any]], field: str) -> str:
    total = sum(arm[field] for arm in arms.values())
    return f"{formats.three_digits(total)} s in all" if arms else ""
