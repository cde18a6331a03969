"""A page looked at in a real browser: what it reports, where it reaches, whether it fits. No driver: Chromium alone."""

import http.server
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NOBODY = "http://127.0.0.1:9"
QUIET = [
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]

# Opens the page in a frame of the given width, unfolds all of it, and writes down what there is to see.
LOOK = """<!doctype html><title>look</title>
<iframe src="/page.html" style="width:WIDTHpx;height:900px;border:0"></iframe>
<script>
document.querySelector("iframe").onload = ({target}) => {
  const page = target.contentDocument;
  page.querySelectorAll("details").forEach((fold) => { fold.open = true; });
  const root = page.documentElement;
  const all = [...page.querySelectorAll("body *")];
  const wide = all.filter((e) => e.getBoundingClientRect().right > root.clientWidth + 1);
  document.body.dataset.seen = JSON.stringify({
    title: page.title, text: page.body.innerText, scripts: page.scripts.length,
    images: page.querySelectorAll("img, iframe, object, embed").length, folds: page.querySelectorAll("details").length,
    charts: page.querySelectorAll("svg path").length, width: root.clientWidth, scrollWidth: root.scrollWidth,
    wide: wide.map((e) => e.className || e.tagName),
    marked: [...page.querySelectorAll("ins, del")].map((e) => `${e.tagName} ${e.textContent}`),
    reached: target.contentWindow.performance.getEntriesByType("resource").map((e) => e.name),
    background: getComputedStyle(page.body).backgroundColor,
  });
};
</script>"""


@dataclass(frozen=True)
class Sight:
    """`page`: what LOOK wrote down. `console`: what the browser reported. `reached`: what the page asked for."""

    page: dict[str, Any]
    console: list[str]
    reached: list[str]


def find_browser() -> str:
    """The path of a Chromium. Without one the test is skipped, which pytest counts and says, unless
    RETORT_REQUIRE_BROWSER=1 makes that a failure, as it is in CI."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    missing = "no Chromium to look at the report with; apt-get install chromium (or your system's package)"
    if os.environ.get("RETORT_REQUIRE_BROWSER") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


def look(html: str, width: int, *, dark: bool = False) -> Sight:
    """Opens the page `width` CSS pixels wide. No host but this one can be reached."""
    pages = {"/": LOOK.replace("WIDTH", str(width)), "/page.html": html}
    with _serving(_pages(pages)) as port, tempfile.TemporaryDirectory() as profile:
        command = [find_browser(), "--headless", "--no-sandbox", "--disable-gpu", *QUIET, f"--user-data-dir={profile}"]
        command += [f"--proxy-server={NOBODY}", "--virtual-time-budget=5000", "--enable-logging=stderr"]
        command += [
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            "--dump-dom",
            f"http://localhost:{port}/",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    seen = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert seen, f"the page did not load: {done.stdout[:500]}"
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    page = json.loads(unescape(seen[1]))
    return Sight(page, console, page.pop("reached"))


def screenshot(page: Path, into: Path, width: int, height: int) -> bytes:
    with tempfile.TemporaryDirectory() as profile:
        command = [find_browser(), "--headless", "--no-sandbox", "--disable-gpu", *QUIET, f"--user-data-dir={profile}"]
        command += [f"--window-size={width},{height}", f"--screenshot={into}", page.as_uri()]
        subprocess.run(command, capture_output=True, timeout=60, check=True)
    return into.read_bytes()


@contextmanager
def _serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


class _Silent(http.server.BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def _pages(pages: dict[str, str]) -> type[_Silent]:
    class Pages(_Silent):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            self.send_response(200 if page is not None or self.path == "/favicon.ico" else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write((page or "").encode())

    return Pages
