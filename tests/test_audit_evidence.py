"""What the picture of a claim shows is what its rows in the table of claims say."""

import pathlib
import runpy

import numpy as np
import pytest
from test_audit_claims import AS_PUBLISHED, CLAIMS, OUTCOMES, made, named

from normjax.audit import claim_data, claims, evidence, measures
from normjax.report import formats
from normjax.report.audit_interface import Evidence, interval_of

COLUMNS = {"as published": AS_PUBLISHED}


def answered(claim: dict, found, monkeypatch) -> Evidence:
    """The evidence of a record, had its question this claim for an answer."""
    monkeypatch.setattr(claim_data, "answering", lambda config: claim)
    decided = evidence.of_answer(found)
    assert decided is not None
    return decided


@pytest.mark.parametrize("claim", CLAIMS, ids=[c["sentence"] for c in CLAIMS])
def test_the_picture_has_the_rows_of_the_table(claim, monkeypatch):
    """Same order, same sides, same intervals, same verdicts, for each protocol.

    Means are those of the dots: of a ratio, on the log.
    """
    outcomes = {"corrected": "holds", AS_PUBLISHED: "does not hold"}
    if claim_data.is_of_paper(claim):
        del outcomes[AS_PUBLISHED]
    found = made(claim, outcomes)
    decided = answered(claim, found, monkeypatch)
    table = claims.verdict_table(found)
    start = table.index[table["sentence"] == claim["sentence"]][0]
    num = len(claim_data.comparisons(claim))
    rows = table.iloc[start + (num > 1) :][:num].to_dict("records")
    for panel in {x.panel for x in decided.comparisons}:
        protocol = COLUMNS.get(panel.partition(",")[0], "corrected")
        shown = [x for x in decided.comparisons if x.panel == panel]
        assert len({x.label for x in shown}) == len(shown) == num
        for one, row in zip(shown, rows):
            assert one.verdict == row[f"verdict_{protocol}"]
            np.testing.assert_array_equal(
                one.interval[:3], interval_of(row, protocol)[:3]
            )
            if one.values is None:
                continue
            values = np.log(one.values) if decided.logarithmic else one.values
            mean = np.exp(values.mean()) if decided.logarithmic else values.mean()
            assert len(one.seeds) == len(values)
            assert mean == pytest.approx(one.interval.estimate, rel=1e-12, abs=1e-12)
    assert {x.panel != "" for x in decided.comparisons} == {len(outcomes) > 1}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_picture_is_named_by_its_sides_and_judged_at_its_line(outcome, monkeypatch):
    """The line is the bound: intervals of what holds lie on the side that is named."""
    for claim, title, holds, text in (
        (
            named("deep_mlp", "BN trains faster"),
            "Final train accuracy while training: batch minus no norm, on the same"
            " seeds",
            "above the line at 0",
            formats.signed,
        ),
        (
            named("init_scale", "With BN the result hardly"),
            "Range of the final train loss over the scales: batch",
            "below the line at 0.3",
            formats.by_width,
        ),
    ):
        found = made(claim, {"corrected": outcome})
        decided = answered(claim, found, monkeypatch)
        assert (decided.title, decided.holds) == (title, holds)
        (one,) = decided.comparisons
        assert one.verdict.kind.value == outcome
        assert one.text == text(one.interval)
        sides = [x > decided.reference for x in (one.interval.low, one.interval.high)]
        beyond = {"above": [True, True], "below": [False, False]}[holds[:5]]
        wanted = {"holds": beyond, "does not hold": [not x for x in beyond]}
        assert sides == wanted.get(outcome, [False, True])


def test_a_ratio_stands_on_a_log_axis_with_its_line_at_one(monkeypatch):
    claim = named("init_scale", "With BN the result depends less")
    found = made(claim, {"corrected": "holds"})
    decided = answered(claim, found, monkeypatch)
    assert (decided.logarithmic, decided.reference) == (True, 1.0)
    assert decided.centre == "geometric mean"
    assert measures.STATISTICS[claim["statistic"]].logarithmic


def test_placements_are_compared_in_the_order_of_their_claims():
    """Before minus after: in the sentence, and in the picture of accuracies."""
    own = [c for c in CLAIMS if c["study"] == "batch_norm_placement"]
    of_accuracy = [c for c in own if c["statistic"] == "test_accuracy"]
    path = pathlib.Path(__file__).parents[1] / "configs/batch_norm_placement.py"
    baseline = runpy.run_path(str(path))["get_config"]().baseline.to_dict()
    assert len(of_accuracy) == 3
    assert [c["against"] for c in of_accuracy] == [[baseline]] * 3


def test_a_study_without_an_answering_claim_has_no_evidence():
    claim = named("optimizers", "third_moment is")
    found = made(claim, {"corrected": "holds", AS_PUBLISHED: "holds"})
    assert claim_data.answering(found.config) is None
    assert evidence.of_answer(found) is None
    section = claims.sections(found)[0]
    assert (section.answer, section.evidence) == ("", None)
