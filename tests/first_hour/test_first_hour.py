"""What a new user does in the first hour: clone, `make serve`, the page, /docs, the command line, and fine-tuning.

All of it is real: the programs, the browser and the drawings. Other tests look at each part in detail.
"""

import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.first_hour.checkout import Checkout, clone
from tests.support.browser import draw, launch, needs_chromium, watching
from tests.support.drawn_digits import EUROPEAN, HANDS, MIDDLE, Hand, place_paths
from tests.support.running import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    needs_chromium,
    pytest.mark.skipif(not (shutil.which("git") and shutil.which("make")), reason="git or make is not installed"),
]

SIZES = [(390, 844), (820, 1180), (1440, 900), (844, 390)]
POINT_STEP = 6  # of the points of a hand's curves; the pad smooths what the mouse draws


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A clone in which `make serve` runs."""
    with clone(tmp_path_factory.mktemp("first_hour")) as checkout:
        checkout.start()
        yield checkout


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright, launch(playwright.chromium) as browser:
        yield browser


@pytest.fixture
def page(checkout: Checkout, browser: Browser) -> Iterator[Page]:
    """The front page. At the end of the test, its console has no error."""
    with watching(browser) as (page, faults):
        page.goto(checkout.url)
        yield page
    assert faults == []


def write(
    page: Page,
    digit: int,
    hand: Hand,
    size: float = 1.0,
    centre: tuple[float, float] = MIDDLE,
    mirrored: bool = False,
) -> None:
    """Draw a digit on the pad."""
    for path in place_paths(digit, hand, size, centre):
        draw(page, [(1 - x if mirrored else x, y) for x, y in (*path[:-1:POINT_STEP], path[-1])], steps=1)


def read(page: Page) -> str:
    """Return how the page reads the drawing. It is read again, because an answer may be to an unfinished stroke."""
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+Shift+z")
    expect(page.locator("#answer")).to_have_attribute("data-state", re.compile("accepted|doubtful"))
    return page.locator("#digit").inner_text()


def clear(page: Page) -> None:
    page.get_by_role("button", name="Clear").click()


def test_the_clone_runs_its_own_code(checkout: Checkout) -> None:
    """The interpreter of `make serve` imports the code of the clone, and make has installed nothing."""
    done = checkout.run(".venv/bin/python", "-c", "import app; print(app.__file__)")
    assert done.stdout == f"{checkout.folder}/app/__init__.py\n"
    assert "Installing" not in checkout.log.read_text()


def test_ten_digits_in_three_hands_are_read(page: Page) -> None:
    """Every drawing is read as what it is. Only the European 1 need not be: its upstroke is as long as that of a 7."""
    misread = set()
    for hand in HANDS:
        for digit in range(10):
            write(page, digit, hand)
            if read(page) != str(digit):
                misread.add((hand, digit))
            clear(page)
    assert misread <= {(EUROPEAN, 1)}


def test_a_number_and_pictures_are_read(page: Page) -> None:
    """The page finds out by itself whether there is one digit or a number, drawn or in a file."""
    for digit, x in ((2, 1 / 6), (0, 3 / 6), (7, 5 / 6)):
        write(page, digit, HANDS[0], size=0.6, centre=(x, 0.5))
    assert read(page) == "207"
    for name, text in (("seven.png", "7"), ("number.jpg", "513912")):
        page.locator("#choose").set_input_files(ROOT / "docs" / "images" / name)
        expect(page.locator("#digit")).to_have_text(text)
        expect(page.locator("#answer")).to_have_attribute("data-state", "accepted")


def test_a_text_file_is_refused_in_words(checkout: Checkout, browser: Browser) -> None:
    """The page says what it can read, and goes on with the next picture. The console has the browser's own line."""
    with watching(browser) as (page, faults):
        page.goto(checkout.url)
        page.locator("#choose").set_input_files(ROOT / "README.md")
        expect(page.get_by_role("alert")).to_contain_text("Choose a PNG, JPEG, WebP, BMP or GIF file.")
        page.get_by_role("button", name="Example: a 3").click()
        expect(page.get_by_role("alert")).to_be_hidden()
        expect(page.locator("#digit")).to_have_text("3")
    (fault,) = faults
    assert "415" in fault


def test_the_page_waits_for_the_service_to_return(checkout: Checkout, browser: Browser) -> None:
    """While the service is down, the page says so and keeps the drawing. Once it is back, the drawing is read."""
    with watching(browser) as (page, faults):
        page.goto(checkout.url)
        checkout.stop()
        draw(page)
        expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached.")
        checkout.start()
        expect(page.locator("#digit")).to_have_text("7", timeout=30_000)
        expect(page.get_by_role("alert")).to_be_hidden()
    assert all("ERR_CONNECTION_REFUSED" in fault or fault.startswith("failed: ") for fault in faults), faults


def test_a_file_is_tried_out_in_the_docs(page: Page) -> None:
    """The front page leads to /docs, whose first form takes a file. Its answer has the digit."""
    page.get_by_role("link", name="API").click()
    operation = page.locator("#operations-predict-predict")
    operation.click()
    operation.locator("input[type=file]").set_input_files(ROOT / "docs" / "images" / "seven.png")
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table .response .microlight").first).to_contain_text('"digit": 7')


def test_the_command_line_reads_a_folder_and_standard_input(checkout: Checkout) -> None:
    """One line per picture, in order, and a summary after a folder."""
    folder = "docs/examples/digits"
    done = checkout.run(".venv/bin/digitserve", "predict", folder)
    assert re.findall(r"(\d)\.png: (\d) ", done.stdout) == [(str(digit), str(digit)) for digit in range(10)]
    assert (done.returncode, done.stderr) == (0, "digitserve: 10 of 10 files read: 10 accepted\n")
    with (ROOT / folder / "7.png").open("rb") as picture:
        done = checkout.run(".venv/bin/digitserve", "predict", "-", stdin=picture)
    assert (done.returncode, done.stdout[:5], done.stderr) == (0, "-: 7 ", "")


@pytest.mark.long
def test_corrections_become_a_model(checkout: Checkout, page: Page, data_dir: Path) -> None:
    """Six 3s, mirrored as a child writes them, are corrected, downloaded, unpacked, and trained on as the page says.

    The smallest network that ships is trained for one epoch, to save time.
    """
    for size in (0.9, 1.2):
        for hand in HANDS:
            write(page, 3, hand, size, mirrored=True)
            assert read(page) != "3"
            page.get_by_role("button", name="It is a 3").click()
            expect(page.locator("#corrected")).to_have_text("Kept as a 3.")
            clear(page)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download for training").click()
    with zipfile.ZipFile(saved.value.path()) as archive:
        archive.extractall(checkout.folder / "my-digits")
    (checkout.folder / "data").mkdir()
    (checkout.folder / "data" / "MNIST").symlink_to(data_dir / "MNIST")
    command = page.locator("#corrections code").inner_text().replace("FOLDER", "my-digits").split()
    done = checkout.run(f".venv/bin/{command[0]}", *command[1:], "--init", "models/textbook-1.0.0", "--epochs", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "and 6 digits from my-digits" in done.stdout
    assert (checkout.folder / "models" / "mine-1.0.0" / "manifest.json").is_file()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_has_no_barriers_at_any_size(checkout: Checkout, browser: Browser, scheme: str) -> None:
    """axe-core finds nothing on phones, tablets and desktops: at the start, after a correction, and in trouble."""
    axe = Axe()

    def check(page: Page) -> None:
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate("Promise.all(document.getAnimations().map((animation) => animation.finished))")
            results = axe.run(page)
            assert results.violations_count == 0, f"{width}x{height}: {results.generate_report()}"

    with watching(browser, color_scheme=scheme) as (page, faults):
        page.goto(checkout.url)
        check(page)
        write(page, 7, EUROPEAN)
        assert read(page) == "7"
        page.get_by_role("button", name="Show why").click()
        expect(page.locator("#legend")).to_be_visible()
        page.get_by_text("Details").click()
        page.get_by_role("button", name="It is a 3").click()
        expect(page.locator("#corrections")).to_be_visible()
        check(page)
        assert faults == []
        page.locator("#choose").set_input_files(ROOT / "README.md")
        expect(page.get_by_role("alert")).to_be_visible()
        check(page)
