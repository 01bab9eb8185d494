"""Several studies on one page: their arms, their shared seeds, and what is said."""

import re

import numpy as np
import pytest
from test_merge import made, write

from normjax.errors import InputError
from normjax.report import __main__ as command
from normjax.report import (
    conditions,
    equal_numbers,
    estimates,
    figures,
    formats,
    joint_texts,
    leading,
    networks,
    openings,
    page,
    side_by_side,
    tables,
    wide_tables,
)
from normjax.statistics import Interval
from normjax.study import groups
from normjax.study.record import Record, read_record

DATA = {"name": "digits", "dir": "/somewhere"}
EPOCHS = 2


def study(
    folder, norms, seeds=(0, 1, 2), rates=(0.1,), shift=0.0, more=None, **about
) -> Record:
    """A record whose networks differ from those of another by `shift` only."""
    arms = {}
    for norm in norms:
        arm = made(norm, seeds, rates)
        for table in (arm.networks, arm.epochs):
            table["test_accuracy"] = np.float32(0.5 + shift) + table["seed"] / 64
        probes = {"smoothness": np.arange(len(seeds) * len(rates) * EPOCHS) + shift}
        shape = len(seeds) * len(rates), EPOCHS
        probes = {k: x.reshape(shape).astype(np.float32) for k, x in probes.items()}
        arms[norm] = arm._replace(probes=probes)
    config = {"root_seed": 0, "data": DATA} | (more or {})
    return write(folder, arms, config, **about)


@pytest.fixture
def pair(tmp_path) -> list[Record]:
    """The same study twice; the second one has other seeds, and is better."""
    norms = ("none", "batch")
    return [
        study(tmp_path / "a", norms),
        study(tmp_path / "b", norms, (1, 2, 3), shift=0.25),
    ]


def test_each_study_is_a_level_and_the_first_one_the_baseline(pair):
    whole = side_by_side.combine(pair)
    assert whole.record["factors"] == ["record", "norm"]
    assert whole.record["arm_order"] == ["a: none", "a: batch", "b: none", "b: batch"]
    assert whole.record["baseline"] == {"record": "a"}
    for name, record in zip("ab", pair):
        mine = whole.networks[whole.networks["record"] == name]
        columns = ["norm", "seed", "learning_rate", "test_accuracy", "train_loss"]
        before = record.networks[columns].reset_index(drop=True)
        assert mine[columns].reset_index(drop=True).equals(before)
    assert len(whole.epochs) == sum(len(record.epochs) for record in pair)


def test_seeds_of_the_same_number_are_paired(pair):
    whole = side_by_side.combine(pair)
    rows = estimates.arm_differences(whole)
    assert list(rows["arm"]) == ["b: none", "b: batch"]
    assert list(rows["seeds"]) == [2, 2]
    assert np.allclose(rows["accuracy_points"], 25)
    assert whole.record["notices"] == [
        "a and b are paired by seed: 2 seeds of both have the same data, initial"
        " weights and order of examples"
    ]


def test_an_arm_of_two_records_is_one_program(tmp_path):
    """The same networks are counted once, and that they are equal is no news."""
    a, b, other = (
        study(tmp_path / name, ("none",), shift=shift)
        for name, shift in (("a", 0.0), ("b", 0.0), ("c", 0.25))
    )
    same, unlike = side_by_side.combine([a, b]), side_by_side.combine([a, other])
    assert equal_numbers.sentences(same) == equal_numbers.sentences(unlike) == []
    networks_of = lambda record: dict(conditions.rows(record))["Networks"]
    assert networks_of(same) == "2 arms, 3 networks, 3 of them in two arms"
    assert networks_of(unlike) == "2 arms, 6 networks"
    for whole, name in ((same, "b"), (unlike, "c")):
        assert list(estimates.arm_differences(whole)["arm"]) == [f"{name}: none"]


def test_curves_and_probes_stand_at_their_seeds(pair):
    whole = side_by_side.combine(pair)
    assert whole.record["seeds"] == [0, 1, 2, 3]
    for kind in ("curves", "probes"):
        for record, name, places in zip(pair, "ab", ([0, 1, 2], [1, 2, 3])):
            for key, values in getattr(record, kind).items():
                found = getattr(whole, kind)[f"{name}: {key}"]
                assert np.array_equal(found[:, places], values)
                assert np.isnan(np.delete(found, places, axis=1)).all()


@pytest.mark.parametrize(
    ("more", "about", "unlike"),
    [
        ({"root_seed": 1}, {}, "root_seed"),
        ({"data": DATA | {"name": "mnist"}}, {}, "data"),
        ({}, {"num_examples": {"train": 9}}, "num_examples"),
        ({"data": DATA | {"dir": "/elsewhere"}}, {}, ""),
    ],
)
def test_independent_networks_are_said_to_be_so(tmp_path, more, about, unlike):
    a = study(tmp_path / "a", ("none",))
    b = study(tmp_path / "b", ("none",), more=more, **about)
    (notice,) = side_by_side.combine([a, b]).record["notices"]
    if unlike:
        end = (
            "their arms are not compared with each other, and no performance profiles"
            " are drawn"
        )
        if unlike == "root_seed":
            end = (
                "differences between them are between independent networks, although"
                " their seeds have the same numbers"
            )
        assert notice == f"a and b do not have the same {unlike}, so {end}"
        assert len(set(side_by_side.combine([a, b]).record["origins"].values())) == 2
    else:  # where the data lie does not matter
        assert notice.startswith("a and b are paired by seed: 3 seeds")


def test_the_answer_says_that_networks_are_independent(tmp_path):
    """Six seeds of the same numbers decide, paired or not; the sentence tells which."""
    a = study(tmp_path / "a", ("none",), range(6))
    b = study(tmp_path / "b", ("none",), range(6), shift=0.25)
    c = study(tmp_path / "c", ("none",), range(6), shift=0.25, more={"root_seed": 1})
    for other, end in (
        (b, "(the 95% interval excludes zero)."),
        (c, f"(the 95% interval excludes zero; {leading.INDEPENDENT})."),
    ):
        path = tmp_path / "page.html"
        page.write(side_by_side.combine([a, other]), path)
        assert f"better {end}" in path.read_text()


def lead(record: Record, arm: str, other: str) -> str:
    """The sentence of two arms of six seeds, of which `arm` is the better one."""
    cells = {cell.arm: cell for cell in networks.load(record)}
    accuracy = formats.accuracy(estimates.robustness(cells[arm]))
    difference = estimates.accuracy_difference(cells[arm], cells[other])
    points = formats.points(Interval(*difference[:4]))
    return (
        f"atch has the higher mean test accuracy of 2 arms, {accuracy} over 6 seeds,"
        f" {points} points against no norm: better (the 95% interval excludes zero)."
    )


def test_studies_of_different_data_have_an_answer_each(tmp_path):
    """An arm leads over those studies only that have the same data."""
    none = {"shift": 0.125, "baseline": {"norm": "none"}}
    mnist = {"data": DATA | {"name": "mnist"}}
    parts = {
        name: better_batch(study(tmp_path / name, ("none", "batch"), range(6), **more))
        for name, more in (
            ("a", none),
            ("b", none | {"more": mnist}),
            ("c", none | {"more": {"root_seed": 1}}),
        )
    }
    own = [f"{x}: B{lead(parts[x], 'batch', 'none')}" for x in parts]
    two = {x: parts[x] for x in "ab"}
    whole = side_by_side.combine(list(two.values()))
    assert openings.of_studies(whole, two, []) == [openings.APART, *own[:2]]
    whole = side_by_side.combine(list(parts.values()))
    first, shared, *rest = openings.of_studies(whole, parts, [])
    assert (first, rest) == (openings.APART, own)
    assert shared.startswith("Over a and c: a, batch has the highest mean test")
    same = {x: parts[x] for x in "ac"}
    whole = side_by_side.combine(list(same.values()))
    found = openings.of_studies(whole, same, [])
    assert found[0].startswith("Over a and c: a, batch has the highest mean test")
    assert found[1:3] == [own[0], own[2]]
    assert joint_texts.same_data(parts) == [0, 1, 0]


@pytest.mark.parametrize(
    ("more", "about", "apart"),
    [
        ({}, {}, False),
        ({"root_seed": 1}, {}, False),
        ({"data": DATA | {"num_train": 9}}, {}, True),
        ({}, {"num_examples": {"train": 9}}, True),
    ],
)
def test_arms_of_different_data_are_no_pair(tmp_path, more, about, apart):
    """No difference, no cell of the matrix and no best mark is over both studies."""
    norms = ("none", "batch")
    a = study(tmp_path / "a", norms)
    b = study(tmp_path / "b", norms, shift=0.25, more=more, **about)
    whole = side_by_side.combine([a, b])
    sections = tables.all_sections(whole)
    charts = {x.name: x for x in figures.charts(whole).charts}
    tiles = charts["probability"].panels[0].marks
    across = [x for x in tiles if x.x[:2] != x.y[:2]]  # `a, batch` and `b, no norm`
    assert len(across) == 8 * (not apart)
    assert len(tiles) - len(across) == 4
    marks = [wide_tables.wide_table(x, whole).marks_best for x in sections]
    assert any(marks) is not apart
    for found in (charts, {x.name for x in sections}):
        assert ("differences" in found) is not apart
    assert ("profiles" in charts) is not apart


def test_a_study_without_a_measurement_has_no_panel_of_it(pair):
    """Both have accuracies, but one of them alone was probed."""
    whole = side_by_side.combine([pair[0], pair[1]._replace(probes={})])
    charts = {x.name: x for x in figures.charts(whole).charts}
    titles = {
        name: [panel.title for panel in charts[name].panels]
        for name in ("test_accuracy", "smoothness")
    }
    assert titles == {
        "test_accuracy": ["record a", "record b"],
        "smoothness": ["record a"],
    }
    assert charts["smoothness"].columns == 1


def better_batch(record: Record) -> Record:
    """The record, in which batch is better by an eighth, a bit more in later seeds."""
    tables = [record.networks, record.epochs]
    for table in tables:
        more = table["arm"].eq("batch") * (0.125 + table["seed"] / 512)
        table["test_accuracy"] += more.astype(np.float32)
    return record


def with_program(record: Record, digest: str = "1", **program) -> Record:
    """The record with networks that such a program trained on data of that digest."""
    for path in sorted((record.workdir / groups.FOLDER).glob("*.npz")):
        group = groups.read(path)
        path.unlink()
        model = {"class": "MLP", "norm": group.about["identity"]} | program
        fields = {"model": model, "batch_size": 32}
        fields |= {x: model.pop(x) for x in joint_texts.BATCHES if x in model}
        identity = {"data_digest": digest, "program": fields}
        groups.write(
            record.workdir,
            group._replace(about=group.about | {"identity": identity}),
            {},
        )
    return read_record(record.workdir)


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ({}, "data, initial weights and order of examples"),
        ({"dropout": True}, "data, initial weights and order of examples"),
        (
            {"kernel_init": "he"},
            "data and order of examples, but not the same initial weights"
            " (model.kernel_init not equal)",
        ),
        (
            {"batch_size": 64},
            "data and initial weights, but not the same order of examples (batch_size"
            " not equal)",
        ),
        (
            {"batch_size": 64, "sampling": "replacement", "widths": [5]},
            "data, but not the same initial weights (model.widths not equal) or order"
            " of examples (batch_size and sampling not equal)",
        ),
    ],
)
def test_what_paired_seeds_share_is_what_their_programs_share(tmp_path, program, text):
    """Other norms in one of the studies do not matter: `none` is compared with none."""
    own = {"kernel_init": "lecun", "widths": [4], "sampling": "permutation"}
    a = with_program(study(tmp_path / "a", ("none",)), **own)
    b = with_program(study(tmp_path / "b", ("none", "batch")), **own | program)
    assert side_by_side.combine([a, b]).record["notices"] == [
        f"a and b are paired by seed: 3 seeds of both have the same {text}"
    ]


def test_the_scale_of_initial_weights_is_one_of_what_decides_them(tmp_path):
    a, b = (study(tmp_path / name, ("none",)) for name in "ab")
    for arm in b.record["arms"].values():
        arm["settings"]["init_scale"] = [0.5]
    (notice,) = joint_texts.notices({"a": a, "b": b})
    assert notice.endswith("not the same initial weights (init_scale not equal)")


def test_other_data_of_the_same_name_are_other_data(tmp_path):
    a, b = (with_program(study(tmp_path / x, ("none",)), digest=x) for x in "ab")
    (notice,) = side_by_side.combine([a, b]).record["notices"]
    assert notice.startswith("a and b do not have the same data, so their arms are not")


def test_intervals_have_the_strictest_level_of_the_studies(tmp_path):
    """The first level is stricter, but that of the look at all seeds counts."""
    looked = [{"num_seeds": 2, "level": 0.99}, {"num_seeds": 3, "level": 0.975}]
    a = study(tmp_path / "a", ("none",))
    b = study(tmp_path / "b", ("none",), looks=looked)
    whole = side_by_side.combine([a, b])
    assert estimates.level_of(whole) == estimates.level_of(b) == 0.975
    assert estimates.looks_sentence(whole).startswith("2 looks, at 2 and 3 seeds. ")
    assert whole.record["notices"][0] == (
        "intervals have the level 97.5%, the strictest of the studies, some of which"
        " were looked at while they grew: a 95%, b 97.5%"
    )
    c = study(tmp_path / "c", ("none",), (3, 4))  # more seeds than at any look
    assert estimates.level_of(side_by_side.combine([b, c])) == 0.975
    assert side_by_side.combine([a, c]).record["looks"] == []


def test_a_target_is_that_of_all_studies(tmp_path):
    a, b, c = (
        study(tmp_path / name, ("none",), target_accuracy=target)
        for name, target in (("a", 0.8), ("b", 0.8), ("c", 0.9))
    )
    target = lambda *records: side_by_side.combine(records).record["target_accuracy"]
    assert target(a, b) == 0.8
    assert target(b, c) is target(c, b) is None


def test_without_common_seeds_there_is_no_difference(tmp_path):
    a = study(tmp_path / "a", ("none",))
    whole = side_by_side.combine([a, study(tmp_path / "b", ("none",), (7, 8))])
    assert whole.record["notices"] == ["a and b have no seed in common"]
    assert np.isnan(estimates.arm_differences(whole)["accuracy_points"]).all()


def test_settings_and_arms_may_differ(tmp_path):
    """Then the baseline is the one that both have; without one, there is none."""
    a = study(tmp_path / "a", ("none", "batch"), baseline={"norm": "none"})
    rates = (0.1, 0.2)
    b = study(
        tmp_path / "b", ("none", "layer"), rates=rates, baseline=a.record["baseline"]
    )
    whole = side_by_side.combine([a, b])
    assert whole.record["baseline"] == {"norm": "none"}
    assert whole.curves["b: layer/train_loss"].shape == (2, 3, EPOCHS)
    assert len(whole.networks) == 6 + 12
    c = study(tmp_path / "c", ("layer",), baseline={"norm": "layer"})
    assert side_by_side.combine([a, c]).record["baseline"] == {}


def test_folders_of_one_name_are_told_apart(tmp_path):
    paths = [tmp_path / x / "run" for x in "ab"]
    assert side_by_side.record_names(paths) == ["a/run", "b/run"]
    assert side_by_side.record_names([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
    assert side_by_side.record_names([paths[0]] * 2) == ["run (1)", "run (2)"]


def test_a_study_that_has_trials_only_is_refused(pair):
    content = pair[1].record | {"tuning": {"stage": "trials"}}
    with pytest.raises(InputError) as caught:
        side_by_side.combine([pair[0], pair[1]._replace(record=content)])
    assert str(caught.value) == (
        f"{pair[1].workdir}: must have chosen its settings, and has trials only; finish"
        " its tuning first."
    )


def test_one_page_is_written_and_no_folder_is_touched(pair, tmp_path, capsys):
    folders = [str(record.workdir) for record in pair]
    before = sorted(path for x in pair for path in x.workdir.rglob("*"))
    assert command.main([*folders, f"--out={tmp_path / 'page.html'}"]) == 0
    assert sorted(path for x in pair for path in x.workdir.rglob("*")) == before
    assert capsys.readouterr().out == f"{tmp_path / 'page.html'}\n"
    text = (tmp_path / "page.html").read_text()
    assert "a and b are paired by seed: 2 seeds of both" in text
    assert "Test accuracy minus that of record a" in text
    gone = [*folders, str(tmp_path / "c"), f"--out={tmp_path / 'other.html'}"]
    assert command.main(gone) == 2
    assert not (tmp_path / "other.html").exists()


def test_a_single_record_is_shown_as_its_own_page_does(tmp_path, capsys):
    """It has its own baseline, not that of the first of several records."""
    run = write(tmp_path / "a", {"none": made("none", (0, 1, 2))})
    out = tmp_path / "page.html"
    assert command.main([str(run.workdir), f"--out={out}"]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert "record" not in re.search(r'<p class="lead">(.*?)</p>', out.read_text())[1]
    assert "the baseline" not in out.read_text().partition("<h2")[0]
