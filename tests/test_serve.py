"""The page of a study in work: it follows the record, and gives nothing else away."""

import contextlib
import http.client
import importlib.util
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request

import pytest

from normjax.errors import InputError
from normjax.report import __main__ as command
from normjax.report import page, serve

TALL = "<p style='height: 5000px'></p>" + 2 * "<details>hidden</details>"
ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def built(monkeypatch):
    """In the place of building: counts, and says what networks there are."""
    calls = []

    def build(workdir, *, stills=True):
        calls.append(workdir)
        names = sorted(x.name for x in (workdir / "networks").glob("*.npz"))
        if not names:
            raise InputError("workdir", str(workdir), "must <hold> one", "wait")
        path = workdir / "report.html"
        path.write_text(f"<html><body>{' '.join(names)}{TALL}</body></html>")
        return path

    monkeypatch.setattr(page, "build", build)
    return calls


@pytest.fixture
def served(tmp_path):
    """A server of `tmp_path/run` in a thread, beside which a secret lies."""
    workdir = tmp_path / "run"
    (workdir / "networks").mkdir(parents=True)
    (workdir / "figures").mkdir()
    (workdir / "figures" / "curve.svg").write_text("<svg/>")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "run-2").mkdir()
    (tmp_path / "run-2" / "secret").write_text("secret")
    (workdir / "link").symlink_to(tmp_path / "secret")
    with serve.server(workdir, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(server, path: str, host: str = "", method: str = "GET") -> tuple[int, str]:
    """The answer to a path that is sent as it is, with whatever follows its head."""
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request(method, path, headers={"Host": host or f"127.0.0.1:{port}"})
    try:
        with connection.sock.makefile("rb") as file:
            head, _, body = file.read().partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()
    finally:
        connection.close()


def test_it_listens_on_this_machine_alone(served):
    assert served.server_address[0] == "127.0.0.1"


def test_the_page_is_built_again_when_networks_are_there_and_only_then(
    served, built, tmp_path
):
    networks = tmp_path / "run" / "networks"
    status, waiting = get(served, "/")
    assert status == 200
    assert "Waiting for networks" in waiting
    assert "must &lt;hold&gt; one; wait." in waiting
    versions = [get(served, "/version")[1]]
    for name in ("a.npz", "b.npz"):
        (networks / name).write_text("")
        versions.append(get(served, "/version")[1])
        status, text = get(served, "/")
        assert (status, text.count("<script>")) == (200, 1)
        assert f'const version = "{versions[-1]}"' in text
    assert text.startswith("<html><body>a.npz b.npz")
    assert text.endswith("</script>\n</body></html>")
    assert len(set(versions)) == len(versions) == len(built) == 3
    assert "<script>" not in (tmp_path / "run" / "report.html").read_text()


def test_a_file_that_is_changed_in_its_place_is_seen(served, tmp_path):
    """The time of its folder stays as it is then."""
    for folder, name in (("networks", "a.npz"), ("failed", "a.json")):
        path = tmp_path / "run" / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
        before, status = get(served, "/version"), path.parent.stat()
        path.write_text("more")
        assert path.parent.stat().st_mtime_ns == status.st_mtime_ns
        assert get(served, "/version") != before
        assert get(served, "/version") == get(served, "/version")


def test_the_version_is_told_while_a_page_is_built(served, monkeypatch, tmp_path):
    begun, told = threading.Event(), threading.Event()

    def build(workdir, *, stills):
        begun.set()
        assert told.wait(60)
        assert not stills
        path = workdir / "report.html"
        path.write_text("<html><body>whole</body></html>")
        return path

    monkeypatch.setattr(page, "build", build)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(get(served, "/")))
    asking.start()
    assert begun.wait(60)
    status, version = get(served, "/version")
    assert (status, answers) == (200, [])
    told.set()
    asking.join()
    ((status, text),) = answers
    assert status == 200
    assert text.startswith("<html><body>whole")
    assert f'const version = "{version}"' in text


def test_an_audit_that_fails_is_a_line_of_a_page_that_goes_on_asking(
    served, monkeypatch
):
    def build(workdir, *, stills):
        raise ZeroDivisionError("no <seeds>\nand more")

    monkeypatch.setattr(page, "build", build)
    status, text = get(served, "/")
    assert status == 200
    line = "<p>It could not be built: ZeroDivisionError: no &lt;seeds&gt;.</p>"
    assert line in text
    assert "Traceback" not in text
    version = get(served, "/version")[1]
    assert f'const version = "{version}"' in text


def test_head_is_answered_without_a_body(served, built, tmp_path):
    (tmp_path / "run" / "networks" / "a.npz").touch()
    for path, status in (
        ("/", 200),
        ("/version", 200),
        ("/figures/curve.svg", 200),
        ("/nothing", 404),
    ):
        assert get(served, path, method="HEAD") == (status, "")
        assert get(served, path)[1]
    assert len(built) == 1


def test_files_of_the_workdir_and_nothing_else(served, built):
    assert get(served, "/figures/curve.svg") == (200, "<svg/>")
    outside = ["/../secret", "/%2e%2e/secret", "/figures/../../secret", "/link"]
    outside += ["/..%2fsecret", "//etc/passwd", "/%2fetc%2fpasswd", "/../run-2/secret"]
    outside += ["/figures/", "/figures", "/nothing.svg", "/%00"]
    outside += ["/report.html/", "/figures/curve.svg/"]
    (served.RequestHandlerClass.pages.workdir / "report.html").write_text("whole")
    for path in outside:
        status, text = get(served, path)
        assert status == 404, path
        assert "secret" not in text.replace(path, "")
        assert "root:" not in text
    assert built == []


def test_another_site_reads_nothing(served):
    assert get(served, "/figures/curve.svg", host="evil.example:80")[0] == 403
    assert get(served, "/figures/curve.svg", host="evil.example")[0] == 403
    for host in ("localhost:80", "localhost", "127.0.0.1"):  # 80 is left out
        assert get(served, "/figures/curve.svg", host=host)[0] == 200


def test_a_port_that_is_taken_is_one_line(served, tmp_path, capsys):
    port = served.server_address[1]
    assert command.main([str(tmp_path), "--serve", f"--port={port}"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        f"--port={port}: must be a free port, and another program has it; add"
        " --port=0, which takes a free one.\n"
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["nowhere", "--serve"],
            "workdir='nowhere': must be a folder; give the folder that a study is run"
            " in.",
        ),
        (
            ["a", "b", "--serve"],
            "workdir='a b': must be one folder with --serve; leave the others out.",
        ),
        (
            ["a", "b", "--serve", "--out=page.html"],
            "--out='page.html': must not be given with --serve, which writes the page"
            " of a study; leave one of them out.",
        ),
        (
            [".", "--serve", "--export=tensorboard"],
            "--export='tensorboard': must not be given with --serve, which writes the"
            " page of a study; leave one of them out.",
        ),
        (
            [".", "--serve", "--port=65536"],
            "--port=65536: must be from 0 to 65535; add --port=8765.",
        ),
    ],
)
def test_what_cannot_be_served(words, expected, capsys):
    assert command.main(words) == 2
    assert capsys.readouterr().err == f"{expected}\n"


@contextlib.contextmanager
def chromium():
    """A browser of playwright; skips where there is none, or fails if one is needed."""
    absent = pytest.fail if os.environ.get("NORMJAX_NEEDS_BROWSER") else pytest.skip
    path = shutil.which("chromium")
    if path is None or importlib.util.find_spec("playwright") is None:
        absent("chromium or playwright is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        options = {"executable_path": path, "args": ["--no-sandbox"]}
        with contextlib.closing(started.chromium.launch(**options)) as browser:
            yield browser


def test_a_browser_shows_it_anew_and_keeps_its_place(served, built, tmp_path):
    """What was opened stays open, where it was scrolled to; no error in the console."""
    networks = tmp_path / "run" / "networks"
    (networks / "a.npz").touch()
    with chromium() as browser:
        shown, errors = browser.new_page(), []
        shown.on("console", lambda x: errors.append(x.text) if x.type == "error" else 0)
        shown.goto(f"http://127.0.0.1:{served.server_address[1]}/")
        shown.evaluate("document.querySelectorAll('details')[1].open = true")
        shown.evaluate("scrollTo(0, 600)")
        (networks / "b.npz").touch()
        shown.wait_for_function("document.body.textContent.includes('b.npz')")
        shown.wait_for_function("scrollY === 600")
        opened = "[...document.querySelectorAll('details')].map((x) => x.open)"
        assert shown.evaluate(opened) == [False, True]
        assert errors == []


INTERRUPTIBLE = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[0] = "normjax.report"
runpy.run_module("normjax.report", run_name="__main__")
"""


def test_ctrl_c_ends_it_quietly(tmp_path):
    """After a request: a study of which nothing is there yet has a page that waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, str(tmp_path), "--serve", "--port=0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    address = process.stdout.readline().split()[1]
    with urllib.request.urlopen(address) as answer:
        assert "Waiting for networks" in answer.read().decode()
    process.send_signal(signal.SIGINT)
    assert process.communicate() == ("", "")
    assert process.returncode == 0
    assert not any(tmp_path.iterdir())


def test_a_page_is_shown_in_the_browser_if_it_is_asked_for(
    built, tmp_path, monkeypatch
):
    shown = []
    monkeypatch.setattr(serve, "open_in_browser", shown.append)
    monkeypatch.setattr(command, "read_record", lambda workdir: workdir)
    monkeypatch.setattr(page, "lacks", lambda record: [])
    workdir = tmp_path / "a run"
    (workdir / "networks").mkdir(parents=True)
    (workdir / "networks" / "a.npz").touch()
    monkeypatch.setattr(page, "build", lambda _, build=page.build: build(workdir))
    assert command.main([str(workdir), "--open"]) == 0
    assert shown == [f"file://{tmp_path}/a%20run/report.html"]
    shutil.rmtree(workdir)
