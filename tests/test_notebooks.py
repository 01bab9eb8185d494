"""The notebooks run at smoke size, and hold nothing but their cells."""

import ast
import os
import pathlib
import shutil
import subprocess
import sys

import nbclient
import nbformat
import pytest
from _compiling import FLAGS
from IPython.core.inputtransformer2 import TransformerManager

ROOT = pathlib.Path(__file__).parents[1]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
METADATA = {
    "accelerator": "GPU",  # what Colab gives the notebook, if it has one
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}

every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def read(path: pathlib.Path):
    """A notebook, of the present format."""
    return nbformat.read(path, as_version=4)


def code_cells(notebook) -> list:
    """Its cells of code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def parameters(notebook) -> int:
    """Where its only cell tagged `parameters` stands."""
    found = [
        i
        for i, cell in enumerate(notebook.cells)
        if "parameters" in cell.metadata.get("tags", [])
    ]
    assert len(found) == 1
    return found[0]


@every_notebook
def test_it_runs_at_smoke_size(path, tmp_path, monkeypatch):
    """As papermill would: a cell after the one tagged `parameters` has the last word.

    A cell that raises fails the test, with its source and its traceback.
    """
    monkeypatch.setenv("XLA_FLAGS", FLAGS)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    notebook = read(path)
    smoke = nbformat.v4.new_code_cell('assert size == "full"\nsize = "smoke"')
    notebook.cells.insert(parameters(notebook) + 1, smoke)
    nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = [
        kind
        for cell in code_cells(notebook)
        for output in cell.outputs
        for kind in output.get("data", {})
    ]
    assert shown.count("image/png") >= 3
    assert shown.count("text/html") >= 2  # tables


@every_notebook
def test_it_is_clean(path):
    """Valid, without output, of minimal metadata.

    An id that is missing or comes twice makes reading warn, which is an error here.
    """
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.metadata == METADATA
    for cell in code_cells(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None
    marked = notebook.cells[parameters(notebook)]
    assert [cell for cell in notebook.cells if cell.metadata] == [marked]


@every_notebook
def test_it_defines_nothing(path):
    """What is worth a name of its own is in the package; a lambda of a line is not.

    The module that a reader brings is in no package.
    """
    plain = TransformerManager().transform_cell
    for cell in code_cells(read(path)):
        for node in ast.walk(ast.parse(plain(cell.source))):
            kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
            if isinstance(node, kinds) and cell.id == "module":
                assert node.name in ("Net", "__call__")
            else:
                assert not isinstance(node, kinds), node.name


@every_notebook
@pytest.mark.parametrize(
    ("colab", "driver", "installed"),
    [
        (False, "/usr/bin/nvidia-smi", []),
        (True, None, ["normjax @ git+https://example.org/x"]),
        (True, "/usr/bin/nvidia-smi", ["normjax[cuda12] @ git+https://example.org/x"]),
    ],
)
def test_it_installs_in_colab_alone(path, colab, driver, installed, monkeypatch):
    """And keeps the GPU build of jax where there is a GPU."""
    ran = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: ran.append(command))
    monkeypatch.setattr(shutil, "which", {"nvidia-smi": driver}.get)
    if colab:
        monkeypatch.setitem(sys.modules, "google.colab", sys)
    first = code_cells(read(path))[0]
    source = first.source.replace('SOURCE = ""', 'SOURCE = "git+https://example.org/x"')
    exec(compile(source, path.name, "exec"), {})
    pip = [sys.executable, "-m", "pip", "install", "-q"]
    assert ran == [[*pip, what] for what in installed]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_in_colab_it_asks_where_from(path, monkeypatch):
    """Rather than install whatever has this name elsewhere."""
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    first = code_cells(read(path))[0]
    with pytest.raises(SystemExit) as caught:
        exec(compile(first.source, path.name, "exec"), {})
    message = "SOURCE: must say where normjax is to be had; set it above."
    assert str(caught.value) == message


def test_there_are_notebooks():
    assert [path.stem[:2] for path in PATHS] == ["01", "02", "03"]
