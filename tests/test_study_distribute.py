"""Processes that meet, that end, and that share work. They are real, on loopback."""

import contextlib
import itertools
import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

from normjax.errors import InputError
from normjax.study import distribute
from normjax.study.claims import claim, holder

ALONE = {  # no scheduler: that of the machine that runs the tests is not ours
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("SLURM_", "OMPI_", "KUBERNETES_", "JAX_COORDINATOR"))
}


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]


@contextlib.contextmanager
def processes(code: str, arguments: list[list], environments=None):
    """One Python process for each list of arguments; none of them stays behind."""
    environments = environments or [{} for _ in arguments]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ALONE | variables,
        )
        for words, variables in zip(arguments, environments)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


def line(process) -> str:
    """The next line that it prints, when it has."""
    return process.stdout.readline().strip()


def tell(process, word: str) -> None:
    """Writes a line to it."""
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


JOIN = """
import json, sys
from normjax.study.distribute import join
given = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
joined = join(*given, wait_seconds=60)
import jax, jax.numpy as jnp
seen = jax.process_index(), jax.process_count(), len(jax.devices())
print(json.dumps([joined, seen, jax.config.values["jax_cuda_visible_devices"]]))
sys.stdout.flush()
for word in sys.stdin:
    print(float(jax.jit(jnp.sum)(jnp.arange(4.0))), flush=True)
"""


def test_four_processes_meet_and_the_death_of_two_is_nothing_to_the_others():
    """The first, whom jax makes the coordinator, is one of the two."""
    address = f"localhost:{free_port()}"
    with processes(JOIN, [[address, 4, k] for k in range(4)]) as started:
        answers = [json.loads(line(process)) for process in started]
        assert answers == [[[k, 4], [0, 1, 2], "all"] for k in range(4)]
        for dead in (started[0], started[2]):
            dead.kill()
            dead.wait()
        for process in (started[1], started[3]):
            tell(process, "go on")
            assert line(process) == "6.0"
            process.stdin.close()
            assert process.wait() == 0


def slurm(process: int, **more: str) -> dict[str, str]:
    """What SLURM tells one of two tasks on this machine."""
    job = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    own = {"SLURM_PROCID": str(process), "SLURM_LOCALID": str(process)}
    return job | own | {"JAX_COORDINATOR_PORT": str(free_port())} | more


def test_tasks_of_slurm_find_each_other_and_take_a_gpu_each():
    """The second task is told of one GPU alone, which then has number 0."""
    port = {"JAX_COORDINATOR_PORT": str(free_port())}
    tasks = [slurm(0, **port), slurm(1, CUDA_VISIBLE_DEVICES="GPU-4f", **port)]
    with processes(JOIN, [["", 0, -1]] * 2, tasks) as started:
        answers = [json.loads(line(process)) for process in started]
    assert answers == [[[0, 2], [0, 1, 2], "0"], [[1, 2], [0, 1, 2], "all"]]


def test_one_process_alone_meets_nobody(monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    assert distribute.join(num_processes=1) == (0, 1)


THREE = "--coordinator, --num_processes, --process"
NAME = "name the host of process 0, such as --coordinator=node1:9876."
ADDRESS = "must be HOST:PORT, with a port from 1 to 65535"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ("node1:9876", 2, -1),
            f"--process: must be given with the other two of {THREE}; "
            "add --process=0, or give none of them.",
        ),
        (
            ("", 2, 0),
            f"--coordinator: must be given with the other two of {THREE}; "
            "add --coordinator=HOST:PORT, or give none of them.",
        ),
        (("node1", 2, 0), f"--coordinator='node1': {ADDRESS}; {NAME}"),
        (("node1:0", 2, 0), f"--coordinator='node1:0': {ADDRESS}; {NAME}"),
        (("[::1]:x", 2, 0), f"--coordinator='[::1]:x': {ADDRESS}; {NAME}"),
        (
            ("localhost:9876", -1, 0),
            "--num_processes=-1: must be at least 1; count the processes.",
        ),
        (
            ("localhost:9876", 2, 2),
            "--process=2: must be from 0 to 1 for 2 processes; number them from 0.",
        ),
    ],
)
def test_a_mistake_is_told_before_anybody_is_waited_for(given, message):
    with pytest.raises(InputError) as caught:
        distribute.join(*given)
    assert str(caught.value) == message


def test_a_host_without_address_is_told(monkeypatch):
    def unknown(*_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(InputError) as caught:
        distribute.join("node9:9876", 2, 1)
    assert str(caught.value) == (
        "--coordinator='node9:9876': must name a host that can be found"
        f" (Name or service not known); {NAME}"
    )


def join_alone(monkeypatch, *given) -> str:
    """The message where the others do not come, outside of any scheduler."""
    monkeypatch.setattr(os, "environ", ALONE)
    with pytest.raises(InputError) as caught:
        distribute.join(*given, wait_seconds=1)
    return str(caught.value)


@pytest.mark.parametrize("process", [0, 1])
def test_whoever_waits_in_vain_is_told(monkeypatch, process):
    """Process 0 waits for the other one; process 1 finds no coordinator."""
    address = f"localhost:{free_port()}"
    assert join_alone(monkeypatch, address, 2, process) == (
        f"--coordinator={address!r}: must be joined by every process within 1 s;"
        " start them all, and look whether the first one can be reached."
    )


def test_a_port_that_is_taken_is_told(monkeypatch):
    with socket.socket() as server:
        server.bind(("", 0))
        server.listen()
        address = f"localhost:{server.getsockname()[1]}"
        message = join_alone(monkeypatch, address, 2, 0)
    assert message.startswith(f"--coordinator={address!r}: must be joined by every")
    # XLA's log says why, and sometimes comes too late; then jax' own error is told
    reasons = "(Failed to add port to server: ", ": Failed to start RPC server)"
    assert any(reason in message for reason in reasons)
    assert message.endswith("; start them all again, on a free port.")
    assert "\n" not in message


def test_where_there_is_no_cluster_it_is_told(monkeypatch):
    assert join_alone(monkeypatch) == (
        "--distributed: must be run by SLURM, Open MPI, Kubernetes or on a TPU, or with"
        f" all of {THREE}; start it by srun or mpirun, or give them."
    )


HOLD = """
import subprocess, sys
from normjax.study.claims import claim
with claim(sys.argv[1], "group") as ours:
    # a child process must not keep the claim of one that is gone
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=sys.stdin)
    print(ours, child.pid, flush=True)
    child.wait()
"""


def test_a_claim_ends_with_its_process(tmp_path):
    locks = tmp_path / "locks"
    with processes(HOLD, [[locks]]) as (process,):
        assert line(process).split()[0] == "True"
        with claim(locks, "group") as ours:
            assert not ours
        told = f"process {process.pid} on host {socket.gethostname()}"
        assert holder(locks, "group") == told
        with claim(locks, "another group") as ours:
            assert ours
        process.kill()
        process.wait()  # its child still waits for a line
        with claim(locks, "group") as ours:
            assert ours
            own = f"process {os.getpid()} on host {socket.gethostname()}"
            assert holder(locks, "group") == own
        assert (locks / "group").read_text() == ""
        assert holder(locks, "group") == "another process"


@pytest.mark.skipif(
    not pathlib.Path("/proc/locks").exists(), reason="the system lists no locks"
)
def test_who_waits_for_a_claim_has_it_when_its_process_is_gone(tmp_path):
    """The one that waits is known by the kernel to wait before the other is killed."""
    code = HOLD.replace('"group")', '"group", wait=len(sys.argv) > 2)')
    with processes(code, [[tmp_path]]) as (first,):
        assert line(first).split()[0] == "True"
        with processes(code, [[tmp_path, "wait"]]) as (second,):
            while not waits_for_a_lock(second.pid):
                assert second.poll() is None
            first.kill()
            assert line(second).split()[0] == "True"
            assert holder(tmp_path, "group").startswith(f"process {second.pid} ")


def waits_for_a_lock(pid: int) -> bool:
    """Whether the system lists the process behind an arrow: `1: -> FLOCK ... pid`."""
    lines = pathlib.Path("/proc/locks").read_text().splitlines()
    return any("-> FLOCK" in text and str(pid) in text.split() for text in lines)


def test_a_claim_ends_with_its_block(tmp_path):
    with claim(tmp_path, "group") as first, claim(tmp_path, "group") as second:
        assert (first, second) == (True, False)
    with pytest.raises(KeyError), claim(tmp_path, "group"):
        raise KeyError
    with claim(tmp_path, "group") as again:
        assert again


SHARE = """
import pathlib, sys
from normjax.study.claims import claim
folder, start = pathlib.Path(sys.argv[1]), int(sys.argv[2])
names = [str(i) for i in range(40)]
print("ready", flush=True)
input()
for name in names[10 * start :] + names[: 10 * start]:
    with claim(folder / "locks", name) as ours:
        if ours and not (folder / name).exists():
            (folder / name).touch(exist_ok=False)
            print(name)
"""


def test_four_processes_share_work_and_nothing_is_done_twice(tmp_path):
    """One of them is killed before it begins: the others do its part."""
    with processes(SHARE, [[tmp_path, k] for k in range(4)]) as started:
        assert [line(process) for process in started] == ["ready"] * 4
        started[3].kill()
        for process in started[:3]:
            tell(process, "go")
        done = [process.communicate()[0].split() for process in started[:3]]
    assert sorted(map(int, itertools.chain(*done))) == list(range(40))


def test_locks_that_cannot_be_had_are_told(tmp_path, monkeypatch):
    (tmp_path / "group").mkdir()
    with pytest.raises(InputError) as caught, claim(tmp_path, "group"):
        pass
    assert str(caught.value) == (
        f"{tmp_path}/group: cannot be written (Is a directory); allow it, or give"
        " another workdir."
    )

    def without_locks(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", without_locks)
    with pytest.raises(InputError) as caught, claim(tmp_path, "other"):
        pass
    assert str(caught.value) == (
        f"{tmp_path}/other: cannot be locked (Function not implemented); use a file"
        " system with flock (Lustre: mount it with -o flock)."
    )


def test_the_meeting_does_not_outlive_an_interrupt():
    """What waits for the others is ended by SIGTERM, which jax would take."""
    code = "import os, signal; os.kill(os.getpid(), signal.SIGTERM); print('alive')"
    start = "import jax; jax.distributed.initialize('localhost:{}', 1, 0); "
    ran = subprocess.run(
        [sys.executable, "-c", start.format(free_port()) + code],
        capture_output=True,
        text=True,
        env=ALONE | distribute.MEETING_ENVIRONMENT,
    )
    assert (ran.returncode, ran.stdout) == (-15, "")
