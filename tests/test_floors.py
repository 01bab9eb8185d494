"""A module imports from strictly lower floors only, and some never import others."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FLOORS = {
    "normjax": 0,
    "normjax.types": 0,
    "normjax.tables": 0,
    "normjax.ops.moments": 1,
    "normjax.ops.norms": 2,
    "normjax.ops.weights": 2,
    "normjax.statistics": 1,
    "normjax.files": 1,
    "normjax.records": 2,
    "normjax.data.sources": 1,
    "normjax.data.splits": 2,
    "normjax.optimizers.transforms": 2,
    "normjax.optimizers.recipes": 3,
    "normjax.modules.affine": 4,
    "normjax.modules.linear": 4,
    "normjax.modules.batch": 5,
    "normjax.modules.examples": 5,
    "normjax.layers": 6,
    "normjax.models": 7,
    "normjax.training.devices": 7,
    "normjax.training.state": 8,
    "normjax.training.probes": 8,
    "normjax.training.loop": 9,
    "normjax.specs": 10,
    "normjax.studies": 11,
    "normjax.report.formats": 2,
    "normjax.report.cells": 3,
    "normjax.report.estimates": 4,
    "normjax.report.stats": 4,
    "normjax.report.figures": 4,
    "normjax.report.published": 5,
    "normjax.report.tables": 6,
    "normjax.report.page": 7,
    "normjax.report.__main__": 8,
}


def modules() -> dict[str, pathlib.Path]:
    """Every module of the package by dotted name."""
    found = {}
    for path in sorted((ROOT / "normjax").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(p for p in parts if p != "__init__")] = path
    return found


def imports(path: pathlib.Path) -> set[str]:
    """Dotted names of normjax that a file imports, wherever in the file."""
    names = set()
    known = modules()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in known else node.module for name in inner}
    return {name for name in names if name.split(".")[0] == "normjax"}


def test_every_module_has_a_floor():
    packages = {name for name, path in modules().items() if path.stem == "__init__"}
    assert set(modules()) - packages == set(FLOORS) - packages
    assert all(not modules()[p].read_text().strip() for p in packages)


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_go_down_only(name):
    floor = FLOORS.get(name, 0)
    too_high = {
        used
        for used in imports(modules()[name])
        if FLOORS[used] >= floor and used != "normjax"
    }
    assert not too_high


def imported_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{m.split('.')[0] for m in sys.modules}})"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.split())


def test_the_report_does_not_import_jax():
    loaded = imported_by("import normjax.report.__main__, normjax.statistics")
    assert "pandas" in loaded
    assert "jax" not in loaded
    assert "flax" not in loaded


def test_nothing_that_runs_imports_tensorflow():
    loaded = imported_by("import launch, normjax.studies, normjax.report.page")
    assert "jax" in loaded
    assert "tensorflow" not in loaded
