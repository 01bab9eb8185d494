"""The columns of `networks.csv` and `epochs.csv`, and the type of each. No jax."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from normjax import files
from normjax.study.fields import NUMBER_FACTORS
from normjax.study.groups import Group, Lane

if TYPE_CHECKING:
    import pandas as pd

Level = str | int | float  # of a factor; a batch size is a number
INTEGER_COLUMNS = ("seed", "epoch", "step", "diverged_at_step", *NUMBER_FACTORS)
CURVES = tuple(  # measurements after an epoch, in epochs.csv
    f"{split}_{measure}"
    for split in ("train", "validation", "test")
    for measure in ("loss", "accuracy")
)
FINAL = (  # measurements of a network, in networks.csv
    *(name for name in CURVES if name != "validation_loss"),
    "diverged_at_step",
    "seconds",
)
WAY = "mapping", "convolution", "step_seconds"  # how lanes were computed: see timings


def columns(record: Mapping[str, Any], table: str) -> tuple[str, ...]:
    """The columns of `networks.csv` or `epochs.csv`, in their order."""
    identity = ("arm", *record["factors"], "seed", *record["settings"])
    if table == "networks.csv":
        return (*identity, *FINAL, "mapping")
    return (*identity, "epoch", "step", *CURVES)


def cast(table: "pd.DataFrame", record: Mapping[str, Any], name: str) -> "pd.DataFrame":
    """Counts as int64, names as text, the rest as float64 (see `files.shortest`)."""

    import pandas as pd

    def column(key: str) -> Any:
        if key in record["settings"] and key not in table:
            return np.full(len(table), np.nan)
        values = table[key].to_numpy()
        if key in INTEGER_COLUMNS:
            return values.astype(np.int64)
        if key in ("arm", "mapping", *record["factors"]):
            return [str(value) for value in values]
        single = values.dtype == np.float32
        return files.shortest(values) if single else values.astype(np.float64)

    return pd.DataFrame({key: column(key) for key in columns(record, name)})


def rows(
    record: Mapping[str, Any],
    arm: str,
    wanted: Sequence[Lane],
    places: Sequence[int],
    curves: Mapping[str, np.ndarray],
    found: Sequence[tuple[Group, int]],
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """The rows of an arm in `networks.csv` and in `epochs.csv`.

    Args:
        record: what the study wants, `record.json`.
        arm: the name of the arm.
        wanted: its networks, in order.
        places: of those that are there, in `wanted`.
        curves: of all that are wanted, `[lanes, epochs]`.
        found: the group of each that is there, and its position in it.
    """
    import pandas as pd

    entry = record["arms"][arm]
    identity = pd.DataFrame(
        {
            "arm": arm,
            **entry["factors"],
            "seed": [wanted[i][1] for i in places],
            **{
                name: [dict(wanted[i][0])[name] for i in places]
                for name in entry["settings"]
            },
        }
    )
    empty = np.empty((0, 1), np.float32)
    there = {name: curves[name][places] if found else empty for name in CURVES}
    num_epochs = there[CURVES[0]].shape[1]
    networks = identity.assign(
        **{name: there[name][:, -1] for name in FINAL if name in CURVES},
        diverged_at_step=[group.diverged_at_step[i] for group, i in found],
        seconds=[sum(group.about["epoch_seconds"]) for group, _ in found],
        mapping=[group.about["mapping"] for group, _ in found],
    )
    numbers = np.tile(np.arange(1, num_epochs + 1), len(places))
    epochs = identity.loc[identity.index.repeat(num_epochs)].reset_index(drop=True)
    return networks, epochs.assign(
        epoch=numbers,
        step=numbers * entry["steps_per_epoch"],
        **{name: x.ravel() for name, x in there.items()},
    )


def stack(
    found: Sequence[tuple[Group, int]], kind: str, places: Sequence[int], number: int
) -> dict[str, np.ndarray]:
    """`[number, ...]` of each of the `curves` or `probes`; nan where no network is."""
    arrays = {}
    for name in getattr(found[0][0], kind) if found else ():
        values = np.stack([getattr(group, kind)[name][i] for group, i in found])
        arrays[name] = np.full((number, *values.shape[1:]), np.nan, values.dtype)
        arrays[name][places] = values
    return arrays


def summary(
    found: Sequence[tuple[Group, int]], number: int, failure: str
) -> dict[str, Any]:
    """What there is of an arm that wants `number` networks, for people to read."""
    there = {id(group): group for group, _ in found}.values()
    about = [group.about for group in there]
    status = "complete" if len(found) == number else "failed" if failure else "missing"
    entry: dict[str, Any] = {
        "status": status,
        "lanes": len(found),
        "missing": number - len(found),
        "groups": len(about),
    }
    if status == "failed":
        entry["failure"] = failure
    if about:
        spent = [np.array(group.about["epoch_seconds"]) for group, _ in found]
        entry |= {
            **{name: about[0][name] for name in WAY if name in about[0]},
            "environment": about[0]["environment"],
            "compile_seconds": sum(x["compile_seconds"] for x in about),
            "epoch_seconds": np.mean(spent, axis=0).tolist(),
            "run_seconds": float(np.sum(spent)),
        }
    return entry
