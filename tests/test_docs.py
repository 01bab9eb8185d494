"""The pages that a command writes, and what they say of the code and the records."""

import re

import numpy as np
import pandas as pd
import pytest

from docs.generate import __main__ as generate
from docs.generate import (
    columns,
    docstrings,
    fields,
    found,
    library,
    notebooks,
    notes,
    records,
)
from normjax.layers import NORMS
from normjax.statistics import Interval


@pytest.mark.parametrize("path", generate.tables(), ids=lambda path: path.name)
def test_tables_are_those_of_the_code_and_the_records(path):
    """`python -m docs.generate` writes them."""
    text = path.read_text()
    for name, table in generate.tables()[path].items():
        assert f"<!-- table: {name} -->\n\n{table}\n\n<!-- end -->" in text, name


@pytest.mark.parametrize("path", generate.pages(), ids=lambda path: path.name)
def test_pages_are_those_of_the_records(path):
    assert path.read_text() == generate.pages()[path]


def test_every_field_that_is_no_group_is_described():
    rows = [row for group in fields.field_rows().values() for row in group]
    assert [row[0] for row in rows if not row[3]] == []
    names = [row[0].strip("`") for row in rows]
    assert len(names) == len(set(names))
    lacking = set(fields.flat(fields.fields.DEFAULTS)) - set(names)
    assert {name.split(".")[0] for name in lacking} == {"settings"}


def test_every_name_has_its_note_and_every_note_its_name():
    assert notes.NORMS.keys() == NORMS.keys()
    assert notes.MODELS.keys() == library.MODELS.keys()
    assert notes.INITS.keys() == library.INITS.keys()
    assert notes.PROBES.keys() == library.PROBES.keys()
    assert notes.PENALTIES.keys() == library.PENALTY_SETTINGS.keys()


def test_columns_of_the_summary_are_those_of_a_record():
    """The names that are described by hand; the other files are tables of the code."""
    text = (found.ROOT / "docs" / "reference" / "columns.md").read_text()
    described = re.findall(r"^\| (.+?) \|", text.split("tables/summary.csv")[1], re.M)
    names = {name for cell in described for name in re.findall(r"`(\w+)`", cell)}
    tables = (
        *(("tuned_optimizers", "summary.csv"), ("tuned_optimizers", "differences.csv")),
        *(("smoothness", "summary.csv"), ("optimizers", "claims.csv")),
    )
    paths = [found.file_of(*table) for table in tables]
    known = {name for path in paths for name in pd.read_csv(path, nrows=0)}
    assert len(names) > 12
    assert names - known == set()


def test_columns_of_networks_are_those_of_a_record():
    head = pd.read_csv(found.file_of("optimizers", "networks.csv"), nrows=0)
    named = [name for name in columns.MEANINGS if name.islower()]
    known = columns.tables()["columns.md"]["networks"]
    listed = {name for name in named if f"`{name}`" in known}
    assert listed - {"mapping"} <= set(head)  # the record is older than this one


ABOVE = found.FOUND[0]
ROWS = {
    "below": (-2.0, -3.0, -1.0),
    "across": (0.0, -1.0, 1.0),
    "above": (2.0, 1.0, 3.0),
}


@pytest.mark.parametrize("side", ROWS)
@pytest.mark.parametrize("said", ROWS)
def test_an_answer_that_its_interval_does_not_give_is_refused(side, said):
    finding = ABOVE._replace(side=said, boundary=0.0)
    interval = Interval(*ROWS[side], 10)
    if side == said:
        found.check(finding, interval)
        return
    low, high = ROWS[side][1:]
    with pytest.raises(ValueError) as caught:
        found.check(finding, interval)
    assert str(caught.value) == (
        f"optimizers: [{low:g}, {high:g}] lies {side} 0, and {ABOVE.answer!r} says that"
        f" it lies {said}; write another sentence"
    )


def test_an_answer_names_one_line_of_its_table():
    finding = ABOVE._replace(row={"table": "claims", "statistic": "test_accuracy"})
    with pytest.raises(LookupError, match=r"^optimizers/claims\.csv: \d+ lines are "):
        found.measured(finding)


def test_findings_have_the_sections_of_the_table():
    headings = re.findall(
        r"^## (.+)$", (found.ROOT / "docs" / "findings.md").read_text(), re.M
    )
    assert {finding.section for finding in found.FOUND} <= set(headings)
    assert all(
        np.isfinite(found.measured(finding)[:3]).all() for finding in found.FOUND
    )


def test_references_are_told_apart():
    """By authors and a year; a title with a year, or a wrapped line, is no entry."""

    def cited():
        """Something.

        References:
            Jordan et al., 2024. Muon: An optimizer. https://kellerjordan.github.io/muon
            Liu, Brock and Le, 2020. Evolving Layers, 2019. To 2020 and
            beyond. arXiv:2004.02967.
        """

    assert docstrings.references(cited) == [
        "Jordan et al., 2024. Muon: An optimizer. https://kellerjordan.github.io/muon",
        "Liu, Brock and Le, 2020. Evolving Layers, 2019. To 2020 and beyond."
        " arXiv:2004.02967.",
    ]
    assert docstrings.papers(cited) == (
        "Jordan et al., 2024;"
        " [Liu, Brock and Le, 2020](https://arxiv.org/abs/2004.02967)"
    )


def test_records_show_every_picture():
    drawn = {
        path.relative_to(found.ROOT / "docs") for path in found.RESULTS.rglob("*.svg")
    }
    shown = set(re.findall(r"!\[.*?\]\((.+?)\)", records.page()))
    assert shown == {path.as_posix() for path in drawn}
    assert len(shown) > 40


@pytest.mark.parametrize("page", ["README.md", "docs/findings.md", "docs/index.md"])
def test_links_to_sections_find_their_heading(page):
    """Anchors as GitHub makes them; Sphinx checks those of the site."""
    path = found.ROOT / page
    links = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", path.read_text())
    for target, anchor in links:
        text = (path.parent / target if target else path).read_text()
        headings = map(found.anchor, re.findall(r"^#+ (.+)$", text, re.M))
        assert anchor in headings, (target, anchor)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("", ""),
        ("https://example.org/normjax", ""),
        (
            "https://github.com/someone/normjax/",
            "https://colab.research.google.com/github/someone/normjax/blob/main/notebooks",
        ),
    ],
)
def test_colab_opens_what_is_on_github(url, address):
    assert notebooks.colab_address(url) == address


COMMAND = r"(?:python|pip|make|git|wandb|tensorboard|mlflow|sbatch|srun) "
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
SPECIAL = re.compile(r"[][?~()!^#]|(?:^|\s)=")  # where no quote is: to zsh, or to bash


def commands(text: str) -> list[str]:
    """The commands of a page: indented or fenced lines, and code in its sentences."""
    blocks = re.findall(r"^```(?:sh|bash)?\n(.*?)^```$", text, re.M | re.S)
    blocks += re.findall(r"(?:^    \S.*\n(?:^        .*\n)*)+", text, re.M)
    lines = [x.strip() for x in "\n".join(blocks).replace("\\\n", " ").splitlines()]
    words = re.findall(r"`([^`\n]+)`", text)
    return [x for x in [*lines, *words] if re.match(COMMAND, x)]


PAGES = [found.ROOT / x for x in ("README.md", "CONTRIBUTING.md")]
PAGES += sorted((found.ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_commands_mean_the_same_to_zsh(path):
    """It reads brackets as patterns, and typed in it knows no comments."""
    for command in commands(path.read_text()):
        assert not SPECIAL.search(QUOTED.sub("", command)), command


def test_what_zsh_reads_otherwise_is_found():
    text = """
    make run     # installs
    pip install -e .[dev]
    python launch.py --config.settings.learning_rate='(0.1,)' \\
        --config.arms.norm=(1,)
    python launch.py --config.settings.learning_rate='(0.1,)'
"""
    bad = [bool(SPECIAL.search(QUOTED.sub("", x))) for x in commands(text)]
    assert bad == [True, True, True, False]
