"""The book's own machinery: the claims ledger, the execution cache, the files that the site serves."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import cache
from spectralbook.claims import Claim, Kind, Verdict

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = [Claim("A1", "One < two.", "the post", "one"), Claim("A2", "Two.", "the post", "two")]
LEDGER = """\
Ledger
======

See :ref:`claim-A1`.

.. claims-ledger::

.. toctree::

   one
   two
"""


class Book:
    """A small Sphinx project with two chapters and the ledger page."""

    def __init__(self, path: Path) -> None:
        self.path = path
        entries = ["".join(f"{key} = {value!r}\n" for key, value in vars(claim).items()) for claim in CLAIMS]
        self.write("claims.toml", "".join(f"[[claim]]\n{entry}\n" for entry in entries))
        self.write("index.rst", LEDGER)
        path_line = f"import sys\nsys.path.append({str(ROOT / 'book/ext')!r})\n"
        self.write("conf.py", path_line + "extensions = ['claims_ledger']\nclaims_file = 'claims.toml'\n")
        self.chapter("one", (CLAIMS[0], "holds", "1 < 2 & so on"))
        self.chapter("two", (CLAIMS[1], "refuted", "no"))

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)

    def chapter(self, name: str, *verdicts: tuple[Claim, Kind, str]) -> None:
        boxes = "".join(f".. raw:: html\n\n   {Verdict(*found)._repr_html_()}\n\n" for found in verdicts)
        self.write(f"{name}.rst", f"{name}\n{'=' * len(name)}\n\n{boxes}")

    def build(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", ".", "html"]
        return subprocess.run(command, cwd=self.path, capture_output=True, text=True)

    def ledger(self) -> str:
        return (self.path / "html/index.html").read_text()


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


def test_ledger_shows_every_claim_and_follows_its_chapter(book: Book) -> None:
    assert book.build().returncode == 0
    page = book.ledger()
    assert 'href="one.html#claim-A1"' in page and 'href="two.html#claim-A2"' in page
    assert 'std-ref">Claim A1<' in page
    assert "1 &lt; 2 &amp; so on" in page and "One &lt; two." in page
    assert re.search(r'verdict-holds">holds</span> 1<', page)
    assert 'id="claim-A1"' in (book.path / "html/one.html").read_text()

    book.chapter("two", (CLAIMS[1], "holds if", "only on Sundays"))
    assert book.build().returncode == 0
    assert "only on Sundays" in book.ledger() and 'verdict-refuted">refuted</span> 0<' in book.ledger()


@pytest.mark.parametrize(
    ("chapter", "message"),
    [
        ([], "claim A2: no verdict in two"),
        ([(CLAIMS[1], "holds", "a")] * 2, "claim A2: 2 verdicts"),
        (
            [(CLAIMS[1], "holds", "a"), (CLAIMS[0], "holds", "b")],
            "claim A1: judged in two, not in its chapter",
        ),
        (
            [(CLAIMS[1], "holds", "a"), (Claim("Q", "", "", ""), "holds", "b")],
            "claim Q: judged in two, not in the ledger",
        ),
    ],
)
def test_incomplete_ledger_fails_every_build_until_mended(book: Book, chapter, message: str) -> None:
    book.chapter("two", *chapter)
    for _ in range(2):
        result = book.build()
        assert result.returncode != 0 and message in result.stderr
    book.chapter("two", (CLAIMS[1], "holds", "a"))
    assert book.build().returncode == 0


def test_fingerprint_follows_every_input(tmp_path: Path) -> None:
    names = (
        "constraints.txt",
        "book/ext/a.py",
        "fans/figures/a.py",
        "fans/claims.toml",
        "results/run/curve.csv",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    seen = [cache.fingerprint(tmp_path)]
    for name in names:
        (tmp_path / name).write_text("2")
        seen.append(cache.fingerprint(tmp_path))
    (tmp_path / "results/run/curve.csv").rename(tmp_path / "results/curve.csv")
    seen.append(cache.fingerprint(tmp_path))
    assert len(set(seen)) == len(names) + 2
    (tmp_path / "fans/notes.txt").write_text("of no effect")
    assert cache.fingerprint(tmp_path) == seen[-1]


@pytest.mark.parametrize(
    ("now", "complete", "kept"),
    [
        ("same", True, {".jupyter_cache", ".doctrees"}),
        ("same", False, {".jupyter_cache"}),
        ("other", True, set()),
        ("other", False, set()),
    ],
)
def test_only_what_is_still_true_is_kept(tmp_path: Path, now: str, complete: bool, kept: set[str]) -> None:
    cache.prepare(tmp_path, "same")
    for name in (".jupyter_cache", ".doctrees", "html"):
        (tmp_path / name).mkdir()
    if complete:
        (tmp_path / "complete").touch()
    cache.prepare(tmp_path, now)
    assert {path.name for path in tmp_path.iterdir()} == kept | {"inputs.sha256"}
    assert (tmp_path / "inputs.sha256").read_text() == now


def test_contents_list_existing_pages_and_all_notebooks() -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    pages = [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]
    assert [page for page in pages if not (ROOT / f"{page}.md").exists()] == []
    assert {f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.md")} <= set(pages)


def test_lock_names_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []
    assert not any(line.lower().startswith("torchvision") for line in lines)


def test_citation_file_is_complete() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert all(citation[key] for key in ("message", "title", "authors", "version", "license"))
