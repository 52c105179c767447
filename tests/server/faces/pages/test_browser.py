"""The pages in a real browser: by keyboard, live, on a phone, and as tools for accessibility see them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("jinja2", reason="needs the extra composer")
pytest.importorskip("sqlalchemy", reason="needs the extra composer")
pytest.importorskip("playwright", reason="needs playwright")

from playwright.sync_api import expect

from aihwjax.server.faces.pages import experiment
from tests.marks import slow
from tests.server.faces.pages.site import EPOCHS, Site, metrics

PHONE = {"width": 360, "height": 700}


@pytest.fixture
def problems() -> list[str]:
    """What the pages complain about: nothing."""
    return []


@pytest.fixture
def page(site: Site, browser: Any, problems: list[str]) -> Iterator[Any]:
    context = browser.new_context(base_url=site.url, locale="en-GB", timezone_id="UTC")
    context.set_default_timeout(15_000)
    page = context.new_page()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    yield page
    context.close()
    assert problems == []


@pytest.fixture
def ann(site: Site, page: Any) -> Any:
    sign_in(page, site.token())
    return page


def sign_in(page: Any, token: str) -> None:
    page.goto("/ui")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Experiments")


def press_until(page: Any, selector: str) -> None:
    """Go on with the tab key until something has the focus, and see that the focus can be seen."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        assert focused.evaluate("element => getComputedStyle(element).outlineStyle") != "none"
        if focused.evaluate("(element, selector) => element.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} is out of reach")


def points(page: Any) -> int:
    """Return the number of points of the training curve."""
    return page.locator("#curves svg[role=img] .train .curve").first.get_attribute("d").count(" ")


def test_everything_by_keyboard(site: Site, page: Any) -> None:
    experiment_id = site.running("by keyboard", epochs=2)
    page.goto("/ui")
    press_until(page, "#token")
    page.keyboard.type(site.token())
    page.keyboard.press("Enter")
    expect(page).to_have_title("Experiments · aihwjax composer")
    press_until(page, f"#to-{experiment_id}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("by keyboard")
    press_until(page, "#cancel-open")
    page.keyboard.press("Enter")
    press_until(page, "#cancel-now")
    page.keyboard.press("Enter")
    expect(page.locator(".notice")).to_have_text("It was asked to stop, and does so in a moment.")
    site.stop(experiment_id)
    expect(page.locator("#state .badge")).to_have_text("Cancelled")
    expect(page.locator("#announcement")).to_have_text("Cancelled")
    expect(page.locator(".notice")).to_have_count(0)
    press_until(page, "form[action='/ui/sign-out'] button")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_the_first_stop_skips_to_the_content(ann: Any) -> None:
    ann.keyboard.press("Tab")
    expect(ann.locator(":focus")).to_have_text("Skip to the content")
    expect(ann.locator(":focus")).to_be_in_viewport()
    ann.keyboard.press("Enter")
    expect(ann.locator("main")).to_be_focused()


def test_curves_grow_while_it_trains(site: Site, ann: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "_POLL_SECONDS", 3600)  # the stream alone
    monkeypatch.setattr(experiment, "_FALLBACK_SECONDS", 3600)
    experiment_id = site.waiting("live")
    ann.goto(f"/ui/experiments/{experiment_id}")
    expect(ann.locator("#curves")).to_contain_text("No epoch is finished yet.")
    site.take(experiment_id)
    expect(ann.locator("#state .badge")).to_have_text("Running")
    for number in range(3):
        site.report(experiment_id, [metrics(number)], [f"epoch {number} is done"])
        expect(ann.locator("#state .progress > span")).to_have_text(f"{number + 1} of {EPOCHS} epochs")
        expect(ann.locator("#log-text")).to_contain_text(f"epoch {number} is done")
        assert points(ann) == number + 1
        expect(ann).to_have_title(re.compile(rf"Running {number + 1}/{EPOCHS}: live"))
    expect(ann.locator("#announcement")).to_have_text("Running, 30 percent done")
    assert ann.get_by_role("img", name="Loss over epochs").is_visible()
    site.complete(experiment_id)
    expect(ann.locator("#state .badge")).to_have_text("Completed")
    expect(ann.locator("#cancel")).to_have_count(0)
    with ann.expect_download() as download:
        ann.get_by_role("link", name="Trained network and metrics").click()
    assert download.value.suggested_filename == f"live-{experiment_id[:8]}-trained.tar"


def test_what_the_reader_opened_and_focused_stays(site: Site, ann: Any) -> None:
    experiment_id = site.running("kept", epochs=1)
    ann.goto(f"/ui/experiments/{experiment_id}")
    ann.locator("#epochs-open").focus()
    ann.keyboard.press("Enter")
    ann.locator("#cancel-open").click()
    ann.locator("#epochs-open").focus()
    site.report(experiment_id, [metrics(1)], [f"line {number}" for number in range(100)])
    expect(ann.locator("#epochs tbody tr")).to_have_count(2)
    expect(ann.locator("#epochs-open")).to_be_focused()
    expect(ann.get_by_role("cell", name="1.540")).to_be_visible()
    expect(ann.get_by_role("button", name="Cancel the experiment")).to_be_visible()
    log = ann.locator("#log-text")
    expect(log).to_contain_text("line 99")
    assert log.evaluate("log => log.scrollTop + log.clientHeight >= log.scrollHeight - 4")  # it follows
    log.evaluate("log => { log.scrollTop = 7 }")
    site.report(experiment_id, [], ["line 100"])
    expect(log).to_contain_text("line 100")
    assert log.evaluate("log => log.scrollTop") == 7


def test_without_a_stream_it_looks_now_and_then(
    site: Site, ann: Any, problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "_POLL_SECONDS", 3600)
    monkeypatch.setattr(experiment, "_FALLBACK_SECONDS", 0.1)
    ann.route("**/stream*", lambda route: route.fulfill(status=503))
    experiment_id = site.running("polled")
    ann.goto(f"/ui/experiments/{experiment_id}")
    expect(ann.locator("#state .badge")).to_have_text("Running")
    site.report(experiment_id, [metrics(0)])
    expect(ann.locator("#state .progress > span")).to_have_text(f"1 of {EPOCHS} epochs")
    site.complete(experiment_id)
    expect(ann.locator("#state .badge")).to_have_text("Completed")
    assert problems and all("503" in problem for problem in problems)
    problems.clear()


def test_who_was_signed_out_meanwhile_is_told(site: Site, page: Any, problems: list[str]) -> None:
    sign_in(page, site.token("zoe"))
    experiment_id = site.running(user="zoe")
    page.goto(f"/ui/experiments/{experiment_id}")
    site.core.revoke_token(site.token("zoe"))
    site.report(experiment_id, [metrics(0)])
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # a look, at once
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    problems.clear()  # the stream that ended


def test_the_list_is_kept_up_to_date(site: Site, ann: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from aihwjax.server.faces.pages import listing

    monkeypatch.setattr(listing, "_POLL_SECONDS", (0.1, 0.1))
    ann.goto("/ui")
    experiment_id = site.running("appears by itself")
    row = ann.locator(".row", has_text="appears by itself")
    expect(row.locator(".badge")).to_have_text("Running")
    ann.locator(f"#to-{experiment_id}").focus()
    site.report(experiment_id, [metrics(0)])
    expect(row.locator(".score")).to_have_text(re.compile("35.00"))
    expect(ann.locator(f"#to-{experiment_id}")).to_be_focused()


def test_a_link_on_another_site_leads_to_the_page(site: Site, ann: Any) -> None:
    experiment_id = site.completed("linked")
    address = f"{site.url}/ui/experiments/{experiment_id}"
    elsewhere = site.url.replace("127.0.0.1", "localhost")  # another site for the browser
    ann.route(f"{elsewhere}/", lambda route: route.fulfill(body=f"<a href='{address}'>x</a>", content_type="text/html"))
    ann.goto(f"{elsewhere}/")
    ann.get_by_text("x").click()
    expect(ann.get_by_role("heading", level=1)).to_have_text("linked")
    ann.context.clear_cookies()
    ann.goto(f"{elsewhere}/")
    ann.get_by_text("x").click()
    expect(ann.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_everything_works_without_script(site: Site, browser: Any) -> None:
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    sign_in(page, site.token())
    experiment_id = site.running("no script", epochs=3)
    page.reload()
    page.get_by_role("link", name="no script").click()
    assert points(page) == 3
    page.locator("#cancel-open").click()
    page.get_by_role("button", name="Cancel the experiment").click()
    expect(page.locator(".notice")).to_be_visible()
    site.stop(experiment_id)
    page.reload()
    expect(page.locator("#state .badge")).to_have_text("Cancelled")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    context.close()


@pytest.fixture(scope="module")
def addresses(site: Site) -> list[str]:
    """Where the pages are that every reader sees, with names and texts that take room."""
    running = site.running("a-name-without-any-space-" * 8, "max", epochs=4)
    site.report(running, [], ["a line of the log that is " + "very " * 60 + "long"])
    failed = site.running("W" * 200, "max", epochs=1)
    site.fail(failed, "the job's process was ended: " + "x" * 300)
    completed = site.completed("a first try", "max")
    return ["/ui/sign-in", "/ui", *(f"/ui/experiments/{found}" for found in (running, failed, completed))]


@pytest.fixture(params=["light", "dark"])
def max_on_a_phone(request: pytest.FixtureRequest, site: Site, browser: Any) -> Iterator[Any]:
    context = browser.new_context(base_url=site.url, viewport=PHONE, color_scheme=request.param)
    page = context.new_page()
    sign_in(page, site.token("max"))
    yield page
    context.close()


def open_all(page: Any) -> None:
    page.evaluate("for (const element of document.querySelectorAll('details')) element.open = true")


def test_nothing_scrolls_sideways_on_a_phone(addresses: list[str], max_on_a_phone: Any) -> None:
    for address in addresses:
        max_on_a_phone.goto(address)
        open_all(max_on_a_phone)
        width = max_on_a_phone.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], address


@pytest.mark.parametrize("width", [360, slow(1280)])
def test_tools_for_accessibility_find_nothing(addresses: list[str], max_on_a_phone: Any, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    max_on_a_phone.set_viewport_size({"width": width, "height": 800})
    for address in [*addresses, "/ui/nothing"]:
        max_on_a_phone.goto(address)
        for opened in (False, True):
            if opened:
                open_all(max_on_a_phone)
            found = axe.Axe().run(max_on_a_phone)
            assert found.violations_count == 0, f"{address}\n{found.generate_report()}"
            assert found.response["passes"]
