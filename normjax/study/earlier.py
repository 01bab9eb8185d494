"""Networks in a folder that its study does not want, and the study that wanted them.

A folder has one study at a time. When another one takes its place that has no arm in
common with it, such as the same config after an update of normjax, the record of the
first is kept in `earlier/`, where whatever reads a record reads it. Its networks are
there once on the disk, if the file system has hard links.
"""

import collections
import os
import re
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from normjax import files, numerals
from normjax.errors import InputError
from normjax.study import groups
from normjax.study.groups import Held
from normjax.study.plan import Study
from normjax.study.wanted import read_wanted, write_wanted

PARTS = groups.FOLDER, groups.FAILED  # of a workdir, whose files begin with arm ids
KINDS = {  # what decides numbers, from the first that is told -> how they differ
    "numerics.normjax": "they are of normjax {then}, and this is {now}",
    "numerics.sources": "the sources of normjax have changed",
    "numerics.jax": "they are of jax {then}, and this is {now}",
    "numerics.jaxlib": "they are of jaxlib {then}, and this is {now}",
    "numerics.flax": "they are of flax {then}, and this is {now}",
    "numerics.optax": "they are of optax {then}, and this is {now}",
    "numerics.x64": "jax_enable_x64 was {then}, and is {now}",
    "numerics.matmul_precision": "the precision of products was {then}, and is {now}",
    "numerics.prng": "random numbers were of {then}, and are of {now}",
    "data_digest": "they have other data",
    "root_seed": "they have root_seed={then}, and this study has root_seed={now}",
    "num_epochs": "they have num_epochs={then}, and this study has num_epochs={now}",
}
PROGRAM = "their program has another {}"
SEE = "to see {}: python -m normjax.report {}"
STAY = "{} stay in {}; to keep a page of them, give this study another --workdir"


def keep(workdir: str | Path, study: Study) -> None:
    """Keeps the record of a folder, if `study` takes its place and shares no arm."""
    workdir = Path(workdir)
    try:
        record = read_wanted(workdir)
    except InputError:  # there is none
        return
    tried = (record.get("tuning") or {}).get("arms", {})
    theirs = {entry["id"] for entry in (*record["arms"].values(), *tried.values())}
    found = [
        path
        for part in PARTS
        for path in sorted((workdir / part).glob("*.*"))
        if re.split("[-.]", path.name)[0] in theirs
    ]
    if theirs & ids(study) or not any(path.suffix == ".npz" for path in found):
        return
    name = files.text_digest({"arms": sorted(theirs)})[:8]
    own = files.folder(files.folder(workdir / groups.EARLIER) / name)
    for path in found:
        link(path, files.folder(own / path.parent.name) / path.name)
    write_wanted(own, record)


def link(path: Path, to: Path) -> None:
    """The same file under another path, or a copy of it where there are no links."""
    if to.exists():
        return
    with files.one_line_errors(to):
        try:
            os.link(path, to)
        except FileExistsError:  # another process was faster
            return
        except OSError:
            files.copy(path, to)


def ids(study: Study) -> set[str]:
    """The arms of a study, and of its trials."""
    tried = study.tuning.get("arms", {}).values()
    return {arm.id for arm in study.arms} | {entry["id"] for entry in tried}


def lines(study: Study, held: Held) -> list[str]:
    """What to print of networks that a study does not want: why, and where they are."""
    wanted = ids(study)
    others = {key: x for key, x in held.networks.items() if key[0] not in wanted}
    if not others:
        return []
    identities = [group.about["identity"] for _, group, _ in others.values()]
    counts = collections.Counter(difference_told(study, x) for x in identities)
    found = [
        f"kept: {numerals.plural(number, 'network')} of other studies: {why}"
        for why, number in counts.items()
    ]
    return found + whereabouts({path for path, _, _ in others.values()})


def whereabouts(paths: Collection[Path]) -> list[str]:
    """Where the record of each of these files is: in `earlier/`, or nowhere."""
    workdir = next(iter(paths)).parents[1]
    rest, kept = {path.name for path in paths}, []
    for record in sorted((workdir / groups.EARLIER).glob("*/record.json")):
        found = {path.name for path in (record.parent / groups.FOLDER).glob("*.npz")}
        if any(path.name in found for path in paths):
            kept.append(shlex.quote(str(record.parent)))
            rest -= found
    texts = [SEE.format("some of them" if rest else "them", path) for path in kept]
    who = "the others" if kept else "they"
    return texts + [STAY.format(who, workdir / groups.FOLDER)] * bool(rest)


def difference_told(study: Study, identity: Mapping[str, Any]) -> str:
    """Why no arm of a study has this identity: the first difference to the nearest."""
    theirs = files.flat(identity)
    each = [differences(theirs, files.flat(arm.identity)) for arm in study.arms]
    nearest = min(each, key=len)
    for kind, text in KINDS.items():
        if kind in nearest and kind in theirs:
            return text.format(then=theirs[kind], now=nearest[kind])
    fields = [".".join(name.split(".")[1:3]) for name in nearest]
    return PROGRAM.format(numerals.listed(list(dict.fromkeys(fields))))


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Our value of each name that is another one there; None where we have none."""
    return {
        name: ours.get(name)
        for name in (*ours, *theirs)
        if name not in ours or name not in theirs or ours[name] != theirs[name]
    }
