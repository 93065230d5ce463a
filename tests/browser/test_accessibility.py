"""Every page before axe-core, unfolded: it finds nothing serious or critical, in any view."""

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import DESK, GENERATED, PAGES, PHONE
from tools.book.browser import ROOT

AXE = ROOT / "tests" / "browser" / "vendor" / "axe.min.js"

# theme, window, and axe's rules: the theme changes colours only, the window everything else
VIEWS = {
    "light desk": ("light", DESK, {}),
    "dark desk": ("dark", DESK, {"runOnly": ["color-contrast"]}),
    "light phone": ("light", PHONE, {"rules": {"color-contrast": {"enabled": False}}}),
}
UNFOLD = "document.querySelectorAll('details').forEach(details => (details.open = true))"
RUN = """async (options) => {
    const all = { ...options, resultTypes: ["violations"], preload: false };
    const { violations } = await axe.run(all);
    const grave = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
    return grave.flatMap(({ id, impact, nodes, helpUrl }) => nodes.map((node) =>
        `${id} (${impact}) at ${node.target}\\n${node.failureSummary}\\n${helpUrl}`));
}"""


@pytest.fixture(scope="module")
def examined(look, site):
    """A function that opens a page of the book, with axe-core in it and nothing folded away."""
    if not AXE.exists():
        pytest.fail(
            f"there is no {AXE.relative_to(ROOT)}; run tools/book/fetch_assets.py first",
            pytrace=False,
        )

    def examined(name: str):
        visit = look(site, name)
        visit.page.evaluate(AXE.read_text(encoding="utf-8"))
        visit.page.evaluate(UNFOLD)
        return visit

    return examined


@pytest.fixture(scope="module", params=[*PAGES, *GENERATED])
def unfolded(examined, request):
    return examined(request.param)


@pytest.fixture(scope="module")
def front(examined):
    return examined(PAGES[0])


def turn(page: Page, view: str) -> dict:
    """Show the page in this view; axe's options for it."""
    theme, window, options = VIEWS[view]
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size(window)
    page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)
    page.wait_for_timeout(500)  # the theme looks 0.3 s after a change for what scrolls now
    return options


def check(page: Page, what: str, options: dict) -> None:
    found = page.evaluate(RUN, options)
    if found:
        pytest.fail(f"{what}: {len(found)} violations\n\n" + "\n\n".join(found), pytrace=False)


@pytest.mark.parametrize("view", VIEWS)
def test_page_shuts_nobody_out(unfolded, view):
    check(unfolded.page, f"{unfolded.name}, {view}", turn(unfolded.page, view))


@pytest.mark.parametrize("theme", ["light desk", "dark desk"])
def test_search_field_shuts_nobody_out(front, theme):
    options = turn(front.page, theme)
    front.page.keyboard.press("Control+k")
    front.page.locator("#pst-search-dialog[open]").wait_for()
    check(front.page, f"search field, {theme}", options)
    front.page.keyboard.press("Escape")


def test_drawer_of_a_phone_shuts_nobody_out(front):
    options = turn(front.page, "light phone")
    front.page.locator("button.primary-toggle").click()
    front.page.locator("#pst-primary-sidebar-modal[open]").wait_for()
    check(front.page, "drawer with the chapters", options)
    front.page.keyboard.press("Escape")
