"""The record of a study: the networks that it wants and that its workdir holds.

    networks/      what is trained: see `groups`
    record.json    what the study wants: its arms, seeds, question, and its config
    config.json    the resolved configuration, accepted again as one
    networks.csv   a row per trained network
    epochs.csv     a row per network and epoch
    trials.csv     a row per network that only chose a setting: see `trials`
    probes.npz     "<arm>/<probe>": [settings, seeds, epochs]

The last five are written from the first two and are never read back. Nothing here
trains, judges or draws; no jax.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from normjax import files
from normjax.study import groups, kept, trials
from normjax.study.columns import CURVES, FINAL, cast, columns, rows, stack, summary
from normjax.study.groups import wanted_lanes
from normjax.study.wanted import read_wanted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CURVES", "FINAL", "Record", "columns", "read_record"]


class Record(NamedTuple):
    """The trained networks of a study."""

    workdir: Path
    config: dict[str, Any]  # the resolved configuration, accepted again as one
    record: dict[str, Any]  # record.json, with what was found of each arm
    networks: "pd.DataFrame"  # a row per network, in the order [arms, settings, seeds]
    epochs: "pd.DataFrame"  # a row per network and epoch
    curves: dict[str, np.ndarray]  # "<arm>/test_loss" -> [settings, seeds, epochs]
    probes: dict[str, np.ndarray]  # "<arm>/<probe>" -> [settings, seeds, epochs]
    trials: "pd.DataFrame"  # that chose the settings: `trials.table`

    def __repr__(self) -> str:
        """The study, its arms, how many networks are there, and the folder."""
        names = present_arms(self.record)
        arms = ", ".join(names) if len(names) <= 8 else f"{len(names):,} arms"
        networks = f"{len(self.networks):,} networks"
        return (
            f"<Record of {self.record['study']!r}: {arms}; {networks}; {self.workdir}>"
        )

    def variables(self, arm: str, **chosen: int | float) -> dict[str, Any]:
        """The trained variables of one network, as `model.apply` takes them.

        `record.variables("batch", seed=3, learning_rate=0.1)`: the seed and the
        settings of the lane as in `networks`; those with one value may be left out.

        Raises:
            InputError: if there is no such arm, not exactly one such network, or one
                that was archived without its variables.
        """
        path, _, position = kept.network(self, arm, chosen)
        return groups.read_variables(path, position)

    def model(
        self, arm: str, *, model: Any = None, **chosen: int | float
    ) -> tuple[Any, dict[str, Any]]:
        """The flax module of one network, chosen as by `variables`, and its variables.

            >>> import normjax
            >>> record = normjax.load("runs/quickstart")
            >>> model, variables = record.model("batch", seed=1)
            >>> images, labels = record.data("test")
            >>> right = model.apply(variables, images, train=False).argmax(-1) == labels
            >>> accuracy = record.curves["batch/test_accuracy"][0, 1, -1]
            >>> int(right.sum()) == round(accuracy * len(labels))
            True

        Where the precision is bfloat16, `training.precision.apply` rounds as training
        did. A `model` that was given to `normjax.run` as an object is given again.

        Raises:
            InputError: as `variables` does, or the model cannot be imported.
        """
        from normjax.study import loading

        path, group, position = kept.network(self, arm, chosen)
        variables = groups.read_variables(path, position)
        factors, identity = self.record["arms"][arm]["factors"], group.about["identity"]
        module = loading.module(self.config, factors, identity, model)
        return module, loading.on_device(variables)

    def data(self, split: str = "test", *, data: Any = None) -> Any:
        """Examples of the train, validation or test split, scaled as the study did.

        Inputs are `[examples, *shape]` and not augmented, labels `[examples]`; arrays
        that were given to `normjax.run` are given again. If seeds drew from a pool,
        that is train. An InputError tells if there is none such, or it is another.
        """
        from normjax.study import loading

        return loading.split(self.config, split, kept.identities(self), data)


def present_arms(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The arms of `Record.record` of which a network is there, in their order."""
    return tuple(x for x in record["arm_order"] if record["arms"][x].get("lanes"))


def complete_arms(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The arms of `Record.record` of which every network is there, in their order."""
    arms = record["arms"]
    return tuple(x for x in present_arms(record) if not arms[x]["missing"])


def read_record(workdir: str | Path) -> Record:
    """The record in `workdir`: of the networks it wants, those that are there.

    Damaged files of networks are left out; they are named in `.record["damaged"]`.

    Raises:
        InputError: as `wanted.read_wanted` does.
    """
    import pandas as pd

    record = read_wanted(workdir)
    workdir = Path(workdir)
    arms = record["arms"]
    tried = (record.get("tuning") or {}).get("arms", {})
    ids = {entry["id"] for entry in (*arms.values(), *tried.values())}
    held = groups.held(workdir, ids)
    networks_by_key = held.networks
    failures = groups.failures(workdir)
    tuned = trials.read(record, held, failures)
    record["damaged"] = [path.name for path in held.damaged]
    tables: dict[str, list[pd.DataFrame]] = {"networks.csv": [], "epochs.csv": []}
    curves: dict[str, np.ndarray] = {}
    probes: dict[str, np.ndarray] = {}
    for arm in record["arm_order"]:
        wanted = wanted_lanes(arms[arm], record["seeds"])
        there = [networks_by_key.get((arms[arm]["id"], key)) for key in wanted]
        places = [i for i, found in enumerate(there) if found]
        found = [(x[1], x[2]) for x in there if x]
        arms[arm] |= summary(found, len(wanted), failures.get(arms[arm]["id"], ""))
        shape = (-1, len(record["seeds"]))
        mine, measured = (
            stack(found, kind, places, len(wanted)) for kind in ("curves", "probes")
        )
        for name, new in zip(tables, rows(record, arm, wanted, places, mine, found)):
            tables[name].append(cast(new, record, name))
        for name, x in mine.items():
            single = x.dtype == np.float32
            values = files.shortest(x) if single else x  # as in the tables
            curves[f"{arm}/{name}"] = values.reshape(*shape, x.shape[1])
        for name, x in measured.items():
            probes[f"{arm}/{name}"] = x.reshape(*shape, *x.shape[1:])
    networks, epochs = (pd.concat(x, ignore_index=True) for x in tables.values())
    tables_and_arrays = networks, epochs, curves, probes, tuned
    return Record(workdir, record["config"], record, *tables_and_arrays)


def write_tables(record: Record) -> None:
    """Writes `networks.csv`, `epochs.csv`, `probes.npz`, and `trials.csv` if any."""
    files.write_table(record.workdir / "networks.csv", record.networks)
    files.write_table(record.workdir / "epochs.csv", record.epochs)
    files.write_arrays(record.workdir / "probes.npz", record.probes)
    if len(record.trials):
        files.write_table(record.workdir / "trials.csv", record.trials)
