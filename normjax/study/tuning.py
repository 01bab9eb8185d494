"""Nested tuning: settings are chosen by some networks and judged by others.

A study with `tuning` is run in two stages. First every arm is trained at each of its
settings with the tuning seeds: these networks are the trials. Then each arm is trained
at the setting of its highest validation accuracy, with the seeds of the study, and only
these networks are judged. No network is in both stages, so a trial that was lucky does
not make its arm look better, and nothing reads a test accuracy before the choice.

Both stages are studies of their own, over the same workdir. The same choice is made
again from the same networks; it is kept in `record.json` for people to read.

References:
    Cawley and Talbot, 2010. On Over-fitting in Model Selection and Subsequent Selection
        Bias in Performance Evaluation. JMLR 11.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from normjax.files import shortest
from normjax.study import groups, search, trials
from normjax.study.plan import Arm, Study, arm_name, seed_keys
from normjax.study.trials import JUDGED, TRIALS
from normjax.study.work import units


def competitors(study: Study) -> dict[str, list[Arm]]:
    """Name of an arm that is judged -> the arms of which one is chosen for it.

    Arms compete if they differ in nothing but the factors of `tuning.choose`, which are
    not part of the name. Without such factors an arm has no other competitor.
    """
    factors = study.arms[0].factors
    levels = {x: {arm.factors[x] for arm in study.arms} for x in factors}
    varying = [x for x in factors if len(levels[x]) > 1]
    kept = [x for x in factors if x not in _choose(study)]
    found: dict[str, list[Arm]] = {}
    for arm in study.arms:
        told = {x: arm.factors[x] for x in kept}
        name = arm_name(told, [x for x in kept if x in varying])
        found.setdefault(name, []).append(arm)
    return found


def stages(
    study: Study, workdir: str | pathlib.Path, arms: Sequence[Arm]
) -> Iterator[tuple[Study, list[Arm]]]:
    """What to train, one after the other: a study, and its arms among those asked for.

    It is the study itself if it is not tuned. If it is, trials come first unless all of
    them are there, and then the arms whose trials are complete, if there is one. The
    second stage is planned when it is asked for: train the first one before.
    """
    if not search.is_tuned(study.config):
        yield study, list(arms)
        return
    first = trial_study(study)
    held = groups.held(workdir, {arm.id for arm in arms}).copies
    wanted = units(first, arms, shared=False)
    missing = any((x.arm.id, key) not in held for x in wanted for key in x.lanes)
    if missing:
        yield first, list(arms)
    second = judged_study(study, workdir)
    ids = {arm.name for arm in arms}
    asked = [
        name
        for name, each in competitors(study).items()
        if ids & {arm.name for arm in each}
    ]
    if second.arms:
        yield second, [arm for arm in second.arms if arm.name in asked]
    elif not missing:  # they compete with arms that were not asked for
        yield first, list(arms)


def trial_study(study: Study) -> Study:
    """The first stage: every setting of every arm, with the tuning seeds."""
    seeds = search.tuning_seeds(study.config)
    return dataclasses.replace(
        study,
        seeds=seeds,
        keys=seed_keys(study.config["root_seed"], seeds),
        tuning=content(study) | {"stage": TRIALS},
    )


def judged_study(study: Study, workdir: str | pathlib.Path) -> Study:
    """The second stage: each arm whose trials are complete, at its chosen setting.

    The factors that were chosen too are not among those of its arms: an arm stands for
    the best of their levels. It may have no arm at all.
    """
    tuning = content(study)
    table = trials.table(tuning, groups.held(workdir, {x.id for x in study.arms}))
    chosen = trials.choose(tuning, table, groups.failures(workdir))
    by_name = {arm.name: arm for arm in study.arms}
    return dataclasses.replace(
        study,
        arms=tuple(
            _at_choice(by_name[made["arm"]], name, made["trial"], _choose(study))
            for name, made in chosen.items()
        ),
        tuning=tuning
        | {"stage": JUDGED if chosen else TRIALS}
        | {"judged": {k: x | chosen.get(k, {}) for k, x in tuning["judged"].items()}},
    )


def content(study: Study) -> dict[str, Any]:
    """The field `tuning` of `record.json`, before anything is chosen."""
    labels = np.asarray(study.data.validation.labels)
    return {
        "search": study.config["tuning"]["search"],
        "seeds": list(search.tuning_seeds(study.config)),
        "choose": _choose(study),
        "chance": float(np.unique(labels, return_counts=True)[1].max() / len(labels)),
        "arms": {
            arm.name: {
                "id": arm.id,
                "factors": arm.factors,
                "settings": {k: shortest(x).tolist() for k, x in arm.settings.items()},
            }
            for arm in study.arms
        },
        "judged": {
            name: {"trials": [arm.name for arm in each]}
            for name, each in competitors(study).items()
        },
    }


def lines(study: Study) -> list[str]:
    """What to print of the stage that a study is, if it is one."""
    tuning: Mapping[str, Any] = study.tuning
    if not tuning:
        return []
    if tuning["stage"] == TRIALS:
        number = len(tuning["seeds"])
        return [f"tuning: these are trials, over {number} seeds that judge nothing"]
    return [f"chosen: {x}: {trials.chosen_text(tuning, x)}" for x in tuning["judged"]]


def _choose(study: Study) -> list[str]:
    """The factors of `tuning.choose` that have a choice: more than one level."""
    return [
        name
        for name in study.config["tuning"]["choose"]
        if len({arm.factors[name] for arm in study.arms}) > 1
    ]


def _at_choice(arm: Arm, name: str, trial: int, choose: Sequence[str]) -> Arm:
    return arm._replace(
        name=name,
        factors={k: x for k, x in arm.factors.items() if k not in choose},
        settings={k: x[trial : trial + 1] for k, x in arm.settings.items()},
    )
