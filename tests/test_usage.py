"""What launch.py tells without a study: its help, lists of names, completion."""

import pathlib
import subprocess
import sys

import pytest

from normjax import layers
from normjax.errors import InputError
from normjax.export import writers
from normjax.files import flat
from normjax.layers.initial_weights import INITS
from normjax.optimizers.recipes import RECIPES
from normjax.study import command_line, listing, usage
from normjax.study.fields import DEFAULTS
from normjax.study.levels import PENALTY_SETTINGS

ROOT = pathlib.Path(__file__).parents[1]
QUICK = "--config=configs/quickstart.py"


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("flag", ["--help", "-h", "-help", "--helpfull", "--helpshort"])
@pytest.mark.parametrize("others", [[], [QUICK, "--workdir=runs/never"]])
def test_help_is_short_and_shows_the_flags(flag, others):
    assert usage.reply([*others, flag]) == usage.USAGE
    lines = usage.USAGE.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert all(f"--{flag}" in usage.USAGE for flag in ("list", "dry_run", "completion"))


def test_a_study_is_not_answered():
    assert usage.reply([QUICK, "--workdir", "list", "--config.study=help"]) is None
    assert usage.reply([]) is None


@pytest.mark.parametrize("words", [["--list"], ["--list", QUICK]])
def test_the_list_is_of_the_configs_with_their_questions(words):
    told = usage.reply(words)
    assert told.startswith("configs, for --config=\n")
    for path in (ROOT / "configs").glob("*.py"):
        assert f"  configs/{path.name}  " in told
    assert "  Which normalization trains a small MLP best?\n" in told
    assert all(f"  --list={kind}" in told for kind in listing.KINDS)


@pytest.mark.parametrize("kind", listing.KINDS)
def test_every_kind_has_names_in_80_columns(kind):
    told = usage.reply([f"--list={kind}"])
    head, *rows = told.splitlines()
    assert head.startswith(f"{kind}, for --config")
    assert len(rows) > 2
    assert max(map(len, rows)) <= 80
    assert usage.reply(["--list", kind]) == told


def test_every_row_is_listed_and_described():
    norms, optimizers = (listing.KINDS[x][1]() for x in ("norms", "optimizers"))
    assert list(norms) == list(layers.NORMS)
    assert list(optimizers) == list(RECIPES)
    assert all(norms.values())
    assert all(optimizers.values())
    fields = listing.config_fields()
    assert list(fields) == list(flat(DEFAULTS))
    assert fields["batch_size"] == "examples per step [128]"


@pytest.mark.parametrize("kind", listing.KINDS)
def test_no_description_is_empty(kind):
    found = listing.KINDS[kind][1]()
    bare = [x for x, about in found.items() if not about.partition("[")[0].strip(" -")]
    assert bare == []


def test_what_is_described_apart_has_the_rows_of_its_table():
    penalties, weights = (
        listing.KINDS[x][1]() for x in ("penalties", "initial_weights")
    )
    assert list(penalties) == list(PENALTY_SETTINGS)
    assert list(weights) == list(INITS)


def test_a_kind_that_is_not_there():
    with pytest.raises(InputError) as caught:
        usage.reply(["--list=norm"])
    assert str(caught.value) == (
        f"--list='norm': must be one of {', '.join(sorted(listing.KINDS))};"
        " did you mean 'norms'?"
    )
    with pytest.raises(InputError) as caught:
        usage.reply(["--completion=fish"])
    assert str(caught.value) == (
        "--completion='fish': must be one of bash, zsh; choose one of them."
    )


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["--config", "=", "configs/qui"], ["configs/quickstart.py"]),
        (["--config.arms.norm", "=", "layer,gro"], ["layer,group"]),
        (["--config.num_e"], ["--config.num_epochs="]),
        (["--list", "=", "opt"], ["optimizers"]),
        (["--config.arms.norm=bat"], [f"--config.arms.norm={x}" for x in ("batch",)]),
        (
            ["--config", "=", "docs/results/norms/con"],
            ["docs/results/norms/config.json"],
        ),
        (["--config", "=", "docs/results/nor"], ["docs/results/norms/"]),
        (["--export", "=", "wandb,ten"], ["wandb,tensorboard"]),
        (["--until", "=", ""], ["decided"]),
        (["--coord"], ["--coordinator="]),
        (["--config.data.name", "=", "N"], []),
    ],
)
def test_a_shell_completes(typed, expected):
    """As bash splits words, and as zsh leaves them whole."""
    words = " ".join(f"'{x}'" for x in ["python", "launch.py", *typed])
    call = f"COMP_WORDS=({words}); COMP_CWORD={len(typed) + 1}; _normjax"
    script = f"{usage.reply(['--completion=bash'])}\n{call}\necho ${{COMPREPLY[@]}}"
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert ran.stderr == ""
    assert ran.stdout.split()[:1] == expected


def test_every_flag_and_tool_is_completed():
    known = {x.strip("-").partition("=")[0] for x in usage.FLAGS.split()}
    assert {*command_line.FLAGS, "config", "list", "completion", "help"} == known
    assert tuple(writers.WRITERS) == usage.TOOLS


def test_other_scripts_of_python_are_completed_as_before():
    own = "others() { COMPREPLY=(mine); }; complete -F others python"
    script = usage.reply(["--completion=bash"])
    call = "COMP_WORDS=(python other.py --conf); COMP_CWORD=2; _normjax python"
    text = f"{own}\n{script}\n{script}\n{call}\necho ${{COMPREPLY[@]}}"
    ran = subprocess.run(["bash", "-c", text], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("mine\n", "")


def test_who_reads_only_the_first_lines_gets_no_traceback():
    command = f"{sys.executable} launch.py --completion=zsh | head -n 1"
    call = ["bash", "-c", f"set -o pipefail; {command}"]
    ran = subprocess.run(call, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_help_and_the_list_load_nothing_that_takes_long():
    code = """
import sys
sys.argv = ["launch.py", *sys.argv[1:]]
import launch
launch.main()
assert not {"jax", "numpy", "absl", "pandas"} & set(sys.modules)
"""
    for flag in ("--help", "--list"):
        ran = subprocess.run(
            [sys.executable, "-c", code, flag], capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout == f"{usage.reply([flag])}\n"
