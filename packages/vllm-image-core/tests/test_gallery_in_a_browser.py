"""The gallery in a real browser, if the system has one: what is drawn, and how large."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest
from PIL import Image
from vllm_image_core.gallery.page import write_gallery

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")

Answer = Callable[[str], Any]
SCRIPT = """<script>
const later = async () => {
  for (let count = 0; count < 5; count++) { await new Promise(requestAnimationFrame); }
  await new Promise((done) => setTimeout(done, 300));
};
const answer = async () => { await later(); return await (async () => { EXPRESSION })(); };
answer().catch(String).then((found) => fetch("answer", { method: "POST", body: JSON.stringify(found) }));
</script></body>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 600 images, one of them larger than the window, with its gallery."""
    folder = tmp_path_factory.mktemp("made")
    Image.new("RGB", (3_000, 2_900)).save(folder / "large.png")
    for number in range(599):
        Image.new("RGB", (64, 64), (number % 256, 90, 90)).save(folder / f"small_{number:03}.png")
    write_gallery(folder)
    return folder


@pytest.fixture
def ask(folder: Path, tmp_path: Path) -> Iterator[Answer]:
    """Return a function that opens the gallery, runs statements there, and returns what they return."""
    answers: Queue[Any] = Queue()

    class Handler(SimpleHTTPRequestHandler):
        def do_POST(self) -> None:
            answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_error(204)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the library calls it
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()

        def ask(statements: str) -> Any:  # noqa: ANN401 - any JSON
            page = (folder / "gallery.html").read_text("utf-8")
            script = SCRIPT.replace("EXPRESSION", statements)
            (folder / "asked.html").write_text(page.replace("</body>", script), encoding="utf-8")
            options = ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,800")
            profile = f"--user-data-dir={tmp_path / 'browser'}"
            address = f"http://127.0.0.1:{server.server_port}/asked.html"
            browser = subprocess.Popen(
                [str(BROWSER), *options, profile, address],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                return answers.get(timeout=60)
            finally:
                browser.terminate()
                browser.wait(30)

        yield ask
        server.shutdown()


def test_only_the_visible_cells_exist_and_they_are_reused_while_the_page_scrolls(ask: Answer) -> None:
    seen = ask(
        """
            const before = new Set(document.querySelectorAll(".cell")), counts = [before.size];
            for (const top of [500, 4000, 9000]) {
              grid.scrollTop = top; await later(); counts.push(document.querySelectorAll(".cell").length);
            }
            const cells = [...document.querySelectorAll(".cell")];
            const box = grid.getBoundingClientRect();
            const inView = cells.filter((cell) => {
              const { top, bottom } = cell.getBoundingClientRect();
              return bottom > box.top && top < box.bottom;
            });
            return {
              counts, again: cells.filter((cell) => before.has(cell)).length, inView: inView.length,
              loaded: inView.filter((cell) => cell.firstChild.naturalWidth).length,
              captions: cells.every((cell) => cell.lastChild.textContent === cell.image.name),
            };
        """
    )
    assert 0 < max(seen["counts"]) < 100
    assert seen["again"] >= seen["counts"][0] / 2
    assert seen["inView"] >= 15
    assert seen["loaded"] == seen["inView"]
    assert seen["captions"]


def test_scrolling_writes_nothing_to_the_cells_that_stay(ask: Answer) -> None:
    scrolled = ask(
        """
            const stay = document.querySelectorAll(".cell")[12]; let changes = 0;
            new MutationObserver((all) => { changes += all.length; })
              .observe(stay, { attributes: true, childList: true, subtree: true });
            for (let step = 0; step < 5; step++) { grid.scrollTop += 20; await later(); }
            return [changes, grid.scrollTop];
        """
    )
    assert scrolled == [0, 100]


def test_a_large_image_fits_into_the_window_until_it_is_enlarged(ask: Answer) -> None:
    sizes = ask(
        """
            current = shown.findIndex((image) => image.name === "large.png"); open(); await later();
            const figure = by("shown"), picture = figure.firstChild;
            const size = () => [picture.clientWidth, picture.clientHeight];
            const fits = size(); picture.click(); await later();
            return { fits, room: [figure.clientWidth, figure.clientHeight], enlarged: size() };
        """
    )
    assert sizes["enlarged"] == [3_000, 2_900]
    assert 0 < sizes["fits"][0] <= 1_200
    assert 0 < sizes["fits"][1] <= 800
