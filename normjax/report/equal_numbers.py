"""Networks that have the same numbers, although something else was asked of them."""

from collections.abc import Sequence

import numpy as np

from normjax.study.record import CURVES, Record, present_arms


def sentences(record: Record) -> list[str]:
    """A sentence for the arms, and for the settings of an arm, whose curves are equal.

    So are they where a model ignores its field `norm`, or a recipe a setting. Arms that
    share an id, under several protocols or in several records, are known to be the same
    and are left out, and so are numbers that are not finite, or missing.
    """
    arms: dict[bytes, list[str]] = {}
    found = []
    for arm in present_arms(record.record):
        if f"{arm}/{CURVES[0]}" not in record.curves:
            continue
        lanes = [record.curves[f"{arm}/{name}"] for name in CURVES]
        settings = [[np.asarray(x[i]) for x in lanes] for i in range(len(lanes[0]))]
        keys = [_key(x) for x in settings]
        if not all(keys):
            continue
        arms.setdefault(b"".join(keys), []).append(arm)
        if same := sum(keys.count(key) > 1 for key in keys):
            found.append(f"{arm} has {SAME} at {same} of its {len(keys)} settings")
    entries = record.record["arms"]
    for names in arms.values():
        if len({entries[name]["id"] for name in names}) > 1:
            found.append(f"{', '.join(names[:-1])} and {names[-1]} have {SAME}")
    return found


SAME = "the same numbers to the last digit"


def _key(curves: Sequence[np.ndarray]) -> bytes:
    """What equal curves share; nothing if one of them is not finite."""
    if not all(np.isfinite(x).all() for x in curves):
        return b""
    return b"".join(x.tobytes() for x in curves)
