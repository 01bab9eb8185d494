"""Claims of papers, rates that still train, unstated choices, the page of claims."""

import itertools
import json
import pathlib
import re
from collections.abc import Sequence

import _records
import numpy as np
import pandas as pd
import pytest
from test_audit_claims import (
    BN,
    EVALS,
    SEEDS,
    YES,
    arm,
    draws,
    made,
    named,
    own,
    record,
)

from normjax import statistics
from normjax.audit import (
    __main__,
    choices,
    claim_data,
    claims,
    methods,
    overview,
    presentation,
    published_numbers,
    rates,
)
from normjax.report import decisions, page, tables
from normjax.report.audit_interface import Kind, Verdict
from normjax.report.networks import Cell
from normjax.study.record import Record

ROOT = pathlib.Path(__file__).parents[1]
NO, OPEN = Verdict(Kind.FAILS), Verdict(Kind.UNDECIDED)


# rates that still train


def cell(rate: float, validation: Sequence[float], diverged: Sequence[int] = ()):
    """A cell at a learning rate, whose test accuracy is the validation's plus rate."""
    accuracy = np.array(validation)
    step = np.where(np.isin(np.arange(len(accuracy)), diverged), 7, -1)
    final = {"validation_accuracy": accuracy, "test_accuracy": accuracy + rate / 100}
    return Cell(
        arm="arm",
        position=0,
        factors={},
        settings={"learning_rate": rate, "momentum": 0.9},
        seeds=np.arange(len(accuracy)),
        final=final | {"diverged_at_step": step},
        steps=np.array([1]),
        curves={},
        probes={},
        epoch_seconds=np.array([1.0]),
    )


def test_the_largest_rate_is_that_of_each_seed():
    """Best mean 0.9, so 0.5 is what trains; cells come in any order."""
    grid = [
        cell(0.4, [0.10, 0.49, 0.50, 0.9, 0.10]),
        cell(0.1, [0.90, 0.90, 0.90, 0.9, 0.90]),
        cell(0.8, [0.10, 0.10, 0.10, 0.9, np.nan], diverged=[3]),
        cell(0.2, [0.49, 0.50, 0.10, 0.9, 0.60], diverged=[4]),
    ]
    assert list(rates.largest_rates(grid)) == [0.1, 0.2, 0.4, 0.4, 0.1]
    assert list(rates.grid_ends(grid)) == [0, 0, 0, 0, 0]
    assert list(rates.grid_ends(grid[:2])) == [0, 0, 1, 1, 0]


def test_what_trains_at_no_rate_is_one_step_below_the_grid():
    """One seed of an arm that trains, and an arm that guesses at every rate."""
    grid = [cell(0.5, [0.10, 0.90]), cell(2.0, [0.10, 0.90])]
    assert list(rates.largest_rates(grid)) == [0.125, 2.0]
    assert list(rates.grid_ends(grid)) == [-1, 1]
    guesses = [cell(0.5, [0.12, 0.08]), cell(2.0, [0.11, 0.19])]
    assert list(rates.largest_rates(guesses)) == [0.125, 0.125]


def test_the_best_rate_is_chosen_by_validation():
    """Of each seed its own; a network that diverged counts as a guess."""
    grid = [cell(1.0, [0.8, 0.5, 0.7]), cell(3.0, [0.7, 0.6, 0.9], diverged=[2])]
    assert np.allclose(rates.best_accuracies(grid), [0.81, 0.63, 0.71], rtol=1e-15)


MEASURES = [rates.largest_rates, rates.grid_ends, rates.best_accuracies]


@pytest.mark.parametrize("measure", MEASURES)
def test_without_a_grid_of_rates_there_is_no_largest(measure):
    one = cell(1.0, [0.8, 0.5])
    other = one._replace(settings={"learning_rate": 2.0, "momentum": 0.5})
    assert measure([one]) is measure([one, other]) is None


RATES = [0.1, 0.2, 0.4, 0.8]


def with_rates(found: Record, largest: dict[str, list[float]]) -> Record:
    """The record over a grid of rates: each arm's seeds train up to these rates."""

    def changed(table: pd.DataFrame) -> pd.DataFrame:
        grid = np.array(RATES)[np.round(3 * table["init_scale"]).astype(int)]
        ends = [largest[x][s] for x, s in zip(table["arm"], table["seed"])]
        accuracy = np.where(grid <= ends, 0.8, 0.1)
        scores = {"validation_accuracy": accuracy, "test_accuracy": accuracy}
        return table.drop(columns="init_scale").assign(learning_rate=grid, **scores)

    about = found.record | {"settings": ["learning_rate"]}
    grid = {"settings": {"learning_rate": RATES}}
    about["arms"] = {name: entry | grid for name, entry in about["arms"].items()}
    networks, epochs = changed(found.networks), changed(found.epochs)
    return found._replace(record=about, networks=networks, epochs=epochs)


def test_claims_about_rates_compare_the_largest_ones():
    """BN trains at 0.4 and at 0.8, without it 0.1: a ratio of 4 to 8, seed by seed."""
    claim = named_of_all("rate_by_norm", "BN trains at larger")
    levels = [{"norm": norm, "depth": d} for norm in BN for d in (2, 4, 8, 16)]
    made_up = [(x, {"ranges": np.ones(SEEDS)}) for x in levels]
    found = record("rate_by_norm", claim["where"], made_up)
    high, low = [0.4, 0.8] * (SEEDS // 2), [0.1] * SEEDS
    ends = {
        f"arm{i}": high if x["norm"] == "batch" else low for i, x in enumerate(levels)
    }
    table = claims.verdict_table(with_rates(found, ends)).set_index("sentence")
    verdicts = table["verdict_corrected"]
    assert verdicts[claim["sentence"]] == YES
    assert verdicts["BN trains at rates five times as large"].kind is Kind.UNDECIDED
    assert verdicts["Without BN, depth limits the rate"] == NO  # they are equal
    logs = statistics.mean_interval(np.log(np.array(high) / low))
    got = table.loc["", ["corrected", "corrected_low", "corrected_high"]].iloc[0]
    assert np.allclose(got.astype(float), np.exp(logs[:3]), rtol=1e-12)


TOP, INSIDE, NOWHERE = [0.8] * SEEDS, [0.2] * SEEDS, [0.0] * SEEDS
ENDS = "undecided (the grid of rates ends here)"


@pytest.mark.parametrize(
    ("batch", "none", "expected"),
    [  # of: BN trains at larger rates, five times as large
        (TOP, TOP, (ENDS, ENDS)),
        (NOWHERE, NOWHERE, (ENDS, ENDS)),
        (TOP, INSIDE, ("holds", ENDS)),  # a ratio of 4 at least
        (INSIDE, NOWHERE, ("holds", ENDS)),
        (INSIDE, INSIDE, ("does not hold", "does not hold")),
        (INSIDE, TOP, ("does not hold", "does not hold")),
        (NOWHERE, INSIDE, ("does not hold", "does not hold")),
        ([0.4] * (SEEDS - 1) + [0.8], [0.2] * SEEDS, ("holds", ENDS)),
    ],
)
def test_the_end_of_a_grid_is_no_verdict(batch, none, expected):
    """A number that is cut off decides only what the true one would too."""
    claim = named_of_all("rate_by_norm", "BN trains at larger")
    levels = [{"norm": norm, "depth": d} for norm in BN for d in (2, 4, 8, 16)]
    made_up = [(x, {"ranges": np.ones(SEEDS)}) for x in levels]
    found = record("rate_by_norm", claim["where"], made_up)
    ends = {
        f"arm{i}": batch if x["norm"] == "batch" else none for i, x in enumerate(levels)
    }
    table = claims.verdict_table(with_rates(found, ends)).set_index("sentence")
    verdicts = table["verdict_corrected"]
    five_times = "BN trains at rates five times as large"
    assert (str(verdicts[claim["sentence"]]), str(verdicts[five_times])) == expected


# claims of papers


def named_of_all(study: str, start: str) -> dict:
    (claim,) = [
        x
        for x in claim_data.all_claims()
        if x["study"] == study and x["sentence"].startswith(start)
    ]
    return claim


def test_every_claim_names_a_source_and_every_source_is_named():
    sources = claim_data.all_sources()
    assert {x["source"] for x in claim_data.all_claims()} == set(sources)
    for source in sources.values():
        paper = {"authors", "year", "title"}
        of_paper = [paper | {"arxiv"}, paper | {"url"}]
        assert set(source) in ([{"title"}] if "authors" not in source else of_paper)


def test_a_paper_has_one_year():
    """In the docstrings too, wherever they name it by its title."""
    for source in claim_data.all_sources().values():
        cited = re.compile(r"(\d{4})\. " + re.escape(source["title"]))
        for path in (ROOT / "normjax").rglob("*.py"):
            for year in cited.findall(" ".join(path.read_text().split())):
                assert int(year) == source["year"], (path, source["title"])


def test_an_upper_limit_is_no_published_number():
    for claim in claim_data.all_claims():
        assert "published" not in claim or "up to" not in claim.get("place", "")


def test_a_paper_is_named_with_its_number_and_what_is_unlike():
    """Beside the claims of the source, in one table."""
    claim = named_of_all("smoothness", "BN makes")
    found = made(claim, {"corrected": "holds"})
    section = presentation.claims_section(claims.verdict_table(found), " (x)")
    assert section.title == "Claims of the source and of papers (x)"
    assert presentation.PAPERS_NOTE in section.note
    (remark,) = [x for x in section.remarks if x.startswith("BN makes")]
    assert "Santurkar et al., 2018. How Does Batch" in remark
    assert "arXiv:1805.11604, section 3.1 and figure 4" in remark
    claim = named_of_all("batch_size", "At a batch of 2, group")
    table = claims.verdict_table(made(claim, {"corrected": "holds"}))
    section = presentation.claims_section(table, "")
    assert section.title == "Claims of papers"
    header, rows = tables.display(section, [])
    assert header == ["claim", "published", "corrected", "verdict, corrected"]
    assert rows[0][:2] == [
        "At a batch of 2, group norm beats BN: group-2 against batch-2,"
        " test accuracy, points",
        "10.6",
    ]


def test_a_paper_has_no_protocols():
    claim = named_of_all("batch_size", "At a batch of 2, group")
    table = claims.verdict_table(
        made(claim, {"corrected": "holds", "as_published": "holds"})
    )
    assert "verdict_corrected" in table
    assert "verdict_as_published" not in table


@pytest.mark.parametrize("tuning", [{}, {"tuning": {"search": "none"}}])
def test_a_claim_about_tuned_arms_needs_tuned_arms(tuning):
    claim = named_of_all("tuned_optimizers", "Tuned lion")
    found = made(claim, {"corrected": "holds"})
    assert own(found, claim)["verdict_corrected"] == YES
    config = {k: x for k, x in found.config.items() if k != "tuning"} | tuning
    assert claims.verdict_table(found._replace(config=config)).empty


# choices that a source left open


UNSTATED = {"kernel_init": ("he_normal", "glorot"), "sampling": ("replacement", "all")}
NAMES = [
    ", ".join(f"{k}={x}" for k, x in zip(UNSTATED, levels))
    for levels in itertools.product(*UNSTATED.values())
]


def over_choices(numbers: Sequence[float], unstated=tuple(UNSTATED)) -> Record:
    """What BN trains by, in points more than without, for each choice."""
    claim = named("deep_mlp", "BN trains")
    arms = []
    for key, (levels, number) in enumerate(
        zip(itertools.product(*UNSTATED.values()), numbers)
    ):
        for norm, value in zip(BN, (2 + number, 2.0)):
            factors = {"norm": norm} | dict(zip(UNSTATED, levels))
            arms.append((factors, arm(value, "train_accuracy", 10 * key + len(arms))))
    found = record("deep_mlp", claim["where"], arms)
    return found._replace(config=found.config | {"unstated": list(unstated)})


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([YES] * 4, "holds for all 4 choices"),
        ([NO] * 4, "does not hold for any of 4 choices"),
        ([OPEN] * 4, "undecided for all 4 choices"),
        ([YES, NO, YES, YES], "holds for 3 of 4 choices; does not hold with b"),
        ([NO, NO, OPEN], "holds for 0 of 3 choices; does not hold with a or b; {}"),
    ],
)
def test_a_claim_stands_if_it_does_for_every_choice(kinds, expected):
    verdicts = dict(zip("abcd", kinds))
    assert choices.standing(verdicts) == expected.format("undecided with c")


def test_a_choice_that_was_not_run_is_named():
    got = choices.standing({"a": YES, "b": YES}, ["c"])
    assert got == "holds for 2 of 3 choices; not run with c"


def test_each_choice_has_its_verdict():
    """The interval is that of the arms of the choice alone."""
    table = claims.verdict_table(over_choices([3.0, 3.0, -3.0, 3.0]))
    assert list(table["choice"]) == NAMES
    kinds = [x.kind for x in table["verdict_corrected"]]
    assert kinds == [Kind.HOLDS, Kind.HOLDS, Kind.FAILS, Kind.HOLDS]
    stands = f"holds for 3 of 4 choices; does not hold with {NAMES[2]}"
    assert set(table["stands_corrected"]) == {stands}
    label = "BN trains faster: batch against none, final train accuracy while training"
    assert list(table["claim"]) == [f"{label}, points ({x})" for x in NAMES]
    a, b = (
        100 * (0.8 + (v + 0.1 * draws(SEEDS, EVALS, key=k)[:, 0]) / 100)
        for v, k in ((5.0, 12), (2.0, 13))
    )
    assert np.isclose(table["corrected"][1], np.mean(a - b), rtol=1e-9)


def test_the_levels_of_a_factor_that_is_no_choice_are_not_told_apart():
    """Two arms for each side: the claim could be about either."""
    assert claims.verdict_table(over_choices([3.0] * 4, ())).empty
    assert claims.verdict_table(over_choices([3.0] * 4, ("sampling",))).empty


def test_one_level_is_no_choice():
    found = over_choices([3.0])
    plain = found._replace(config=found.config | {"unstated": ()})
    one, other = map(claims.verdict_table, (found, plain))
    assert one.equals(other)
    assert "choice" not in one


def test_an_arm_that_one_choice_lacks_leaves_the_others():
    found = over_choices([3.0] * 4)
    networks = found.networks[found.networks["arm"] != "arm7"]
    table = claims.verdict_table(found._replace(networks=networks))
    assert list(table["choice"]) == NAMES[:3]
    stands = f"holds for 3 of 4 choices; not run with {NAMES[3]}"
    assert set(table["stands_corrected"]) == {stands}


def test_a_claim_of_several_comparisons_has_them_for_each_choice():
    claim = named("optimizers", "rmsprop with dropout")
    sides = (*claim["of"], *claim["against"])
    arms = [
        (side | {"kernel_init": x}, arm(0.0 if i else -3.0, "test_accuracy", i))
        for x in ("he", "lecun")
        for i, side in enumerate(sides)
    ]
    found = record("optimizers", claim["where"], arms)
    found = found._replace(config=found.config | {"unstated": ["kernel_init"]})
    table = claims.verdict_table(found)
    mine = table[table["claim"].str.startswith(claim["sentence"])]
    assert list(mine["choice"]) == ["kernel_init=he", "kernel_init=lecun"]
    assert set(mine["stands_corrected"]) == {"holds for all 2 choices"}
    parts = table.iloc[mine.index[1] + 1 :][: len(claim["against"])]
    assert set(parts["choice"]) == {"kernel_init=lecun"}
    assert set(parts["stands_corrected"]) == {""}


def test_each_choice_is_beside_the_published_numbers():
    levels = {"optimizer": "sgd", "penalty": "none"}
    arms = [
        (levels | {"kernel_init": x}, arm(v, "test_accuracy", 1))
        for x, v in (("he", 1.0), ("lecun", 4.0))
    ]
    found = record("optimizers", {"data.name": ["fashion_mnist"]}, arms)
    assert published_numbers.comparison(found).empty
    found = found._replace(config=found.config | {"unstated": ["kernel_init"]})
    table = published_numbers.comparison(found)
    names = [f"sgd-none (kernel_init={x})" for x in ("he", "lecun")]
    assert list(table["arm"]) == names
    assert np.allclose(table["corrected"], [0.81, 0.84], rtol=1e-12)
    assert table["published"].nunique() == 1


@pytest.fixture
def written(tmp_path) -> Record:
    """A record on disk whose claim does not hold for one choice of four."""
    found = over_choices([3.0, 0.0, -3.0, 3.0])
    arms = {
        name: _records.Arm(
            found.networks[found.networks["arm"] == name],
            found.epochs[found.epochs["arm"] == name],
        )
        for name in found.record["arms"]
    }
    config = found.config | {"audit": "normjax.audit.claims"}
    about = {"study": "deep_mlp", "config": config}
    factors, settings = found.record["factors"], found.record["settings"]
    about = _records.wanted(arms, factors, settings, **about)
    return _records.write(tmp_path / "deep", about, arms)


def test_the_page_says_whether_a_claim_stands(written):
    stands = (
        f"holds for 2 of 4 choices; does not hold with {NAMES[2]};"
        f" undecided with {NAMES[1]}"
    )
    text = page.build(written.workdir, stills=False).read_text()
    assert "over all choices, corrected" in text
    assert stands in text
    assert presentation.CHOICES_NOTE.strip() in text
    table = pd.read_csv(written.workdir / "tables" / "claims.csv")
    assert set(table["stands_corrected"]) == {stands}
    (line,) = [x for x in tables.text(written).splitlines() if "BN trains" in x]
    assert line.split("  ")[-1].strip() == "holds for 2 of 4 choices"
    undecided = [x for x in decisions.undecided(written) if "BN trains" in x]
    assert undecided == [f"{table['claim'][1]} (corrected)"]


# the page of all claims


def test_the_page_of_claims_is_what_the_command_writes(tmp_path):
    """`make docs` writes it from the tables of `docs/results`."""
    folders = sorted(map(str, (ROOT / "docs/results").iterdir()))
    path = ROOT / "docs/claims.md"
    results = overview.read_results(folders, ROOT / "configs")
    text = overview.document(results, path.parent)
    assert path.read_text() == text


def test_every_claim_is_on_the_page_of_claims():
    text = overview.document([], "docs")
    for claim in claim_data.all_claims():
        assert f"\n| {claim['sentence']} " in text
        assert claim_data.citation(claim) in text
    assert text.count(" not run |") == len(claim_data.all_claims())


def test_the_page_of_claims_has_each_choice_and_a_link(written, capsys):
    page.build(written.workdir, stills=False)
    kept = written.workdir.parent / "results" / "deep"
    kept.mkdir(parents=True)
    for name in ("record.json", "tables/claims.csv"):
        (kept / pathlib.Path(name).name).write_bytes(
            (written.workdir / name).read_bytes()
        )
    path = kept.parents[1] / "claims.md"
    assert __main__.main([str(kept), "--write", str(path)]) == 0
    lines = [x for x in path.read_text().splitlines() if "| BN trains faster" in x]
    assert [NAMES[i] in line for i, line in enumerate(lines)] == [True] * 4
    for line in lines:
        assert "over all choices: holds for 2 of 4 choices; " in line
        assert line.endswith("| [deep](results/deep) |")
    assert " 21.0 | " in lines[0]
    assert __main__.main([str(kept)]) == 0
    assert "| BN trains faster" in capsys.readouterr().out


CONFIG = """
import normjax
from normjax.study.config import arguments

def get_config(text: str = ""):
    size, dataset = arguments(text, size=("full", "smoke"), dataset=("mnist", "digits"))
    return normjax.config(
        study="deep_mlp",
        question=f"{'How?' if size == 'full' else 'Quickly, how?'}",
        num_epochs={"full": 7, "smoke": 2}[size],
        data={"name": dataset, "num_train": 100 if dataset == "mnist" else 50},
        model={"widths": (3, 5)},
        arms={"norm": ("none", "batch")},
        settings={"momentum": (0.5,)},
    )
"""


def kept_config(**fields) -> dict:
    """The config of CONFIG as JSON, of the data set digits, with other fields."""
    module: dict = {}
    exec(CONFIG, module)
    config = json.loads(module["get_config"]("dataset=digits").to_json())
    for name, value in fields.items():
        group, _, field = name.partition("__")
        (config[group] if field else config)[field or group] = value
    return config


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"question": "Another?", "num_seeds": 3, "data__dir": "/tmp"}, []),
        ({"num_epochs": 2}, []),  # size=smoke
        ({"arms__penalty": []}, []),  # as none
        ({"num_epochs": 4}, ["num_epochs 4, now 7"]),
        ({"model__widths": [3]}, ["model.widths 3, now 3, 5"]),
        ({"arms__batch_size": ["128"]}, []),  # the config's own
        ({"arms__batch_size": [8, 2]}, ["batch_size 8, 2, now 128"]),
        ({"settings__momentum": []}, ["settings.momentum empty, now 0.5"]),
        ({"data__subset": "per_seed"}, ["data.subset per_seed, now shared"]),
        ({"faults": ["one"], "holes": []}, ["faults one, which is gone"]),
        (
            {"protocols": {"as_published": {"norm": {"batch": "x.y"}}}},
            ["protocols.as_published of norm, which is gone"],
        ),
    ],
)
def test_a_result_is_compared_with_the_config_of_today(fields, expected, tmp_path):
    """Of its data set and of the nearest size; what is new has its default."""
    (tmp_path / "deep_mlp.py").write_text(CONFIG)
    config = kept_config(**fields)
    assert methods.differences(config, tmp_path) == expected
    del config["last_batch"], config["model"]["kernel_size"]
    assert methods.differences(config, tmp_path) == expected
    del config["model"]["widths"]
    assert "model.widths, now 3, 5" in methods.differences(config, tmp_path)
    assert methods.differences(config | {"study": "mine"}, tmp_path) == []


def test_the_page_marks_what_an_earlier_method_made(written, tmp_path, capsys):
    page.build(written.workdir, stills=False)
    for name in ("record.json", "tables/claims.csv"):
        (tmp_path / pathlib.Path(name).name).write_bytes(
            (written.workdir / name).read_bytes()
        )
    (tmp_path / "deep_mlp.py").write_text(CONFIG)
    for epochs, earlier in ((7, False), (4, True)):
        text = json.dumps(kept_config(num_epochs=epochs))
        (tmp_path / "config.json").write_text(text)
        assert __main__.main([str(tmp_path), "--configs", str(tmp_path)]) == 0
        got = capsys.readouterr().out
        assert ("is of an earlier method**: num_epochs 4, now 7.\n" in got) is earlier
        lines = [x for x in got.splitlines() if "| BN trains faster" in x]
        assert [x.endswith(", earlier method |") for x in lines] == [earlier] * 4


def test_a_folder_without_a_record_is_refused(tmp_path, capsys):
    assert __main__.main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error == (
        f"results={str(tmp_path)!r}: must be a folder of results, with record.json;"
        " name docs/results/NAME.\n"
    )


def test_folders_of_results_must_be_given_and_one_without_claims_is_told(
    tmp_path, capsys
):
    assert __main__.main([]) == 2
    assert capsys.readouterr() == (
        "",
        "results: must be given; name folders, such as docs/results/*.\n",
    )
    (tmp_path / "record.json").write_text('{"study": "mine"}')
    assert __main__.main([str(tmp_path)]) == 0
    page, told = capsys.readouterr()
    assert page == ""
    assert told == f"{tmp_path}: its study has no claims\n"
