"""The page of a study in work, which a browser shows anew when networks are finished.

The browser asks for the version every two seconds, which is answered at once; if the
record has changed, it asks for the page, which is built again then. It listens on this
machine alone (127.0.0.1), and gives no file outside of the workdir. The page that lies
in the workdir has nothing of this.
"""

import contextlib
import errno
import html
import http.server
import os
import threading
import urllib.parse
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from normjax import files
from normjax.errors import InputError, reason
from normjax.report import page
from normjax.study import groups

HOST = "127.0.0.1"
PORT = 8765
WATCHED = ("record.json", groups.FOLDER, groups.FAILED)

# Keeps the place and what is open. A hidden tab is left until it is looked at.
SCRIPT = """
<script>
(() => {
  const version = "%s", key = "normjax-place";
  const opened = () => [...document.querySelectorAll("details")];
  const place = JSON.parse(sessionStorage.getItem(key) || "null");
  sessionStorage.removeItem(key);
  if (place) {
    opened().forEach((x, i) => { if (i in place.open) x.open = place.open[i]; });
    addEventListener("load", () => scrollTo(0, place.top));
  }
  const look = async () => {
    try {
      const now = await (await fetch("/version", { cache: "no-store" })).text();
      if (now !== version && !document.hidden) {
        await fetch("/", { method: "HEAD" }); // waits until the page is built
        const open = opened().map((x) => x.open);
        sessionStorage.setItem(key, JSON.stringify({ top: scrollY, open }));
        location.reload();
        return;
      }
    } catch { /* the server has ended, or is not there yet */ }
    setTimeout(look, 2000);
  };
  setTimeout(look, 2000);
})();
</script>
"""
WAITING = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>normjax: waiting</title>
<meta name="viewport" content="width=device-width"><style>
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 40rem;
  padding: 0 1rem }
</style></head><body><h1>Waiting for networks</h1>
<p>There is no page of <code>%s</code> yet; this one turns into it.</p>
<p>%s</p></body></html>
"""


class Pages:
    """The page of a workdir, built again when its record has changed."""

    def __init__(self, workdir: str | Path) -> None:
        self.workdir = Path(workdir).resolve()
        self._lock = threading.Lock()  # several tabs may ask at once
        self._version, self._text = "", ""

    def newest(self) -> tuple[str, str]:
        """The version of the page, and its HTML, which is built if it is not there."""
        with self._lock:
            version = self.version()
            if version != self._version:
                self._text, self._version = self._built(), version
            return version, self._text

    def _built(self) -> str:
        try:
            return page.build(self.workdir, stills=False).read_text("utf-8")
        except InputError as error:
            line = str(error)
        except Exception as error:  # whatever an audit of the user raises
            line = f"It could not be built: {reason(error)}."
        return WAITING % tuple(map(html.escape, (str(self.workdir), line)))

    def version(self) -> str:
        """A digest of the names, sizes and times of what the page is made of."""
        found = []
        for name in WATCHED:
            path = self.workdir / name
            for each in [path, *path.glob("*.*")] if path.is_dir() else [path]:
                with contextlib.suppress(OSError):  # it may just be replaced
                    status = os.stat(each)
                    found.append([each.name, status.st_size, status.st_mtime_ns])
        return files.text_digest({"found": sorted(found)})[:16]


class Handler(http.server.SimpleHTTPRequestHandler):
    """Answers a browser; `pages` is of the class that `server` makes."""

    pages: Pages

    def do_GET(self) -> None:
        """Gives the page, its version, or a file of the workdir; HEAD has no body."""
        if not self._is_ours():
            self.send_error(HTTPStatus.FORBIDDEN, "asked for by another host")
            return
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        if path in ("/", "/report.html"):
            version, text = self.pages.newest()
            script = SCRIPT % version
            head, end, rest = text.rpartition("</body>")
            self._send(f"{head}{script}{end}{rest}" if end else text + script, "html")
        elif path == "/version":
            self._send(self.pages.version(), "plain")
        elif path == "/favicon.ico":  # every browser asks for one
            self.send_response(HTTPStatus.NO_CONTENT)
            self.end_headers()
        elif self.command == "HEAD":
            super().do_HEAD()
        else:
            super().do_GET()

    do_HEAD = do_GET

    def translate_path(self, path: str) -> str:
        """The file that a path names, or one that is not there if it is not ours."""
        name = urllib.parse.unquote(urllib.parse.urlsplit(path).path).lstrip("/")
        root = self.pages.workdir
        with contextlib.suppress(OSError, ValueError):  # a name with a null byte
            found = (root / name).resolve()
            ours = found.is_relative_to(root) and not name.endswith("/")
            if ours and found.is_file():
                return str(found)
        return os.devnull + "/nothing"

    def log_message(self, *_: Any) -> None:
        """Says nothing: each look of a browser would be a line."""

    def _is_ours(self) -> bool:
        """Whether the browser took us for ourselves: no other site may read this."""
        host = self.headers.get("Host", "").partition(":")[0]  # port 80 is left out
        return host in (HOST, "localhost")

    def _send(self, text: str, kind: str) -> None:
        content = text.encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"text/{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):  # the tab was closed
                self.wfile.write(content)


def server(workdir: str | Path, port: int = PORT) -> http.server.ThreadingHTTPServer:
    """A server of a workdir's page on this machine; `port=0` takes a free one.

    Raises:
        InputError: if the port is not free, or is none.
    """
    handler = type("WorkdirHandler", (Handler,), {"pages": Pages(workdir)})
    try:
        return http.server.ThreadingHTTPServer((HOST, port), handler)
    except OverflowError as error:
        remedy = f"add --port={PORT}"
        raise InputError("--port", port, "must be from 0 to 65535", remedy) from error
    except OSError as error:
        why = "another program has it" if error.errno == errno.EADDRINUSE else ""
        rule = f"must be a free port, and {why or error.strerror}"
        remedy = "add --port=0, which takes a free one"
        raise InputError("--port", port, rule, remedy) from error


def only(workdirs: Sequence[str], **others: str | None) -> str:
    """The one workdir that is served.

    Raises:
        InputError: if there are several, or one of the flags `others` is given.
    """
    for name, value in others.items():
        if value:
            rule = "must not be given with --serve, which writes the page of a study"
            raise InputError(f"--{name}", value, rule, "leave one of them out")
    if len(workdirs) > 1:
        rule = "must be one folder with --serve"
        raise InputError("workdir", " ".join(workdirs), rule, "leave the others out")
    return workdirs[0]


def serve(workdir: str | Path, port: int = PORT, *, opened: bool = False) -> None:
    """Serves the page of a workdir until Ctrl-C; `opened` shows it in the browser.

    Raises:
        InputError: as `server` does, or if there is no such folder.
    """
    if not Path(workdir).is_dir():
        rule, remedy = "must be a folder", "give the folder that a study is run in"
        raise InputError("workdir", str(workdir), rule, remedy)
    with server(workdir, port) as served:
        address = f"http://{HOST}:{served.server_address[1]}/"
        print(f"page: {address} (Ctrl-C ends it)", flush=True)
        if opened:
            open_in_browser(address)
        with contextlib.suppress(KeyboardInterrupt):
            served.serve_forever()


def open_in_browser(address: str) -> None:
    """Shows an address in the browser of the user, if there is one."""
    import webbrowser

    webbrowser.open(address)
