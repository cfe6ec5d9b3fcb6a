"""The report page in a real browser, without network, on a desk and on a phone."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stages.report import report
from tests.fixtures.measured import write_run

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=2000"),
)
# Put at the end of a copy of the page, which is shown in a frame: windows have a least width.
MEASURE = """<script>
parent.postMessage(JSON.stringify({
  width: document.documentElement.scrollWidth,
  window: window.innerWidth,
  pictures: [...document.images].map(image => image.naturalWidth),
  rows: [...document.querySelectorAll("table")].map(table => table.rows.length),
  sections: [...document.querySelectorAll("h2")].map(heading => heading.id),
  fetched: performance.getEntriesByType("resource").filter(
    entry => !entry.name.startsWith("data:")).map(entry => entry.name),
}), "*");
</script></body>"""
FRAME = """<body><script>
addEventListener("message", event => document.body.setAttribute("data-measured", event.data));
</script><iframe src="{address}" style="width:{width}px;height:800px;border:0"></iframe></body>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: `apt-get install chromium`")


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("page")
    data, reports = write_run(root)
    report(["tinybert4"], ["rte"], "demo", data, reports)
    text = (reports / "index.html").read_text(encoding="utf-8")
    measured = root / "measured.html"
    measured.write_text(text.replace("</body>", MEASURE), encoding="utf-8")
    return measured


def opened(page: Path, folder: Path, width: int) -> dict:
    """Open the page in a frame so many pixels wide; return what it measured of itself."""
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(address=page.as_uri(), width=width), encoding="utf-8")
    profile = f"--user-data-dir={folder / 'profile'}"
    done = subprocess.run(
        [str(CHROMIUM), *FLAGS, profile, "--dump-dom", frame.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r'data-measured="([^"]*)"', done.stdout)
    assert found, done.stdout[-500:] + done.stderr[-500:]
    return json.loads(html.unescape(found[1]))


@pytest.mark.parametrize("width", [1200, 390])
def test_the_page_fits_its_window_and_shows_every_picture_without_fetching(page, tmp_path, width):
    measured = opened(page, tmp_path, width)
    assert measured["window"] == width
    assert measured["width"] <= width  # wide tables scroll inside themselves
    assert measured["pictures"]
    assert all(natural > 100 for natural in measured["pictures"])
    assert measured["fetched"] == []
    assert {"results", "published", "figures", "latency", "confusion", "augmentation"} <= set(
        measured["sections"]
    )
    assert all(rows >= 2 for rows in measured["rows"])
