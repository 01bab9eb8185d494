"""A record without variables: what is kept, what is refused, and what goes on."""

import _records
import numpy as np
import pytest
from test_merge import made, write

from normjax import archive, merge
from normjax.audit import overview
from normjax.errors import InputError
from normjax.report import page
from normjax.study import claims, groups
from normjax.study.folder import archived_lines
from normjax.study.record import Record, read_record


@pytest.fixture
def record(tmp_path) -> Record:
    arms = {norm: made(norm, (0, 1, 2)) for norm in ("none", "batch")}
    return write(tmp_path / "run", arms)


def test_an_archive_has_every_number_and_no_variables(record, tmp_path):
    paths = archive.archive(record.workdir, tmp_path / "kept")
    kept = read_record(tmp_path / "kept")
    assert kept.record == record.record
    assert kept.networks.equals(record.networks)
    assert kept.epochs.equals(record.epochs)
    assert kept.curves.keys() == record.curves.keys()
    assert all(np.array_equal(kept.curves[x], record.curves[x]) for x in kept.curves)
    assert page.build(kept.workdir, stills=False).exists()
    for path in paths:
        with np.load(path) as file:
            assert not [name for name in file.files if name.startswith("variables/")]
    lane = {"seed": 1, "learning_rate": 0.1}
    assert record.variables("none", **lane) == {"params": {"lane": {"number": 1}}}
    with pytest.raises(InputError) as caught:
        kept.variables("none", **lane)
    assert str(caught.value) == (
        f"workdir='{kept.workdir}': is archived without the variables of its networks;"
        " give the folder that the study was run in, or run it in a new one."
    )


def test_the_digests_of_an_archive_hold(record, tmp_path):
    first, *others = archive.archive(record.workdir, tmp_path / "kept")
    assert all(path.stem.endswith(groups.files.digest(path)) for path in others)
    first.write_bytes(first.read_bytes()[:-1])
    assert read_record(tmp_path / "kept").record["damaged"] == [first.name]


def test_an_archive_is_replaced_when_its_study_has_grown(record, tmp_path):
    kept = tmp_path / "kept"
    before = archive.archive(record.workdir, kept)
    assert archive.archive(record.workdir, kept) == before  # nothing changes
    arms = {norm: made(norm, (3,)) for norm in ("none", "batch")}
    write(tmp_path / "more", arms)
    merge.merge([tmp_path / "more"], record.workdir)
    archive.archive(record.workdir, kept)
    assert read_record(kept).networks.equals(read_record(record.workdir).networks)
    assert len(list((kept / groups.FOLDER).iterdir())) == 4


def test_what_an_older_archive_had_and_the_study_has_no_more_is_removed(
    record, tmp_path
):
    """Its networks are in another file now, with one more."""
    before = archive.archive(record.workdir, tmp_path / "kept")
    name = f"{_records.arm_id('none')}-*.npz"
    (path,) = (record.workdir / groups.FOLDER).glob(name)
    path.unlink()
    _records.write_group(
        record.workdir, "none", made("none", (0, 1, 2, 3)), ["learning_rate"]
    )
    paths = archive.archive(record.workdir, tmp_path / "kept")
    assert len({*before} & {*paths}) == 1
    assert {*(tmp_path / "kept" / groups.FOLDER).iterdir()} == {*paths}


def test_of_two_copies_the_one_that_counts_is_kept(record, tmp_path):
    """Seed 0 is in two files; the other lanes of the second one are new."""
    arm = made("none", (0, 7))
    arm.epochs["train_loss"] *= np.float32(2)
    _records.write_group(record.workdir, "none", arm, ["learning_rate"])
    archive.archive(record.workdir, tmp_path / "kept")
    before, after = (
        groups.held(x).networks for x in (record.workdir, tmp_path / "kept")
    )
    assert before.keys() == after.keys()
    for key, (_, group, i) in before.items():
        _, other, j = after[key]
        assert group.curves["train_loss"][i, 0] == other.curves["train_loss"][j, 0]


def test_networks_with_variables_are_never_replaced(record, tmp_path, capsys):
    before = sorted((record.workdir / groups.FOLDER).iterdir())
    flags = [str(record.workdir), f"--workdir={record.workdir}"]
    assert archive.main(flags) == 2
    assert capsys.readouterr().err == (
        f"workdir='{record.workdir}': must be new or an archive, and has networks with"
        " their variables; give another workdir.\n"
    )
    assert sorted((record.workdir / groups.FOLDER).iterdir()) == before
    assert archive.main([str(tmp_path / "no"), f"--workdir={tmp_path / 'kept'}"]) == 2
    assert not (tmp_path / "kept").exists()
    capsys.readouterr()
    assert archive.main([flags[0], f"--workdir={tmp_path / 'kept'}"]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'kept'}: 2 files of netw")


def test_a_damaged_group_is_refused_before_anything_is_written(record, tmp_path):
    path = max((record.workdir / groups.FOLDER).iterdir())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="damaged"):
        archive.archive(record.workdir, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_an_archive_that_a_study_works_on_is_refused(record, tmp_path):
    kept = tmp_path / "kept"
    archive.archive(record.workdir, kept)
    refused = pytest.raises(InputError, match="must be free, and process")
    with claims.claim(kept / groups.LOCKS, "study"), refused:
        archive.archive(record.workdir, kept)


def test_a_study_that_goes_on_in_an_archive_is_told(record, tmp_path):
    """It trains what is missing; a copy with variables counts for the archived one."""
    kept = tmp_path / "kept"
    archive.archive(record.workdir, kept)
    arms = {norm: made(norm, (3,)) for norm in ("none", "batch")}
    write(tmp_path / "more", arms)
    merge.merge([tmp_path / "more"], kept)
    held = groups.held(kept)
    said = ["archived: 6 networks are here without their variables"]
    assert archived_lines(held, held.networks) == said
    whole = groups.held(record.workdir)
    assert archived_lines(whole, whole.networks) == []
    grown = read_record(kept)
    assert grown.variables("none", seed=3)["params"]["lane"] == {"number": 0}
    with pytest.raises(InputError, match="archived without the variables"):
        grown.variables("none", seed=1)
    merge.merge([record.workdir], kept)
    assert grown.variables("none", seed=1)["params"]["lane"] == {"number": 1}


AUDIT = """
import pandas as pd
from normjax.report.audit_interface import Section

def sections(record):
    numbers = pd.DataFrame({"claim": ["as many"], "n": [len(record.networks)]})
    return [Section("claims", "Claims", numbers, {}, {})]
"""


def test_the_claims_of_an_archive_are_judged_from_its_networks(tmp_path, monkeypatch):
    (tmp_path / "my_archived_audit.py").write_text(AUDIT)
    monkeypatch.syspath_prepend(tmp_path)
    arms = {"none": made("none", (0, 1, 2))}
    study = write(tmp_path / "run", arms, {"audit": "my_archived_audit"})
    archive.archive(study.workdir, tmp_path / "kept")
    (result,) = overview.read_results([tmp_path / "kept"], tmp_path)
    assert [(row["claim"], row["n"]) for row in result.rows] == [("as many", 3)]
    write(tmp_path / "other", arms)
    assert overview.read_results([tmp_path / "other"], tmp_path) == []


def test_an_archive_of_a_study_without_claims_has_none(tmp_path, monkeypatch):
    empty = AUDIT.replace('{"claim": ["as many"], "n": [len(record.networks)]}', "[]")
    assert empty != AUDIT
    (tmp_path / "my_empty_audit.py").write_text(empty)
    monkeypatch.syspath_prepend(tmp_path)
    arms = {"none": made("none", (0, 1, 2))}
    study = write(tmp_path / "run", arms, {"audit": "my_empty_audit"})
    assert overview.read_results([study.workdir], tmp_path) == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a --workdir=/home/me/x/run1", "a --workdir=runs/run1"),
        ("a --workdir /scratch/run1/ --b=/c", "a --workdir runs/run1 --b=/c"),
        ("a --workdir=runs/run1", "a --workdir=runs/run1"),
        ("normjax.run(...)", "normjax.run(...)"),
    ],
)
def test_an_archive_does_not_tell_the_folders_of_a_machine(given, kept):
    about = {"environment": {"command": given, "commit": "1"}, "other": "/home/me"}
    expected = {"environment": {"command": kept, "commit": "1"}, "other": "/home/me"}
    assert archive.without_folders(about) == expected
