"""A record on disk: the union of its groups, checked to the byte, refused in a line."""

import json
import os
import pathlib

import _records
import numpy as np
import pandas as pd
import pytest

from normjax import files
from normjax.errors import InputError
from normjax.study import groups
from normjax.study.columns import CURVES, columns
from normjax.study.folder import progress
from normjax.study.record import complete_arms, read_record, write_tables
from normjax.study.wanted import WRITTEN, start_record

ARMS = ("batch", "none", "layer")
SEEDS, RATES, EPOCHS = (3, 1), (0.1, 0.2), 3
CONFIG = {"study": "norms", "data": {"name": "digits", "sizes": [3, 4]}}


def made(arm: str, seeds=SEEDS) -> _records.Arm:
    """Two settings of an arm, each network and epoch with numbers of its own."""
    generator = np.random.default_rng(ARMS.index(arm))
    lanes = pd.DataFrame(
        [
            {"arm": arm, "norm": arm, "batch_size": 32, "seed": s, "learning_rate": r}
            | ({"decay": 0.9} if arm != "none" else {})
            for r in RATES
            for s in seeds
        ]
    )
    n = len(lanes)
    numbers = np.tile(np.arange(1, EPOCHS + 1), n)
    draws = {x: generator.normal(size=n * EPOCHS).astype(np.float32) for x in CURVES}
    epochs = lanes.loc[lanes.index.repeat(EPOCHS)].reset_index(drop=True)
    networks = lanes.assign(diverged_at_step=[-1, 7] * (n // 2), seconds=1 / 3)
    probe = np.arange(n * EPOCHS, dtype=np.float32).reshape(n, EPOCHS)
    return _records.Arm(
        networks,
        epochs.assign(epoch=numbers, step=10 * numbers, **draws),
        {"probe": probe + ARMS.index(arm)},
    )


def about(arms=ARMS) -> dict:
    table = {arm: made(arm) for arm in arms}
    names = ["norm", "batch_size"], ["decay", "learning_rate"]
    return _records.wanted(table, *names, study="norms", config=CONFIG)


@pytest.fixture
def workdir(tmp_path):
    folder = tmp_path / "run"
    write_tables(_records.write(folder, about(), {arm: made(arm) for arm in ARMS}))
    return folder


def group_file(workdir: pathlib.Path, arm: str) -> pathlib.Path:
    (path,) = (workdir / "networks").glob(f"{_records.arm_id(arm)}-*.npz")
    return path


def content(folder: pathlib.Path) -> dict[str, bytes]:
    inside = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in inside}


def refused(call, *args) -> str:
    with pytest.raises(InputError) as caught:
        call(*args)
    return str(caught.value)


def test_a_record_is_read_as_it_was_written(workdir):
    record = read_record(workdir)
    assert record.config == CONFIG
    assert tuple(record.networks) == columns(record.record, "networks.csv")
    assert tuple(record.epochs) == columns(record.record, "epochs.csv")
    expected = pd.concat([made(arm).epochs for arm in ARMS])
    assert list(record.epochs["arm"]) == list(expected["arm"])
    assert record.epochs["batch_size"].dtype == np.int64
    for name in ("seed", "step", "train_loss", "test_accuracy", "decay"):
        got = record.epochs[name].to_numpy().astype(np.float32)
        assert np.array_equal(got, expected[name].astype(np.float32), equal_nan=True)
    last = expected[expected["epoch"] == EPOCHS]
    got = record.networks["test_loss"].to_numpy().astype(np.float32)
    assert np.array_equal(got, last["test_loss"])
    assert list(record.networks["diverged_at_step"]) == [-1, 7] * 6
    assert list(record.networks["seconds"]) == [1 / 3] * 12
    for arm in ARMS:
        probe = made(arm).probes["probe"].reshape(2, 2, EPOCHS)
        assert np.array_equal(record.probes[f"{arm}/probe"], probe)
        curve = made(arm).epochs["test_loss"].to_numpy().reshape(2, 2, EPOCHS)
        got = record.curves[f"{arm}/test_loss"].astype(np.float32)
        assert np.array_equal(got, curve)
    assert complete_arms(record.record) == ARMS
    entry = record.record["arms"]["none"]
    assert (entry["status"], entry["lanes"], entry["missing"]) == ("complete", 4, 0)


def test_a_record_says_in_a_line_what_it_is(workdir):
    expected = f"<Record of 'norms': batch, none, layer; 12 networks; {workdir}>"
    assert repr(read_record(workdir)) == expected


def test_the_order_of_the_arms_and_a_repeat_change_no_byte(workdir, tmp_path):
    arms = {arm: made(arm) for arm in reversed(ARMS)}
    for _ in range(2):
        write_tables(_records.write(tmp_path / "other", about(), arms))
    assert content(tmp_path / "other") == content(workdir)


def test_tables_are_rebuilt_from_the_networks(workdir):
    before = content(workdir)
    for name in ("networks.csv", "epochs.csv", "probes.npz"):
        (workdir / name).write_text("rubbish")
    write_tables(read_record(workdir))
    assert content(workdir) == before


def test_files_hold_the_shortest_digits(workdir):
    line = (workdir / "networks.csv").read_text().splitlines()[5]
    assert line.startswith("none,none,32,3,nan,0.1,")
    assert (workdir / "networks.csv").read_text().count(",0.3333333333333333,") == 12
    assert not list(workdir.rglob(".*"))


def test_a_group_that_lacks_seeds_leaves_gaps(workdir):
    """One of two seeds of `none`: rows of the other, nan in arrays, named missing."""
    group_file(workdir, "none").unlink()
    settings = ["learning_rate"]
    _records.write_group(workdir, "none", made("none", seeds=(1,) * 2), settings)
    path = group_file(workdir, "none")
    record = read_record(workdir)
    rows = record.networks[record.networks["arm"] == "none"]
    assert list(rows["seed"]) == [1, 1]
    curve = record.curves["none/test_loss"]
    assert np.isnan(curve[:, 0]).all()
    assert np.isfinite(curve[:, 1]).all()
    entry = record.record["arms"]["none"]
    assert (entry["status"], entry["lanes"], entry["missing"]) == ("missing", 2, 2)
    assert complete_arms(record.record) == ("batch", "layer")
    path.unlink()
    record = read_record(workdir)
    assert set(record.networks["arm"]) == {"batch", "layer"}
    assert set(record.probes) == {"batch/probe", "layer/probe"}
    assert progress(workdir) == "8 of 12 networks are finished and kept"
    assert progress(workdir / "nothing") == "no network is finished"


def test_fewer_seeds_are_shown_and_nothing_is_deleted(workdir):
    before = content(workdir / "networks")
    start_record(workdir, about() | {"seeds": [1], "question": "Another?"})
    record = read_record(workdir)
    assert list(record.networks["seed"]) == [1] * 6
    assert record.record["question"] == "Another?"
    assert content(workdir / "networks") == before


@pytest.mark.parametrize("change", ["cut", "empty", "flip", "first", "text", "swap"])
def test_damage_to_a_group_is_noticed_wherever_it_is(workdir, change):
    """Its networks are missing and the file is named; the others are shown."""
    path = group_file(workdir, "none")
    whole = path.read_bytes()
    half = len(whole) // 2
    path.write_bytes(
        {
            "cut": whole[:-1],
            "empty": b"",
            "flip": whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :],
            "first": bytes([whole[0] ^ 128]) + whole[1:],
            "text": b"rubbish",
            "swap": group_file(workdir, "batch").read_bytes(),
        }[change]
    )
    record = read_record(workdir)
    assert record.record["damaged"] == [path.name]
    assert complete_arms(record.record) == ("batch", "layer")
    message = refused(groups.read, path)
    assert message == (
        f"{path}: damaged (its content is not what was written);"
        " run the study's command again, which mends it."
    )
    aside = groups.set_aside(path)
    assert aside == workdir / "networks" / "damaged" / path.name
    assert read_record(workdir).record["damaged"] == []


def test_a_folder_in_the_place_of_a_group_is_damage(workdir):
    path = group_file(workdir, "none")
    path.unlink()
    path.mkdir()
    assert read_record(workdir).record["damaged"] == [path.name]


def test_every_bit_of_record_json_is_checked(workdir):
    """A digit, a letter of a text, a field more: whatever reads as JSON still."""
    path = workdir / "record.json"
    whole = path.read_text()
    for old, new in (("Which is best?", "Which is bast?"), ("0.85", "0.86")):
        assert old in whole
        path.write_text(whole.replace(old, new, 1))
        assert refused(read_record, workdir) == (
            f"{path}: damaged (its content is not what was written);"
            " run the study's command again, which mends it."
        )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x", "Expecting value: line 1 column 1 (char 0)"),
        ("[]", "an object expected, not list"),
        ('{"digest": 1}', "'study' is missing or no str"),
    ],
)
def test_a_damaged_record_is_named_and_a_run_writes_it_again(workdir, text, why):
    (workdir / "record.json").write_text(text)
    assert refused(read_record, workdir) == (
        f"{workdir / 'record.json'}: damaged ({why});"
        " run the study's command again, which mends it."
    )
    start_record(workdir, about())
    assert complete_arms(read_record(workdir).record) == ARMS


def test_a_record_of_an_older_version_is_left_alone(workdir):
    (workdir / "record.json").write_text('{"study": "norms"}')
    before = content(workdir)
    assert refused(start_record, workdir, about()) == (
        f"workdir='{workdir}': must hold a record of this version, and holds an older"
        " record.json; give another workdir."
    )
    assert refused(read_record, workdir) == (
        f"workdir='{workdir}': must hold a record of this version, and holds an older"
        " record.json; run its study again in another folder, or read it with the older"
        " version."
    )
    assert content(workdir) == before


def test_a_group_is_whole_or_absent(workdir, monkeypatch):
    """Stopped before it is put in place: nothing of it is seen or left."""
    group_file(workdir, "none").unlink()
    before = content(workdir)

    def stop(part, path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            _records.write_group(workdir, "none", made("none"), ["learning_rate"])
    assert content(workdir) == before


@pytest.mark.parametrize("number", ["28", "13"])
def test_what_the_system_refuses_is_one_line(workdir, monkeypatch, number):
    """A full disk and a lost permission, while a group is written."""
    group_file(workdir, "none").unlink()
    before = content(workdir)

    def fail(part, path):
        raise OSError(int(number), os.strerror(int(number)))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        write = lambda: _records.write_group(
            workdir, "none", made("none"), ["learning_rate"]
        )
        assert refused(write) == (
            f"{workdir / 'networks'}: cannot be written ({os.strerror(int(number))});"
            " make room or allow it, or give another workdir."
        )
    assert content(workdir) == before


@pytest.mark.parametrize("value", [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0])
def test_floats_come_back_exactly(tmp_path, value):
    files.write_table(tmp_path / "t.csv", pd.DataFrame({"x": [value]}))
    text = (tmp_path / "t.csv").read_text().splitlines()[1]
    assert np.float64(text).tobytes() == np.float64(value).tobytes()


def test_json_has_no_nan(tmp_path):
    files.write_json(
        tmp_path / "x.json", {"x": (np.nan, np.float32(0.5), {1: np.arange(2)})}
    )
    assert json.loads((tmp_path / "x.json").read_text()) == {
        "x": [None, 0.5, {"1": [0, 1]}]
    }


def test_a_record_without_a_network_is_empty(tmp_path):
    start_record(tmp_path, about())
    record = read_record(tmp_path)
    assert record.networks.empty
    assert tuple(record.networks) == columns(record.record, "networks.csv")
    assert complete_arms(record.record) == ()


def test_a_folder_that_is_no_record(tmp_path):
    missing = tmp_path / "missing"
    assert refused(read_record, missing) == (
        f"workdir='{missing}': must be a folder, and there is none of that name;"
        " give the folder that a study was run in."
    )
    assert refused(read_record, tmp_path) == (
        f"workdir='{tmp_path}': must hold a record, and has no record.json;"
        " give the folder that a study was run in."
    )
    (tmp_path / "record.json").write_text("{}")
    assert refused(read_record, tmp_path / "record.json") == (
        f"workdir='{tmp_path}/record.json': must be a folder, and is a file;"
        f" give '{tmp_path}'."
    )


@pytest.mark.parametrize("name", sorted({*WRITTEN} - {"record.json", groups.FOLDER}))
def test_a_folder_with_something_else_is_refused_untouched(tmp_path, name):
    folder = pathlib.Path(name).suffix == ""
    (tmp_path / name).mkdir() if folder else (tmp_path / name).write_text("mine")
    assert refused(start_record, tmp_path, about()) == (
        f"workdir='{tmp_path}': must be new or hold a record, and holds another"
        f" {name!r}; give another workdir."
    )
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert folder or (tmp_path / name).read_text() == "mine"


def test_a_folder_with_files_of_no_concern_is_used(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    start_record(tmp_path, about())
    start_record(tmp_path, about())
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_file_in_the_place_of_a_folder(tmp_path):
    path = tmp_path / "tables"
    assert files.folder(path) == files.folder(str(path)) == path
    assert path.is_dir()
    path.rmdir()
    path.write_text("mine")
    assert refused(files.folder, path) == (
        f"{path}: must be a folder and cannot be made one (File exists);"
        " move what is there or allow it, or give another workdir."
    )
    assert path.read_text() == "mine"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "run"
    assert refused(start_record, folder, about()) == (
        f"workdir='{folder}': must be a folder that can be made (Not a directory);"
        " give another workdir."
    )


def test_a_file_that_cannot_be_written(tmp_path):
    path = tmp_path / "missing" / "x.json"
    assert refused(files.write_json, path, {}) == (
        f"{path}: cannot be written (No such file or directory);"
        f" make the folder {path.parent}, or give another."
    )


def test_variables_of_a_lane(workdir):
    """The made-up network n of a group has the number n."""
    record = read_record(workdir)
    for n, (rate, seed) in enumerate((r, s) for r in RATES for s in SEEDS):
        variables = record.variables("batch", seed=seed, learning_rate=rate)
        assert variables == {"params": {"lane": {"number": n}}}


def test_variables_of_no_lane_or_of_several(workdir):
    record = read_record(workdir)
    assert refused(record.variables, "bach") == (
        "arm='bach': must be one of batch, layer, none; did you mean 'batch'?"
    )
    assert refused(lambda: record.variables("batch", sed=1)) == (
        "sed=1: must be one of seed and the settings: seed, decay, learning_rate;"
        " did you mean 'seed'?"
    )
    assert refused(record.variables, "batch") == (
        "seed: must be given, for 4 networks of batch differ in seed, learning_rate;"
        " give seed=3."
    )
    assert refused(lambda: record.variables("batch", seed=5)) == (
        "seed=5: must be one of those that are trained: 1, 3; give seed=3."
    )


def test_float32_is_printed_with_its_own_digits():
    values = np.float32([0.1, 1e-8, 16777216, 3.4e38, 1e-45, np.nan])
    printed = files.shortest(values)
    assert printed.dtype == np.float64
    assert list(printed[:3]) == [0.1, 1e-8, 16777216]
    np.testing.assert_array_equal(printed.astype(np.float32), values)
