"""What a reader meets: every page in a real browser, without a network and without a kernel."""

import math
import re
from urllib.parse import unquote, urldefrag

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import CHAPTERS, PAGES

PICTURE = "film => [...film.querySelectorAll('canvas')].map(canvas => canvas.toDataURL()).join()"
PROSE = """() => {
    const article = (document.querySelector("article") ?? document.body).cloneNode(true);
    const left = "pre, code, script, style, mjx-container";
    article.querySelectorAll(left).forEach(element => element.remove());
    return article.textContent;
}"""
FONTS = """async () => {
    await document.fonts.ready;
    return [...document.fonts].map(({ family, status }) => [family.replaceAll('"', ""), status]);
}"""
NAMED = (
    "input => Boolean(input.ariaLabel || [...input.labels].some(label => label.textContent.trim()))"
)


def lacking_fonts(page):
    """Fonts that did not load, and those that icons and formulas need but do not have."""
    fonts = page.evaluate(FONTS)
    loaded = {family for family, status in fonts if status == "loaded"}
    needed = {"Font Awesome 6 Free", *(["MJXTEX"] if page.locator("mjx-container").count() else [])}
    return {family for family, status in fonts if status == "error"} | needed - loaded


# Every page ---------------------------------------------------------------------------------------


def test_page_opens(visit):
    assert visit.page.title().strip()
    assert visit.failures == []


def test_page_asks_no_third_party(visit, site):
    assert visit.foreign(site) == []


def test_page_raises_no_complaint(visit):
    assert visit.complaints == []


def test_fonts_are_there(visit):
    assert lacking_fonts(visit.page) == set()


def test_mathematics_is_rendered(visit):
    formulas = visit.page.locator("article .math")
    assert formulas.locator("mjx-container").count() == formulas.count()
    assert visit.page.locator("mjx-merror, [data-mjx-error]").count() == 0


def test_no_raw_tex_is_left(visit):
    assert re.findall(r"\\\(|\\\[|\$\$|\\begin", visit.page.evaluate(PROSE)) == []


def test_images_have_words(visit):
    for alt in visit.page.eval_on_selector_all(
        "article img", "images => images.map(image => image.alt)"
    ):
        assert alt.strip()
        assert not re.search(r"[/\\]|\.(png|svg|jpe?g|gif)$", alt)


def test_links_lead_somewhere(visit, site, html):
    links = visit.page.eval_on_selector_all("a[href]", "links => links.map(link => link.href)")
    for address, anchor in (urldefrag(link) for link in set(links) if link.startswith(site)):
        target = html / (unquote(address.removeprefix(site)) or "index.html")
        assert target.is_file(), f"{visit.name} links to {address}"
        assert not anchor or f'id="{unquote(anchor)}"' in target.read_text(), (
            f"{visit.name}: no #{anchor} in {target}"
        )


def test_book_may_lie_in_a_folder_of_its_host(visit):
    rooted = visit.page.locator("[href^='/'], [src^='/']")
    assert rooted.evaluate_all("elements => elements.map(element => element.outerHTML)") == []


def test_page_fits_a_phone(visit):
    wide = visit.page.viewport_size
    visit.page.set_viewport_size({"width": 390, "height": 844})
    width = visit.page.evaluate("document.documentElement.scrollWidth")
    visit.page.set_viewport_size(wide)
    assert width <= 391


def test_front_page_is_the_introduction(browser, site):
    page = browser.new_page()
    page.goto(site)
    page.wait_for_url("**/book/intro.html")
    page.close()


def test_page_links_to_no_placeholder(visit):
    links = visit.page.eval_on_selector_all("a[href]", "links => links.map(link => link.href)")
    assert [link for link in links if "OWNER" in link] == []


# Chapters: things to touch ------------------------------------------------------------------------


def test_chapter_has_something_to_touch(chapter):
    assert chapter.page.locator(".dlg:not(.dlg-question)").count() > 0


def test_films_say_what_they_show(chapter):
    for film in chapter.page.locator(".dlg-film").all():
        for canvas in film.locator("canvas").all():
            expect(canvas).to_have_role("img")
            expect(canvas).to_have_attribute("aria-label", re.compile(r"\w"))
        for control in film.locator("input, select").all():
            assert control.evaluate(NAMED)
        expect(film.locator("[aria-live]")).to_have_text(re.compile(r"\w"))


def test_films_draw_the_curve_of_their_errors(chapter):
    unit = "epochs" if chapter.name == "notebooks/09_a_trained_network" else "evaluations"
    for film in chapter.page.locator(".dlg-film").all():
        curve = film.locator("svg")
        expect(curve).to_have_role("img")
        expect(curve).to_have_accessible_name(
            re.compile(f"^curve of the (RMSE|matching loss), after 0 {unit}: ")
        )
        assert curve.locator(".dlg-now line").count() > 0
        scenes = math.prod(
            choice.locator("option").count() for choice in film.locator("select").all()
        )
        assert curve.locator("g").count() == scenes > 1


def test_a_click_on_the_curve_moves_the_picture(chapter):
    for film in chapter.page.locator(".dlg-film").all():
        film.locator("input[type=range]").press("End")
        before, curve = shown(film), film.locator("svg")
        curve.scroll_into_view_if_needed()
        curve.click(position={"x": 1, "y": 20})
        assert film.locator("input[type=range]").input_value() == "0"
        assert shown(film) != before


def shown(film):
    return film.evaluate(PICTURE), film.locator("[aria-live]").inner_text()


def test_sliders_move_the_picture_and_the_cursor(chapter):
    for film in chapter.page.locator(".dlg-film").all():
        slider, cursor = film.locator("input[type=range]"), film.locator(".dlg-cursor")
        slider.press("End")
        last_picture, last_caption = shown(film)
        last_place = cursor.get_attribute("x1")
        slider.press("Home")
        first_picture, first_caption = shown(film)
        assert first_picture != last_picture
        assert first_caption != last_caption
        assert cursor.get_attribute("x1") == "0%" != last_place
        slider.press("ArrowRight")
        assert shown(film)[1] != first_caption
        slider.press("End")
        assert (*shown(film), cursor.get_attribute("x1")) == (
            last_picture,
            last_caption,
            last_place,
        )


def test_choices_change_the_picture(chapter):
    for film in chapter.page.locator(".dlg-film").all():
        film.locator("input[type=range]").press("End")
        for choice in film.locator("select").all():
            before = shown(film)
            choice.select_option(index=choice.locator("option").count() - 1)
            assert shown(film) != before


def test_choices_on_several_axes_do_not_move_each_other(chapter):
    """Every film of the book has a scene for each combination."""
    for film in chapter.page.locator(".dlg-film").all():
        chosen = []
        for choice in film.locator("select").all():
            chosen.append(choice.locator("option").last.inner_text())
            choice.select_option(chosen[-1])
        assert [choice.input_value() for choice in film.locator("select").all()] == chosen
        expect(film.locator("[aria-live]")).to_have_text(
            re.compile("^" + re.escape(", ".join(chosen)))
        )


# A reader at work ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapter_in_use_asks_nobody(look, site, name):
    """Three themes, all controls of the films, the search: nothing is loaded, from anywhere."""
    page = look(site, name).page
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    for _ in range(3):
        page.locator(".theme-switch-button:visible").first.click()
    for slider in page.locator(".dlg-film input[type=range]").all():
        slider.press("Home")
    for button in page.locator(".dlg-film button").all():
        button.click()
    page.keyboard.press("Control+k")
    page.keyboard.type("gradient")
    page.wait_for_timeout(300)
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == []


def test_search_finds_without_help(look, site):
    visit = look(site, PAGES[0])
    visit.page.keyboard.press("Control+k")
    visit.page.keyboard.type("dropout")
    visit.page.keyboard.press("Enter")
    expect(visit.page.locator("#search-results li a").first).to_be_visible(timeout=15_000)
    assert visit.foreign(site) == []
    assert visit.complaints == []


# Without any server, and in the dark --------------------------------------------------------------


def test_page_works_as_a_file(file_visit, html):
    assert file_visit.foreign(html.as_uri()) == []
    assert file_visit.complaints == []
    assert lacking_fonts(file_visit.page) == set()
    formulas = file_visit.page.locator("article .math")
    assert formulas.locator("mjx-container").count() == formulas.count()
    if file_visit.name in CHAPTERS:
        assert file_visit.page.locator(".dlg canvas").count() > 0
