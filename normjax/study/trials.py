"""The trials of a search in a record: what they reached, and which one is chosen.

`record.json` has, of a study that is tuned, a field `tuning`:

    stage       trials, until a choice is made, then judged
    search      grid or random
    seeds       of every trial
    choose      factors whose level is chosen too
    chance      validation accuracy of the best constant answer
    arms        name -> id, factors and grid of settings: an arm for each level
    judged      name -> trials (the arms that compete) and, once they are complete, the
                arm that won, its trial, settings, levels and validation accuracy

Test accuracies are not read here. No jax.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from normjax import files, tuning_statistics
from normjax.study.columns import summary
from normjax.study.groups import Held, wanted_lanes

if TYPE_CHECKING:
    import pandas as pd

MEASURES = ("validation_accuracy", "validation_loss", "train_loss")
TRIALS, JUDGED = "trials", "judged"  # the stages

Tuning = Mapping[str, Any]  # the field of record.json


def read(
    record: Mapping[str, Any], held: Held, failures: Mapping[str, str]
) -> "pd.DataFrame":
    """The trials of `record.json`; adds to its `tuning` what was found of each arm."""
    import pandas as pd

    tuning = record.get("tuning")
    if not tuning:
        return pd.DataFrame()
    networks = held.networks
    for entry in tuning["arms"].values():
        wanted = wanted_lanes(entry, tuning["seeds"])
        keys = [(entry["id"], key) for key in wanted]
        found = [networks[key][1:] for key in keys if key in networks]
        entry |= summary(found, len(wanted), failures.get(entry["id"], ""))
    return table(tuning, held)


def table(tuning: Tuning, held: Held) -> "pd.DataFrame":
    """A row for each trained network of a trial, ordered [arms, trials, seeds].

    The columns are arm, the factors, the settings (nan where an arm has not got one),
    trial (its position among those of its arm), seed, MEASURES after the last epoch,
    and diverged_at_step. The test split is left out.
    """
    import pandas as pd

    arms, seeds, networks = tuning["arms"], tuning["seeds"], held.networks
    settings = sorted(set().union(*(x["settings"] for x in arms.values())))
    rows = []
    for name, entry in arms.items():
        for i, key in enumerate(wanted_lanes(entry, seeds)):
            if (entry["id"], key) not in networks:
                continue
            _, group, position = networks[entry["id"], key]
            rows.append(
                {
                    "arm": name,
                    **entry["factors"],
                    **(dict.fromkeys(settings, np.nan) | dict(key[0])),
                    "trial": i // len(seeds),
                    "seed": key[1],
                    **{
                        x: files.shortest(group.curves[x][position, -1]).item()
                        for x in MEASURES
                    },
                    "diverged_at_step": int(group.diverged_at_step[position]),
                }
            )
    factors = next(iter(arms.values()))["factors"]
    names = ["arm", *factors, *settings, "trial", "seed", *MEASURES, "diverged_at_step"]
    return pd.DataFrame(rows, columns=names)


def complete(tuning: Tuning, table: "pd.DataFrame") -> "dict[str, pd.DataFrame]":
    """Arm -> its rows, of the arms of which no trial is missing."""
    found = {}
    for name, entry in tuning["arms"].items():
        rows = table[table["arm"] == name]
        if len(rows) == len(wanted_lanes(entry, tuning["seeds"])):
            found[name] = rows
    return found


def accuracies(tuning: Tuning, rows: "pd.DataFrame") -> tuple[np.ndarray, np.ndarray]:
    """Validation accuracies and whether they diverged, `[trials, seeds]`."""
    shape = -1, len(tuning["seeds"])
    accuracy = rows["validation_accuracy"].to_numpy(np.float64).reshape(shape)
    return accuracy, rows["diverged_at_step"].to_numpy().reshape(shape) >= 0


def rates(tuning: Tuning, rows: "pd.DataFrame") -> np.ndarray:
    """The learning rate of each trial, nan where there is none, `[trials]`."""
    first = rows.iloc[:: len(tuning["seeds"])]
    if "learning_rate" not in first:
        return np.full(len(first), np.nan)
    return first["learning_rate"].to_numpy(np.float64)


def competing(
    tuning: Tuning, table: "pd.DataFrame", names: Sequence[str]
) -> "pd.DataFrame":
    """The rows of those of these arms that are complete."""
    import pandas as pd

    there = complete(tuning, table)
    rows = [there[name] for name in names if name in there]
    return pd.concat(rows) if rows else table.iloc[:0]


def choose(
    tuning: Tuning, table: "pd.DataFrame", failures: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Of each arm that will be judged, the trial of the highest score.

    A score is `tuning_statistics.scores`: the mean validation accuracy over the tuning
    seeds. An arm waits for all of its trials; one of which a trial failed is left out
    if others compete with it, and is not judged at all if none does.

    Returns:
        Maps the name of the judged arm to the arm that won (`arm`), the position of the
        trial in its grid (`trial`), `settings`, the `factors` that were chosen, and
        `validation_accuracy`.
    """
    there, arms, chosen = complete(tuning, table), tuning["arms"], {}
    for judged, entry in tuning["judged"].items():
        names = [name for name in entry["trials"] if name in there]
        absent = [name for name in entry["trials"] if name not in there]
        if not names or any(arms[x]["id"] not in failures for x in absent):
            continue
        rows = competing(tuning, table, names)
        scores = tuning_statistics.scores(*accuracies(tuning, rows))
        place = tuning_statistics.best_trial(scores, rates(tuning, rows))
        won = rows.iloc[place * len(tuning["seeds"])]
        name, trial = str(won["arm"]), int(won["trial"])
        factors = arms[name]["factors"]
        chosen[judged] = {
            "arm": name,
            "trial": trial,
            "settings": {k: x[trial] for k, x in arms[name]["settings"].items()},
            "factors": {k: factors[k] for k in tuning["choose"]},
            "validation_accuracy": float(scores[place]),
        }
    return chosen


def is_tuning(record: Mapping[str, Any]) -> bool:
    """Whether what a record wants first are trials: no arm has its setting yet."""
    return (record.get("tuning") or {}).get("stage") == TRIALS


def number(tuning: Tuning) -> tuple[int, int]:
    """How many networks of trials are trained, and how many are wanted."""
    entries = tuning["arms"].values()
    lanes, missing = (sum(x[key] for x in entries) for key in ("lanes", "missing"))
    return lanes, lanes + missing


def chosen_text(tuning: Tuning, judged: str) -> str:
    """`placement=post, learning_rate=0.01`: what was chosen for an arm, in words.

    Settings that have one value in all trials of the arm that won are left out.
    """
    entry = tuning["judged"][judged]
    if "arm" not in entry:
        own = any(tuning["arms"][x].get("missing", 1) for x in entry["trials"])
        return f"nothing yet, for trials{'' if own else ' of other arms'} are missing"
    grid = tuning["arms"][entry["arm"]]["settings"]
    parts = [f"{k}={x}" for k, x in entry["factors"].items()]
    parts += [f"{k}={x:g}" for k, x in entry["settings"].items() if len({*grid[k]}) > 1]
    return ", ".join(parts) or "the only trial"
