"""The built site as a reader's browser meets it. Run by `make site-test`."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page
from site_browser import SITE, chromium, pages, served

PAGES = pages()
WIDGETS = [page for page in PAGES if "vnd.jupyter.widget-view+json" in (SITE / page).read_text()]
LARGEST = 1_500_000
# Console messages to overlook, each with the reason.
OVERLOOKED = {
    "warning: strict mode: use allowUnionTypes": "the widget runtime on its own schema of the saved state",
}

FAULTS = """() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const show = (elements) => elements.map((e) => e.outerHTML.slice(0, 200));
  const plots = all(".cell_output img").filter((e) => !e.closest(".widget-subarea"));
  const captioned = (e) => e.closest("figure")?.querySelector("figcaption")?.textContent.trim();
  return {
    "wider than the window": document.documentElement.scrollWidth > innerWidth
      ? show(all("main *").filter((e) => e.getBoundingClientRect().right > innerWidth + 1).slice(0, 3)) : [],
    "images without alt text": show(all("img").filter((e) => !e.alt.trim())),
    "images that did not load": show(all("img").filter((e) => e.complete && !e.naturalWidth)),
    "figures without caption": show(all("figure").filter((e) => !captioned(e))),
    "plots outside a figure": show(plots.filter((e) => !captioned(e))),
    "maths not set": show(all(".math:not(:has(mjx-container)), mjx-merror")),
    "controls without a name": show(all(".widget-subarea [role=slider]").filter((e) => !e.ariaLabel)),
  };
}"""
PICTURE = """(box) => [...box.querySelectorAll("img, svg")].filter((e) => e.checkVisibility())
  .map((e) => e.src ? e.alt + e.src : e.outerHTML).join()"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served() as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(params=[1280, 390], ids=lambda width: f"{width}px")
def window(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": request.param, "height": 900})
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_page(window: Page, address: str, name: str) -> None:
    asked, failed, said = list[str](), list[str](), list[str]()
    window.on("request", lambda request: asked.append(request.url))
    window.on("requestfailed", lambda request: failed.append(request.url))
    window.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
    window.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    window.on("pageerror", lambda error: said.append(f"error: {error}"))
    window.goto(address + name, wait_until="networkidle")
    window.wait_for_function(
        "document.readyState === 'complete' && !document.querySelector('.MathJax_Processing')"
    )
    assert [url for url in asked if not url.startswith((address, "data:"))] == []
    assert failed == []
    loud = [line for line in said if line.startswith(("error", "warning"))]
    assert [line for line in loud if not any(part in line for part in OVERLOOKED)] == []
    assert {fault: found for fault, found in window.evaluate(FAULTS).items() if found} == {}
    assert (SITE / name).stat().st_size <= LARGEST


def _changes(output: Locator, before: str) -> bool:
    for _ in range(30):
        if output.evaluate(PICTURE) != before:
            return True
        output.page.wait_for_timeout(50)
    return False


def _drag(handle: Locator, share: float) -> None:
    mouse, box = handle.page.mouse, handle.bounding_box()
    track = handle.locator("xpath=ancestor::*[contains(@class, 'noUi-target')]").bounding_box()
    assert box and track
    mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    mouse.down()
    mouse.move(track["x"] + share * track["width"], box["y"] + box["height"] / 2, steps=5)
    mouse.up()


@pytest.mark.parametrize("name", WIDGETS)
def test_controls_change_the_picture(window: Page, address: str, name: str) -> None:
    window.goto(address + name, wait_until="networkidle")
    window.locator(".widget-subarea").first.wait_for()  # drawn by a script, which a busy machine runs late
    outputs = window.locator(".cell_output:has(.widget-subarea)").all()
    assert outputs
    for output in outputs:
        sliders = output.locator("[role=slider]:visible").all()
        menus = output.locator("select:visible").all()
        assert sliders or menus, f"{name}: a widget without a control"
        for slider in sliders:
            slider.scroll_into_view_if_needed()
            for share in (0.95, 0.05):
                before = output.evaluate(PICTURE)
                _drag(slider, share)
                assert _changes(output, before), f"{name}: dragging a slider to {share} changes nothing"
            before = output.evaluate(PICTURE)
            slider.focus()
            slider.press("ArrowRight")
            assert _changes(output, before), f"{name}: a slider does not follow the keyboard"
        for menu in menus:
            before = output.evaluate(PICTURE)
            menu.click()
            menu.press("ArrowDown")
            menu.press("Enter")
            assert _changes(output, before), f"{name}: choosing from a menu changes nothing"
            before = output.evaluate(PICTURE)
            menu.focus()
            menu.press("ArrowUp")
            assert _changes(output, before), f"{name}: a menu does not follow the keyboard"


def test_first_page_is_reached_from_the_folder(window: Page, address: str) -> None:
    window.goto(address)
    window.wait_for_url("**/book/*.html")
    assert window.locator("article h1").count() == 1
