"""The desk in a real browser: an investigation by keyboard alone, without scripts too, light and dark, wide and narrow;
nothing serious for people with disabilities, and no text that runs.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from desk_browser import chromium, served
from desk_double import Double
from playwright.sync_api import Browser, Page, expect

SIZES = {"wide": (1360, 900), "narrow": (390, 844)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def campaign_of(double: Double) -> str:
    return next(case for case, page in double.pages.items() if page.members)


def unlabelled(page: Page) -> list[str]:
    """What axe-core finds that keeps somebody from using a page, or makes it hard."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_from_the_queue_to_the_dossier_by_keyboard_alone(browser: Browser, size: str, scheme: str) -> None:
    double = Double()
    width, height = SIZES[size]
    with served(double) as address:
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
        page.goto(address)
        first = max(double.pages.values(), key=lambda found: found.row.rank).row
        for key in ("j", "j", "k"):
            page.keyboard.press(key)
        expect(page.locator(":focus")).to_have_text(first.title)
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/case/{first.case}")
        expect(page.get_by_role("heading", level=1)).to_have_text(first.title)
        page.wait_for_load_state("load")  # keys work once the page's script has run
        page.keyboard.press("t")
        page.keyboard.type("one list, asked once")  # letters are letters in a field
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        expect(page.locator(":focus")).to_have_text("Give the verdict")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("verdict: true-positive")
        (act,) = [act for act, _ in double.acts]
        assert (act.cases, act.decision, act.text) == ([first.case], "true-positive", "one list, asked once")
        page.wait_for_load_state("load")
        page.keyboard.press("d")
        page.wait_for_url("**/dossier")
        expect(page.get_by_text("--exact")).to_be_visible()
        expect(page.locator("main")).to_contain_text("confirmed")
        page.go_back()
        page.keyboard.press("u")
        page.wait_for_url(f"{address}/")
        page.keyboard.press("/")
        page.keyboard.type(first.account)
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/account/{first.account}")
        page.keyboard.press("?")
        page.wait_for_url("**/keys")
        page.close()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_and_no_page_is_wider_than_the_window(
    browser: Browser, size: str, scheme: str
) -> None:
    double = Double()
    case = campaign_of(double)
    account = double.pages[case].row.account
    width, height = SIZES[size]
    with served(double) as address:
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
        for place in (
            "/", f"/case/{case}", f"/case/{case}/dossier", f"/campaign/{case}", f"/account/{account}", "/search?q=a",
            f"/allow?case={case}", "/audit", "/keys", "/reading", "/case/none",
        ):  # fmt: skip
            page.goto(address + place)
            assert unlabelled(page) == [], place
            assert page.evaluate("document.documentElement.scrollWidth") <= width, place
        page.close()


def test_everything_is_done_without_a_script(browser: Browser) -> None:
    double = Double()
    case = campaign_of(double)
    with served(double) as address:
        context = browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(f"{address}/case/{case}")
        page.get_by_label("false alarm").check()
        page.get_by_label("Reason").fill("an import")
        page.get_by_role("button", name="Give the verdict").click()
        assert double.acts[-1][0].decision == "false-positive"
        page.get_by_text("Split accounts off").click()
        page.locator("input[name=accounts]").first.check()
        page.get_by_role("button", name="Split", exact=True).click()
        assert double.acts[-1][0].accounts == [double.pages[case].members[0].account]
        page.goto(address)
        page.locator("input[name=cases]").nth(0).check()
        page.locator("input[name=cases]").nth(2).check()
        page.locator("select[name=kind]").select_option("assign")
        page.get_by_role("button", name="Do it").click()
        assert len(double.acts[-1][0].cases) == 2 and double.acts[-1][0].assignee == "ana"
        context.close()


def test_hostile_text_runs_nowhere(browser: Browser) -> None:
    double = Double(hostile=True)
    case = campaign_of(double)
    account = double.pages[case].row.account
    with served(double) as address:
        page = browser.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: None if request.url.startswith(address) else said.append(request.url))
        for place in (
            "/",
            f"/case/{case}",
            f"/case/{case}/dossier",
            f"/campaign/{case}",
            f"/account/{account}",
            "/allow",
        ):
            page.goto(address + place)
            assert page.title() != "owned", place
            assert page.evaluate("document.scripts.length") <= 1
            assert page.locator("img, iframe").count() == 0, place
        assert said == []
        page.close()


def test_the_policy_stops_a_script_that_would_stand_in_a_page(browser: Browser) -> None:
    double = Double()
    with served(double) as address:
        page = browser.new_page()
        page.goto(address)
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.evaluate(
            "() => { const s = document.createElement('div'); try { s.innerHTML = '<img src=x onerror=1>'; } "
            "catch (e) { console.log('stopped ' + e.name); } }"
        )
        assert said and all("stopped TypeError" in text or "Trusted" in text for text in said)
        page.close()
