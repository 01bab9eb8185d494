"""Strictness for every test: shapes are checked, ranks never promote silently."""

import os
import pathlib
import tempfile

# Before jax starts: two host devices, so that lanes are spread as in a real run, and
# a cache of compiled programs that outlives the run of the tests.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault(
    "NORMJAX_CACHE", str(pathlib.Path(tempfile.gettempdir()) / "normjax-test-cache")
)

import jax
import pytest
from jaxtyping import install_import_hook

install_import_hook("normjax", "beartype.beartype")
jax.config.update("jax_numpy_rank_promotion", "raise")

BESIDE = pathlib.Path(__file__).parents[2] / "shared" / "tfds"


@pytest.fixture(scope="session")
def tfds_folder() -> str:
    """The folder of the prepared data sets, or a skip that says what is missing."""
    folder = os.environ.get("TFDS_DATA_DIR") or (str(BESIDE) if BESIDE.is_dir() else "")
    if not folder:
        pytest.skip("needs prepared data sets: set TFDS_DATA_DIR to their folder")
    return folder
