"""The union of records, and what a workdir holds: two commands."""

import pathlib
import shutil
from types import MappingProxyType

import _records
import numpy as np
import pandas as pd
import pytest

from normjax import merge, status
from normjax.errors import InputError
from normjax.report import __main__ as command
from normjax.report import page, serve
from normjax.study import claims, groups
from normjax.study.columns import CURVES
from normjax.study.record import Record, complete_arms, read_record
from normjax.study.wanted import read_wanted

EPOCHS = 2


def made(norm: str, seeds: tuple[int, ...], rates=(0.1,)) -> _records.Arm:
    """Networks whose numbers are those of their norm, seed and rate."""
    rows = []
    for rate in rates:
        for seed in seeds:
            lane = {"arm": norm, "norm": norm, "seed": seed, "learning_rate": rate}
            for epoch in range(1, EPOCHS + 1):
                value = len(norm) + seed / 8 + rate + epoch / 64
                curves = dict.fromkeys(CURVES, np.float32(value))
                rows.append(lane | {"epoch": epoch, "step": 5 * epoch} | curves)
    epochs = pd.DataFrame(rows)
    networks = epochs[epochs["epoch"] == EPOCHS].assign(diverged_at_step=-1, seconds=1)
    return _records.Arm(networks, epochs, epoch_seconds=[0.5] * EPOCHS)


def write(
    folder: pathlib.Path,
    arms: dict[str, _records.Arm],
    more=MappingProxyType({}),
    **about,
) -> Record:
    """The record of arms in `folder`; `more` is of its config, `about` of itself."""
    seeds = list(dict.fromkeys(arms[next(iter(arms))].networks["seed"].tolist()))
    config = {
        "study": "made",
        "audit": "",
        "seeds": [],
        "num_seeds": len(seeds),
        "arms": {"norm": list(arms)},
        "settings": {"learning_rate": [0.1]},
        "protocols": {},
    } | more
    content = _records.wanted(arms, ["norm"], ["learning_rate"], config=config, **about)
    return _records.write(folder, content, arms)


@pytest.fixture
def parts(tmp_path) -> list[pathlib.Path]:
    """Two seeds on one machine, three on another, which share one."""
    for name, seeds in (("a", (0, 1)), ("b", (1, 2, 3))):
        write(tmp_path / name, {x: made(x, seeds) for x in ("none", "batch")})
    return [tmp_path / "a", tmp_path / "b"]


def test_the_union_is_the_study_at_once(parts, tmp_path):
    whole = write(
        tmp_path / "whole", {x: made(x, (0, 1, 2, 3)) for x in ("none", "batch")}
    )
    assert merge.merge(parts, tmp_path / "all") == []
    union = read_record(tmp_path / "all")
    assert union.networks.equals(whole.networks)
    assert union.epochs.equals(whole.epochs)
    assert union.config["seeds"] == [0, 1, 2, 3]
    assert union.config["num_seeds"] == 4
    assert complete_arms(union.record) == ("none", "batch")
    assert merge.merge([parts[1]], tmp_path / "all") == []  # again: nothing changes
    assert read_record(tmp_path / "all").networks.equals(whole.networks)


def test_arms_and_settings_are_united_and_what_nobody_trained_is_missing(tmp_path):
    write(tmp_path / "a", {"none": made("none", (0,))})
    write(tmp_path / "b", {"batch": made("batch", (0, 1), rates=(0.2,))})
    write(tmp_path / "c", {"none": made("none", (1,), rates=(0.2,))})
    merge.merge([tmp_path / x for x in "abc"], tmp_path / "all")
    record = read_record(tmp_path / "all").record
    assert record["arms"]["none"]["settings"] == {"learning_rate": [0.1, 0.2]}
    missing = {name: entry["missing"] for name, entry in record["arms"].items()}
    assert missing == {"none": 2, "batch": 0}


def test_a_network_that_is_not_the_same_twice_is_named(parts, tmp_path, capsys):
    arm = made("none", (1, 2, 3))
    arm.epochs.loc[arm.epochs["seed"] == 1, "train_loss"] *= np.float32(1.01)
    for path in (parts[1] / groups.FOLDER).glob(f"{_records.arm_id('none')}-*"):
        path.unlink()
    _records.write_group(parts[1], "none", arm, ["learning_rate"])
    folders = [str(path) for path in parts]
    assert merge.main([*folders, f"--workdir={tmp_path / 'all'}"]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("different: none, seed 1, learning_rate=0.1: train loss ")
    assert "which counts" in first
    assert second == f"page: {tmp_path / 'all' / 'report.html'}"


def test_whoever_builds_a_page_has_claimed_it(parts, tmp_path, monkeypatch):
    """No other process builds it then; a folder that is no record has no claims."""
    free = []
    locks = parts[0] / groups.LOCKS

    def write_tables(record):
        with claims.claim(locks, "page") as ours:
            free.append(ours)

    monkeypatch.setattr(page, "write_tables", write_tables)
    monkeypatch.setattr(page.still_files, "update", lambda charts, folder: None)
    page.build(parts[0], stills=False)
    assert command.main([str(parts[0])]) == 0
    assert merge.main([str(parts[1]), f"--workdir={parts[0]}"]) == 0
    serve.Pages(parts[0]).newest()
    assert free == [False] * 4
    write_tables(None)
    assert free[-1]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="must hold a record"):
        page.build(tmp_path / "empty")
    assert not any((tmp_path / "empty").iterdir())


def test_rounding_is_no_difference(parts, tmp_path):
    arm = made("none", (1, 2, 3))
    arm.epochs["train_loss"] *= np.float32(1 + 1e-5)
    arm.epochs.loc[arm.epochs["epoch"] > 1, "train_loss"] *= 2  # it grows
    for path in (parts[1] / groups.FOLDER).glob(f"{_records.arm_id('none')}-*"):
        path.unlink()
    _records.write_group(parts[1], "none", arm, ["learning_rate"])
    assert merge.merge(parts, tmp_path / "all") == []


def test_records_of_other_studies_are_refused(parts, tmp_path, capsys):
    write(tmp_path / "c", {"none": made("none", (0,))}, num_examples={"train": 9})
    with pytest.raises(InputError) as caught:
        merge.merge([parts[0], tmp_path / "c"], tmp_path / "all")
    assert str(caught.value) == (
        f"{tmp_path / 'c'}: must hold the same study: num_examples is {{'train': 9}},"
        " not {}; merge parts of one study."
    )
    assert not (tmp_path / "all").exists()
    assert merge.main([str(tmp_path / "none"), f"--workdir={tmp_path / 'all'}"]) == 2
    assert capsys.readouterr().err.startswith(f"workdir='{tmp_path / 'none'}': must be")


def test_an_arm_of_another_program_is_refused(parts, tmp_path):
    record = read_record(parts[1]).record
    other = write(tmp_path / "c", {"none": made("none", (0,))}).record
    wanted = _records.wanted({"none": made("none", (0,))}, ["norm"], ["learning_rate"])
    wanted["arms"]["none"]["id"] = "0" * 16
    wanted["config"] = other["config"]
    shutil.rmtree(tmp_path / "c")
    _records.write(tmp_path / "c", wanted, {"none": made("none", (0,))})
    assert record["study"] == wanted["study"]
    with pytest.raises(InputError) as caught:
        merge.merge([parts[1], tmp_path / "c"], tmp_path / "all")
    assert str(caught.value) == (
        "arm none: must be the same in all records (data, epochs, version or program);"
        " merge parts of one study."
    )


@pytest.mark.parametrize("source", [0, 1])
def test_a_damaged_group_is_refused_before_anything_is_written(parts, tmp_path, source):
    path = max((parts[source] / groups.FOLDER).glob("*.npz"))
    path.write_bytes(path.read_bytes()[:-1])
    refused = pytest.raises(InputError, match=r"damaged \(its content is not what was")
    with refused as caught:
        merge.merge(parts, tmp_path / "all")
    assert str(caught.value).startswith(f"{path}: ")
    assert not (tmp_path / "all").exists()
    shutil.copytree(parts[1 - source], tmp_path / "all")
    before = contents(tmp_path / "all")
    with refused:
        merge.merge([parts[source]], tmp_path / "all")
    assert contents(tmp_path / "all") == before


def contents(folder: pathlib.Path) -> dict[pathlib.Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_merging_again_mends_the_union(parts, tmp_path):
    merge.merge(parts, tmp_path / "all")
    before = contents(tmp_path / "all")
    for path in (tmp_path / "all" / groups.FOLDER).glob("*.npz"):
        path.write_bytes(path.read_bytes()[:-1])
    assert merge.merge(parts, tmp_path / "all") == []
    assert contents(tmp_path / "all") == before


@pytest.mark.parametrize("shared", [False, True])
def test_a_folder_that_a_study_works_on_is_refused(parts, tmp_path, capsys, shared):
    merge.merge(parts[:1], tmp_path / "all")
    before = contents(tmp_path / "all")
    locks = tmp_path / "all" / groups.LOCKS
    flag = f"--workdir={tmp_path / 'all'}"
    with claims.claim(locks, "study", shared=shared) as ours:
        assert ours
        assert merge.main([str(parts[1]), flag]) == 2
        holder = claims.holder(locks, "study")
    assert holder.startswith("process ")
    assert capsys.readouterr().err == (
        f"workdir='{tmp_path / 'all'}': must be free, and {holder} works on it; wait"
        " for its end.\n"
    )
    assert contents(tmp_path / "all") == before
    assert merge.main([str(parts[1]), flag]) == 0
    assert read_record(tmp_path / "all").config["seeds"] == [0, 1, 2, 3]


def test_a_folder_is_merged_with_itself(parts, tmp_path):
    before = read_record(parts[0])
    assert merge.merge([parts[0]], parts[0]) == []
    assert read_record(parts[0]).networks.equals(before.networks)
    with pytest.raises(InputError, match="must be a folder, and there is none"):
        merge.merge([tmp_path / "all"], tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_protocols_are_united(tmp_path):
    of = lambda **levels: {"protocols": {"as_published": {"norm": levels}}}
    other = {"protocols": {"late": {"optimizer": {"adam": "my.late"}}}}
    arm = {"none": made("none", (0,))}
    for name, more in zip("abc", (of(batch="my.one"), of(layer="my.two"), other)):
        write(tmp_path / name, arm, more)
    merge.merge([tmp_path / x for x in "abc"], tmp_path / "all")
    assert read_record(tmp_path / "all").config["protocols"] == {
        "as_published": {"norm": {"batch": "my.one", "layer": "my.two"}},
        "late": {"optimizer": {"adam": "my.late"}},
    }
    write(tmp_path / "d", arm, of(batch="my.three"))
    with pytest.raises(InputError) as caught:
        merge.merge([tmp_path / "d"], tmp_path / "all")
    assert str(caught.value) == (
        "protocols.as_published.norm.batch='my.three': must be the same in all records,"
        " not 'my.one'; merge parts of one study."
    )


def test_looks_are_those_of_one_study(tmp_path):
    looks = [{"num_seeds": 2, "level": 0.9875}]
    for name, norm, seeds in (("a", "none", (0, 1)), ("b", "batch", (0, 1))):
        write(tmp_path / name, {norm: made(norm, seeds)}, looks=looks)
    write(tmp_path / "c", {"none": made("none", (2, 3))}, looks=looks)
    write(tmp_path / "d", {"none": made("none", (0, 1))}, looks=[])
    merged = tmp_path / "all"
    assert merge.merge([tmp_path / "a", tmp_path / "b"], merged) == []
    assert read_wanted(merged)["looks"] == looks  # arms of the same seeds
    for other in "cd":
        shutil.rmtree(merged)
        merge.merge([tmp_path / "a", tmp_path / other], merged)
        assert "looks" not in read_wanted(merged)


def test_the_status_tells_what_is_there(parts, tmp_path, capsys):
    assert status.main([str(parts[0])]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "made: 4 of 4 networks trained",
        "none   complete      2 of 2",
        "batch  complete      2 of 2",
    ]
    path = min((parts[0] / groups.FOLDER).glob(f"{_records.arm_id('none')}-*"))
    path.write_bytes(path.read_bytes()[1:])
    groups.write_failure(
        parts[0], _records.arm_id("none"), {"message": "ValueError: x"}
    )
    assert status.main([str(parts[0])]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "made: 2 of 4 networks trained",
        "none   failed        0 of 2: ValueError: x",
        "batch  complete      2 of 2",
        f"damaged: networks/{path.name}",
        "to go on: python launch.py --config=configs/made.py",
    ]
    assert status.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"workdir='{tmp_path}': must hold a record, and has no record.json; give the"
        " folder that a study was run in.\n"
    )
