"""A study in a folder that another one was run in: what is told of it, and kept."""

import errno
import os

import _records
import numpy as np
import pytest

import normjax
from normjax.errors import InputError
from normjax.report import page
from normjax.study import earlier, folder, groups, identity, memory, plan, run
from normjax.study.description import describe
from normjax.study.groups import Group
from normjax.study.record import read_record
from normjax.study.wanted import start_record, write_wanted

CURVES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
CURVES = (*CURVES, "test_loss", "test_accuracy")


def study(**choices):
    choices = {"num_seeds": 2, "num_epochs": 1, "arms": {"norm": ("none",)}} | choices
    return plan.study(normjax.config(**choices))


def write(workdir, wanted):
    """The record of a study, as if its networks were trained."""
    start_record(workdir, describe(wanted))
    seeds = np.array(wanted.seeds)
    for arm in wanted.arms:
        curves = {x: np.full((len(seeds), wanted.num_epochs), 0.5) for x in CURVES}
        about = {"id": arm.id, "identity": arm.identity, "mapping": "map"}
        about |= {"environment": _records.ENVIRONMENT, "num_devices": 2}
        about |= {"compile_seconds": 1.0, "epoch_seconds": [1.0] * wanted.num_epochs}
        settings = {x: np.repeat(y, len(seeds)) for x, y in arm.settings.items()}
        never = np.full(len(seeds), -1)
        group = Group(about, seeds, settings, never, curves, {})
        groups.write(workdir, group, {"params/kernel": np.ones((len(seeds), 1))})
    return read_record(workdir)


DIFFERENT = {
    "epochs": (
        {"num_epochs": 2},
        "they have num_epochs=1, and this study has num_epochs=2",
    ),
    "the first of two": (
        {"root_seed": 3, "data": {"num_train": 300}},
        "they have other data",
    ),
    "arm": ({"arms": {"norm": ("batch",)}}, "their program has another model.norm"),
    "program": (
        {"batch_size": 64},
        "their program has another batch_size and steps_per_epoch",
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_the_first_difference_to_the_nearest_arm_is_told(tmp_path, name):
    choices, why = DIFFERENT[name]
    write(tmp_path, study())
    assert folder.progress_lines(study(**choices), groups.held(tmp_path), []) == [
        f"kept: 2 networks of other studies: {why}",
        f"they stay in {tmp_path}/networks; to keep a page of them, give this study"
        " another --workdir",
        "complete: every network is trained",
    ]


VERSIONS = {
    "sources": ("0" * 16, "the sources of normjax have changed"),
    "normjax": (
        "0.2.0",
        f"they are of normjax 0.2.0, and this is {normjax.__version__}",
    ),
}


@pytest.mark.parametrize("name", VERSIONS)
def test_the_record_of_an_earlier_version_is_kept_and_read(tmp_path, name, monkeypatch):
    then, why = VERSIONS[name]
    now = identity.numerics()
    with monkeypatch.context() as patched:
        patched.setattr(identity, "numerics", lambda: now | {name: then})
        old = study()
    before = write(tmp_path, old)
    new = study()
    lines, _ = folder.prepare(new, tmp_path, [], (), alone=True)
    (kept,) = (tmp_path / "earlier").iterdir()
    assert lines[-3:] == [
        f"kept: 2 networks of other studies: {why}",
        f"to see them: python -m normjax.report {kept}",
        "complete: every network is trained",
    ]
    assert read_record(tmp_path).networks.empty  # the folder has the new study
    found = read_record(kept)
    assert found.record["arms"] == before.record["arms"]
    assert found.networks.equals(before.networks)
    assert found.variables("none", seed=1)["params"]["kernel"] == 1
    assert page.build(kept, stills=False).exists()
    again, _ = folder.prepare(new, tmp_path, [], (), alone=True)
    assert again == lines
    assert list((tmp_path / "earlier").iterdir()) == [kept]


def test_a_study_that_shares_an_arm_grows_and_nothing_is_kept_apart(tmp_path):
    write(tmp_path, study(arms={"norm": ("none", "batch")}))
    folder.prepare(
        study(arms={"norm": ("none", "layer")}), tmp_path, [], (), alone=True
    )
    assert not (tmp_path / "earlier").exists()


def kept_and_told(workdir, *studies):
    """What is told of networks of others by the last of studies in one folder."""
    for each in studies:
        earlier.keep(workdir, each)
        write(workdir, each)
    return earlier.lines(studies[-1], groups.held(workdir))[1:]


def test_only_folders_that_hold_what_is_not_wanted_are_named(tmp_path):
    """The study that is in the folder now has a folder there too."""
    workdir = tmp_path / "my runs"
    kept_and_told(workdir, study(), study(num_epochs=2))
    (first,) = (workdir / "earlier").iterdir()
    told = kept_and_told(workdir, study())
    (second,) = set((workdir / "earlier").iterdir()) - {first}
    assert told == [f"to see them: python -m normjax.report '{second}'"]


def test_networks_that_no_folder_keeps_are_said_to_stay(tmp_path):
    arms = [study(arms={"norm": ("none", name)}) for name in ("batch", "layer")]
    told = kept_and_told(tmp_path, study(), *arms)
    stay = f"stay in {tmp_path}/networks; to keep a page of them, give this study"
    stay += " another --workdir"
    assert told == [f"they {stay}"]
    told = kept_and_told(tmp_path, study(num_epochs=2))
    (kept,) = (tmp_path / "earlier").iterdir()
    assert told == [
        f"to see some of them: python -m normjax.report {kept}",
        f"the others {stay}",
    ]


def test_another_process_that_keeps_the_same_is_no_error(tmp_path, monkeypatch):
    """It may do so between any two of our steps."""
    path, to = tmp_path / "x.npz", tmp_path / "kept.npz"
    path.write_text("networks")
    link = os.link

    def both(path, to):
        link(path, to)
        link(path, to)

    monkeypatch.setattr("os.link", both)
    earlier.link(path, to)
    assert to.samefile(path)


def test_a_copy_is_whole_or_absent(tmp_path, monkeypatch):
    """Where there are no links, as others read the folder meanwhile."""

    def refuse(path, to):
        raise OSError(errno.ENOTSUP, "no links")

    def fill(source, file):
        file.write(b"ha")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.link", refuse)
    monkeypatch.setattr("shutil.copyfileobj", fill)
    path, to = tmp_path / "x.npz", tmp_path / "kept.npz"
    path.write_text("half")
    with pytest.raises(InputError) as caught:
        earlier.link(path, to)
    assert str(caught.value) == (
        f"{to}: cannot be written (No space left on device); make room or allow it, or"
        " give another workdir."
    )
    assert list(tmp_path.iterdir()) == [path]


def contents(folder):
    return {x: x.is_dir() or x.read_bytes() for x in folder.rglob("*")}


def test_a_model_that_does_not_fit_is_refused_before_anything_is_touched(
    tmp_path, monkeypatch
):
    """Only then: what memory lacks later is for each arm to find out."""
    path, new = tmp_path / "run", tmp_path / "new"
    write(path, study())
    before, larger = contents(path), study(model={"widths": (1000,)})
    least = memory.least_needed(larger.arms[0], larger.data)
    free = []
    monkeypatch.setattr(memory, "free_bytes", lambda: free.pop() if free else least - 1)
    for workdir in (path, new):
        with pytest.raises(InputError) as caught:
            run.complete(larger, workdir, quiet=True)
        kib = f"{least / 1024:.1f} KiB"
        assert str(caught.value) == (
            "model='MLP': must fit into memory: to train one network takes at least"
            f" {kib}, of which {kib} are free; take fewer or smaller layers."
        )
    assert contents(path) == before
    assert not new.exists()
    trained = []
    monkeypatch.setattr(run, "train_group", lambda *args: trained.append(args[1].arm))
    free.append(least)
    assert run.complete(larger, new, quiet=True) == {}
    assert {arm.id for arm in trained} == {arm.id for arm in larger.arms}
    write(new, larger)
    trained.clear()
    assert run.complete(larger, new, quiet=True) == {}  # nothing is missing
    assert not trained


def test_a_folder_of_that_name_that_is_not_ours_is_refused(tmp_path):
    (tmp_path / "earlier").mkdir()
    with pytest.raises(InputError) as caught:
        start_record(tmp_path, describe(study()))
    assert str(caught.value) == (
        f"workdir='{tmp_path}': must be new or hold a record, and holds another"
        " 'earlier'; give another workdir."
    )


def test_a_study_without_networks_leaves_nothing(tmp_path):
    write_wanted(tmp_path, describe(study()))
    earlier.keep(tmp_path, study(num_epochs=2))
    assert not (tmp_path / "earlier").exists()


def test_where_there_are_no_links_files_are_copied(tmp_path, monkeypatch):
    def refuse(path, to):
        raise OSError("no links")

    monkeypatch.setattr("os.link", refuse)
    write(tmp_path, study())
    earlier.keep(tmp_path, study(num_epochs=2))
    (kept,) = (tmp_path / "earlier").iterdir()
    assert len(read_record(kept).networks) == 2
    assert not read_record(kept).record["damaged"]
