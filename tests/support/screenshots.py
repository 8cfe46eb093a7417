"""Takes the screenshot of the front page for the README: a 7, drawn and read. Needs Chromium.

python -m tests.support.screenshots
"""

from playwright.sync_api import expect

from tests.support.browser import browsing, draw
from tests.support.running import ROOT, running

FILE = ROOT / "docs/images/page.png"


def main() -> None:
    with running() as server, browsing(viewport={"width": 1100, "height": 860}) as (page, faults):
        page.goto(f"{server.url}/")
        draw(page)
        expect(page.locator("#answer")).to_have_attribute("data-state", "accepted")
        page.mouse.move(0, 0)
        page.wait_for_timeout(1000)
        page.screenshot(path=FILE, full_page=True)
        assert not faults, faults


if __name__ == "__main__":
    main()
