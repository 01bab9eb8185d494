"""Whether a set of TFDS can be trained on, from its description alone."""

import math
from typing import Any

from normjax.data import room
from normjax.errors import InputError

ARRAYS = "write an .npz with x_train, y_train, x_test and y_test"
COPIES = 2  # of the images while they are decoded and cached


def check_images(info: Any, name: str) -> None:
    """Refuses what is no set of images of one size with one label each, that fits.

    Args:
        info: the `DatasetInfo` of TFDS.
        name: of the set.

    Raises:
        InputError: of `name`; before anything is decoded.
    """
    features = info.features
    kinds = {key: type(features[key]).__name__ for key in sorted(features)}
    for key, kind in (("image", "Image"), ("label", "ClassLabel")):
        if kinds.get(key) != kind:
            has = ", ".join(f"{name} ({each})" for name, each in kinds.items())
            rule = f"must have a feature {key!r} of the kind {kind}, and has {has}"
            raise InputError("name", name, rule, ARRAYS)
    shape = features["image"].shape
    if None in shape:
        sizes = f"and its images have the shape {shape}, None where they differ"
        rule = f"must have images of one size, {sizes}"
        raise InputError("name", name, rule, f"resize them and {ARRAYS}")
    for split in ("train", "test"):
        if split not in info.splits:
            rule = f"must have a split {split!r}, and has {', '.join(info.splits)}"
            raise InputError("name", name, rule, f"divide it and {ARRAYS}")
    used = [x for x in ("train", "test", "validation") if x in info.splits]
    number = sum(info.splits[split].num_examples for split in used)
    width = 1 if features["image"].np_dtype == "uint8" else 4
    needed = COPIES * number * math.prod(shape) * width
    lacks = room.shortage(needed, f"to decode its {number:,} images of {shape}")
    if lacks:
        raise InputError("name", name, lacks, f"use a larger machine, or {ARRAYS}")
