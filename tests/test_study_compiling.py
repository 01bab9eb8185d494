"""Which choices compile a program, and which share those that are there."""

import jax
import numpy as np
import pytest

from normjax.study import plan, run
from normjax.study.config import config
from normjax.study.environment import compile_clock

ROWS = np.arange(96 * 12, dtype=np.float32).reshape(96, 12) % 7
DATA = ROWS[:64], np.arange(64) % 3, ROWS[64:], np.arange(32) % 3
PLAIN = {
    "num_epochs": 1,
    "num_seeds": 2,
    "batch_size": 16,
    "data": {"num_validation": 16},
    "model": {"widths": (4,)},
    "arms": {"norm": ("layer",)},
    "settings": {"learning_rate": (0.1,)},
}
OF_AN_ARM = {"init_lanes", "start_lanes", "epoch_lanes"}


def compiled(workdir, **changed) -> set[str]:
    """Names of the programs that a study compiles."""
    names: list[str] = []
    with compile_clock(names.append):
        run.complete(plan.study(config(**PLAIN | changed), data=DATA), workdir)
    return {name.removeprefix("jit(").removesuffix(")") for name in names}


@pytest.fixture(scope="module", autouse=True)
def first(tmp_path_factory) -> set[str]:
    """The programs of the plain study, which is trained before all others.

    Other tests of this process may have compiled some of them.
    """
    jax.clear_caches()
    return compiled(tmp_path_factory.mktemp("first"))


CHANGES = {
    "words": {"study": "other", "question": "Which?", "target_accuracy": 0.5},
    "seeds": {"seeds": (7, 2**31 - 1)},
    "root seed": {"root_seed": 2**32 - 1},
    "epochs": {"num_epochs": 3},
    "learning rate": {"settings": {"learning_rate": (0.03,)}},
    "numbers with defaults": {"settings": {"momentum": (0.0,), "init_scale": (2.0,)}},
    "a baseline": {"baseline": {"norm": "layer"}},
    "checkpoints": {"checkpoint_seconds": 1e6},
    "a protocol": {
        "protocols": {"theirs": {"norm": {"layer": "none"}}},
        "arms": {"norm": ("layer",), "protocol": ("corrected",)},
    },
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
def test_what_leaves_the_program_as_it_is_compiles_nothing(changed, tmp_path):
    assert compiled(tmp_path, **changed) == set()


def test_lanes_are_lanes_whether_of_a_seed_or_of_a_setting(tmp_path):
    rates = {"num_seeds": 1, "settings": {"learning_rate": (0.1, 0.2)}}
    assert compiled(tmp_path, **rates) == {"_seed_keys", "keys_at"}


def test_arms_share_the_programs_that_do_not_depend_on_them(first, tmp_path):
    assert first >= OF_AN_ARM | {"order_lanes", "padded_keys"}
    assert compiled(tmp_path, arms={"norm": ("batch",)}) == OF_AN_ARM


def test_another_optimizer_has_the_initial_kernels_of_the_first(tmp_path):
    assert compiled(tmp_path, arms={"norm": ("layer",), "optimizer": ("adam",)}) == (
        OF_AN_ARM - {"init_lanes"}
    )
