"""Screenshots of every page, wide and narrow, light and dark, for human eyes: _build/shots."""

from itertools import product

from site_browser import SITE, chromium, pages, served

if __name__ == "__main__":
    target = SITE.parent / "shots"
    with served() as address, chromium() as browser:
        for theme, width in product(("light", "dark"), (1280, 390)):
            page = browser.new_page(color_scheme=theme, viewport={"width": width, "height": 900})
            for name in pages():
                page.goto(address + name, wait_until="networkidle")
                file = f"{name.removesuffix('.html').replace('/', '-')}-{width}-{theme}.png"
                page.screenshot(path=target / file, full_page=True, timeout=120_000)
            page.close()
    print(f"screenshots are in {target.relative_to(SITE.parents[1])}")
