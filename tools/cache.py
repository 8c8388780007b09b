"""Before a build: drop what earlier builds kept, where it may no longer be true.

The execution cache of Jupyter Book knows a notebook by its code alone, so it would keep showing the numbers
of an older package, lock or results folder. A chapter is executed again when something changed that it
depends on: a module that it imports, directly or through others, the locked versions, its claims, or, if it
reads experiments, the stored results. The parsed pages do not repeat their warnings, so a build that failed
once would pass when run again: they are dropped unless the last build came to its end and nothing changed.
"""

import ast
import hashlib
import json
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import grimp
import jupytext
from jupyter_cache import get_cache

PACKAGES = ("fans", "spectralbook")
CLAIMS = "book/spectralbook/claims.toml"
EXPERIMENTS = "fans.experiments"


def imported(code: str) -> Iterator[str]:
    """Modules that code may import: of ``from a import b`` both a and a.b."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def code_of(notebook: Path) -> str:
    cells = (cell for cell in jupytext.read(notebook).cells if cell.cell_type == "code")
    return "\n".join(line for cell in cells for line in cell.source.splitlines() if line[:1] not in "%!")


def modules(graph: grimp.ImportGraph, code: str) -> set[str]:
    """Modules of the packages that run when code is run, and the packages that they lie in."""
    waiting, found = set(imported(code)) & graph.modules, set[str]()
    while waiting:
        name = waiting.pop()
        found.add(name)
        parents = {name.rpartition(".")[0]} & graph.modules
        waiting |= (graph.find_modules_directly_imported_by(name) | parents) - found
    return found


def source_of(root: Path, module: str) -> Path:
    """The file of a module."""
    top = root / "book" if module.startswith("spectralbook") else root
    path = top / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def inputs(root: Path, graph: grimp.ImportGraph, notebook: Path) -> Iterator[tuple[str, bytes]]:
    """What the outputs of a notebook depend on, beside its own code, by name."""
    yield "python", sys.version.encode()
    yield "versions", (root / "constraints.txt").read_bytes()
    used = modules(graph, code_of(notebook))
    for module in sorted(used):
        yield module, source_of(root, module).read_bytes()
    chapter = notebook.relative_to(root).with_suffix("").as_posix()
    claims = tomllib.loads((root / CLAIMS).read_text(encoding="utf-8"))["claim"]
    yield "claims", json.dumps([claim for claim in claims if claim["chapter"] == chapter]).encode()
    if EXPERIMENTS in used:
        for path in sorted(path for path in (root / "results").rglob("*") if path.is_file()):
            yield path.relative_to(root).as_posix(), path.read_bytes()


def fingerprints(root: Path) -> dict[str, str]:
    """A hash of the inputs of each notebook, and of the site's own extensions."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    found = {
        "site": digest((path.name, path.read_bytes()) for path in sorted((root / "book/ext").glob("*.py")))
    }
    for notebook in sorted((root / "notebooks").glob("*.md")):
        found[notebook.relative_to(root).as_posix()] = digest(inputs(root, graph, notebook))
    return found


def digest(named: Iterator[tuple[str, bytes]]) -> str:
    """One hash of named contents."""
    found = hashlib.sha256()
    for name, content in named:
        found.update(f"\0{name}\0{hashlib.sha256(content).hexdigest()}".encode())
    return found.hexdigest()


def prepare(build: Path, now: dict[str, str]) -> None:
    """Leave in `build` what may be used again: notebooks of the same inputs, pages of a whole build."""
    mark, complete = build / "inputs.json", build / "complete"
    then = json.loads(mark.read_text()) if mark.exists() else {}
    if not then:
        shutil.rmtree(build / ".jupyter_cache", ignore_errors=True)
    forget(build / ".jupyter_cache", {name for name in {*then, *now} if then.get(name) != now.get(name)})
    if then != now or not complete.exists():
        shutil.rmtree(build / ".doctrees", ignore_errors=True)
    shutil.rmtree(build / "html", ignore_errors=True)
    # Only a build that comes to its end makes this again; the inputs are noted once the old cache is gone.
    complete.unlink(missing_ok=True)
    build.mkdir(exist_ok=True)
    mark.write_text(json.dumps(now, indent=2) + "\n")


def forget(cache: Path, names: set[str]) -> None:
    """Remove the outputs of these notebooks from an execution cache."""
    if not cache.exists():
        return
    kept = get_cache(cache)
    for record in kept.list_cache_records():
        if any(record.uri.endswith(name) for name in names):
            kept.remove_cache(record.pk)


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    prepare(root / "_build", fingerprints(root))
