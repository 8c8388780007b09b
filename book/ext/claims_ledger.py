"""`claims-ledger`: the table of all claims, with the verdicts that the executed chapters left.

A claim without a verdict, with two, or judged in the wrong chapter fails every build until it is mended.
"""

from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from spectralbook.claims import KINDS, Claim, load

LOGGER = logging.getLogger(__name__)
HEADINGS = {"Claim": 8, "What the source says": 34, "Verdict": 16, "What the chapter finds": 42}


class Found(NamedTuple):
    docname: str
    claim: str
    kind: str
    finding: str


class ledger(nodes.General, nodes.Element):
    """Where the table goes; filled once all chapters are read."""


class ClaimsLedger(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        _pages(self.env).add(self.env.docname)
        return [ledger()]


class _Verdicts(HTMLParser):
    def __init__(self, docname: str, html: str) -> None:
        super().__init__()
        self.docname, self.found = docname, list[Found]()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        data = {key: value or "" for key, value in attrs}
        if "data-claim" in data:
            found = Found(self.docname, data["data-claim"], data["data-verdict"], data["data-finding"])
            self.found.append(found)


def _claims(env: BuildEnvironment) -> dict[str, Claim]:
    path = env.config.claims_file
    return dict(load(Path(env.srcdir, path) if path else None))


def _by_chapter(env: BuildEnvironment) -> dict[str, list[Found]]:
    found: dict[str, list[Found]] = vars(env).setdefault("claims_found", {})
    return found


def _pages(env: BuildEnvironment) -> set[str]:
    pages: set[str] = vars(env).setdefault("claims_pages", set())
    return pages


def purge(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    _by_chapter(env).pop(docname, None)
    _pages(env).discard(docname)


def collect(app: Sphinx, doctree: nodes.document) -> None:
    raw = [node.astext() for node in doctree.findall(nodes.raw) if "data-claim" in node.astext()]
    found = [verdict for html in raw for verdict in _Verdicts(app.env.docname, html).found]
    _by_chapter(app.env)[app.env.docname] = found
    # `[](#claim-A1)` reaches the box from any page.
    std = app.env.get_domain("std")
    for verdict in found:
        name = f"claim-{verdict.claim}"
        std.data["labels"][name.lower()] = (app.env.docname, name, f"Claim {verdict.claim}")
        std.data["anonlabels"][name.lower()] = (app.env.docname, name)


def ledger_pages(app: Sphinx, env: BuildEnvironment) -> list[str]:
    # Written in every build, since any chapter may have changed its verdict.
    return sorted(_pages(env))


def _all_found(env: BuildEnvironment) -> list[Found]:
    return [found for _, chapter in sorted(_by_chapter(env).items()) for found in chapter]


def problems(env: BuildEnvironment) -> list[str]:
    claims, found = _claims(env), _all_found(env)
    times = Counter(verdict.claim for verdict in found)
    faults = [f"claim {name}: no verdict in {claims[name].chapter}" for name in claims if not times[name]]
    faults += [f"claim {name}: {n} verdicts, one is wanted" for name, n in times.items() if n > 1]
    for verdict in found:
        if verdict.claim not in claims:
            faults.append(f"claim {verdict.claim}: judged in {verdict.docname}, not in the ledger")
        elif verdict.docname != claims[verdict.claim].chapter:
            faults.append(f"claim {verdict.claim}: judged in {verdict.docname}, not in its chapter")
    return faults


def check(app: Sphinx, exception: Exception | None) -> None:
    # Last of all, so that the pages are there to look at while the ledger is incomplete.
    for fault in [] if exception else problems(app.env):
        app.statuscode = 1
        LOGGER.error("claims ledger: %s", fault)


def _badge(kind: str) -> nodes.inline:
    return nodes.inline("", kind, classes=["verdict-badge", f"verdict-{kind.replace(' ', '-')}"])


def _row(*cells: list[nodes.Node]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells))


def _table(app: Sphinx, docname: str) -> list[nodes.Node]:
    found = {verdict.claim: verdict for verdict in _all_found(app.env)}
    body = nodes.tbody()
    for claim in _claims(app.env).values():
        verdict = found.get(claim.id)
        source = nodes.inline("", f"({claim.source})", classes=["claim-source"])
        said = [nodes.Text(claim.statement + " "), source]
        if verdict:
            uri = f"{app.builder.get_relative_uri(docname, verdict.docname)}#claim-{claim.id}"
            name = nodes.reference("", f"Claim {claim.id}", internal=True, refuri=uri)
            body += _row([name], said, [_badge(verdict.kind)], [nodes.Text(verdict.finding)])
        else:
            body += _row([nodes.Text(f"Claim {claim.id}")], said, [nodes.Text("none yet")], [])
    widths = [nodes.colspec(colwidth=width) for width in HEADINGS.values()]
    head = nodes.thead("", _row(*([nodes.Text(heading)] for heading in HEADINGS)))
    group = nodes.tgroup("", *widths, head, body, cols=len(HEADINGS))
    tally = Counter(verdict.kind for verdict in found.values())
    counts = [nodes.paragraph("", "", _badge(kind), nodes.Text(f" {tally[kind]}")) for kind in KINDS]
    return [
        nodes.bullet_list("", *(nodes.list_item("", count) for count in counts), classes=["verdict-counts"]),
        nodes.table("", group, classes=["claims-ledger", "colwidths-given"]),
    ]


def fill(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for node in list(doctree.findall(ledger)):
        node.replace_self(_table(app, docname))


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("claims_file", None, "env")
    app.add_node(ledger)
    app.add_directive("claims-ledger", ClaimsLedger)
    app.connect("env-purge-doc", purge)
    app.connect("doctree-read", collect)
    app.connect("env-updated", ledger_pages)
    app.connect("doctree-resolved", fill)
    app.connect("build-finished", check)
    return {"version": "1", "env_version": 1, "parallel_read_safe": False, "parallel_write_safe": True}
