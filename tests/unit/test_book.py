"""The book's own machinery: the claims ledger, the execution cache, the files that the site serves."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import jupytext
import nbformat
import pytest
import yaml
from jupyter_cache import get_cache
from jupyter_cache.cache.main import CacheBundleIn

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


CHAPTER = """\
```{code-cell} python
from fans import spectrum
```
"""
ON_RESULTS = CHAPTER.replace("spectrum", "experiments")


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*cache.PACKAGES, cache_dir=None)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A copy of what chapters depend on, with two chapters of which one reads results."""
    for name in ("fans", "book/spectralbook"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in (("constraints.txt", "x==1"), ("results/run/curve.csv", "1")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "notebooks").mkdir()
    for name, text in (("light", CHAPTER), ("heavy", ON_RESULTS)):
        (tmp_path / f"notebooks/{name}.md").write_text(
            jupytext.writes(jupytext.reads(text, "md:myst"), "md:myst")
        )
    return tmp_path


def hashes(root: Path, graph: grimp.ImportGraph) -> dict[str, str]:
    return {
        name: cache.digest(cache.inputs(root, graph, root / f"notebooks/{name}.md"))
        for name in ("light", "heavy")
    }


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("constraints.txt", {"light", "heavy"}),
        ("fans/_validation.py", {"light", "heavy"}),
        ("fans/spectrum/radial.py", {"light", "heavy"}),
        ("fans/training/loop.py", {"heavy"}),
        ("results/run/curve.csv", {"heavy"}),
        ("fans/cli.py", set()),
    ],
)
def test_a_chapter_depends_on_what_it_imports(
    inputs: Path, graph: grimp.ImportGraph, name: str, changed: set[str]
) -> None:
    then = hashes(inputs, graph)
    with open(inputs / name, "a") as file:
        file.write("# other\n")
    now = hashes(inputs, graph)
    assert {chapter for chapter in then if then[chapter] != now[chapter]} == changed


def test_a_chapter_depends_on_its_own_claims(inputs: Path, graph: grimp.ImportGraph) -> None:
    then, ledger = hashes(inputs, graph), inputs / cache.CLAIMS
    other = '\n[[claim]]\nid = "X"\nstatement = "x"\nsource = "s"\nchapter = "notebooks/{}"\n'
    ledger.write_text(ledger.read_text() + other.format("third"))
    assert hashes(inputs, graph) == then
    ledger.write_text(ledger.read_text() + other.format("light"))
    assert hashes(inputs, graph)["light"] != then["light"]
    assert hashes(inputs, graph)["heavy"] == then["heavy"]


@pytest.mark.parametrize(
    ("now", "complete", "kept"),
    [
        ({"a": "1", "b": "1"}, True, {".jupyter_cache", ".doctrees"}),
        ({"a": "1", "b": "1"}, False, {".jupyter_cache"}),
        ({"a": "1", "b": "2"}, True, {".jupyter_cache"}),
    ],
)
def test_only_what_is_still_true_is_kept(
    tmp_path: Path, now: dict[str, str], complete: bool, kept: set[str]
) -> None:
    cache.prepare(tmp_path, {"a": "1", "b": "1"})
    for name in (".jupyter_cache", ".doctrees", "html"):
        (tmp_path / name).mkdir()
    if complete:
        (tmp_path / "complete").touch()
    cache.prepare(tmp_path, now)
    assert {path.name for path in tmp_path.iterdir()} == kept | {"inputs.json"}
    assert json.loads((tmp_path / "inputs.json").read_text()) == now


def test_outputs_of_changed_chapters_are_forgotten(tmp_path: Path) -> None:
    kept = get_cache(tmp_path / "cache")
    for name in ("notebooks/a.md", "notebooks/b.md"):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"print({name!r})")])
        kept.cache_notebook_bundle(CacheBundleIn(notebook, f"book/{name}"), check_validity=False)
    cache.forget(tmp_path / "cache", {"notebooks/a.md"})
    assert [record.uri for record in kept.list_cache_records()] == ["book/notebooks/b.md"]


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
