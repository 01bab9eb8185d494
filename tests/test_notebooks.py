"""The notebooks run at smoke size, show figures with titles, and are up to date."""

import ast
import json
import os
import re

import matplotlib
import matplotlib.pyplot as plt
import nbclient
import nbformat
import pytest
from _compiling import FLAGS
from _notebooks import PATHS, ROOT, code_cells, every_notebook, executing, read
from IPython.core.inputtransformer2 import TransformerManager

METADATA = {
    "accelerator": "GPU",  # what Colab gives the notebook, if it has one
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}
MOST_BYTES = 400_000  # of a notebook with its figures
LONGEST = 15  # lines of a function: a longer one belongs into the package
INTERNAL = "normjax.study", "normjax.training.lane", "normjax.training.devices"
FIRST_FIGURES = """
import matplotlib.pyplot as plt
_figures, _figure = [], plt.figure
def _remember(*args, **keywords):
    _figures.append(_figure(*args, **keywords))
    return _figures[-1]
plt.figure = _remember
"""
LAST_FIGURES = """
import json
def _shared(axes, name):
    group = getattr(axes, f"get_shared_{name}_axes")().get_siblings(axes)
    return any(getattr(x, f"get_{name}label")() for x in group)
print(json.dumps([
    {
        "title": bool(figure.get_suptitle()) or all(x.get_title() for x in figure.axes),
        "x": all(_shared(x, "x") for x in figure.axes),
        "y": all(_shared(x, "y") for x in figure.axes),
    }
    for figure in _figures
]))
"""

LABELLED = {"title": True, "x": True, "y": True}


def parameters(notebook) -> int:
    """Where its only cell tagged `parameters` stands."""
    found = [
        i
        for i, cell in enumerate(notebook.cells)
        if "parameters" in cell.metadata.get("tags", [])
    ]
    assert len(found) == 1
    return found[0]


def solve(notebook) -> int:
    """Puts the solutions of exercises in their place; returns how many there are."""
    texts = [c.source for c in notebook.cells if c.cell_type == "markdown"]
    lines = re.findall(r"^ *(my_\w+) = (.+)$", "\n".join(texts), re.MULTILINE)
    for name, value in lines:
        (cell,) = (c for c in code_cells(notebook) if f"{name} = None" in c.source)
        cell.source = cell.source.replace(f"{name} = None", f"{name} = {value}")
    return len(lines)


def texts(notebook, stream: str) -> str:
    """What its cells print."""
    outputs = [x for cell in code_cells(notebook) for x in cell.outputs]
    return "".join(x.text for x in outputs if x.get("name") == stream)


def kinds(notebook) -> list[str]:
    """The kinds of what its cells show."""
    outputs = [x for cell in code_cells(notebook) for x in cell.outputs]
    return [kind for x in outputs for kind in x.get("data", {})]


def num_figures(notebook) -> int:
    """How many figures its code draws."""
    return sum(cell.source.count("plt.show()") for cell in code_cells(notebook))


@every_notebook
def test_it_runs_at_smoke_size(path, tmp_path, monkeypatch):
    """On the digits alone, its exercises solved; each figure has a title and labels.

    Papermill would do the same: a cell after the one tagged `parameters` has the last
    word. A cell that raises fails the test, with its source and its traceback.
    """
    monkeypatch.setenv("XLA_FLAGS", FLAGS)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing is prepared"))
    notebook = read(path)
    num_solved = solve(notebook)
    smoke = nbformat.v4.new_code_cell('assert size == "full"\nsize = "smoke"')
    notebook.cells.insert(parameters(notebook) + 1, smoke)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(FIRST_FIGURES))
    notebook.cells.append(nbformat.v4.new_code_cell(LAST_FIGURES))
    nbclient.NotebookClient(
        notebook,
        timeout=300,
        coalesce_streams=True,
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    assert kinds(notebook).count("image/png") == num_figures(notebook)
    drawn = json.loads(code_cells(notebook)[-1].outputs[-1].text)
    assert drawn == [LABELLED] * num_figures(notebook)
    assert len(texts(notebook, "stderr").splitlines()) <= 20  # of progress
    assert texts(notebook, "stdout").count(": right") == num_solved


@pytest.mark.parametrize(
    ("drawn", "labelled"),
    [
        ({}, {"title": False, "x": False, "y": False}),
        ({"title": "t", "xlabel": "x"}, {"title": True, "x": True, "y": False}),
        ({"title": "t", "xlabel": "x", "ylabel": "y"}, LABELLED),
    ],
)
def test_figures_without_labels_are_found(drawn, labelled, monkeypatch, capsys):
    """By the two cells that the test above adds to a notebook."""
    monkeypatch.setattr(plt, "figure", plt.figure)
    matplotlib.use("agg")
    cells = {}
    exec(FIRST_FIGURES, cells)
    figure, axes = plt.subplots()
    axes.set(**drawn)
    exec(LAST_FIGURES, cells)
    plt.close(figure)
    assert json.loads(capsys.readouterr().out) == [labelled]


@every_notebook
def test_it_tells_a_story(path):
    """It begins with a title, and ends with what to try and with references."""
    *_, last = cells = read(path).cells
    assert cells[0].cell_type == last.cell_type == "markdown"
    assert re.match("# .+\n", cells[0].source)
    *_, try_it, references = re.split("^## ", last.source, flags=re.MULTILINE)
    assert try_it.startswith("What to try\n")
    assert references.startswith("References\n")
    works = re.findall(r"^- .+?, (\d{4})\. ", references, flags=re.MULTILINE)
    assert 2 <= len(works) == references.count("\n- ")


@every_notebook
def test_it_is_valid(path):
    """Of minimal metadata; its only odd cell is the one of parameters.

    An id that is missing or comes twice makes reading warn, which is an error here.
    """
    notebook = read(path)
    nbformat.validate(notebook)
    assert {k: x for k, x in notebook.metadata.items() if k != "normjax"} == METADATA
    marked = notebook.cells[parameters(notebook)]
    assert [cell for cell in notebook.cells if cell.metadata] == [marked]


@every_notebook
def test_its_outputs_are_those_of_its_code(path):
    """Of a run from the first cell to the last, without errors or a machine's paths.

    If this fails after an edit, `make notebooks` executes it again.
    """
    notebook = read(path)
    assert executing.is_up_to_date(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [x for x in outputs if x.output_type == "error"]
    assert texts(notebook, "stderr") == ""
    assert kinds(notebook).count("image/png") == num_figures(notebook) >= 2
    assert "text/html" in kinds(notebook)  # a table
    words = [x.get("text") or x.get("data", {}).get("text/plain", "") for x in outputs]
    assert not re.search(r"/(home|root|tmp|Users|work)/", "".join(words))
    assert path.stat().st_size < MOST_BYTES


def test_outputs_of_other_code_are_not_up_to_date():
    """One letter of any cell is enough, but for the first, which only installs."""
    notebook = read(PATHS[0])
    first, *_, last = code_cells(notebook)
    first.source += "#"
    assert executing.is_up_to_date(notebook)
    last.source += "#"
    assert not executing.is_up_to_date(notebook)


@every_notebook
def test_its_code_is_plain(path):
    """No lambda within another, functions of a few lines, and public names alone."""
    plain = TransformerManager().transform_cell
    for cell in code_cells(read(path)):
        for node in ast.walk(ast.parse(plain(cell.source))):
            inner = [x for x in ast.walk(node) if isinstance(x, ast.Lambda)]
            assert not isinstance(node, ast.Lambda) or inner == [node]
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < LONGEST, node.name
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = getattr(node, "module", None)
                names = [f"{module}.{x.name}" if module else x.name for x in node.names]
                assert not [x for x in names if x.startswith(INTERNAL) or "._" in x]


def test_there_are_notebooks():
    assert [path.stem[:2] for path in PATHS] == ["01", "02", "03", "04", "05"]
