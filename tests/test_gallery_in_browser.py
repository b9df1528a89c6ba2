"""The gallery in a real browser: clicks and keys, no console error, no request to any host, no foreign script."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sio_data import build_gallery, open_set
from sio_data.files import sha256_json
from sio_data.manifest import Origin
from tests.browser import CHROMIUM, Browser, open_browser
from tests.small_sets import write_imported_set, write_set

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")]

HOSTILE = (
    "</script><img src=x onerror=\"document.title='owned'\">",
    "<script>document.title='owned'</script>",
    '"><b id=owned>&lt;b&gt;</b>',
    "'); background: url(http://evil.example/) /* \\u2028 \u2028 --><!--",
    "\x1b[2J \u202e",
)
STATUS = "document.getElementById('status').textContent"
TILES = "[...document.querySelectorAll('.tile')].map(one => one.dataset.key)"
TITLE = "document.getElementById('title').textContent"
IS_OPEN = "document.getElementById('viewer').open"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of three classes of 130 images, and a gallery of 120 of each."""
    folder = write_set(tmp_path_factory.mktemp("set") / "noise", ("cat", "dog", "great owl"), 130)
    build_gallery(folder, per_class=120)
    return folder


def sheets_asked(browser: Browser) -> set[str]:
    return {url for url in browser.asked if "/sheet-" in url}


@pytest.fixture
def page(browser: Browser, folder: Path) -> Iterator[str]:
    """The page's address. At the end, nothing may have been complained of, nor asked of a host."""
    browser.complaints.clear()
    browser.asked.clear()
    browser.resize(1280, 900)
    yield (folder / "gallery.html").as_uri()
    assert browser.complaints == []
    assert [url for url in browser.asked if not url.startswith(("file:", "data:", "about:"))] == []


def test_it_opens_with_a_row_a_class_and_loads_only_the_sheets_seen(browser: Browser, page: str, folder: Path) -> None:
    browser.open(page)
    assert browser.run(STATUS) == "360 of 390 images shown"
    headings = browser.run("[...document.querySelectorAll('section h2')].map(one => one.textContent)")
    assert headings == ["cat120 of 130", "dog120 of 130", "great owl120 of 130"]
    assert browser.run(TILES)[:3] == ["000000000", "000000003", "000000006"]
    browser.wait("[...document.querySelectorAll('.tile')].every(one => one.style.backgroundImage)")
    browser.wait_until(lambda: len(sheets_asked(browser)) == 3, "three sheets are asked for")
    assert len(list((folder / "thumbnails").iterdir())) == 6


def test_filter_by_class_and_page_through(browser: Browser, page: str) -> None:
    browser.open(page)
    browser.click("section:nth-of-type(2) h2 button")
    browser.wait(f"{STATUS}.startsWith('dog')")
    assert browser.run(STATUS) == "dog: 120 of 130 images shown"
    assert browser.run(TILES) == [f"{1 + 3 * place:09d}" for place in range(100)]
    assert browser.run("location.hash") == "#class=dog"
    browser.click("#on")
    browser.wait("document.querySelectorAll('.tile').length === 20")
    assert browser.run(TILES) == [f"{1 + 3 * place:09d}" for place in range(100, 120)]
    browser.run("history.back()")
    browser.wait("document.querySelectorAll('.tile').length === 100")
    browser.run("(() => { const one = document.getElementById('class'); one.value = '2';"
                " one.dispatchEvent(new Event('change')); })()")  # fmt: skip
    browser.wait(f"{STATUS}.startsWith('great owl')")
    assert browser.run(TILES)[0] == "000000002"


def test_a_click_shows_an_image_with_its_seed_recipe_and_command(browser: Browser, page: str, folder: Path) -> None:
    browser.open(page)
    browser.click(".tile[data-key='000000004']")
    browser.wait(IS_OPEN)
    sample = list(open_set(folder).samples())[4]
    shown = browser.run("document.getElementById('viewer').innerText")
    for text in ("000000004", "dog", str(sample.metadata["seed"]), sample.metadata["recipe"]):
        assert text in shown
    assert json.loads(browser.run("document.getElementById('json').textContent")) == sample.metadata
    command = browser.run("document.getElementById('command').textContent")
    assert command == "sio-data regenerate noise 000000004 --weights path/to/generator --out 000000004.png"
    assert browser.run("getComputedStyle(document.getElementById('picture')).imageRendering") == "pixelated"


def test_the_pixels_on_the_screen_are_those_of_the_sample(browser: Browser, page: str, folder: Path) -> None:
    key = 3 * 107 + 1  # on the second sheet of its class
    browser.open(f"{page}#key={key}")
    left, top, side = browser.run(
        "(() => { const box = document.getElementById('picture').getBoundingClientRect();"
        " return [box.x, box.y, box.width]; })()"
    )
    expected = list(open_set(folder).samples())[key].image
    cell = side / 4
    middles = (cell * (np.arange(4) + 0.5)).astype(int)

    def painted() -> bool:
        with Image.open(io.BytesIO(browser.screenshot())) as screen:
            seen = np.asarray(screen.convert("RGB"))[np.ix_(int(top) + middles, int(left) + middles)]
        return np.array_equal(seen, expected)

    browser.wait_until(painted, "the pixels of the sample")


def test_keys_move_close_and_return(browser: Browser, page: str) -> None:
    browser.open(f"{page}#class=dog")
    browser.run("document.querySelector('.tile').focus()")
    browser.press("ArrowRight")
    browser.press("ArrowDown")
    focused = browser.run("document.activeElement.dataset.key")
    across = browser.run("Math.round(document.getElementById('images').clientWidth / 104)")
    assert focused == f"{1 + 3 * (1 + across):09d}"
    browser.press("ArrowUp")
    browser.press("ArrowLeft")
    browser.run("document.activeElement.click()")
    browser.wait(f"{IS_OPEN} && {TITLE} === '000000001'")
    browser.press("ArrowRight")
    browser.wait(f"{TITLE} === '000000004'")
    browser.press("ArrowRight")
    browser.wait(f"{TITLE} === '000000007'")
    browser.press("ArrowLeft")
    browser.wait(f"{TITLE} === '000000004'")
    browser.press("Escape")
    browser.wait(f"!({IS_OPEN})")
    assert browser.run("document.activeElement.dataset.key") == "000000004"
    assert browser.run("location.hash") == "#class=dog"


def test_find_a_key_and_a_class(browser: Browser, page: str) -> None:
    browser.open(page)
    browser.run("document.getElementById('find').focus()")
    browser.type("42")
    browser.wait(f"{TILES}[0] === '000000042'")
    browser.press("Enter")
    browser.wait(f"{IS_OPEN} && {TITLE} === '000000042'")
    browser.open(f"{page}#find=389")
    assert browser.run(STATUS).endswith("image 000000389 is in the set, not on this page")
    browser.open(f"{page}#find=OWL")
    assert browser.run("[...document.querySelectorAll('section h2 button')].map(one => one.textContent)") == [
        "great owl"
    ]


def test_links_into_the_page(browser: Browser, page: str) -> None:
    browser.open(f"{page}#key=000000007")
    assert browser.run(f"{IS_OPEN} && {TITLE}") == "000000007"
    browser.click("#close")
    browser.wait(f"!({IS_OPEN})")
    browser.open(f"{page}#key=389")
    assert browser.run(IS_OPEN) is False
    assert browser.run(STATUS) == "the image of that key is not on this page"
    browser.open(f"{page}#class=great+owl&page=99")
    assert browser.run(TILES)[-1] == f"{2 + 3 * 119:09d}"


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_shows_it_without_scrolling_sideways(browser: Browser, page: str, dark: bool) -> None:
    browser.resize(375, 700, dark)
    for address in (page, f"{page}#class=dog", f"{page}#key=000000007"):
        browser.open(address)
        assert browser.run("document.documentElement.scrollWidth") <= 375
        assert browser.run("document.getElementById('viewer').scrollWidth") <= 375
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 24, 31)" if dark else "rgb(255, 255, 255)")


def test_every_control_has_a_name(browser: Browser, page: str) -> None:
    browser.open(f"{page}#class=dog")
    names = browser.run(
        "[...document.querySelectorAll('button, select, input')].map(one => one.getAttribute('aria-label')"
        " || one.textContent.trim() || one.labels[0].textContent.trim())"
    )
    assert all(names)


def test_a_class_without_images_and_images_without_seed(browser: Browser, page: str, tmp_path: Path) -> None:
    imported = build_gallery(write_imported_set(tmp_path / "imported")).page.as_uri()
    browser.open(f"{imported}#class=dog")
    assert browser.run(STATUS) == "dog: 0 of 0 images shown"
    browser.open(f"{imported}#key=1")
    assert json.loads(browser.run("document.getElementById('json').textContent"))["source"] == {
        "file": "old.npz", "row": 1,
    }  # fmt: skip
    assert "seed" not in browser.run("document.getElementById('facts').textContent")
    assert browser.run("document.getElementById('again').hidden") is True


def test_hostile_texts_are_only_texts(browser: Browser, page: str, tmp_path: Path) -> None:
    origin = Origin(HOSTILE[0], HOSTILE[1], HOSTILE[2], HOSTILE[3])
    folder = write_set(tmp_path / "'><script>document.title='owned'", HOSTILE, 2, origin=origin)
    value = json.loads((folder / "sio.json").read_text()) | {"versions": {HOSTILE[0]: "\ud800"}}
    value["checksum"] = sha256_json({name: item for name, item in value.items() if name != "checksum"})
    (folder / "sio.json").write_text(json.dumps(value))
    hostile = build_gallery(folder).page
    text = hostile.read_text()
    assert len(re.findall("<script", text)) == 2
    assert text.count("</script>") == 2
    browser.open(hostile.as_uri())
    names = browser.run("[...document.querySelectorAll('section h2 button')].map(one => one.textContent)")
    assert names[:4] == list(HOSTILE[:4])
    browser.open(f"{hostile.as_uri()}#key=0")
    browser.open(f"{hostile.as_uri()}#find=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E&class=__proto__&key=%3Cb%3E")
    assert browser.run("document.title").startswith("'><script>")
    assert browser.run("document.querySelectorAll('img, #owned').length") == 0


def test_the_policy_stops_what_should_slip_through(browser: Browser, page: str) -> None:
    browser.open(page)
    browser.run("document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,x\" onerror=\"document.title=1\">')")
    browser.run("(() => { const one = document.createElement('script'); one.textContent = 'document.title = 2';"
                " document.body.append(one); })()")  # fmt: skip
    browser.wait("document.title === 'noise: 390 images'")
    browser.wait_until(lambda: len(browser.complaints) >= 2, "two complaints")
    assert all("Content Security Policy" in text for text in browser.complaints)
    assert browser.run("document.title") == "noise: 390 images"
    browser.complaints.clear()
