"""The first cell of a notebook installs normjax where it is missing, and only there."""

import importlib.util
import shutil
import subprocess
import sys

import pytest
from _notebooks import PATHS, code_cells, executing, read


def test_first_cells_are_one():
    """And hold the address of setup.cfg, which is the one place that has it."""
    (first,) = {code_cells(read(path))[0].source for path in PATHS}
    assert executing.SOURCE.findall(first) == [executing.address()]


def run_first_cell(monkeypatch, *, found, source, driver=None):
    """Runs it where normjax is there or not; returns what it calls."""
    ran = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    monkeypatch.setattr(subprocess, "run", lambda command, check: ran.append(command))
    monkeypatch.setattr(shutil, "which", {"nvidia-smi": driver}.get)
    first = code_cells(read(PATHS[0]))[0].source
    exec(executing.SOURCE.sub(f'SOURCE = "{source}"', first), {})
    return ran


@pytest.mark.parametrize(
    ("driver", "what"),
    [
        (None, "normjax @ git+https://example.org/x"),
        ("/usr/bin/nvidia-smi", "normjax[cuda12] @ git+https://example.org/x"),
    ],
)
def test_it_installs_what_is_missing(driver, what, monkeypatch):
    """And keeps the GPU build of jax where there is a GPU."""
    source = "git+https://example.org/x"
    ran = run_first_cell(monkeypatch, found=None, source=source, driver=driver)
    assert ran == [[sys.executable, "-m", "pip", "install", "-q", what]]


@pytest.mark.parametrize("source", ["", "git+https://example.org/x"])
def test_it_leaves_an_installed_normjax_alone(source, monkeypatch):
    assert run_first_cell(monkeypatch, found=object(), source=source) == []


def test_without_an_address_it_says_what_to_do(monkeypatch):
    """Rather than install whatever has this name elsewhere."""
    with pytest.raises(SystemExit) as caught:
        run_first_cell(monkeypatch, found=None, source="")
    message = "normjax is not installed: set SOURCE above, or install it."
    assert str(caught.value) == message
