"""What was run, in the words of a page: data, model, machine, and what is missing."""

import itertools
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from normjax import numerals, p_values, ties
from normjax.report import (
    equal_numbers,
    estimates,
    names,
    networks,
    tuning_tables,
)
from normjax.study import trials
from normjax.study.columns import FINAL
from normjax.study.record import Record, present_arms

USUAL = {  # what is left out; the optimizer never is
    "optimizer": "",
    "schedule": "constant",
    "augmentation": "none",
    "precision": "float32",
}
REST = {  # of an epoch that is no whole number of batches
    "dropped": "the rest of an epoch is dropped",
    "kept": "the rest of an epoch is a smaller batch",
}
WORKDIR = re.compile(r"(--?workdir[= ]).+?(?= -|$)")  # in a command


def rows(record: Record) -> list[tuple[str, str]]:
    """What ran where, as pairs of term and text."""
    content = record.record
    entries = content["arms"]
    arms = {name: entries[name] for name in present_arms(content)}
    where = content["environment"]
    total = sum(arm["lanes"] for arm in arms.values())
    twice = shared_networks(record)
    shared = f"{twice:,} of them in two arms" if twice else ""
    of_trials = "all of trials" if trials.is_tuning(content) else ""
    parameters = sorted({entry["num_parameters"] for entry in entries.values()})
    range_ends = dict.fromkeys([*parameters[:1], *parameters[-1:]])
    versions = where.get("versions", {})
    counts = (
        numerals.plural(len(arms), "arm"),
        numerals.plural(total - twice, "network"),
    )
    found = [
        *training_rows(record),
        *record.record.get("about", ()),  # of several studies
        ("Networks", ", ".join(filter(None, (*counts, shared, of_trials)))),
        ("Seeds", _seeds(record)),
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


def shared_networks(record: Record) -> int:
    """How many networks are those of another arm: of one program, setting and seed.

    Those of two records are the same if their numbers are.
    """
    entries, table = record.record["arms"], record.networks
    numbers = [x for x in FINAL if x != "seconds"]
    same = ["seed", *record.record["settings"], *numbers]
    programs = table["arm"].map({name: x["id"] for name, x in entries.items()})
    return int(table[same].assign(program=programs).duplicated().sum())


def few_seeds(record: Record) -> str:
    """What so few seeds cannot say; empty if they are enough.

    They are the fewest that two arms share, each at its best setting.
    """
    if trials.is_tuning(record.record) or record.networks.empty:
        return ""
    cells = networks.best_of_arms(networks.load(record))
    own = {frozenset(cell.seeds.tolist()) for cell in cells}
    numbers = {len(a & b) for a, b in itertools.combinations_with_replacement(own, 2)}
    seeds, level = min(numbers - {0}), estimates.level_of(record)
    least = ties.least(level)
    if seeds >= least:
        return ""
    who = f"{numerals.plural(seeds, 'seed')} {'is' if seeds == 1 else 'are'}"
    if len(numbers) > 1:
        who = f"Some arms share only {numerals.plural(seeds, 'seed')},"
    return (
        f"{who} too few to conclude from: the sign-flip test of"
        f" {numerals.plural(seeds, 'pair')} cannot give a p below"
        f" {p_values.smallest(seeds):.3g}; {least} can go below {1 - level:.3g}."
    )


def _seeds(record: Record) -> str:
    """`5 in each arm and setting`, or `3 to 5` if some have fewer."""
    by = ["arm", *record.record["settings"]]
    numbers = record.networks.groupby(by, dropna=False)["seed"].nunique()
    ends = dict.fromkeys([numbers.min(), numbers.max()] if len(numbers) else [0])
    each = f"{' to '.join(f'{x:,}' for x in ends)} in each arm and setting"
    return f"{each}, which judge nothing" if trials.is_tuning(record.record) else each


def gaps(record: Record) -> list[tuple[str, str]]:
    """What is missing, has failed, is damaged or is equal: pairs of term and text.

    Arms have the names of a reader; those of the terminal are in `lacking`.
    """
    known = names.glossary(record)
    found = [
        *lacking(record.record, known),
        ("Notice", "; ".join(notices(record))),
    ]
    words = {"Notice": names.readable}  # what failed are a program's own words
    return [
        (term, words.get(term, names.label_arms)(text, known))
        for term, text in found
        if text
    ]


def notices(record: Record) -> list[str]:
    """What must be known of the numbers before they are believed."""
    return [*record.record.get("notices", ()), *equal_numbers.sentences(record)]


def lacking(
    content: Mapping[str, Any], known: Mapping[str, str] | None = None
) -> list[tuple[str, str]]:
    """What is missing, has failed or is damaged; texts may be empty.

    Args:
        content: `Record.record`.
        known: arm -> what a reader calls it, for a page that names some of many arms.
            If None, all are named as the record names them.
    """
    arms = tuning_tables.tried(content) | content["arms"]
    named = {(known or {}).get(name, name): entry for name, entry in arms.items()}
    listed = names.some if known else ", ".join
    return [
        ("No network yet", listed(without_networks(named))),
        ("Missing", listed(missing_networks(named))),
        ("Failed", "; ".join(failed_arms(named))),
        ("Damaged", ", ".join(content["damaged"])),
    ]


def without_networks(arms: Mapping[str, Any]) -> list[str]:
    """The arms of which no network is there, though they have not failed."""
    return [
        name
        for name, entry in arms.items()
        if entry["missing"] and not entry["lanes"] and not entry.get("failure")
    ]


def missing_networks(arms: Mapping[str, Any]) -> list[str]:
    """`batch (3 of 10)` for each other arm that lacks networks."""
    others = without_networks(arms)
    return [
        f"{name} ({entry['missing']} of {entry['missing'] + entry['lanes']})"
        for name, entry in arms.items()
        if entry["missing"] and name not in others
    ]


def failed_arms(arms: Mapping[str, Any]) -> list[str]:
    """`batch: ValueError: ...` for each arm that could not be trained."""
    failures = {name: entry.get("failure") for name, entry in arms.items()}
    return [f"{name}: {why}" for name, why in failures.items() if why]


def resume_commands(records: Iterable[Record]) -> str:
    """The commands that train what the records lack, in the folders they are in now."""
    commands = []
    for record in records:
        arms = tuning_tables.tried(record.record) | record.record["arms"]
        if any(entry.get("missing") for entry in arms.values()):
            command = record.record["environment"].get("command", "")
            commands.append(in_folder(command, str(record.workdir)))
    return "\n".join(filter(None, commands))


def in_folder(command: str, workdir: str) -> str:
    """A command with another workdir, if it names one."""
    return WORKDIR.sub(lambda found: f"{found[1]}{shlex.quote(workdir)}", command)


def training_rows(record: Record) -> list[tuple[str, str]]:
    """The data, the model and how it was trained, as pairs of term and text.

    What is as `USUAL` is left out.
    """
    config = record.config
    model = config.get("model", {})
    data = config.get("data", {}).get("name", "")
    sizes = record.record.get("num_examples", {})
    parts = ", ".join(f"{number:,} {split}" for split, number in sizes.items())
    levels = _levels(record, "model", model.get("name", ""))
    widths = ", ".join(map(str, model.get("widths", ())))
    ours = widths and not any(x in levels for x in ".<")
    chosen = {x: _levels(record, x, config.get(x, "")) for x in (*USUAL, "batch_size")}
    rest = REST.get(config.get("last_batch", ""), "")
    drawn = config.get("sampling") == "replacement"  # then no epoch has a rest
    sizes_of = "" if drawn or not rest else f" ({rest})"
    return [
        ("Data", f"{data} ({parts} examples)" if data and parts else data),
        ("Model", f"{levels} (widths {widths})" if ours else levels),
        ("Epochs", str(config.get("num_epochs", ""))),
        ("Batch size", f"{chosen.pop('batch_size')}{sizes_of}"),
        *((x.capitalize(), y) for x, y in chosen.items() if y not in ("", USUAL[x])),
    ]


def _levels(record: Record, factor: str, otherwise: Any) -> str:
    """The levels of a factor that a study has, or the value of the field."""
    tuning = record.record.get("tuning") or {}
    own = factor in tuning.get("choose", ())  # then arms that are judged lack it
    arms = (tuning if own else record.record)["arms"].values()
    found = dict.fromkeys(arm.get("factors", {}).get(factor, otherwise) for arm in arms)
    return ", ".join(map(str, found)) + (", as each arm chose" if own else "")


def _seconds(arms: Mapping[str, Mapping[str, Any]], field: str) -> str:
    total = sum(arm[field] for arm in arms.values())
    return f"{numerals.three_digits(total)} s in all" if arms else ""
