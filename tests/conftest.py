"""Strictness for every test: shapes are checked, ranks never promote silently."""

import gc
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

import _compiling
import jax
import pytest
from jaxtyping import install_import_hook

install_import_hook("normjax", "beartype.beartype")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_include_full_tracebacks_in_locations", False)
_compiling.compile_fast()

BESIDE = pathlib.Path(__file__).parents[2] / "shared" / "tfds"


LONGEST = (
    *("configs", "notebooks", "training_lanes", "data_sources", "launch", "checks"),
    "project",
)


def pytest_collection_finish(session):
    """Tracing makes many objects and few circles: looking for them less saves time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)


def pytest_collection_modifyitems(items):
    """The longest files first: whoever ends up alone with one keeps others waiting."""
    order = {f"test_{name}": i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="module", autouse=True)
def compiling(request):
    """Fast, but where a file is marked to prove what users run: training, checks."""
    marked = request.node.get_closest_marker("compiled_as_users_do") is not None
    if marked:
        _compiling.compile_as_users_do()
    yield
    _compiling.compile_fast()


@pytest.fixture(scope="session")
def tfds_folder() -> str:
    """The folder of the prepared data sets, or a skip that says what is missing."""
    folder = os.environ.get("TFDS_DATA_DIR") or (str(BESIDE) if BESIDE.is_dir() else "")
    if not folder:
        pytest.skip("needs prepared data sets: set TFDS_DATA_DIR to their folder")
    return folder
