"""Modules import from lower floors or their own package, and never in a circle."""

import ast
import graphlib
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FLOORS = (  # packages and modules, from the ground up
    ("errors", "numerals", "p_values", "ties", "types"),
    ("data_parallel", "files", "statistics", "tuning_statistics"),
    ("bounded", "looks", "outliers", "ops", "optimizers", "data"),
    ("layers",),
    ("models",),
    ("own_model",),
    ("training",),
    ("study",),
    ("export",),
    ("report",),
    ("archive", "audit", "checks", "launcher", "merge", "status"),
)
HEIGHT = {f"normjax.{name}": i for i, names in enumerate(FLOORS) for name in names}


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


def part(name: str) -> str:
    """The package, or the module outside of packages, that a module belongs to."""
    return ".".join(name.split(".")[:2])


def test_every_part_has_a_floor():
    packages = {name for name, path in modules().items() if path.stem == "__init__"}
    assert {part(name) for name in modules()} - {"normjax"} == set(HEIGHT)
    faces = {"normjax", "normjax.layers"}  # what they re-export is their purpose
    assert all(not modules()[p].read_text().strip() for p in packages - faces)


@pytest.mark.parametrize("name", sorted(set(modules()) - {"normjax"}))
def test_imports_go_down_only(name):
    used = {part(x) for x in imports(modules()[name])} - {part(name), "normjax"}
    assert {x for x in used if HEIGHT[x] >= HEIGHT[part(name)]} == set()


def test_no_module_imports_itself_by_a_detour():
    graph = {name: imports(path) - {"normjax"} for name, path in modules().items()}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises on a circle
    assert set(graph) <= set(order)


def imported_by(statement: str) -> set[str]:
    """Modules that a fresh interpreter holds after a statement."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.split())


def test_the_report_does_not_import_jax():
    loaded = imported_by("import normjax.report.__main__; normjax.load")
    assert "pandas" in loaded
    assert "jax" not in loaded
    assert "flax" not in loaded


NOT_FOR_TRAINING = {"jinja2", "matplotlib", "orbax", "pandas", "scipy.stats", "sklearn"}
HEAVY = NOT_FOR_TRAINING | {"flax", "jax", "ml_collections", "numpy", "optax", "scipy"}


def test_what_takes_long_to_import_waits_until_it_is_used():
    assert imported_by("import normjax") & HEAVY == set()
    launched = imported_by("import launch, normjax.launcher, normjax.study.run")
    assert "jax" in launched
    assert launched & NOT_FOR_TRAINING == set()
    assert imported_by("import normjax; normjax.load") & HEAVY == {"numpy"}


def test_nothing_that_runs_imports_tensorflow():
    parts = "normjax.study.command_line, normjax.study.run, normjax.report.page"
    loaded = imported_by(f"import launch, {parts}")
    assert "jax" in loaded
    assert "tensorflow" not in loaded
