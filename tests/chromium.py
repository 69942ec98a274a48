"""A real browser for pages that must open without a network: Debian's chromium, headless, where the machine has it."""

import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
INSTALL = "on Debian: apt-get install --no-install-recommends chromium"
LIMIT_S = 120
COUNT_BROKEN = """<script>addEventListener("load", () => {
document.documentElement.dataset.pictures = document.images.length;
document.documentElement.dataset.broken = [...document.images].filter(one => !one.naturalWidth).length; })</script>"""


def opened(page: bytes, folder: Path) -> str:
    """The document as the browser sees it once the page is loaded, with every name on any network unknown.

    Its root carries `data-pictures`, how many the page has, and `data-broken`, how many could not be drawn. Skips by
    name where there is no browser. `--no-sandbox` is for containers in which tests run as root.
    """
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip(f"no chromium on this machine ({INSTALL})")
    path = folder / "page.html"
    path.write_bytes(page + COUNT_BROKEN.encode())
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'browser'}"]
    shown = subprocess.run(
        [browser, *options, path.resolve().as_uri()], capture_output=True, text=True, timeout=LIMIT_S, check=True
    )
    return shown.stdout
