"""What a reader sees: answers, names, tables in words, claims, pages of a part."""

# ruff: noqa: RUF001 (minus signs are meant)

import copy
import itertools
import json
import re
import subprocess
import sys

import _records
import numpy as np
import pandas as pd
import pytest
from test_report import AUDIT, NORMS, OPTIMIZERS, Page, make, without_scripts

from normjax import p_values, statistics
from normjax.report import (
    answers,
    claim_lines,
    claim_sections,
    comparisons,
    conditions,
    decisions,
    estimates,
    figures,
    formats,
    names,
    networks,
    openings,
    page,
    still_files,
    tables,
    wide_tables,
)
from normjax.report.audit_interface import Column, Kind, Reason, Section, Verdict
from normjax.statistics import Interval
from normjax.study.record import Record, read_record


@pytest.fixture(scope="module")
def norms(tmp_path_factory) -> Record:
    return make(tmp_path_factory.mktemp("norms"), NORMS, baseline={"norm": "none"})


@pytest.fixture(scope="module")
def optimizers(tmp_path_factory) -> Record:
    baseline = {"optimizer": "adam"}
    folder = tmp_path_factory.mktemp("optimizers")
    return make(folder, OPTIMIZERS, baseline=baseline, study="optimizers", audit=AUDIT)


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> Record:
    settings = {"learning_rate": (0.001, 0.01, 0.1)}
    folder = tmp_path_factory.mktemp("grid")
    return make(folder, NORMS, settings=settings, baseline={"norm": "none"})


# p-values


def test_the_smallest_p_is_the_one_that_a_test_reaches():
    """All differences of one sign, exact and sampled; one pair says nothing."""
    for n in (1, 2, 5, 12, 13, 40):
        pairs = 1 + np.arange(n) / n
        found = statistics.paired_difference(pairs, np.zeros(n))
        assert found.p == pytest.approx(p_values.smallest(n), rel=1e-12)


def test_the_sign_test_counts_all_patterns_of_wins():
    """Against the share of the 2^n patterns that are at least as far from half."""
    for wins, losses in ((4, 0), (6, 0), (5, 1), (8, 1), (3, 4), (2, 2)):
        n, far = wins + losses, abs(wins - losses)
        patterns = itertools.product((1, -1), repeat=n)
        expected = sum(abs(sum(x)) >= far for x in patterns) / 2**n
        assert p_values.sign_test(wins, losses) == pytest.approx(expected, rel=1e-12)
    assert p_values.sign_test(0, 0) == 1.0


def test_holm_is_the_procedure_step_by_step():
    """Rejected at any level are those that the stepwise procedure rejects there."""
    p = np.array([0.04, 0.001, np.nan, 0.03, 0.012, 0.9, 0.012])
    adjusted = p_values.holm(p)
    assert np.isnan(adjusted[2])
    for level in (0.005, 0.0599, 0.0601, 0.1, 0.2, 0.95):
        rejected, left = (
            set(),
            sorted(np.flatnonzero(np.isfinite(p)), key=lambda i: p[i]),
        )
        while left and p[left[0]] * len(left) <= level:
            rejected.add(left.pop(0))
        assert set(np.flatnonzero(adjusted <= level)) == rejected
    assert p_values.holm(np.array([0.2])) == [0.2]
    assert list(p_values.holm(np.array([0.9, 0.8]))) == [1.0, 1.0]


def test_differences_have_the_adjusted_p_beside_their_own(norms):
    table = estimates.arm_differences(norms)
    assert list(table["p_holm"]) == list(p_values.holm(table["p"].to_numpy()))
    (found,) = [x for x in tables.all_sections(norms) if x.name == "differences"]
    assert " With 8 seeds no p is below 0.00781." in found.note


# text


@pytest.mark.parametrize(
    ("text", "interval", "expected"),
    [
        (formats.accuracy, (0.4, -1.0, 1.7), "0.40 [0.00, 1.00]"),
        (formats.accuracy, (0.9, 0.8, 1.0), "0.90 [0.80, 1.00]"),
        (formats.accuracy, (0.4, np.nan, np.nan), "0.4000"),
        (formats.points, (1.64, 1.03, 2.25), "+1.64 [1.03, 2.25]"),
        (formats.points, (-0.31, -0.9, 0.28), "−0.31 [−0.90, 0.28]"),
        (formats.points, (-0.001, -0.1, 0.1), "0.00 [−0.10, 0.10]"),
        (formats.points, (20.0, -150.0, 190.0), "+20 [−100, 100]"),
        (formats.within(formats.plus_minus, 0.0, 1.0), (0.4, 0.3, 0.5), "0.40 ± 0.10"),
        (
            formats.within(formats.plus_minus, 0.0, 1.0),
            (0.9, 0.7, 1.1),
            "0.90 [0.70, 1.00]",
        ),
        (formats.by_width, (-0.00001, -0.5, 0.5), "0.00 [-0.50, 0.50]"),
        (formats.plus_minus, (-0.4, -11.4, 10.6), "0 ± 11"),
    ],
)
def test_no_number_is_impossible_and_no_zero_has_a_sign(text, interval, expected):
    assert text(Interval(*map(float, interval), 10)) == expected


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0002, "<0.001"), (0.0625, "0.062"), (1.0, "1.000"), (np.nan, "-")],
)
def test_no_p_is_zero(p, text):
    assert formats.p_value(p) == text


def test_a_hyphen_of_a_name_is_no_minus():
    text = formats.true_minus("-0.5 [-1.0, 2e-05], (-3) layer-2, a-b, 1-2, a-1")
    assert text == "−0.5 [−1.0, 2e−05], (−3) layer-2, a-b, 1-2, a-1"


def test_a_page_writes_small_numbers_alike_in_its_texts_and_tables(tmp_path):
    """With minus signs, of settings and of p values too; the csv has numbers."""
    record = make(tmp_path, {"norm": ("none",)}, settings={"eps": (1e-5, 2e-6)})
    (section, *_) = tables.all_sections(record)
    section = section._replace(note="no p is below 1.9e-06", remarks=("-3e-07",))
    table = wide_tables.wide_table(section, record)
    assert [row[1] for row in table.texts] == ["1e−05", "2e−06"]
    assert (table.note, table.remarks) == ("no p is below 1.9e−06", ["−3e−07"])
    copied = wide_tables.copies(section, table)
    assert "1e-05" in copied["csv"]
    assert formats.MINUS not in copied["csv"]


# names


def test_identifiers_are_words(optimizers):
    known = names.glossary(optimizers)
    assert known["corrected-third_moment-none"] == "corrected, third moment, no penalty"
    assert known["third_moment-l2"] == "third moment, l2"
    for text, expected in (
        (
            "sgd-none against third_moment-l2",
            "sgd, no penalty against third moment, l2",
        ),
        ("none against l2", "no penalty against l2"),
        ("third_moment is best, none is not", "third moment is best, none is not"),
        ("learning_rate=0.003, b_one=1e-05", "learning rate 0.003, b one 1e-05"),
        ("my_module.norm of /a_b/c.py", "my_module.norm of /a_b/c.py"),
        ("set --config.seeds_more.rate=0.1", "set --config.seeds_more.rate=0.1"),
        ("raise --max_seeds or a.b_c=0.1", "raise --max_seeds or a.b_c=0.1"),
        ("the least-squares fit", "the least-squares fit"),
    ):
        assert names.readable(text, known) == expected


def test_of_an_error_only_whole_arms_are_replaced(optimizers):
    known = names.glossary(optimizers)
    text = "third_moment-l2: learning_rate=0.1 of third_moment_own, see --max_seeds"
    assert names.label_arms(text, known) == (
        "third moment, l2: learning_rate=0.1 of third_moment_own, see --max_seeds"
    )
    entry = {"failure": "ValueError: batch_size=3 is odd", "missing": 0}
    arms = optimizers.record["arms"]
    failed = {"corrected-adam-l2": arms["corrected-adam-l2"] | entry}
    broken = optimizers._replace(record=optimizers.record | {"arms": arms | failed})
    said = "corrected, adam, l2: ValueError: batch_size=3 is odd"
    assert dict(conditions.gaps(broken))["Failed"] == said


def test_a_name_that_could_mean_two_things_is_left_as_it_is(tmp_path):
    record = make(tmp_path, {"norm": ("none", "batch"), "penalty": ("none", "l2")})
    assert "none" not in names.glossary(record)
    assert names.glossary(record)["none-none"] == "no norm, no penalty"


# answers


def test_the_answer_is_one_sentence_with_difference_interval_verdict_and_seeds(norms):
    """Arms are 0.01 apart with noise of 0.001: the last leads by three points."""
    cells = networks.load(norms)
    found = answers.answer(cells, baseline={"norm": "none"})
    accuracy = formats.accuracy(estimates.robustness(cells[3]))
    difference = estimates.accuracy_difference(cells[3], cells[0])
    points = formats.points(Interval(*difference[:4]))
    assert found[0] == (
        f"Weight has the highest mean test accuracy of 4 arms, {accuracy} over 8 seeds,"
        f" {points} points against no norm: better (the 95% interval excludes zero)."
    )
    assert re.fullmatch(r"Runner-up: layer, −.* points against it: worse .*", found[1])
    assert not any("Fastest" in x or "seconds" in x or "obust" in x for x in found)


def test_without_a_baseline_the_difference_is_to_the_runner_up(norms):
    first = answers.answer(networks.load(norms))[0]
    assert re.search(r" points against the runner-up, layer: better \(", first)


def test_a_baseline_that_leads_is_called_so(norms):
    found = answers.answer(networks.load(norms), baseline={"norm": "weight"})
    weight, layer = networks.load(norms)[3], networks.load(norms)[2]
    accuracy = formats.accuracy(estimates.robustness(weight))
    difference = estimates.accuracy_difference(layer, weight)
    points = formats.points(Interval(*difference[:4]))
    assert found[0] == (
        "The baseline, weight, has the highest mean test accuracy of 4 arms,"
        f" {accuracy} over 8 seeds; the runner-up, layer, has {points} points against"
        " it: worse (the 95% interval excludes zero)."
    )
    assert points.startswith("\u2212")  # as in the chart, an arm minus its baseline


def test_a_lead_whose_interval_includes_zero_is_undecided(norms):
    cells = networks.load(norms)[:2]
    shaken = cells[0].final["test_accuracy"] + 0.05 * np.sin(np.arange(8))
    cells[1] = cells[1]._replace(final=cells[1].final | {"test_accuracy": shaken})
    first = answers.answer(cells, baseline={"norm": "none"})[0]
    assert first.endswith(": undecided (the 95% interval includes zero).")
    assert "the higher mean test accuracy of 2 arms" in first


@pytest.mark.parametrize(
    ("errors", "arms", "verdict"),  # t of 7 is 2.36 at 95%, 3.13 for three comparisons
    [
        (2.7, 4, "better alone, undecided after adjusting for the 3 comparisons"),
        (2.7, 2, "better ("),
        (3.5, 4, "better ("),
        (2.2, 4, "undecided ("),
    ],
)
def test_the_best_of_several_arms_leads_by_more(norms, errors, arms, verdict):
    """It was picked: its interval is that of as many comparisons."""
    cells = networks.load(norms)[:arms]
    start = cells[0].final["test_accuracy"]
    signs = np.resize((1.0, -1.0), 8)
    lead = start + 1e-3 * (signs + errors * np.std(signs, ddof=1) / np.sqrt(8))
    values = [start, *[start - 0.05] * (arms - 2), lead]
    cells = [
        cell._replace(final=cell.final | {"test_accuracy": x})
        for cell, x in zip(cells, values)
    ]
    first = answers.answer(cells, baseline={"norm": "none"})[0]
    assert f" points against no norm: {verdict}" in first
    picked = "(the 95% interval excludes zero, the 98.33% one does not)"
    assert (picked in first) == (errors == 2.7 and arms == 4)


@pytest.mark.parametrize("num_seeds", [2, 8])
def test_equal_networks_are_said_to_be_equal(norms, num_seeds):
    """And not that their seeds were too few, or that an interval includes zero."""
    none, batch, *_ = (
        cell._replace(
            seeds=cell.seeds[:num_seeds],
            final={name: x[:num_seeds] for name, x in cell.final.items()},
        )
        for cell in networks.load(norms)
    )
    assert "equal" not in str(decisions.decision(batch, none))
    same = batch._replace(final=none.final)
    assert str(decisions.decision(same, none)) == "undecided (equal on every seed)"


def test_the_trimmed_mean_must_agree():
    apart = Interval(1.0, 0.5, 1.5, 9)
    around = Interval(0.2, -0.5, 0.9, 9)
    rule = decisions.side_and_reason
    assert rule(apart, 0.95, apart) == (1, "the 95% interval excludes zero")
    reason = "outlying seeds: the trimmed mean does not agree"
    assert rule(apart, 0.95, around) == (0, reason)
    assert rule(around, 0.9875) == (0, "the 98.75% interval includes zero")


@pytest.mark.parametrize(("level", "least"), [(0.95, 6), (0.99, 8), (0.5, 2)])
def test_a_difference_is_decided_by_as_many_seeds_as_can_have_such_a_p(level, least):
    """The fewest n for which the sign-flip test can reach 1 - level, and not less."""
    assert p_values.smallest(least) <= 1 - level < p_values.smallest(least - 1)
    percent = formats.confidence(level)
    for sign in (1, -1):
        low, high = sorted((sign * 0.5, sign * 1.5))
        few = Interval(sign * 1.0, low, high, least - 1)
        assert decisions.side_and_reason(few, level) == (
            0,
            f"too few seeds: at {percent} it takes {least} to decide",
        )
        enough = few._replace(n=least)
        assert decisions.side_and_reason(enough, level)[0] == sign


@pytest.mark.parametrize(("seeds", "side"), [(5, 0), (6, 1)])
def test_answer_chart_banner_and_launcher_agree_on_few_seeds(tmp_path, seeds, side):
    """The interval excludes zero with five seeds too."""
    factors, baseline = {"norm": ("none", "batch")}, {"norm": "none"}
    record = make(tmp_path, factors, num_seeds=seeds, baseline=baseline)
    none, batch = networks.load(record)
    assert estimates.accuracy_difference(batch, none).low > 0
    assert decisions.decision(batch, none).side == side
    said = answers.answer([none, batch], baseline=baseline)[0]
    assert ("better (" in said, "undecided (too few seeds" in said) == (side, not side)
    (found,) = [x for x in figures.charts(record).charts if x.name == "differences"]
    kinds = [row.kind for panel in found.panels for row in panel.marks]
    assert kinds == (["holds"] if side else ["undecided"])
    assert bool(conditions.few_seeds(record)) == (not side)
    assert decisions.undecided(record) == (() if side else ("batch against none",))


def test_the_chart_of_differences_says_that_nothing_is_adjusted(norms):
    (found,) = [x for x in figures.charts(norms).charts if x.name == "differences"]
    assert found.note.endswith(comparisons.ALONE)
    assert "6 pairs of seeds or more" in found.note


def test_the_setting_of_a_grid_is_named(grid):
    found = answers.answer(networks.load(grid), baseline={"norm": "none"})
    assert found[0].startswith("Weight (at learning rate 0.01) has the highest mean")
    assert " against no norm (at learning rate 0.01): " in found[0]
    assert found[-1] == "Each arm is at the setting of its highest validation accuracy."


def test_each_protocol_has_its_own_sentence(optimizers):
    """Arms of higher accuracy are the later ones, as published."""
    found = answers.answer(networks.load(optimizers), baseline={"optimizer": "adam"})
    arms = "third moment, l2 has the highest mean test accuracy of 6 arms, "
    assert found[0].startswith(f"Corrected: {arms}")
    assert found[2].startswith(f"As published: {arms}")
    least = [x for x in found if "least variance" in x]
    start = "least variance of the train loss between seeds: "
    assert [x.partition(start)[0] for x in least] == ["Corrected: ", "As published: "]


def test_diverged_networks_are_counted_and_their_arm_has_not_the_least_variance(norms):
    cells = networks.load(norms)
    least = answers.answer(cells)[-1]
    assert least.startswith("Least variance of the train loss between seeds: ")
    i = next(
        i for i, x in enumerate(("no norm", "batch", "layer", "weight")) if x in least
    )
    steps = np.where(np.arange(8) < 3, 120, -1)
    cells[i] = cells[i]._replace(final=cells[i].final | {"diverged_at_step": steps})
    *_, other, diverged = answers.answer(cells)
    label = names.arm_labels({x.arm: x.factors for x in cells})[cells[i].arm]
    assert label not in other
    assert diverged == f"Diverged networks: 3 of 8 of {label}."


# tables in words


def test_arms_have_a_column_for_each_factor_that_varies(optimizers):
    section = tables.all_sections(optimizers)[0]
    table = wide_tables.wide_table(section, optimizers)
    assert table.header[: table.names] == ["protocol", "optimizer", "penalty"]
    assert table.texts[4][:3] == ["corrected", "third moment", "none"]
    assert wide_tables.markdown(table).splitlines()[1].startswith("| :---")
    assert "\\begin{tabular}{lllr" in wide_tables.latex(table)


def test_the_best_number_of_a_column_is_marked_and_equal_ones_are_not(norms):
    section = tables.all_sections(norms)[0]
    table = wide_tables.wide_table(section, norms)
    marks = {
        header: [row[i].best for row in table.rows]
        for i, header in enumerate(table.header)
    }
    assert marks["test accuracy"] == [False, False, False, True]
    assert not any(marks["seconds"] + marks["diverged"])  # seconds decide nothing
    same = pd.DataFrame({"arm": ["none", "batch"], "test_accuracy": [0.5, 0.5]})
    assert wide_tables.best_rows(section.wide["test accuracy"], same) == set()


def test_the_texts_to_copy_are_those_of_the_files(grid):
    written = page.build(grid.workdir, stills=False).read_text()
    (data,) = re.findall(r'id="table-data">(.*?)</script>', written)
    for name, texts in json.loads(data).items():
        for suffix, text in texts.items():
            path = grid.workdir / "tables" / f"{name}.{suffix}"
            assert path.read_text() == text
    assert {"summary", "differences"} <= json.loads(data).keys()


def test_every_cell_of_every_table_is_on_the_page(optimizers):
    text = without_scripts(page.build(optimizers.workdir, stills=False).read_text())
    for section in tables.all_sections(optimizers):
        for row in wide_tables.wide_table(section, optimizers).rows:
            for cell in row:
                assert f">{cell.text}</t" in text


# claims


def claims_of(kinds: list[tuple[str, str, Verdict, bool]], **more: list) -> Section:
    """A section of claims: sentence, row, verdict, and whether a row is a part."""
    sentences, rows, verdicts, parts = (list(x) for x in zip(*kinds))
    numbers = pd.DataFrame(
        {
            "claim": rows,
            "sentence": sentences,
            "comparison": rows,
            "verdict_corrected": verdicts,
            "place": "section_2",
            "source": "A paper",
            "why": "",
            **more,
        }
    )
    wide = {
        "corrected": Column("nothing", str),
        "verdict, corrected": Column(
            "verdict_corrected", lambda row: str(row["verdict_corrected"])
        ),
    }
    return Section("claims", "Claims", numbers, wide, {}, parts=parts, leads=True)


HOLDS, FAILS = Verdict(Kind.HOLDS), Verdict(Kind.FAILS)
FEW = Verdict(Kind.UNDECIDED, Reason.MORE_SEEDS, 19)


def test_a_claim_is_a_line_with_its_verdict_and_its_comparisons_inside(norms):
    section = claims_of(
        [
            ("batch is best", "batch is best: accuracy", FEW, False),
            ("", "batch against none", HOLDS, True),
            ("", "batch against weight", FEW, True),
            (
                "layer is worst",
                "layer is worst: layer against none, accuracy",
                FAILS,
                False,
            ),
        ]
    )
    first, second = claim_lines.lines(section, norms)
    assert (first.anchor, first.sentence, first.subject) == (
        "claim-1",
        "Batch is best",
        "accuracy",
    )
    assert first.chips == [
        claim_lines.Chip("corrected", "undecided", "undecided (about 19 seeds needed)")
    ]
    ((choice, table),) = first.comparisons
    assert choice == ""
    assert table.header == ["comparison", "verdict"]
    assert table.texts == [
        ["batch against no norm", "holds"],
        ["batch against weight", "undecided (about 19 seeds needed)"],
    ]
    assert len(second.comparisons[0][1].rows) == 1
    assert second.remarks == ["Source: A paper, section_2."]
    assert claim_lines.labels(section, [first, second]) == ["corrected"]
    counts = claim_lines.count([first, second])
    assert counts == ["Of 2 claims, 1 does not hold, 1 is undecided."]


@pytest.mark.parametrize(
    ("direction", "margin", "logarithmic", "expected"),
    [
        ("greater", 5.0, True, "accuracy; holds if above 5"),
        ("greater", -0.5, False, "accuracy; holds if above \u22120.5"),
        ("less", 0.3, False, "accuracy; holds if below 0.3"),
        ("within", 1.0, False, "accuracy; holds if between \u22121 and 1"),
        ("within", 1.25, True, "accuracy; holds if between 0.8 and 1.25"),
        ("greater", np.nan, False, "accuracy"),
    ],
)
def test_a_line_says_what_its_claim_has_to_pass(
    norms, direction, margin, logarithmic, expected
):
    given = {"direction": direction, "margin": margin, "logarithmic": logarithmic}
    rows = [("batch is best", "batch is best: accuracy", HOLDS, False)]
    section = claims_of(rows, **{name: [x] for name, x in given.items()})
    (line,) = claim_lines.lines(section, norms)
    assert line.subject == expected
    assert f"(accuracy{expected.removeprefix('accuracy')})" in claim_lines.sentence(
        line, "The claim"
    )


def test_the_claim_that_answers_the_question_leads(norms):
    """With its number if it is one comparison; the accuracy comes after it."""
    rows = [
        ("batch is best", "batch is best: batch against none, points", HOLDS, False)
    ]
    estimate = Column("corrected", lambda row: row["corrected"])
    section = claims_of(rows, corrected=["-1.0 [-1.5, -0.5]"])
    section = section._replace(wide={**section.wide, "corrected": estimate})
    accurate = openings.of_study(norms, [])[0]
    for answer, expected in (
        ("batch is best", ["The claim", accurate]),
        ("", [accurate, "The first claim"]),
    ):
        found = claim_sections.claims(section._replace(answer=answer), norms)
        said = openings.of_study(norms, [found])
        assert [x.partition(" \u201c")[0] for x in said[:2]] == expected
        assert said[not answer].endswith(
            " \u201cBatch is best\u201d (batch against no norm, points): holds, −1.0"
            " [−1.5, −0.5]."
        )


def test_a_claim_of_several_comparisons_has_the_lowest_and_the_highest(norms):
    rows = [
        ("batch is best", "batch is best: points", HOLDS, False),
        *[("", f"batch against {x}", HOLDS, True) for x in ("none", "rms", "layer")],
    ]
    numbers = [np.nan, 2.0, -1.0, 3.0]
    section = claims_of(rows, corrected=numbers)
    column = Column("corrected", lambda row: f"{row['corrected']} [0, 4]")
    section = section._replace(wide={**section.wide, "corrected": column})
    (line,) = claim_lines.lines(section, norms)
    assert [x.measured for x in line.chips] == [
        "from −1.0 [0, 4] to 3.0 [0, 4] in 3 comparisons"
    ]


def test_the_verdicts_for_several_choices_are_one_line(norms):
    section = claims_of(
        [
            ("batch is best", "batch is best: accuracy (init=a)", HOLDS, False),
            ("batch is best", "batch is best: accuracy (init=b)", FAILS, False),
        ],
        choice=["init=a", "init=b"],
        stands_corrected=["holds for 1 of 2 choices; does not hold with init=b", ""],
    )
    (line,) = claim_lines.lines(section, norms)
    assert line.subject == "accuracy"
    assert [x.kind for x in line.chips] == ["undecided"]
    assert line.chips[0].text == "holds for 1 of 2 choices; does not hold with init b"
    assert [choice for choice, _ in line.comparisons] == ["init a", "init b"]


# pages of a part


def test_a_page_says_what_is_missing_and_shows_the_rest(tmp_path):
    record = make(tmp_path, NORMS, num_seeds=8, baseline={"norm": "none"})
    (path,) = (tmp_path / "networks").glob(f"{_records.arm_id('layer')}-*")
    path.unlink()
    text = without_scripts(page.build(tmp_path, stills=False).read_text())
    assert "<dt>No network yet</dt><dd>layer</dd>" in text
    assert "Weight has the highest mean test accuracy so far, of 3 of 4 arms, " in text
    assert text.count(record.record["environment"]["command"]) == 2


def without(record: Record, *arms: str) -> Record:
    """The record, of which the files of some arms are gone."""
    for arm in arms:
        (path,) = (record.workdir / "networks").glob(f"{_records.arm_id(arm)}-*")
        path.unlink()
    return read_record(record.workdir)


def test_the_answer_says_of_how_many_arms_it_is_so_far(tmp_path):
    """Arms are named by the factors of all that are wanted, begun or not."""
    factors = {"norm": ("none", "batch"), "penalty": ("none", "l2")}
    whole = make(tmp_path, factors, baseline={"norm": "none"})
    record = without(whole, "none-l2")
    accuracy, points = leading_numbers(record, "batch-l2", "batch-none")
    assert openings.of_study(record, [])[:2] == [
        f"Batch, l2 has the highest mean test accuracy so far, of 3 of 4 arms,"
        f" {accuracy} over 8 seeds, {points} points against the runner-up, batch, no"
        " penalty: better (the 95% interval excludes zero).",
        "Its baseline, no norm, l2, has no network yet.",
    ]
    record = without(record, "none-none", "batch-none")
    assert openings.of_study(record, [])[:2] == [
        f"Batch, l2 has a mean test accuracy of {accuracy} over 8 seeds; it is so far"
        " the only one of 4 arms that has networks.",
        "Its baseline, no norm, l2, has no network yet.",
    ]
    notes = [chart.note for chart in figures.charts(record).charts]
    absent = "no norm, no penalty; no norm, l2; batch, no penalty"
    assert all(x.endswith(f"Without a network yet: {absent}.") for x in notes)


def leading_numbers(record: Record, arm: str, other: str) -> tuple[str, str]:
    """The accuracy of an arm, and its difference to another, as the answer has them."""
    cells = {cell.arm: cell for cell in networks.load(record)}
    difference = estimates.accuracy_difference(cells[arm], cells[other])
    accuracy = formats.accuracy(estimates.robustness(cells[arm]))
    return accuracy, formats.points(Interval(*difference[:4]))


def test_a_protocol_without_networks_is_said_to_have_none(tmp_path):
    factors = {"protocol": ("corrected", "as_published"), "norm": ("none", "batch")}
    record = make(tmp_path, factors, baseline={"norm": "none"})
    record = without(record, "corrected-none", "corrected-batch")
    found = openings.of_study(record, [])
    start = "As published: batch has the higher mean test accuracy of 2 arms, "
    assert found[0].startswith(start)
    assert found[1] == "Corrected: none of 2 arms has a network yet."


def test_a_complete_study_says_nothing_of_what_is_missing(norms):
    said = " ".join(openings.of_study(norms, []))
    assert " so far" not in said
    assert " yet" not in said
    assert not any("yet" in x.note for x in figures.charts(norms).charts)


def test_many_arms_are_counted():
    labels = [f"norm {i}" for i in range(9)]
    assert names.some(labels[:2]) == "norm 0; norm 1"
    assert names.some(labels, most=2) == "norm 0; norm 1; and 7 more arms"
    assert names.some(labels[:3], most=2) == "norm 0; norm 1; and 1 more arm"


def test_the_command_that_continues_names_the_present_folder(tmp_path):
    """A record that was copied goes on where it is; flags around it stay."""
    record = without(make(tmp_path / "my run", NORMS), "batch")
    began = "python launch.py --config=c.py --workdir=old run --config.num_seeds=3"
    environment = record.record["environment"] | {"command": began}
    record.record["environment"] = environment
    assert conditions.resume_commands([record]) == (
        f"python launch.py --config=c.py --workdir='{tmp_path}/my run'"
        " --config.num_seeds=3"
    )
    assert conditions.in_folder("python launch.py --workdir a", "b") == (
        "python launch.py --workdir b"
    )
    assert conditions.in_folder("python mine.py", "b") == "python mine.py"
    complete = make(tmp_path / "whole", NORMS, num_seeds=2)
    assert conditions.resume_commands([complete]) == ""


@pytest.mark.parametrize(
    ("seeds", "told"),
    [
        (2, "2 seeds are too few to conclude from: the sign-flip test of 2 pairs"),
        (5, "cannot give a p below 0.0625; 6 can go below 0.05."),
        (6, ""),
    ],
)
def test_few_seeds_have_a_banner(tmp_path, seeds, told):
    make(tmp_path, {"norm": ("none", "batch")}, num_seeds=seeds)
    text = page.build(tmp_path, stills=False).read_text()
    assert ('class="banner"' in text) == bool(told)
    assert told in " ".join(text.split())


def test_unequal_seeds_are_counted_by_cell_and_by_pair(norms):
    """An arm with three seeds of eight: no difference to it is one of eight pairs."""
    assert dict(conditions.rows(norms))["Seeds"] == "8 in each arm and setting"
    assert conditions.few_seeds(norms) == ""
    rows = norms.networks
    fewer = rows[(rows["arm"] != "layer") | (rows["seed"] < 3)]
    epochs = norms.epochs[(norms.epochs["arm"] != "layer") | (norms.epochs["seed"] < 3)]
    found = norms._replace(networks=fewer, epochs=epochs)
    assert dict(conditions.rows(found))["Seeds"] == "3 to 8 in each arm and setting"
    assert conditions.few_seeds(found) == (
        "Some arms share only 3 seeds, too few to conclude from: the sign-flip test of"
        " 3 pairs cannot give a p below 0.25; 6 can go below 0.05."
    )


def test_a_star_is_explained_where_there_is_one(norms, tmp_path):
    star = "marks the best estimate"
    assert star in page.build(norms.workdir, stills=False).read_text()
    make(tmp_path, {"norm": ("batch",)}, num_seeds=3)
    assert star not in page.build(tmp_path, stills=False).read_text()


@pytest.mark.parametrize(
    ("norms", "baseline", "picked"),
    [
        (("batch",), {}, False),
        (("none", "batch"), {}, True),
        (("none", "batch"), {"norm": "none"}, True),
        (("none", "batch"), {"norm": "batch"}, False),
    ],
)
def test_a_leader_that_was_picked_is_said_to_be_so(tmp_path, norms, baseline, picked):
    """Batch leads: one arm alone and a baseline were not picked by their numbers."""
    record = make(tmp_path, {"norm": norms}, num_seeds=6, baseline=baseline)
    assert openings.has_picked_leader(record) is picked
    text = page.build(tmp_path, stills=False).read_text()
    assert ("their difference is biased" in " ".join(text.split())) is picked


def test_a_capital_begins_a_text_but_not_a_symbol():
    texts = ("third moment", "l2", "a larger batch", "3 arms", "", "Adam")
    expected = ["Third moment", "l2", "A larger batch", "3 arms", "", "Adam"]
    assert [formats.capital(x) for x in texts] == expected


def test_files_of_the_page_are_read_as_utf_8():
    """Whatever the encoding of the machine is."""
    source = (
        "import warnings; from normjax.report import page;"
        " warnings.simplefilter('error', EncodingWarning);"
        " page.TEMPLATES.globals['source']('page.js')"
    )
    subprocess.run(
        [sys.executable, "-Xwarn_default_encoding", "-c", source], check=True
    )


def test_a_record_in_no_folder_has_a_page_that_links_to_nothing(norms, tmp_path):
    path = tmp_path / "page.html"
    page.write(norms._replace(workdir=tmp_path / "nowhere"), path)
    found = Page(path.read_text())
    assert found.loads == []
    assert found.open == []
    assert "svg" in found.tags  # the picture, for those without JavaScript
    assert [x.name for x in tmp_path.iterdir()] == ["page.html"]


def test_stills_are_drawn_once_and_again_where_a_chart_changed(tmp_path):
    make(tmp_path, {"norm": ("none", "batch")}, num_seeds=3)
    page.build(tmp_path)
    before = {x: x.stat().st_mtime_ns for x in (tmp_path / "figures").glob("*.svg")}
    page.build(tmp_path)
    assert {x: x.stat().st_mtime_ns for x in before} == before
    (tmp_path / "figures" / "seeds.png").unlink()
    page.build(tmp_path)
    changed = [x.stem for x in before if x.stat().st_mtime_ns != before[x]]
    assert changed == ["seeds"]
    text = page.build(tmp_path, stills=False).read_text()
    assert 'href="figures/seeds.pdf"' in text


def test_stills_of_charts_that_no_longer_exist_are_removed_and_nothing_else(tmp_path):
    """What a report drew goes, unless somebody changed it; other files stay."""
    record = make(tmp_path, NORMS, num_seeds=2, baseline={"norm": "none"})
    folder = tmp_path / "figures"
    whole = figures.charts(record)
    first, second, *_ = whole.charts
    still_files.update(whole._replace(charts=[first, second]), folder)
    still_files.update(whole._replace(charts=[first, second]), folder)  # all are kept
    own = {"mine.svg": "a", f"{first.name}.svg": "redrawn by hand"}
    for name, text in own.items():
        (folder / name).write_text(text)
    still_files.update(whole._replace(charts=[second]), folder)
    kept = {f"{second.name}.{x}" for x in ("svg", "pdf", "png")}
    assert {x.name for x in folder.glob("[!.]*")} == kept | own.keys()
    still_files.update(whole._replace(charts=[]), folder)
    left = {x.name: x.read_text() for x in folder.glob("[!.]*")}
    assert left == own


def test_an_arm_that_has_diverged_as_a_whole_leads_nobody(norms):
    lost = lambda cell: cell.final | {"diverged_at_step": np.ones(8, int)}
    cells = [x._replace(final=lost(x)) for x in networks.load(norms)[1:]]
    kept = networks.load(norms)[:1]
    first = answers.answer(kept + cells, baseline={"norm": "none"})[0]
    assert first.startswith("The baseline, no norm, has the highest mean test accuracy")
    assert answers.answer(cells)[0] == "Every network diverged."


def test_the_only_arm_has_a_name():
    assert names.arm_labels({"none": {"norm": "none"}}) == {"none": "no norm"}
    assert names.arm_labels({"batch": {"norm": "batch"}}) == {"batch": "batch"}


def test_the_answer_has_the_verdict_of_the_first_claim():
    chips = [
        claim_lines.Chip("as published", "holds", "holds"),
        claim_lines.Chip("corrected", "undecided", "undecided (one run)", "1 [0, 2]"),
    ]
    arms = "batch against none, points"
    line = claim_lines.ClaimLine("claim-1", "BN is better", arms, chips, [], [])
    other = line._replace(sentence="BN is worse")
    assert claim_lines.opening([line, other]) == [
        "The first claim \u201cBN is better\u201d (batch against none, points): as"
        " published holds; corrected undecided (one run), 1 [0, 2]."
    ]
    assert claim_lines.opening([line._replace(chips=chips[:1], subject="")]) == [
        "The first claim \u201cBN is better\u201d: holds."
    ]
    assert claim_lines.opening([line, other._replace(answers=True)]) == [
        "The claim \u201cBN is worse\u201d (batch against none, points): as published"
        " holds; corrected undecided (one run), 1 [0, 2]."
    ]
    assert claim_lines.opening([]) == []


def test_a_network_of_two_arms_is_counted_once(norms):
    """As that of an optimizer which a protocol leaves as it is."""
    arms, table = copy.deepcopy(norms.record["arms"]), norms.networks.copy()
    shown = norms._replace(record=norms.record | {"arms": arms}, networks=table)
    networks = lambda: dict(conditions.rows(shown))["Networks"]
    assert networks() == "4 arms, 32 networks"
    first, second, *_ = arms
    arms[second]["id"] = arms[first]["id"]
    own = table["arm"].eq(second), list(table.columns[2:])
    table.loc[own] = table.loc[table["arm"].eq(first), own[1]].to_numpy()
    assert networks() == "4 arms, 24 networks, 8 of them in two arms"
