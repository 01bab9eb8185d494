"""The guard names a ratio that fell, and refuses files that it cannot compare."""

import json
import sys

import jax
import pytest

from benchmarks import guard, training
from benchmarks.processes import Failed
from normjax.errors import InputError


def made(ratio, workload="mlp-sgd", device="cpu, A"):
    key = {"workload": workload, "lanes": 10, "num_examples": 128}
    return key | {"ratio": ratio, "cores": 2, "environment": {"device": device}}


def test_a_fall_of_21_percent_is_named_and_one_of_19_is_not():
    found = guard.comparison([made(0.79), made(0.81)], [made(1.0)])
    name = "mlp-sgd, 10 lanes, 128 examples"
    assert found == [
        (True, f"{name}: FELL, 1.00 to 0.79 (-21%)"),
        (False, f"{name}: holds, 1.00 to 0.81 (-19%)"),
    ]


def test_a_row_that_only_one_side_has_is_named():
    rows = [made(1.0), made(0.1, "resnet20-sgd")]
    baseline = [made(1.0), made(1.0, "mlp-adam")]
    assert guard.comparison(rows, baseline) == [
        (False, "mlp-sgd, 10 lanes, 128 examples: holds, 1.00 to 1.00 (+0%)"),
        (False, "resnet20-sgd, 10 lanes, 128 examples: not in the baseline"),
        (False, "mlp-adam, 10 lanes, 128 examples: in the baseline, not measured"),
    ]


@pytest.fixture
def main(monkeypatch, capsys):
    """Runs the command up to the first measurement; the exit and what it says."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["training", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            training.main()
        return caught.value.code, capsys.readouterr().err

    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    monkeypatch.setattr(training.devices, "configure", lambda: None)
    monkeypatch.setattr(training.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(training, "run", lambda *_: pytest.fail("it measures"))
    return run


def test_a_baseline_without_one_of_the_rows_is_refused_before_measuring(main, tmp_path):
    path = tmp_path / "baseline.json"
    for rows in [[], [made(1.0)]]:
        path.write_text(json.dumps({"rows": rows}))
        assert main("--short", "--only=mlp-sgd", "--against", path) == (
            2,
            f"training: error: against={str(path)!r}: must have one of the rows: "
            "mlp-sgd, 10 lanes, 12800 examples; "
            "measure them with the same options and --json FILE.\n",
        )


@pytest.mark.parametrize("ratio", [1.0, 0.7])
def test_the_command_fails_if_a_ratio_fell(main, monkeypatch, tmp_path, ratio):
    path = tmp_path / "baseline.json"
    row = made(1.0) | {"num_examples": 12_800}
    guard.write(path, [row, made(1.0)])
    monkeypatch.setattr(training, "run", lambda *_: [row | {"ratio": ratio}])
    code, text = main("--short", "--only=mlp-sgd", "--against", path)
    assert code == (ratio < 0.8)
    assert text.splitlines()[1:] == [
        "mlp-sgd, 10 lanes, 128 examples: in the baseline, not measured"
    ]


def test_a_file_of_something_else_is_refused_before_measuring(main, tmp_path):
    path, folder = tmp_path / "notes.json", tmp_path / "none"
    path.write_text("{}")
    start, end = "training: error: json=", "; name another file.\n"
    rule = "must hold the rows of this benchmark"
    assert main("--json", path) == (2, f"{start}{str(path)!r}: {rule}{end}")
    assert path.read_text() == "{}"
    rule, path = "must be a file to write to", folder / "rows.json"
    assert main("--json", path) == (2, f"{start}{str(path)!r}: {rule}{end}")
    assert main("--json", tmp_path) == (
        2,
        f"{start}{str(tmp_path)!r}: must be a file{end}",
    )


def test_a_process_that_fails_is_told_in_one_line(main, monkeypatch):
    def run(*_):
        raise Failed("torch: the process ended")

    monkeypatch.setattr(training, "run", run)
    assert main("--short") == (2, "training: error: torch: the process ended\n")


def test_another_machine_is_noticed():
    assert guard.conditions([made(1.0)], [made(1.0)]) == ""
    assert guard.conditions([made(1.0)], [made(1.0, device="cpu, B")]) == (
        "notice: the baseline is of another machine (cpu, B, 2 cores); "
        "ratios depend on it"
    )


def test_written_rows_replace_those_of_their_key(tmp_path):
    path = tmp_path / "rows.json"
    guard.write(path, [made(1.0), made(2.0, "resnet20-sgd")])
    guard.write(path, [made(3.0)])
    assert guard.read(path) == [made(3.0), made(2.0, "resnet20-sgd")]


def test_a_baseline_that_is_none_is_refused(tmp_path):
    path = tmp_path / "rows.json"
    remedy = "write one with python -m benchmarks.training --json FILE."
    with pytest.raises(InputError) as caught:
        guard.read(path)
    assert str(caught.value) == f"against={str(path)!r}: must be a file; {remedy}"
    rule = "must hold the rows of this benchmark"
    without = made(1.0)
    del without["cores"]
    for other in [[1], {"rows": [without]}, {"rows": [made(float("nan"))]}]:
        path.write_text(json.dumps(other))
        with pytest.raises(InputError) as caught:
            guard.read(path)
        assert str(caught.value) == f"against={str(path)!r}: {rule}; {remedy}"
