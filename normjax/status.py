"""What a workdir holds of its study: done, in work, missing, failed, damaged.

python -m normjax.status runs/optimizers
"""

import argparse
import sys
from collections.abc import Sequence

from normjax import numerals
from normjax.errors import InputError
from normjax.report import conditions
from normjax.study import checkpoints, trials
from normjax.study.record import Record, read_record


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the state; exit code 0 if it is complete, 1 if not, 2 without a record."""
    parser = argparse.ArgumentParser(
        prog="python -m normjax.status",
        description="Tell which networks of a study are trained, missing or failed.",
    )
    parser.add_argument("workdir", help="folder that a study was run in")
    try:
        record = read_record(parser.parse_args(argv).workdir)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(lines(record)))
    tried = (record.record.get("tuning") or {}).get("arms", {})
    arms = [*record.record["arms"].values(), *tried.values()]
    return 0 if all(not x["missing"] for x in arms) else 1


def lines(record: Record) -> list[str]:
    """The state in words: a line for the study, and one for each arm."""
    arms = record.record["arms"]
    kept, missing = (sum(x[key] for x in arms.values()) for key in ("lanes", "missing"))
    width = max(map(len, arms))
    still = ", still tuning: of trials" if trials.is_tuning(record.record) else ""
    networks = numerals.plural(kept + missing, "network")
    text = [f"{record.record['study']}: {kept:,} of {networks} trained{still}"]
    for name, entry in arms.items():
        wanted = entry["lanes"] + entry["missing"]
        failure = f": {entry['failure']}" if "failure" in entry else ""
        text.append(
            f"{name:{width}}  {entry['status']:8}  {entry['lanes']:5,} of {wanted:,}"
            + failure
        )
    if not still:
        text += tuning_lines(record)
    begun, broken = checkpoints.pending(record.workdir)
    by_id = {entry["id"]: name for name, entry in arms.items()}
    for checkpoint in begun:
        about = checkpoint.about
        name = by_id.get(about["id"], "an arm of another study")
        text.append(
            f"in work: {name}, {len(about['lanes'])} lanes after epoch {about['epoch']}"
        )
    text += [f"damaged: networks/{name}" for name in record.record["damaged"]]
    text += [f"damaged: {path.relative_to(record.workdir)}" for path in broken]
    command = conditions.resume_commands([record])
    from_shell = any(x.endswith("launch.py") for x in command.split())
    return text + ([f"to go on: {command}"] if from_shell else [])


def tuning_lines(record: Record) -> list[str]:
    """How many trials there are, what they chose, and what could not be chosen."""
    tuning = record.record.get("tuning")
    if not tuning:
        return []
    done, wanted = trials.number(tuning)
    text = [f"trials: {done:,} of {wanted:,} networks"]
    text += [f"chosen: {x}: {trials.chosen_text(tuning, x)}" for x in tuning["judged"]]
    return text + [
        f"trials of {name}: {entry['status']}, {entry['lanes']:,} of"
        f" {entry['lanes'] + entry['missing']:,}: {entry.get('failure', 'not run')}"
        for name, entry in tuning["arms"].items()
        if entry["missing"]
    ]


if __name__ == "__main__":
    sys.exit(main())
