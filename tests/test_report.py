"""The report, on records made from a formula."""

import copy
import html.parser
import itertools
import json
import pathlib
import re
import shutil
import subprocess
import sys

import _records
import numpy as np
import pandas as pd
import pytest

from normjax import files, outliers, p_values, statistics
from normjax.audit import claims, published_numbers
from normjax.errors import InputError
from normjax.report import __main__ as command
from normjax.report import (
    answers,
    equal_numbers,
    estimates,
    formats,
    networks,
    page,
    stale_files,
    tables,
)
from normjax.report.audit_interface import Section
from normjax.statistics import Interval
from normjax.study.record import CURVES, FINAL, Record, read_record

ROOT = pathlib.Path(__file__).parents[1]
AUDIT = "normjax.audit.claims"
NORMS = {"norm": ("none", "batch", "layer", "weight")}
OPTIMIZERS = {
    "protocol": ("corrected", "as_published"),
    "optimizer": ("sgd", "adam", "third_moment"),
    "penalty": ("none", "l2"),
}


def lanes(arm: int, name: str, factors: dict, settings: dict, num_seeds: int):
    """Networks and epochs of an arm: learning curves with noise of seed and epoch."""
    generator = np.random.default_rng(arm)
    t = np.arange(1, 6)
    networks, epochs = [], []
    grid = list(itertools.product(*settings.values()))
    for values, seed in itertools.product(grid, range(num_seeds)):
        lane = {"arm": name, **factors, "seed": seed, **dict(zip(settings, values))}
        noise = generator.normal(size=5)
        own = 0.003 * np.sin(9 * seed) + 0.001 * noise
        best = 0.85 + 0.01 * arm - 0.02 * abs(np.log10(values[0]) + 2)
        accuracy = best + own - 0.2 * np.exp(-t)
        loss = 0.3 + 0.7 * np.exp(-t / (1 + arm)) + 5 * own
        curves = {name: loss for name in CURVES if name.endswith("loss")}
        curves |= {"train_accuracy": accuracy + 0.03, "test_accuracy": accuracy}
        curves |= {"validation_accuracy": accuracy + 0.01}
        epochs.append(pd.DataFrame({**lane, "epoch": t, "step": 100 * t, **curves}))
        final = {key: curves[key][-1] for key in FINAL if key in curves}
        networks.append({**lane, **final, "diverged_at_step": -1, "seconds": 2.5 + arm})
    return pd.DataFrame(networks), pd.concat(epochs)


def make(
    folder: pathlib.Path,
    factors: dict[str, tuple[str, ...]],
    *,
    settings: dict[str, tuple[float, ...]] | None = None,
    num_seeds: int = 8,
    baseline: dict[str, str] | None = None,
    question: str = "Which is best?",
    study: str = "made",
    audit: str = "",
) -> Record:
    """A record of every combination of the factors, in `folder`."""
    settings = settings or {"learning_rate": (0.01,)}
    made = {}
    for i, levels in enumerate(itertools.product(*factors.values())):
        name = "-".join(levels)
        rows = lanes(i, name, dict(zip(factors, levels)), settings, num_seeds)
        probes = {}
        if "third_moment" in name:
            shape = (len(rows[0]), 5)
            share = np.linspace(0, 2e-6, np.prod(shape)).reshape(shape)
            probes = {
                published_numbers.SHARE: share,
                published_numbers.DENOMINATOR: share + 1e-8,
            }
        seconds = [x * (2.5 + i) / 5 for x in (0.8, 0.9, 1, 1.1, 1.2)]
        made[name] = _records.Arm(*rows, probes, seconds)
    about = _records.wanted(
        made,
        list(factors),
        list(settings),
        study=study,
        question=question,
        baseline=baseline or {},
        config={"study": study, "audit": audit, "data": {"name": "digits"}},
    )
    return _records.write(folder, about, made)


def test_equal_numbers_are_told_but_not_where_they_are_known_to_be(norms, tmp_path):
    """Of arms that ignore a factor, and of an arm that ignores a setting."""
    assert equal_numbers.sentences(norms) == []
    same = {**norms.curves}
    for name in CURVES:
        same[f"batch/{name}"] = same[f"layer/{name}"] = same[f"none/{name}"]
    record = norms._replace(curves=same)
    text = "none, batch and layer have the same numbers to the last digit"
    assert equal_numbers.sentences(record) == [text]
    arms = {name: x | {"id": "1"} for name, x in norms.record["arms"].items()}
    known = record._replace(record=record.record | {"arms": arms})
    assert equal_numbers.sentences(known) == []
    made = make(tmp_path, {"norm": ("rms",)}, settings={"eps": (0.1, 0.2, 0.3)})
    curves = {k: np.stack([x[0], x[0], x[2]]) for k, x in made.curves.items()}
    told = equal_numbers.sentences(made._replace(curves=curves))
    assert told == ["rms has the same numbers to the last digit at 2 of its 3 settings"]
    lost = {k: np.where(x > 0, np.nan, x) for k, x in curves.items()}
    assert equal_numbers.sentences(made._replace(curves=lost)) == []


@pytest.fixture(scope="module")
def norms(tmp_path_factory) -> Record:
    return make(tmp_path_factory.mktemp("norms"), NORMS, baseline={"norm": "none"})


@pytest.fixture(scope="module")
def optimizers(tmp_path_factory) -> Record:
    folder = tmp_path_factory.mktemp("optimizers")
    baseline = {"optimizer": "adam"}
    return make(folder, OPTIMIZERS, baseline=baseline, study="optimizers", audit=AUDIT)


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> Record:
    settings = {"learning_rate": (0.001, 0.01, 0.1), "decay": (0.9, 0.99)}
    folder = tmp_path_factory.mktemp("grid")
    return make(folder, NORMS, settings=settings, baseline={"norm": "none"})


def section(record: Record, name: str) -> Section | None:
    """The table of that name, if the record has it."""
    return {x.name: x for x in tables.all_sections(record)}.get(name)


# cells


def test_cells_hold_every_number_at_its_seed_and_epoch(grid):
    found = networks.load(grid)
    assert [(c.arm, c.position) for c in found] == [
        (arm, i) for arm in NORMS["norm"] for i in range(6)
    ]
    rows = grid.epochs.sample(frac=1, random_state=0)
    for cell in (found[0], found[9]):
        mine = rows[(rows[list(cell.settings)] == pd.Series(cell.settings)).all(axis=1)]
        mine = mine[mine["arm"] == cell.arm]
        for row in mine.to_dict("records"):
            got = cell.curves["train_loss"][row["seed"], row["epoch"] - 1]
            assert got == row["train_loss"]


def test_cells_do_not_depend_on_the_order_of_the_rows_of_seeds(norms):
    reverse = norms._replace(networks=norms.networks[::-1], epochs=norms.epochs[::-1])
    by_arm = {cell.arm: cell for cell in networks.load(reverse)}
    for cell in networks.load(norms):
        other = by_arm[cell.arm]
        assert np.array_equal(cell.seeds, other.seeds)
        assert np.array_equal(cell.curves["test_loss"], other.curves["test_loss"])


def test_a_setting_that_arms_do_not_share_is_nan_and_no_level(norms):
    final, epochs = norms.networks.copy(), norms.epochs.copy()
    for table in (final, epochs):
        table.loc[table["arm"] == "none", "learning_rate"] = np.nan
    found = networks.load(norms._replace(networks=final, epochs=epochs))
    assert len(found) == 4
    assert np.isnan(found[0].settings["learning_rate"])
    assert networks.levels(found, "settings", "learning_rate") == [0.01]


def test_a_missing_epoch_is_named(norms):
    with pytest.raises(InputError) as caught:
        networks.load(norms._replace(epochs=norms.epochs[1:]))
    why = "arm 'none' does not have one row for each seed and epoch"
    assert str(caught.value) == str(files.damaged(norms.workdir / "epochs.csv", why))


def test_the_setting_is_chosen_by_validation_accuracy(grid):
    assert [
        c.settings["learning_rate"] for c in networks.best_of_arms(networks.load(grid))
    ] == [0.01] * 4


# numbers


def test_summary_is_the_statistics_of_each_arm(norms):
    table = estimates.summary(norms)
    assert list(table["arm"]) == list(NORMS["norm"])
    for cell, row in zip(networks.load(norms), table.to_dict("records")):
        accuracy = cell.final["test_accuracy"]
        expected = statistics.mean_interval(accuracy)
        got = [row[f"test_accuracy{end}"] for end in ("", "_low", "_high")]
        assert got == list(expected[:3])
        assert row["test_accuracy_min"] == accuracy.min()
        expected = statistics.stability(cell.curves["train_loss"])
        assert row["stability_high"] == expected.high
        assert row["seeds"] == 8
        assert row["diverged"] == 0
    assert list(table["share_reached"]) == sorted(table["share_reached"])


def test_seconds_are_those_of_the_median_epoch(norms):
    """Five epochs of 80% to 120% of the median; bounds need six."""
    table = estimates.summary(norms)
    assert np.allclose(table["seconds"], [2.5, 3.5, 4.5, 5.5], rtol=1e-15)
    assert table[["seconds_low", "seconds_high"]].isna().all(axis=None)
    ratios = estimates.arm_differences(norms)
    assert np.allclose(ratios["seconds_ratio"], [1.4, 1.8, 2.2], rtol=1e-14)
    assert not {"seconds_ratio_low", "seconds_ratio_high"} & set(ratios)


def test_a_burst_of_noise_does_not_move_the_seconds(norms):
    """Ten epochs, k = 2: from the second to the ninth, whatever the tenth took."""
    cell = networks.load(norms)[0]
    for last in (10.0, 1e6):
        epochs = np.array([last, 3.0, 5.0, 1.0, 2.0, 9.0, 4.0, 8.0, 6.0, 7.0])
        found = estimates.speed(cell._replace(epoch_seconds=epochs))
        assert found == (55, 20, 90, 10)


def test_diverged_networks_are_counted(norms):
    networks = norms.networks.copy()
    networks.loc[[8, 9], "diverged_at_step"] = [0, 120]
    table = estimates.summary(norms._replace(networks=networks))
    assert list(table["diverged"]) == [0, 2, 0, 0]


def test_differences_are_paired_with_the_baseline_arm(optimizers):
    table = estimates.arm_differences(optimizers)
    pairs = list(zip(table["arm"], table["baseline"]))
    assert pairs == [
        (f"{p}-{o}-{r}", f"{p}-adam-{r}")
        for p in OPTIMIZERS["protocol"]
        for o in ("sgd", "third_moment")
        for r in OPTIMIZERS["penalty"]
    ]
    by_arm = {cell.arm: cell for cell in networks.load(optimizers)}
    for row in table.to_dict("records"):
        a, b = (by_arm[row[x]].final["test_accuracy"] for x in ("arm", "baseline"))
        expected = statistics.paired_difference(100 * a, 100 * b)
        got = [row[f"accuracy_points{end}"] for end in ("", "_low", "_high")]
        assert (*got, row["p"]) == (*expected[:3], expected.p)


def test_differences_pair_the_seeds_that_both_have(norms):
    """Without seed 0 of the baseline: seven pairs, each seed with its own."""
    keep = (norms.networks["arm"] != "none") | (norms.networks["seed"] != 0)
    final = norms.networks[keep]
    keep = (norms.epochs["arm"] != "none") | (norms.epochs["seed"] != 0)
    fewer = norms._replace(networks=final, epochs=norms.epochs[keep])
    row = estimates.arm_differences(fewer).iloc[0]
    a, b = (c.final["test_accuracy"][1:] for c in networks.load(norms)[1::-1])
    assert row["seeds"] == 7
    assert row["accuracy_points"] == statistics.paired_difference(100 * a, 100 * b)[0]


def test_differences_of_a_grid_are_taken_at_the_same_place(grid):
    table = estimates.arm_differences(grid)
    assert len(table) == 3 * 6
    # an arm is 0.01 above the one before at every setting, but for noise of 0.001
    expected = np.repeat([1.0, 2.0, 3.0], 6)
    assert np.abs(table["accuracy_points"] - expected).max() < 0.3


def test_protocols_are_compared_where_there_are_two(norms, optimizers):
    assert section(norms, "protocols") is None
    table = section(optimizers, "protocols").numbers
    assert list(table["baseline"]) == [
        arm.replace("corrected", "as_published") for arm in table["arm"]
    ]
    assert len(table) == 6


def test_an_arm_is_not_compared_with_itself(norms):
    """One network under two names is no comparison, and Holm counts it not."""
    arms = copy.deepcopy(norms.record["arms"])
    table = lambda: estimates.arm_differences(
        norms._replace(record=norms.record | {"arms": arms})
    )
    before = table().set_index("arm")
    arms["batch"]["id"] = arms["none"]["id"]
    after = table().set_index("arm")
    assert list(before.index) == ["batch", *after.index]
    p = after["p"].to_numpy()
    assert list(after["p_holm"]) == list(p_values.holm(p))
    assert (after["p_holm"] < before.loc[after.index, "p_holm"]).all()
    same = [x for x in after if x != "p_holm"]
    pd.testing.assert_frame_equal(after[same], before.loc[after.index, same])


def test_third_moment_shows_the_extremes_of_its_probes(norms, optimizers):
    assert published_numbers.distance_from_adam(norms).empty
    table = published_numbers.distance_from_adam(optimizers)
    assert list(table["arm"]) == [
        f"{p}-third_moment-{r}"
        for p in OPTIMIZERS["protocol"]
        for r in OPTIMIZERS["penalty"]
    ]
    assert set(table[published_numbers.SHARE]) == {2e-6}
    assert set(table[published_numbers.DENOMINATOR]) == {1e-8}


def collapsed(record: Record, arm: str, seed: int, by: float) -> Record:
    """The record, had one network of an arm ended with less test accuracy."""
    networks = record.networks.copy()
    row = (networks["arm"] == arm) & (networks["seed"] == seed)
    networks.loc[row, "test_accuracy"] -= by
    return record._replace(networks=networks)


SHOWN = ("summary", "trimmed mean"), ("differences", "trimmed mean, points")


def test_a_collapsed_seed_is_named_beside_a_trimmed_mean(norms):
    """In its arm's row and in its comparison's; other rows show nothing there."""
    found = collapsed(norms, "batch", 5, 0.3)
    summary = estimates.summary(found).set_index("arm")
    assert summary["outlying_seeds"].dropna().to_dict() == {"batch": "5"}
    by_arm = {cell.arm: cell for cell in networks.load(found)}
    a, b = (100 * by_arm[x].final["test_accuracy"] for x in ("batch", "none"))
    row = estimates.arm_differences(found).set_index("arm").loc["batch"]
    expected = outliers.trimmed_mean(a - b)
    ends = ["trimmed_points", "trimmed_points_low", "trimmed_points_high"]
    assert list(row[ends]) == list(expected[:3])
    for name, column in (
        ("summary", "trimmed mean"),
        ("differences", "trimmed mean, points"),
    ):
        table = section(found, name)
        header, rows = tables.display(table, [])
        shown = {row[0]: row[header.index(column)] for row in rows}
        assert [arm for arm, text in shown.items() if text] == ["batch"]
        assert header[header.index(column) + 1] == "outlying seeds"
        assert tables.OUTLYING_NOTE in table.note
    text = tables.text(found)
    assert text.count(tables.OUTLYING_FOOTNOTE) == 2
    assert f"{expected.estimate:.2f}  " in text
    trimmed = formats.points(outliers.trimmed_mean(b - a))
    answer = answers.answer([by_arm[x] for x in ("none", "batch")])[0]
    assert f"(with 1 outlying seed; trimmed mean {trimmed}) against batch" in answer


def test_the_terminal_has_room_for_trimmed_means(optimizers):
    found = collapsed(optimizers, "as_published-third_moment-l2", 5, 0.3)
    assert max(map(len, tables.text(found).splitlines())) <= 80


def test_without_an_outlying_seed_tables_are_as_they_were(norms):
    for name in ("summary", "differences"):
        table = section(norms, name)
        assert not [x for x in table.numbers if "trimmed" in x or "outlying" in x]
        assert "trimmed" not in table.note


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"num_train": 6_000}, True),
        ({"num_train": 6_000, "subset": "shared"}, True),
        ({"num_train": 6_000, "subset": "per_seed"}, False),
        ({"num_train": 0}, False),
        ({}, False),
    ],
)
def test_the_page_says_that_seeds_share_a_subset(norms, data, told):
    found = norms._replace(config=norms.config | {"data": data})
    sentence = (
        "All seeds share one subset of 6,000 training examples, so the intervals leave"
        " out what another subset would change."
    )
    assert (sentence in section(found, "summary").note) == told


# text


@pytest.mark.parametrize(
    ("text", "interval", "expected"),
    [
        (formats.by_width, (0.87649, 0.8751, 0.8779), "0.8765 [0.8751, 0.8779]"),
        (formats.by_width, (0.5, 0.38, 0.62), "0.50 [0.38, 0.62]"),
        (formats.by_width, (1.0, 0.9, 1.0998), "1.00 [0.90, 1.10]"),
        (formats.by_width, (50, -73, 173), "50 [-73, 173]"),
        (formats.by_width, (0.1, 0.1, 0.1), "0.1000 [0.1000, 0.1000]"),
        (formats.by_width, (-2e7, -3e7, -1e7), "-2.00e+07 [-3.00e+07, -1.00e+07]"),
        (formats.by_width, (0.87654, 0.87651, 0.87657), "0.8765 [0.8765, 0.8766]"),
        (formats.by_width, (0.87649, np.nan, np.nan), "0.8765"),
        (formats.by_width, (np.nan, np.nan, np.nan), "-"),
        (formats.plus_minus, (0.87649, 0.8751, 0.8779), "0.8765 ± 0.0014"),
        (formats.plus_minus, (0.87649, np.nan, np.nan), "0.8765"),
        (formats.by_digits, (1.234e-5, 6.1e-6, 4e-5), "1.2e-05 [6.1e-06, 4.0e-05]"),
        (formats.by_digits, (0.0123, 0.00999, 1234), "0.012 [0.010, 1,234]"),
        (formats.by_digits, (0.0, np.nan, np.nan), "0"),
        (formats.by_three_digits, (1.0199, 0.98, 12.34), "1.02 [0.980, 12.3]"),
        (formats.steps, (1234.5, 800, np.inf), "1,234 [800, never]"),
        (formats.steps, (np.inf, np.inf, np.inf), "never"),
        (formats.percent, (0.9, 0.596, 0.982), "90% [60, 98]"),
    ],
)
def test_numbers_show_the_digits_that_mean_something(text, interval, expected):
    assert text(Interval(*map(float, interval), 10)) == expected


HEADER, ROWS = ["arm", "accuracy"], [["a_b|c", "0.9 ± 0.1"], ["longer", "-"]]


def test_markdown():
    assert formats.markdown_table(HEADER, ROWS) == (
        "| arm    |  accuracy |\n"
        "| :----- | --------: |\n"
        "| a_b\\|c | 0.9 ± 0.1 |\n"
        "| longer |         - |\n"
    )


def test_latex():
    assert formats.latex_table(HEADER, [*ROWS, ["50% & {x}\\~", "nats²"]]) == (
        "\\begin{tabular}{lr}\n\\toprule\narm & accuracy \\\\\n\\midrule\n"
        "a\\_b|c & 0.9 $\\pm$ 0.1 \\\\\nlonger & - \\\\\n"
        "50\\% \\& \\{x\\}\\textbackslash{}\\textasciitilde{} & nats$^2$ \\\\\n"
        "\\bottomrule\n\\end{tabular}\n"
    )


def test_plain():
    assert formats.plain_table(HEADER, ROWS) == (
        "arm      accuracy\n------  ---------\na_b|c   0.9 ± 0.1\nlonger          -\n"
    )


def test_the_terminal_shows_every_table_within_a_hundred_columns(optimizers):
    text = tables.text(optimizers)
    assert max(map(len, text.splitlines())) <= 100
    for name in ("summary", "differences", "protocols", "third_moment"):
        assert section(optimizers, name).title in text
    assert text.endswith(
        "\n\nVariance is that of the train loss between seeds. Steps are those to the"
        " target\naccuracy, reached is the share of seeds that get there.\n"
        "± is half the width of a 95% interval over seeds, brackets are its"
        " bounds.\n"
        "Seconds are those of the median epoch times the number of epochs.\n"
    )


def test_only_settings_of_a_grid_are_shown(norms, grid):
    summary = section(norms, "summary")
    summary.numbers["learning_rate"] = [0.1, 0.001, 0.001, np.nan]
    header, _ = tables.display(summary, ["learning_rate"])
    assert header[:2] == ["arm", "test accuracy"]
    names = ["learning_rate", "decay"]
    header, rows = tables.display(section(grid, "summary"), names)
    assert header[:3] == ["arm", "learning rate", "decay"]
    assert rows[1][:3] == ["none", "0.001", "0.99"]


# the JSON of three levels


def test_stats_has_three_levels_and_a_file_a_protocol(optimizers, norms):
    assert claims.documents(norms) == {}
    found = claims.documents(optimizers)
    assert list(found) == ["stats.json", "stats_as_published.json"]
    assert list(found["stats.json"]) == list(OPTIMIZERS["optimizer"])
    entry = found["stats_as_published.json"]["third_moment"]["l2"]
    cell = networks.load(optimizers)[-1]
    assert list(entry) == [*published_numbers.LISTS, *published_numbers.LISTS_BY_SEED]
    assert entry["test_acc_list"] == list(cell.final["test_accuracy"])
    assert entry["cputime_list"] == list(cell.final["seconds"])
    by_seed = entry["train_cce_list_dict"]
    assert list(by_seed) == [str(seed) for seed in range(8)]
    assert by_seed["3"] == list(cell.curves["train_loss"][3])


# the page


class Page(html.parser.HTMLParser):
    """Collects tags, ids and what is loaded; checks that tags close in order."""

    VOID = ("meta", "br", "wbr", "link", "img")

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.ids, self.loads = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.ids += [value for name, value in attributes if name == "id"]
        for name, value in attributes:
            if name in ("src", "href", "xlink:href") and not value.startswith("#"):
                self.loads.append(value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def built(optimizers) -> str:
    return page.build(optimizers.workdir).read_text()


def without_scripts(text: str) -> str:
    """A page without what only its scripts read."""
    return re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)


def test_the_page_needs_nothing_else(built, optimizers):
    """It loads nothing; what it links to lies beside it, or is a part of it."""
    parsed = Page(built)
    assert parsed.open == []
    assert "@import" not in built
    assert set(re.findall(r"url\(.", without_scripts(built))) <= {"url(#"}
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert parsed.loads
    assert [x for x in parsed.loads if not (optimizers.workdir / x).exists()] == []
    references = re.findall(r'(?:href="#|url\(#)([^")]+)', without_scripts(built))
    assert references
    assert set(references) <= set(parsed.ids)


def test_the_page_holds_what_was_asked(built, optimizers):
    assert 'name="viewport"' in built
    assert "prefers-color-scheme: dark" in built
    assert "@media print" in built
    for text in ("abc1234", "python launch.py --config=configs/made.py", "118,282"):
        assert text in built
    assert "12 arms, 96 networks" in built
    words = " ".join(built.split())
    assert "the ratio of seconds is one of medians and has no interval" in words
    assert "the median epoch times the number of epochs" in words


def test_the_answer_and_its_picture_come_first_and_what_was_run_last(built):
    text = without_scripts(built)
    ids = re.findall(r' id="([a-z-]+)"', text)
    parts = ["answer", "charts", "tables", "definitions", "run"]
    assert [x for x in ids if x in parts] == parts
    assert text.index('data-chart="differences"') < text.index('id="charts"')


def test_build_writes_every_file_and_the_same_bytes_again(built, optimizers):
    folder = optimizers.workdir
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    names = {str(p.relative_to(folder)) for p in before}
    assert {"report.html", "stats.json", "stats_as_published.json"} <= names
    for name in ("summary", "differences", "protocols", "third_moment"):
        assert {f"tables/{name}.{x}" for x in ("csv", "md", "tex")} <= names
    assert "tables/curves.csv" in names
    for name in ("differences", "train_loss", "test_accuracy", "seeds"):
        assert {f"figures/{name}.{x}" for x in ("svg", "pdf", "png")} <= names
    page.build(folder)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    table = pd.read_csv(folder / "tables" / "summary.csv", keep_default_na=False)
    expected = estimates.summary(optimizers)["test_accuracy"]
    assert list(table["test_accuracy"].astype(float)) == list(expected)
    json.loads((folder / "stats.json").read_text())


def test_tables_that_no_longer_exist_are_removed_and_nothing_else(tmp_path):
    """What a report wrote goes, unless somebody changed it; other files stay."""
    make(tmp_path, NORMS, num_seeds=2, baseline={"norm": "none"})
    page.build(tmp_path, stills=False)
    folder = tmp_path / "tables"
    own = {"mine.csv": "a", "differences.md": "my remarks"}
    for name, text in own.items():
        (folder / name).write_text(text)
    for path in (tmp_path / "networks").iterdir():
        path.unlink()
    page.build(tmp_path, stills=False)
    left = {x.name: x.read_text() for x in folder.glob("[!.]*")}
    assert left == own
    (folder / stale_files.WRITTEN).unlink()  # as a report of an older version left it
    page.build(tmp_path, stills=False)
    assert {x.name for x in folder.glob("[!.]*")} == own.keys()


def test_the_curves_are_means_over_seeds_after_each_epoch(optimizers):
    """At the last epoch those of the summary; a probe is there like a measurement."""
    table = estimates.curves(optimizers)
    found = networks.load(optimizers)
    counted = sum(x.size for c in found for x in (c.curves | c.probes).values())
    assert table["seeds"].sum() <= counted
    last = table[table["epoch"] == len(found[0].steps)]
    accuracy = last[last["measure"] == "test_accuracy"]
    summary = estimates.summary(optimizers)
    for ours, theirs in (("mean", "test_accuracy"), ("mean_low", "test_accuracy_low")):
        assert np.allclose(accuracy[ours], summary[theirs], rtol=1e-14, atol=0)
    assert list(accuracy["arm"]) == list(summary["arm"])
    cell = next(c for c in found if c.probes)
    name, values = next(iter(cell.probes.items()))
    rows = table[(table["arm"] == cell.arm) & (table["measure"] == name)]
    assert list(rows["step"]) == list(cell.steps)
    means = statistics.mean_interval(values).estimate
    assert np.allclose(rows["mean"], means, rtol=1e-14, atol=0)


def test_one_seed_gives_a_page_without_intervals(tmp_path):
    record = make(tmp_path, NORMS, num_seeds=1, baseline={"norm": "none"})
    text = page.build(tmp_path, stills=False).read_text()
    assert "too few seeds for an interval" in answers.answer(networks.load(record))[0]
    assert "nan" not in tables.text(record)
    assert "1 seed is too few to conclude from" in text


@pytest.mark.parametrize("norms_lost", [("batch",), ("none", "batch")])
def test_arms_whose_networks_all_diverged_in_epoch_1_have_a_page(tmp_path, norms_lost):
    """One arm of two, and both; warnings are errors here."""
    factors = {"norm": ("none", "batch")}
    record = make(tmp_path / "a", factors, baseline={"norm": "none"})
    final, epochs = record.networks.copy(), record.epochs.copy()
    lost = final["norm"].isin(norms_lost)
    final.loc[lost, list(FINAL[:-2])] = np.nan
    final.loc[lost, "diverged_at_step"] = 1
    lost = epochs["norm"].isin(norms_lost)
    epochs.loc[lost, list(CURVES)] = np.nan
    _records.rewritten(record, final, epochs)
    text = page.build(tmp_path / "a", stills=False).read_text()
    words = {"none": "no norm", "batch": "batch"}
    lost = "; ".join(f"8 of 8 of {words[x]}" for x in norms_lost)
    assert f"Diverged networks: {lost}." in without_scripts(text)
    assert "nan" not in tables.text(read_record(tmp_path / "a"))


@pytest.mark.parametrize("name", ["tables", "figures"])
def test_a_file_in_the_place_of_a_folder_is_one_line(norms, tmp_path, capsys, name):
    folder = tmp_path / "run"
    ignore = shutil.ignore_patterns("tables", "figures")
    shutil.copytree(norms.workdir, folder, ignore=ignore)
    (folder / name).write_text("mine")
    assert command.main([str(folder)]) == 2
    with pytest.raises(InputError, match="File exists") as caught:
        files.folder(folder / name)
    assert capsys.readouterr().err == f"{caught.value}\n"


def test_what_users_write_is_escaped(tmp_path):
    evil = "<script>alert('&')</script>"
    make(tmp_path, {"norm": ("none", "<b>&amp;")}, question=evil, num_seeds=2)
    text = page.build(tmp_path).read_text()
    assert text.count("<script") == text.count("</script") == 4
    assert "<b>&" not in text
    assert "&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;" in text
    assert Page(text).open == []


def test_a_record_without_a_network_has_a_page_that_says_so(tmp_path):
    record = make(tmp_path, {"norm": ("none", "batch")}, num_seeds=2)
    for path in (record.workdir / "networks").iterdir():
        path.unlink()
    text = without_scripts(page.build(tmp_path).read_text())
    assert "No network is finished yet, so there is nothing to compare." in text
    assert "<dt>No network yet</dt><dd>no norm; batch</dd>" in text
    assert "The command that began the study continues it:" in text
    assert Page(text).tags.count("table") == 0


def test_the_command_rebuilds_each_page(tmp_path, capsys):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        make(folder, {"norm": ("none",)}, num_seeds=2)
    assert command.main([str(folder) for folder in folders]) == 0
    expected = "".join(f"{folder / 'report.html'}\n" for folder in folders)
    assert capsys.readouterr().out == expected
    assert (folders[0] / "report.html").exists()


def test_the_command_says_what_a_record_lacks(norms, tmp_path, capsys):
    """A damaged file of one arm; the page has the others, and says the same."""
    shutil.copytree(norms.workdir, tmp_path / "run")
    entry = norms.record["arms"]["batch"]
    (path,) = (tmp_path / "run" / "networks").glob(f"{entry['id']}-*")
    path.write_bytes(path.read_bytes()[:-1])
    assert command.main([str(tmp_path / "run")]) == 0
    printed = capsys.readouterr()
    assert printed.err == f"no network yet: batch\ndamaged: {path.name}\n"
    text = (tmp_path / "run" / "report.html").read_text()
    assert "<dt>No network yet</dt><dd>batch</dd>" in text
    assert path.name in text.replace("<wbr>", "")


def test_the_command_ends_with_one_line_and_code_2(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "normjax.report", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert ran.returncode == 2
    assert ran.stdout == ""
    with pytest.raises(InputError, match="has no record") as caught:
        read_record(tmp_path)
    assert ran.stderr == f"{caught.value}\n"


def on_fashion(record: Record, **config: int) -> Record:
    """The record as if of the data that the source has."""
    data = {"data": {"name": "fashion_mnist"}}
    return record._replace(config=record.config | data | config)


def test_published_numbers_stand_beside_both_protocols(optimizers):
    """The source's seeds give its interval; its variance is in nats^2 after * 128^2."""
    table = published_numbers.comparison(on_fashion(optimizers)).set_index("arm")
    assert list(table.index) == [
        f"{name}-{penalty}"
        for name in ("sgd", "adam", "third_moment")
        for penalty in ("none", "l2")
    ]
    theirs = published_numbers.all_numbers()["optimizers"]["fashion_mnist"]
    accuracy = np.array(theirs["test_accuracy"]["custom"]["l2"])
    row = table.loc["third_moment-l2"]
    assert row["published"] == accuracy.mean()
    assert row["published_high"] == statistics.mean_interval(accuracy).high
    assert row["published_stability"] == 2.271414e-09 * 128**2
    ours = estimates.summary(optimizers).set_index("arm")
    for protocol in ("corrected", "as_published"):
        assert (
            row[f"{protocol}_low"]
            == ours.loc[f"{protocol}-third_moment-l2", "test_accuracy_low"]
        )


@pytest.mark.parametrize(
    ("study", "factors"),
    [
        ("made", OPTIMIZERS),
        ("optimizers", OPTIMIZERS | {"norm": ("none", "batch")}),
        ("optimizers", {"optimizer": ("sgd", "adam")}),
    ],
)
def test_what_the_source_did_not_ask_is_not_put_beside_it(tmp_path, study, factors):
    """Another study; a place of its table that is several arms; no such table."""
    record = on_fashion(make(tmp_path / "run", factors, num_seeds=2, study=study))
    assert published_numbers.comparison(record).empty
    assert claims.documents(record) == {}


def test_a_grid_stands_at_its_chosen_setting_beside_the_source(tmp_path):
    factors = {"optimizer": ("sgd", "adam"), "penalty": ("none", "l2")}
    settings = {"learning_rate": (0.1, 0.01)}  # the second is made the better one
    record = on_fashion(
        make(tmp_path / "run", factors, settings=settings, study="optimizers")
    )
    best = networks.load(record)[1::2]
    means = [estimates.robustness(cell).estimate for cell in best]
    assert list(published_numbers.comparison(record)["corrected"]) == means
    entry = claims.documents(record)["stats.json"]["adam"]["l2"]
    assert entry["test_acc_list"] == list(best[-1].final["test_accuracy"])


def test_the_title_says_what_was_run_unlike_the_source(optimizers):
    assert published_numbers.departures(optimizers) == ""
    sizes = optimizers.record | {"num_examples": {"train": 50_000}}
    same = optimizers._replace(record=sizes)
    same = on_fashion(same, num_epochs=10, batch_size=128)
    assert published_numbers.departures(same) == ""
    sizes = optimizers.record | {"num_examples": {"train": 5_120}}
    less = on_fashion(optimizers._replace(record=sizes), num_epochs=2, batch_size=64)
    unlike = (
        " (epochs: 2 against 10, training examples: 5,120 against 50,000,"
        " batch size: 64 against 128)"
    )
    assert section(less, "published").title.endswith(unlike)
    assert max(map(len, tables.text(less).splitlines())) <= 100
    mnist = less._replace(config=less.config | {"data": {"name": "mnist"}})
    assert "batch size: 64 against 256" in published_numbers.departures(mnist)
    other = mnist._replace(record=mnist.record | {"study": "made"})
    assert published_numbers.departures(other) == ""


def test_a_data_set_that_was_not_published_has_no_such_table(optimizers):
    assert published_numbers.comparison(optimizers).empty
    assert section(optimizers, "published") is None


# an audit of one's own


MINE = """
import pandas as pd

from normjax.report.audit_interface import Column, Kind, Reason, Section, Verdict

VERDICTS = [Verdict(Kind.HOLDS), Verdict(Kind.UNDECIDED, Reason.MORE_SEEDS, 1_200)]


def sections(record):
    claims = ["Batch is best", "Layer is second"]
    table = pd.DataFrame({"claim": claims, "verdict": VERDICTS})
    wide = {"our verdict": Column("verdict", lambda row: str(row["verdict"]))}
    narrow = {"ours": Column("verdict", lambda row: row["verdict"].short)}
    study = record.record["study"]
    return [
        Section("mine", f"Claims about {study}", table, wide, narrow, note="As I say."),
        Section("nothing", "No rows", pd.DataFrame(), {}, {}),
    ]


def documents(record):
    return {"mine.json": {"arms": list(record.record["arm_order"])}}
"""


def test_an_audit_of_ones_own_has_its_tables_and_documents(tmp_path, monkeypatch):
    (tmp_path / "my_claims.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    record = make(tmp_path / "run", NORMS, num_seeds=2, audit="my_claims")
    built = page.build(record.workdir, stills=False).read_text()
    assert [x.name for x in tables.all_sections(record)] == ["summary", "mine"]
    assert '<h2 id="mine">Claims about made <a' in built
    assert '<p class="note">As I say.</p>' in built
    assert '<span class="sentence">Batch is best</span>' in built
    assert '<span class="holds">holds</span>' in built
    why = "undecided (about 1,200 seeds needed)"
    assert f'<span class="undecided">{why}</span>' in built
    csv = (record.workdir / "tables" / "mine.csv").read_text()
    assert csv == (
        "claim,verdict\nBatch is best,holds\n"
        'Layer is second,"undecided (about 1,200 seeds needed)"\n'
    )
    assert "Layer is second  undecided (~1,200)" in tables.text(record)
    written = json.loads((record.workdir / "mine.json").read_text())
    assert written == {"arms": list(NORMS["norm"])}


def test_a_record_without_an_audit_has_no_claims(norms):
    assert [x.name for x in tables.all_sections(norms)] == ["summary", "differences"]


@pytest.mark.parametrize(
    ("name", "rule", "remedy"),
    [
        (
            "no_such_claims",
            "importable (ModuleNotFoundError: No module named 'no_such_claims')",
            "put its folder on PYTHONPATH, or leave the field empty",
        ),
        (
            "normjax.audit.published_numbers",
            "a module with a function sections(record)",
            "see normjax/report/audit_interface.py",
        ),
    ],
)
def test_an_audit_that_cannot_be_used_is_one_line(norms, name, rule, remedy):
    config = norms.config | {"audit": name}
    with pytest.raises(InputError) as caught:
        tables.all_sections(norms._replace(config=config))
    assert str(caught.value) == f"audit={name!r}: must be {rule}; {remedy}."


def test_the_report_knows_no_audit():
    """Not even when it is loaded whole: the name is in the record."""
    code = "import sys, normjax.report.__main__; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT)
    assert "normjax.report.page" in ran.stdout.decode().split()
    assert "normjax.audit" not in ran.stdout.decode()
