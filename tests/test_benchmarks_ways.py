"""The ways of the peers: what they take per network, and processes that answer."""

import json
import subprocess
import sys

import pytest

from benchmarks import processes, training_rows
from benchmarks.processes import WAYS, Failed
from benchmarks.training_rows import Spent, Turn
from benchmarks.workloads import WORKLOADS


def spent(*seconds):
    """On two cores that both work all the time."""
    return [Spent(x, 2 * x) for x in seconds]


@pytest.fixture
def four_cores(monkeypatch):
    monkeypatch.setattr(processes, "cores", lambda: [0, 1, 2, 3])


def test_the_fastest_way_is_that_of_the_smallest_median():
    times = {
        Turn("torch", 1): spent(1.0, 9.0, 9.0),
        Turn("torch spinning", 1): spent(2.0, 2.0, 30.0),
    }
    own = {"map": spent(1.0, 4.0, 3.0), "data-parallel": spent(4.0)}
    row = training_rows.row(WORKLOADS["mlp-sgd"], 10, own, times)
    assert (row["peer"], row["peer_seconds"]) == ("torch spinning", 2.0)
    assert (row["mapping"], row["seconds"]) == ("map", 3.0)
    assert row["ratio"] == 2 / 3
    assert row["ours"] == {
        "min": 1.0,
        "median": 3.0,
        "max": 4.0,
        "repeats": 3,
        "core_seconds": 6.0,
    }


def test_no_more_processes_train_than_there_are_networks(four_cores):
    ways = ["flax", "flax per core"]
    assert training_rows.turns(ways, 1) == [Turn("flax", 1)]
    some = [Turn("flax per core", n) for n in (2, 3, 4)]
    assert training_rows.turns(ways, 1, 2, 3, 4, 10) == [Turn("flax", 1), *some]


def test_networks_are_trained_in_whole_rounds(four_cores):
    """A round of four takes 8 s: so does each of the three rounds of ten networks."""
    times = {
        Turn("torch", 1): spent(3.0),
        Turn("torch per core", 3): [Spent(7.0, 21.0)],
        Turn("torch per core", 4): [Spent(8.0, 32.0)],
    }
    found = {n: training_rows.spent_by_way(times, n) for n in (1, 3, 4, 5, 10)}
    assert found.pop(1) == {"torch": spent(3.0)}
    assert all(ways["torch"] == spent(3.0) for ways in found.values())
    assert {n: ways["torch per core"] for n, ways in found.items()} == {
        3: [Spent(7 / 3, 7.0)],
        4: [Spent(2.0, 8.0)],
        5: [Spent(8 * 2 / 5, 8.0)],
        10: [Spent(8 * 3 / 10, 8.0)],
    }
    row = training_rows.row(WORKLOADS["cnn-3x3-sgd"], 5, {"map": spent(1.0)}, times)
    assert (row["peer"], row["ratio"]) == ("torch", 3.0)  # four at once would be ahead
    assert (row["lanes"], row["cores"]) == (5, 4)


def test_a_slow_way_has_turns_if_it_is_fast_in_one_row(four_cores):
    """For ten networks one process takes 40 / 9 times as long; for one it is alone."""
    warm = {Turn("torch", 1): spent(4.0), Turn("torch per core", 4): spent(3.0)}
    assert training_rows.fast_turns(warm, [10]) == [Turn("torch per core", 4)]
    both = [Turn("torch", 1), Turn("torch per core", 4)]
    assert training_rows.fast_turns(warm, [1, 10]) == both


@pytest.fixture
def scripted():
    """Processes that answer with these lines, one to an order, and then end."""
    started = []

    def start(*answers):
        code = f"for line in {answers!r}: input(); print(line, flush=True)"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([sys.executable, "-c", code], **pipes))
        return started[-1]

    yield start
    for process in started:
        processes.end(process)


LOADED = json.dumps({"compile_seconds": 1.0})
TRAINED = json.dumps({"loss": 0.5, "core_seconds": 2.0})


def test_no_answer_is_left_for_the_next_order(scripted):
    """The second of four cannot load, while the answers of the others are there."""
    failing = json.dumps({"error": "no compiler"})
    answers = LOADED, failing, LOADED, LOADED
    four = [scripted(loaded, TRAINED) for loaded in answers]
    with pytest.raises(Failed, match="no compiler"):
        processes.load(four, WORKLOADS["mlp-sgd"], "folder")
    _, core_seconds = processes.train(four, 1)
    assert core_seconds == 8.0


def test_a_process_that_ended_is_told_in_words_each_time(scripted):
    pair = [scripted(LOADED, TRAINED, TRAINED), scripted(LOADED)]
    assert processes.load(pair, WORKLOADS["mlp-sgd"], "folder") == 1.0
    pair[1].wait()
    for _ in range(2):
        with pytest.raises(Failed, match="the process ended"):
            processes.train(pair, 1)


def test_threads_sleep_unless_the_way_has_them_spin(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.setenv(name, "active")
    found = {
        name: {x for x in processes.environment_of(way, 2).items() if "active" in x}
        for name, way in WAYS.items()
    }
    assert not any(found.values())
    policy = {
        name: processes.environment_of(way, 2).get("OMP_WAIT_POLICY")
        for name, way in WAYS.items()
    }
    default = {name for name, way in WAYS.items() if way.spinning}
    assert default == {name for name, value in policy.items() if value is None}
    assert {policy[name] for name in WAYS if name not in default} == {"passive"}
    # each is a way that there is with sleeping threads too, on all cores
    same = {WAYS[name]._replace(spinning=False) for name in default}
    assert same == {WAYS["torch"], WAYS["torch compiled"]}
