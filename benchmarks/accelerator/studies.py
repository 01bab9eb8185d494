"""Whole studies by `normjax.run`: the first time, and again with what is compiled."""

import importlib
import tempfile
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.accelerator.ledger import Row
from benchmarks.accelerator.sizes import Size
from normjax.study.environment import compile_clock
from normjax.training import lanes

CHANGES: dict[str, dict] = {  # of a config: its main arms
    "optimizers": {"arms.protocol": ("corrected",)},
    "init_scale": {},
}
SHAPES = {"optimizers": (28, 28, 1), "init_scale": (32, 32, 3)}
EXAMPLES = {"full": (60_000, 10_000), "smoke": (2_000, 400)}  # to train on, to test


def study_rows(name: str, size: Size, data_dir: str) -> Iterator[Row]:
    """Seconds of a study with its record, from nothing and with compiled programs.

    Without a folder of data sets its images are random bytes, in the shape and number
    of the real ones.
    """
    import normjax

    config = study_config(name, size, data_dir)
    data = None if data_dir else random_data(SHAPES[name], size)
    for programs in ("new", "compiled before"):
        with (
            tempfile.TemporaryDirectory() as folder,
            compile_clock() as compiling,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # of settings that no arm left uses
            start = time.perf_counter()
            record = normjax.run(config, folder, data=data)
            seconds = time.perf_counter() - start
            check_complete(record)
        yield {
            "study": name,
            "programs": programs,
            "arms": len(record.record["arms"]),
            "networks": len(record.networks),
            "epochs": config.num_epochs,
            "seconds": seconds,
            "compile_seconds": compiling[0],
        }
    lanes.forget_programs()


def check_complete(record: Any) -> None:
    """Raises an error if a network is missing, with what the record says of it."""
    for name, arm in record.record["arms"].items():
        if arm["missing"]:
            raise RuntimeError(f"arm {name}: {arm.get('message', 'not trained')}")


def study_config(name: str, size: Size, data_dir: str) -> Any:
    """The config of a study with its main arms; those of a smoke test are fewer."""
    config = importlib.import_module(f"configs.{name}").get_config(f"size={size.study}")
    config.update_from_flattened_dict(CHANGES[name])
    config.data.dir = data_dir
    for factor in ("optimizer", "penalty", "norm"):
        config.arms[factor] = tuple(config.arms[factor])[: size.study_arms]
    if size.study == "smoke":
        config.data.num_validation = 200
        config.data.num_train = 512
    return config


def random_data(shape: tuple[int, ...], size: Size) -> tuple[np.ndarray, ...]:
    """Images and labels to train and to test on."""
    draw = np.random.default_rng(0)
    arrays: list[np.ndarray] = []
    for number in EXAMPLES[size.study]:
        arrays.append(draw.integers(0, 256, (number, *shape), np.uint8))
        arrays.append(draw.integers(0, 10, number, np.int32))
    return tuple(arrays)
