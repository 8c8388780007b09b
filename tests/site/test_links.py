"""Every link inside the built site leads to a file, and to an anchor that is there."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

from site_browser import SITE, pages


class _Page(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links, self.anchors = list[str](), {""}
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key in ("href", "src") and value:
                self.links.append(value)
            elif key in ("id", "name") and value:
                self.anchors.add(value)


def test_links_lead_somewhere() -> None:
    parsed = {name: _Page(SITE / name) for name in pages()}
    broken = []
    for name, page in parsed.items():
        for link in page.links:
            target, anchor = urldefrag(urljoin(name, link).split("?")[0] if link[0] != "#" else name + link)
            if ":" in target:
                continue
            found = parsed[target].anchors if target in parsed else {""}
            if not (SITE / unquote(target)).is_file() or unquote(anchor) not in found:
                broken.append(f"{name}: {link}")
    assert broken == []
