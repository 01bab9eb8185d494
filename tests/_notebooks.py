"""The notebooks, and the script that executes them."""

import importlib.util
import pathlib

import nbformat
import pytest

ROOT = pathlib.Path(__file__).parents[1]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))

every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def load(name: str):
    """The script that executes the notebooks."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "notebooks/execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


executing = load("executing_notebooks")
code_cells = executing.code_cells


def read(path: pathlib.Path):
    """A notebook, of the present format."""
    return nbformat.read(path, as_version=4)
