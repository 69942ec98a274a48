"""The page of `hyperseg-trt ui` in a real browser, for its test and for the picture in the README.

    python benchmarks/quality/page.py BUNDLE IMAGE TEXT PICTURE

Selenium drives Debian's chromium and chromium-driver, both headless; no network but this machine's is asked.
"""

import io
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

BROWSER, DRIVER = "chromium", "chromedriver"
LIMIT_S = 120
SIZE = "1280,900"
PICTURE = ".nicegui-interactive-image img, img.picture, .picture img"
RECTANGLE = """arguments[0].scrollIntoView({block: "center"});
const {x, y, width, height} = arguments[0].getBoundingClientRect(); return [x, y, width, height];"""


def missing() -> str:
    """Which program is not on this machine, and how to get it; nothing if both are."""
    absent = [name for name in (BROWSER, DRIVER) if shutil.which(name) is None]
    return f"no {' and '.join(absent)} (on Debian: apt-get install chromium chromium-driver)" if absent else ""


@contextmanager
def served(bundle: Path, *options: str) -> Iterator[str]:
    """The address of the page, served by a process of its own that is stopped afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "hyperseg_runtime", "ui", str(bundle), "--port", str(port), *options]
    # NiceGUI 3.18 starts no server where pytest's variable says that a test runs, which this process inherits.
    known = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=known) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            if process.stderr is None or address not in process.stderr.readline():
                raise RuntimeError("the page is not served")
            wait_for(address)
            yield address
        finally:
            process.terminate()
            process.communicate(timeout=LIMIT_S)


def wait_for(address: str) -> None:
    """Until something answers there."""
    ends = monotonic() + LIMIT_S
    while monotonic() < ends:
        with suppress(URLError):
            urlopen(address, timeout=LIMIT_S).close()
            return
        sleep(0.1)
    raise TimeoutError(f"{address} does not answer")


@contextmanager
def opened(address: str) -> Iterator["Visitor"]:
    """The page in a browser that finds no other machine. `--no-sandbox` is for containers that run as root."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which(BROWSER))
    for option in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", f"window-size={SIZE}"):
        options.add_argument(f"--{option}")
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    driver = webdriver.Chrome(options, Service(str(shutil.which(DRIVER))))
    try:
        driver.get(address)
        yield Visitor(driver)
    finally:
        driver.quit()


class Visitor:
    """Does on the page what a person would; elements are found by their CSS classes."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def choose(self, file: Path) -> None:
        """Hand a file over, as by choosing or dropping it."""
        self.wait(lambda: self.all("input[type=file]"))[0].send_keys(str(file.resolve()))

    def image_size(self) -> tuple[int, int]:
        """Width and height in pixels of the picture that is shown, when there is one."""
        image = self.wait(lambda: [one for one in self.all(PICTURE) if one.get_property("naturalWidth")])[0]
        return int(image.get_property("naturalWidth")), int(image.get_property("naturalHeight"))

    def tab(self, name: str) -> None:
        """Go to a tab."""
        self.wait(lambda: [tab for tab in self.all(".q-tab") if tab.text.lower() == name])[0].click()
        self.wait(lambda: len(self.all(".q-tab-panel")) == 1)

    def write(self, field: str, text: str) -> None:
        """Into an input or a text area."""
        found = self.wait(lambda: self.all(f".{field} input, .{field} textarea"))[0]
        found.clear()
        found.send_keys(text)

    def press(self, button: str) -> None:
        self.wait(lambda: self.all(f"button.{button}"))[0].click()

    def drag(self, from_xy: tuple[float, float], to_xy: tuple[float, float]) -> None:
        """Over the picture, in pixels of the image; a click where both places are one."""
        image, (width, height) = self.all(PICTURE)[0], self.image_size()
        left, top, shown_width, shown_height = self.driver.execute_script(RECTANGLE, image)
        steps: Any = ActionBuilder(self.driver)
        for (x, y), step in ((from_xy, "pointer_down"), (to_xy, "pointer_up")):
            steps.pointer_action.move_to_location(left + x * shown_width / width, top + y * shown_height / height)
            getattr(steps.pointer_action, step)()
        steps.perform()

    def rows(self, table: str, of: str = "") -> list[list[str]]:
        """Cells of a table, when it has a row that begins with `of`."""
        found: list[list[str]] = self.wait(lambda: self._cells(table, of))
        return found

    def text(self, element: str) -> str:
        """Of an element, when it has one."""
        return str(self.wait(lambda: " ".join(one.text for one in self.all(element)).strip()))

    def wait(self, ready: Callable[[], Any]) -> Any:
        """What `ready` gives, as soon as that is something."""
        ignored = (StaleElementReferenceException,)
        return WebDriverWait(self.driver, LIMIT_S, ignored_exceptions=ignored).until(lambda driver: ready())

    def all(self, selector: str) -> list[Any]:
        """Elements that match a CSS selector."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def _cells(self, table: str, of: str) -> list[list[str]]:
        rows = [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in self.all(f".{table} tbody tr")]
        return rows if any(cells and cells[0].startswith(of) for cells in rows) else []


def main(bundle: str, image: str, text: str, picture: str) -> None:
    if reason := missing():
        raise SystemExit(reason)
    with served(Path(bundle)) as address, opened(address) as visitor:
        visitor.choose(Path(image))
        visitor.image_size()
        visitor.write("expressions", text)
        visitor.press("segment-expressions")
        visitor.rows("parts")
        sleep(1)  # for the picture to be drawn
        with Image.open(io.BytesIO(visitor.driver.get_screenshot_as_png())) as seen:
            seen.convert("RGB").save(picture, quality=88)


if __name__ == "__main__":
    main(*sys.argv[1:])
