"""What a reader or an installer relies on: the wheel, versions, links, examples."""

import doctest
import importlib
import os
import pathlib
import re
import subprocess
import sys
import zipfile

import jax
import pytest
from _compiling import FLAGS

import normjax

ROOT = pathlib.Path(__file__).parents[1]
EXAMPLES = [  # modules whose public functions and classes show how they are called
    f"normjax.{path.relative_to(ROOT / 'normjax').with_suffix('')}".replace(os.sep, ".")
    for folder in ("ops", "layers", "optimizers")
    for path in sorted((ROOT / "normjax" / folder).glob("*.py"))
    if path.stem != "__init__"
]


def test_versions_agree():
    version = normjax.__version__
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    changes = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert changes[0] == version


def test_the_hook_runs_the_ruff_that_is_pinned():
    pinned = re.search(r"^ruff==.+$", (ROOT / "constraints.txt").read_text(), re.M)[0]
    hooks = re.findall(r'"(ruff==.+?)"', (ROOT / ".pre-commit-config.yaml").read_text())
    assert hooks == [pinned, pinned]


def test_the_public_workflow_runs_the_commands_of_ours():
    ours = re.findall(r"^make .+$", (ROOT / ".ci" / "run").read_text(), re.M)
    public = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert re.findall(r"- run: (make .+)", public) == ours
    assert len(ours) == 3


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md"))
)
def test_links_and_module_names_in_the_docs_exist(page):
    text = page.read_text()
    linked = re.findall(r"\]\((?!http)([^)#]+)", text)
    for target in linked + re.findall(r'(?:src|srcset|href)="(?!http)([^"]+)"', text):
        assert (page.parent / target).exists(), target
    for path in re.findall(
        r"`((?:normjax|configs|tests|docs|benchmarks)/[\w./]+)`", text
    ):
        assert (ROOT / path).exists() or list(ROOT.glob(f"{path}.*")), path
    for name in re.findall(
        r"python -m (normjax[\w.]*|benchmarks[\w.]*|docs[\w.]*)", text
    ):
        path = ROOT / name.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), name


@pytest.mark.parametrize("name", EXAMPLES)
def test_docstring_examples(name):
    with jax.numpy_rank_promotion("allow"):
        failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_the_wheel_works_outside_of_the_checkout(tmp_path):
    """Nothing else of the checkout is there: a study is trained, loaded, reported."""
    run = lambda *words, **more: subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, **more
    )
    words = (
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--quiet",
        "--wheel-dir",
        tmp_path,
        ROOT,
    )
    built = run(*words)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("normjax-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert "normjax/py.typed" in names
    assert not [name for name in names if name.split("/")[0] in ("tests", "benchmarks")]
    code = """
import pathlib, sys, normjax
assert pathlib.Path(normjax.__file__).is_relative_to(sys.argv[1]), normjax.__file__
config = normjax.config(arms={"norm": "none,batch"}, num_seeds=2, num_epochs=1)
normjax.run(config, "run")
print(len(normjax.load("run").networks))
"""
    variables = {"PYTHONPATH": str(tmp_path / "site"), "XLA_FLAGS": FLAGS}
    at = {"cwd": tmp_path, "env": os.environ | variables}
    ran = run("-c", code, str(tmp_path / "site"), **at)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split()[-1] == "4"
    ran = run("-m", "normjax.report", "run", **at)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
