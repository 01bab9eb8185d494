"""A record on disk: written whole, read exactly, and refused in one line."""

import json
import os
import pathlib

import numpy as np
import pandas as pd
import pytest

from normjax import files
from normjax.errors import InputError
from normjax.study.columns import CURVES, FINAL, columns
from normjax.study.record import (
    WRITTEN,
    add_arm,
    complete_arms,
    progress,
    read_record,
    start_record,
)

ARMS = ("batch", "none", "layer")
ABOUT = {
    "study": "norms",
    "factors": ["norm", "batch_size"],
    "settings": ["learning_rate", "decay"],
    "arm_order": list(ARMS),
}
CONFIG = {"study": "norms", "num_seeds": 2, "data": {"name": "digits", "sizes": (3, 4)}}

ENTRY = {"status": "complete", "lanes": 2, "epoch_seconds": [0.5, 0.5, 0.25]}


def rows(arm: str, epochs: int = 0) -> pd.DataFrame:
    """Two seeds of an arm, each row with numbers of its own."""
    generator = np.random.default_rng(ARMS.index(arm))
    n = 2 * max(epochs, 1)
    names = CURVES if epochs else FINAL
    table = {
        "arm": arm,
        "norm": arm,
        "batch_size": 32,
        "seed": np.repeat([0, 1], max(epochs, 1)),
        "learning_rate": 0.1,
        **({"decay": np.float32(0.9)} if arm != "none" else {}),
    }
    if epochs:
        numbers = np.tile(np.arange(1, epochs + 1), 2)
        table |= {"epoch": numbers, "step": 10 * numbers}
    table |= {name: generator.normal(size=n).astype(np.float32) for name in names}
    if not epochs:
        table |= {"diverged_at_step": [-1, 7], "seconds": 1 / 3}
    return pd.DataFrame(table)


def add(workdir, arm: str, **entry) -> None:
    add_arm(
        workdir,
        arm=arm,
        networks=rows(arm),
        epochs=rows(arm, epochs=3),
        probes={f"{arm}/probe": np.full((1, 2, 3), ARMS.index(arm))},
        entry=ENTRY | entry,
        record=ABOUT,
    )


@pytest.fixture
def workdir(tmp_path):
    folder = tmp_path / "run"
    assert start_record(folder, CONFIG) == ()
    for arm in ARMS:
        add(folder, arm)
    return folder


def content(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_record_is_read_as_it_was_written(workdir):
    record = read_record(workdir)
    assert record.config["data"] == {"name": "digits", "sizes": [3, 4]}
    assert record.record == ABOUT | {"arms": dict.fromkeys(ARMS, ENTRY)}
    assert tuple(record.networks) == columns(ABOUT, "networks.csv")
    assert tuple(record.epochs) == columns(ABOUT, "epochs.csv")
    for table, epochs in ((record.networks, 0), (record.epochs, 3)):
        expected = pd.concat([rows(arm, epochs) for arm in ARMS])
        assert list(table["arm"]) == list(expected["arm"])
        assert list(table["batch_size"]) == [32] * len(table)
        assert table["batch_size"].dtype == np.int64
        for name in ("train_loss", "test_accuracy", "decay"):
            got = table[name].to_numpy().astype(np.float32)
            assert np.array_equal(got, expected[name].to_numpy(), equal_nan=True)
    assert list(record.networks["diverged_at_step"]) == [-1, 7] * 3
    assert list(record.networks["seconds"]) == [1 / 3] * 6
    assert sorted(record.probes) == [f"{arm}/probe" for arm in sorted(ARMS)]
    assert np.array_equal(record.probes["layer/probe"], np.full((1, 2, 3), 2))


def test_the_order_of_the_arms_and_a_repeat_change_no_byte(workdir, tmp_path):
    other = tmp_path / "other"
    start_record(other, CONFIG)
    for arm in (*reversed(ARMS), "none"):
        add(other, arm)
    assert content(other) == content(workdir)


def test_files_hold_the_shortest_digits(workdir):
    line = (workdir / "networks.csv").read_text().splitlines()[3]
    assert line.startswith("none,none,32,0,0.1,nan,")
    assert (workdir / "networks.csv").read_text().count("0.3333333333333333\n") == 6
    assert not list(workdir.glob(".*"))


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


def test_an_arm_is_not_complete_before_its_rows_are_on_disk(workdir, monkeypatch):
    """Stopped before each of the four replacements in turn: old or new, never half."""
    before = read_record(workdir)
    for stop in range(4):
        done = []

        def replace(part, path, stop=stop, done=done):
            if len(done) == stop:
                raise KeyboardInterrupt
            done.append(path.name)
            os.rename(part, path)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replace)
            with pytest.raises(KeyboardInterrupt):
                add(workdir, "layer", seconds=5)
        assert done == ["networks.csv", "epochs.csv", "probes.npz"][:stop]
        after = read_record(workdir)
        assert after.networks.equals(before.networks)
        assert after.record == before.record
        assert not list(workdir.glob(".*"))


def test_rows_of_arms_that_are_not_complete_are_left_out(workdir):
    add(workdir, "none", status="interrupted")
    record = read_record(workdir)
    assert complete_arms(record.record) == ("batch", "layer")
    assert (
        set(record.networks["arm"]) == set(record.epochs["arm"]) == {"batch", "layer"}
    )
    assert set(record.probes) == {"batch/probe", "layer/probe"}
    assert start_record(workdir, CONFIG) == ("batch", "layer")


def test_a_record_without_a_finished_arm_is_empty(tmp_path):
    start_record(tmp_path, CONFIG)
    files.write_json(tmp_path / "record.json", ABOUT | {"arms": {}})
    record = read_record(tmp_path)
    assert record.networks.empty
    assert start_record(tmp_path, CONFIG) == ()


def refused(call, *args) -> str:
    with pytest.raises(InputError) as caught:
        call(*args)
    return str(caught.value)


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


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("record.json", "x", "Expecting value: line 1 column 1 (char 0)"),
        ("record.json", "[]", "an object expected, not list"),
        ("record.json", '{"study": "x"}', "'factors' is missing or no list"),
        ("record.json", "{}", "'study' is missing or no str"),
        ("networks.csv", "", "No columns to parse from file"),
        ("networks.csv", "arm,norm\nbatch,batch\n", "it has no column 'batch_size'"),
        ("probes.npz", "rubbish", "not a whole npz of numbers"),
        ("probes.npz", "PK\x03\x04", "not a whole npz of numbers"),
    ],
)
def test_a_damaged_file_is_named(workdir, name, text, why):
    (workdir / name).write_text(text)
    assert refused(read_record, workdir) == (
        f"{workdir / name}: damaged ({why}); run the study again in a new folder."
    )


def test_a_damaged_number_or_a_missing_row_is_named(workdir):
    path = workdir / "epochs.csv"
    text = path.read_text()
    path.write_text(text.replace("none,none,32,0,", "none,none,32,zero,"))
    assert refused(read_record, workdir) == (
        f"{path}: damaged (invalid literal for int() with base 10: 'zero');"
        " run the study again in a new folder."
    )
    lines = text.splitlines(keepends=True)
    path.write_text("".join(x for x in lines if not x.startswith("none,")))
    assert refused(read_record, workdir) == (
        f"{path}: damaged (arm 'none' is complete, with 0 rows in place of 6);"
        " run the study again in a new folder."
    )


@pytest.mark.parametrize(
    ("name", "found", "expected"), [("networks.csv", 1, 2), ("epochs.csv", 5, 6)]
)
def test_a_lost_row_is_named(workdir, name, found, expected):
    """The last line is the last arm's; what is left reads like a whole table."""
    path = workdir / name
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    why = f"arm 'layer' is complete, with {found} rows in place of {expected}"
    message = f"{path}: damaged ({why}); run the study again in a new folder."
    assert refused(read_record, workdir) == message
    assert refused(start_record, workdir, CONFIG) == message


def test_a_lost_network_is_named_where_one_was_promised(workdir):
    add(workdir, "none", checkpoint=True)
    path = workdir / "checkpoints" / "none.npz"
    assert refused(read_record, workdir) == (
        f"{path}: damaged (arm 'none' is complete, but it is missing);"
        " run the study again in a new folder."
    )
    files.write_arrays(files.folder(path.parent) / path.name, {})
    assert complete_arms(read_record(workdir).record) == ARMS


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (None, "'study' is missing or no str"),
        ({"none": 5}, "'arms.none' is missing or no dict"),
        ({"none": {"status": "complete"}}, "'arms.none.lanes' is missing or no int"),
        ({"none": ENTRY | {"lanes": "2"}}, "'arms.none.lanes' is missing or no int"),
        (
            {"none": ENTRY | {"epoch_seconds": 1}},
            "'arms.none.epoch_seconds' is missing or no list",
        ),
    ],
)
def test_damaged_arms_are_one_line_wherever_they_are_read(workdir, change, why):
    path = workdir / "record.json"
    content_ = files.read_json(path)
    content_ = content_ | {"arms": content_["arms"] | change} if change else {}
    path.write_text(json.dumps(content_))
    before = content(workdir)
    message = f"{path}: damaged ({why}); run the study again in a new folder."
    assert refused(read_record, workdir) == message
    assert refused(start_record, workdir, CONFIG) == message
    assert refused(add, workdir, "batch") == message
    assert content(workdir) == before


def test_a_folder_of_another_study_is_refused_untouched(workdir):
    before = content(workdir)
    other = CONFIG | {"data": {"name": "mnist", "sizes": (3, 4)}}
    assert refused(start_record, workdir, other) == (
        f"workdir='{workdir}': must hold the same study, and holds another (data.name"
        " is 'digits' there, 'mnist' here); give another workdir."
    )
    assert content(workdir) == before


@pytest.mark.parametrize("name", WRITTEN[1:])
def test_a_folder_with_something_else_is_refused_untouched(tmp_path, name):
    folder = pathlib.Path(name).suffix == ""
    (tmp_path / name).mkdir() if folder else (tmp_path / name).write_text("mine")
    assert refused(start_record, tmp_path, CONFIG) == (
        f"workdir='{tmp_path}': must be new or hold a study, and holds another"
        f" {name!r}; give another workdir."
    )
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert folder or (tmp_path / name).read_text() == "mine"


def test_a_folder_with_files_of_no_concern_is_used(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert start_record(tmp_path, CONFIG) == ()
    assert start_record(tmp_path, CONFIG) == ()


def test_a_configuration_that_cannot_be_read(tmp_path):
    path = tmp_path / "config.json"
    path.mkdir()
    assert refused(start_record, tmp_path, CONFIG) == (
        f"{path}: damaged ([Errno 21] Is a directory: '{path}');"
        " run the study again in a new folder."
    )
    path.rmdir()
    path.symlink_to(tmp_path / "nowhere")
    assert refused(start_record, tmp_path, CONFIG) == (
        f"workdir='{tmp_path}': must be new or hold a study, and holds another"
        " 'config.json'; give another workdir."
    )


def test_a_study_goes_on_with_the_same_data_only(workdir):
    assert start_record(workdir, CONFIG, data=7) == ARMS  # the record has none
    path = workdir / "record.json"
    files.write_json(path, files.read_json(path) | {"data_crc32": 7})
    before = content(workdir)
    assert start_record(workdir, CONFIG, data=7) == ARMS
    assert start_record(workdir, CONFIG) == ARMS
    assert refused(lambda: start_record(workdir, CONFIG, data=0)) == (
        f"workdir='{workdir}': must hold a study of the same data (data_crc32 is 7"
        " there, 0 here); give another workdir."
    )
    assert content(workdir) == before


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
    assert refused(start_record, folder, CONFIG) == (
        f"workdir='{folder}': must be a folder that can be made (Not a directory);"
        " give another workdir."
    )


def test_a_file_that_cannot_be_written(tmp_path):
    path = tmp_path / "missing" / "x.json"
    assert refused(files.write_json, path, {}) == (
        f"{path}: cannot be written (No such file or directory);"
        " make room or allow it, or give another workdir."
    )


def test_curves_are_arrays_of_the_rows(workdir):
    record = read_record(workdir)
    assert set(record.curves) == {f"{arm}/{curve}" for arm in ARMS for curve in CURVES}
    curve = record.curves["none/test_loss"]
    assert curve.shape == (1, 2, 3)
    expected = rows("none", epochs=3)["test_loss"].to_numpy().reshape(1, 2, 3)
    np.testing.assert_array_equal(curve.astype(np.float32), expected)


def test_variables_of_a_lane(workdir):
    """Arrays `[settings, seeds, ...]` by path, cut at a lane and nested again."""
    kernels = np.arange(2 * 3).reshape(1, 2, 3)
    arrays = {"params/dense/kernel": kernels, "batch_stats/norm/mean": kernels + 10}
    files.write_arrays(files.folder(workdir / "checkpoints") / "batch.npz", arrays)
    variables = read_record(workdir).variables("batch", seed=1, learning_rate=0.1)
    assert set(variables) == {"params", "batch_stats"}
    np.testing.assert_array_equal(variables["params"]["dense"]["kernel"], [3, 4, 5])
    np.testing.assert_array_equal(
        variables["batch_stats"]["norm"]["mean"], [13, 14, 15]
    )


def test_variables_of_no_lane_or_of_several(workdir):
    record = read_record(workdir)
    assert refused(record.variables, "bach") == (
        "arm='bach': must be one of batch, layer, none; did you mean 'batch'?"
    )
    assert refused(lambda: record.variables("batch", sed=1)) == (
        "lane='sed': must be one of decay, learning_rate, seed; did you mean 'seed'?"
    )
    for lane, number in (({}, 2), ({"seed": 5}, 0)):
        assert refused(lambda lane=lane: record.variables("batch", **lane)) == (
            f"lane={lane}: must be one network of batch, and {number} are;"
            " give its seed and its settings as they are in networks."
        )


def test_progress_counts_the_finished_arms(workdir, tmp_path):
    add(workdir, "none", status="interrupted")
    assert progress(workdir) == "2 of 3 arms are finished and kept"
    assert progress(tmp_path / "nothing") == "no arm is finished"


def test_float32_is_printed_with_its_own_digits():
    values = np.float32([0.1, 1e-8, 16777216, 3.4e38, 1e-45, np.nan])
    printed = files.shortest(values)
    assert printed.dtype == np.float64
    assert list(printed[:3]) == [0.1, 1e-8, 16777216]
    np.testing.assert_array_equal(printed.astype(np.float32), values)
